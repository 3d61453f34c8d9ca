/* reader: a bounded cursor over borrowed bytes of the Kafka protocol. The first error sticks: every later read returns
 * zero or a null span, so that a decoder checks once, at its end.
 *
 * Shape:     bytes [pos, bytes) are unread; big-endian integers, varints of at most 5 or 10 bytes.
 * Errors:    reader->err: ERR_MALFORMED when bytes are missing or a length or varint is impossible, or what
 *            reader_fail was given. error_pos is where the read began that failed.
 * Ownership: spans that are handed out borrow from the bytes read.
 * Threads:   one at a time.
 * Source:    kafka.apache.org/protocol "Protocol Primitive Types"; KIP-482 (compact types, tagged fields).
 */
#ifndef PROTO_WIRE_READER_H
#define PROTO_WIRE_READER_H

#include "common/err.h"
#include "common/span.h"
#include "common/uuid.h"

struct reader {
    const uint8_t *data;
    size_t bytes;
    size_t pos;
    enum err err;
    size_t error_pos;
};

void reader_init(struct reader *reader, struct span bytes);
/* Remember the first error; later ones change nothing. */
void reader_fail(struct reader *reader, enum err err);
/* Unread bytes; 0 after an error. */
size_t reader_remaining(const struct reader *reader);

int8_t reader_int8(struct reader *reader);
int16_t reader_int16(struct reader *reader);
uint16_t reader_uint16(struct reader *reader);
int32_t reader_int32(struct reader *reader);
uint32_t reader_uint32(struct reader *reader);
int64_t reader_int64(struct reader *reader);
double reader_float64(struct reader *reader);
struct uuid reader_uuid(struct reader *reader);
/* Any byte but 0 is true, as in Kafka. */
bool reader_bool(struct reader *reader);

/* Base-128, least significant group first. Longer forms than needed are accepted within the bound; a value that does
 * not fit is malformed. */
uint32_t reader_uvarint(struct reader *reader);
uint64_t reader_uvarlong(struct reader *reader);
/* Zigzag. */
int32_t reader_varint(struct reader *reader);
int64_t reader_varlong(struct reader *reader);

/* The next `bytes` bytes. */
struct span reader_take(struct reader *reader, size_t bytes);
/* Length -1 (0 in the compact form) gives the null span; other negative lengths are malformed. An empty string has
 * data != NULL. */
struct span reader_nullable_string(struct reader *reader);
struct span reader_nullable_bytes(struct reader *reader);
struct span reader_compact_nullable(struct reader *reader);
/* A section of tagged fields (KIP-482) that nobody here knows: skipped within bounds. */
void reader_skip_tagged_fields(struct reader *reader);

#endif
