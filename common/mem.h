/* mem: heap memory that is never NULL. Memory is planned (`memory.limit` bounds request bytes, caches and streams
 * together, and the broker stops reading sockets over it), so an allocation that fails is a broken plan and ends the
 * process: a half-applied state is worse than a restart. ADR-0003.
 *
 * Ownership: the caller frees with mem_free.
 * Threads:   any.
 */
#ifndef COMMON_MEM_H
#define COMMON_MEM_H

#include <stddef.h>

void *mem_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_zalloc(size_t bytes) __attribute__((malloc, returns_nonnull));
/* Zeroed array; ends the process when count * item_bytes overflows. */
void *mem_array(size_t count, size_t item_bytes) __attribute__((malloc, returns_nonnull));
void *mem_grow(void *memory, size_t count, size_t item_bytes) __attribute__((returns_nonnull));
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));
char *mem_format(const char *format, ...) __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));
void mem_free(void *memory);

#define MEM_NEW(type) ((type *)mem_zalloc(sizeof(type)))

#endif
