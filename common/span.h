/* span: borrowed, read-only bytes. A null span (data == NULL) is Kafka's null; an empty one has data != NULL.
 *
 * Ownership: borrowed; valid as long as the memory it points into.
 * Threads:   a value.
 */
#ifndef COMMON_SPAN_H
#define COMMON_SPAN_H

#include "common/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *data;
    size_t bytes;
};

#define SPAN_NULL ((struct span){NULL, 0})

static inline struct span span_make(const void *data, size_t bytes)
{
    return (struct span){(const uint8_t *)data, bytes};
}

/* The text without its terminator; NULL gives the null span. */
static inline struct span span_text(const char *text)
{
    return text == NULL ? SPAN_NULL : span_make(text, strlen(text));
}

static inline bool span_is_null(struct span span)
{
    return span.data == NULL;
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static inline bool span_equal_text(struct span span, const char *text)
{
    return span_equal(span, span_make(text, strlen(text)));
}

/* Bytes [start, start + bytes) of `span`; the range must lie inside. */
static inline struct span span_sub(struct span span, size_t start, size_t bytes)
{
    CHECK(start <= span.bytes && bytes <= span.bytes - start);
    return (struct span){span.data + start, bytes};
}

#endif
