#include "common/mem.h"

#include "common/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *mem_alloc(size_t bytes)
{
    void *memory = malloc(bytes == 0 ? 1 : bytes);
    CHECK(memory != NULL);
    return memory;
}

void *mem_zalloc(size_t bytes)
{
    void *memory = calloc(1, bytes == 0 ? 1 : bytes);
    CHECK(memory != NULL);
    return memory;
}

void *mem_array(size_t count, size_t item_bytes)
{
    void *memory = calloc(count == 0 ? 1 : count, item_bytes);
    CHECK(memory != NULL);
    return memory;
}

void *mem_grow(void *memory, size_t count, size_t item_bytes)
{
    void *grown = reallocarray(memory, count == 0 ? 1 : count, item_bytes);
    CHECK(grown != NULL);
    return grown;
}

char *mem_strdup(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

char *mem_format(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int count = vasprintf(&text, format, args);
    va_end(args);
    CHECK(count >= 0 && text != NULL);
    return text;
}

void mem_free(void *memory)
{
    free(memory);
}
