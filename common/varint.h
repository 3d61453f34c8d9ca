/* varint: variable-length integers of 7 bits a byte, least significant first, the top bit set on
 * all but the last byte; signed ones are zigzag-mapped (0, -1, 1, -2 -> 0, 1, 2, 3).
 *
 * Limits:    VARINT32_BYTES_MAX and VARINT64_BYTES_MAX. Longer forms than needed are accepted up to
 * them; bits that do not fit the type are malformed. Errors:    get returns the number of bytes
 * used, or 0 when the bytes end too early or the value does not fit. Threads:   pure functions.
 * Source:    Protocol Buffers encoding; Kafka protocol guide, VARINT, VARLONG and UNSIGNED_VARINT.
 */
#ifndef COMMON_VARINT_H
#define COMMON_VARINT_H

#include "common/span.h"

#define VARINT32_BYTES_MAX 5
#define VARINT64_BYTES_MAX 10

static inline uint32_t zigzag32(int32_t value)
{
    return ((uint32_t)value << 1) ^ (uint32_t)(value >> 31);
}

static inline int32_t unzigzag32(uint32_t value)
{
    return (int32_t)((value >> 1) ^ (0u - (value & 1u)));
}

static inline uint64_t zigzag64(int64_t value)
{
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int64_t unzigzag64(uint64_t value)
{
    return (int64_t)((value >> 1) ^ (0u - (value & 1u)));
}

/* Read an unsigned 64-bit varint from [from, end). */
static inline size_t uvarint64_get(const uint8_t *from, const uint8_t *end, uint64_t *ret_value)
{
    size_t here_bytes = (size_t)(end - from);
    uint64_t value = 0;

    for (size_t i = 0; i < VARINT64_BYTES_MAX && i < here_bytes; i++) {
        uint64_t bits = from[i] & 0x7fu;
        if (i == VARINT64_BYTES_MAX - 1 && bits > 1) {
            return 0;
        }
        value |= bits << (7 * i);
        if ((from[i] & 0x80u) == 0) {
            *ret_value = value;
            return i + 1;
        }
    }
    return 0;
}

/* Read an unsigned 32-bit varint from [from, end). */
static inline size_t uvarint32_get(const uint8_t *from, const uint8_t *end, uint32_t *ret_value)
{
    size_t here_bytes = (size_t)(end - from);
    uint32_t value = 0;

    for (size_t i = 0; i < VARINT32_BYTES_MAX && i < here_bytes; i++) {
        uint32_t bits = from[i] & 0x7fu;
        if (i == VARINT32_BYTES_MAX - 1 && bits > 0xfu) {
            return 0;
        }
        value |= bits << (7 * i);
        if ((from[i] & 0x80u) == 0) {
            *ret_value = value;
            return i + 1;
        }
    }
    return 0;
}

/* Bytes that the value takes. */
static inline size_t uvarint64_bytes(uint64_t value)
{
    return value == 0 ? 1 : (size_t)(63 - __builtin_clzll(value)) / 7 + 1;
}

/* Write the value, at most VARINT64_BYTES_MAX bytes; returns how many. */
static inline size_t uvarint64_put(uint8_t *to, uint64_t value)
{
    size_t bytes = 0;

    while (value >= 0x80) {
        to[bytes++] = (uint8_t)(value | 0x80u);
        value >>= 7;
    }
    to[bytes++] = (uint8_t)value;
    return bytes;
}

#endif
