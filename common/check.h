/* check: assertions. CHECK is on in every build: it guards what would otherwise damage data. Bytes that come from
 * outside are never asserted on; state of our own always is.
 *
 * Errors:    a failed check writes one line and aborts the process (core dump); it never returns.
 * Threads:   any.
 */
#ifndef COMMON_CHECK_H
#define COMMON_CHECK_H

#include <stddef.h>

_Noreturn void check_failed(const char *file, int line, const char *condition, const char *function);

#define CHECK(condition)                                                                                               \
    (__builtin_expect(!!(condition), 1) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, __func__))
#define UNREACHABLE() check_failed(__FILE__, __LINE__, "unreachable", __func__)

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
