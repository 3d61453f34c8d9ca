/* writer: appends Kafka protocol primitives to a bytebuf. The first error sticks. Lengths that are known only later
 * are patched back.
 *
 * Shape:     the buffer holds all bytes but those of external records: a response's records may be a range of a file
 *            or another object. For those only the length is written, and a *cut* is noted. The connection sends
 *            buffer[0, cuts[0].pos), cuts[0].external, buffer[cuts[0].pos, cuts[1].pos), ... in this order.
 * Units:     cut positions count from the beginning of the bytebuf.
 * Errors:    writer->err: ERR_LIMIT when the buffer's maximum or a length field's range is passed; what writer_fail was
 *            given. The buffer's content is then of no use.
 * Ownership: the bytebuf is borrowed; the cut array is owned (writer_done), external pointers pass through untouched.
 * Threads:   one at a time.
 * Source:    kafka.apache.org/protocol "Protocol Primitive Types"; KIP-482.
 */
#ifndef PROTO_WIRE_WRITER_H
#define PROTO_WIRE_WRITER_H

#include "common/bytebuf.h"
#include "common/err.h"
#include "common/span.h"
#include "common/uuid.h"

struct writer_cut {
    size_t pos;            /* the external bytes belong before the buffer byte at this position */
    void *external;        /* the caller's */
    size_t external_bytes; /* > 0 */
};

struct writer {
    struct bytebuf *buf;
    enum err err;
    struct writer_cut *cuts;
    size_t cuts_count;
    size_t cuts_capacity;
    size_t external_bytes; /* sum over the cuts */
};

/* Appends behind what `buf` holds already. */
void writer_init(struct writer *writer, struct bytebuf *buf);
void writer_done(struct writer *writer);
/* Remember the first error; later ones change nothing. */
void writer_fail(struct writer *writer, enum err err);
/* Where the next byte goes. */
size_t writer_pos(const struct writer *writer);
/* Moves the cuts out: the caller frees them with mem_free. NULL when there are none. */
struct writer_cut *writer_take_cuts(struct writer *writer, size_t *ret_cuts_count);

void writer_int8(struct writer *writer, int8_t value);
void writer_int16(struct writer *writer, int16_t value);
void writer_int32(struct writer *writer, int32_t value);
void writer_int64(struct writer *writer, int64_t value);
void writer_uint16(struct writer *writer, uint16_t value);
void writer_uint32(struct writer *writer, uint32_t value);
void writer_float64(struct writer *writer, double value);
void writer_uuid(struct writer *writer, struct uuid uuid);
void writer_bool(struct writer *writer, bool value);
void writer_uvarint(struct writer *writer, uint32_t value);
void writer_uvarlong(struct writer *writer, uint64_t value);
void writer_varint(struct writer *writer, int32_t value);
void writer_varlong(struct writer *writer, int64_t value);
void writer_bytes(struct writer *writer, struct span bytes);

/* A null span writes the null length. */
void writer_nullable_string(struct writer *writer, struct span text);
void writer_nullable_bytes(struct writer *writer, struct span bytes);
void writer_compact_nullable(struct writer *writer, struct span bytes);
/* Note that `bytes` > 0 bytes of `external` follow here; the caller has written the length. */
void writer_cut_here(struct writer *writer, void *external, size_t bytes);

/* Overwrite four bytes that were written before. */
void writer_patch_int32(struct writer *writer, size_t pos, int32_t value);
/* Put the length of [pos, end) before it as a varint, moving it by that varint's bytes. No cut may lie behind pos. */
void writer_insert_length(struct writer *writer, size_t pos);

#endif
