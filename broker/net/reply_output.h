/* reply_output: one encoded reply on its way to the socket: bytes with file ranges in between.
 *
 * Shape:     buffer[0, cuts[0].pos), file range of cuts[0], buffer[cuts[0].pos, cuts[1].pos), ... to the buffer's end.
 *            A cut's external is a struct file_slice (broker/api/request.h).
 * Ownership: owns buffer, cuts and slices with their file references; a slice is freed as soon as its last byte is sent.
 * Threads:   those of its connection.
 * Source:    proto/wire/writer.h; correctness.md 4, trap 20 (a file lives until its last byte is written).
 */
#ifndef BROKER_NET_REPLY_OUTPUT_H
#define BROKER_NET_REPLY_OUTPUT_H

#include "common/span.h"
#include "proto/wire/writer.h"

struct file_slice;

struct reply_output {
    uint8_t *data; /* mem_alloc */
    size_t bytes;
    struct writer_cut *cuts; /* mem_alloc, NULL when there are none */
    size_t cut_count;
    size_t sent_bytes; /* of the buffer */
    size_t cut_index;  /* the first cut that is not wholly sent */
};

/* Frees what is left of it. Zeroed memory is an empty output. */
void reply_output_done(struct reply_output *output);
bool reply_output_is_sent(const struct reply_output *output);
/* The file range that goes next, or NULL. */
struct file_slice *reply_output_next_file(const struct reply_output *output);
/* `bytes` of what goes next, over buffer and file ranges alike, have been sent. */
void reply_output_advance(struct reply_output *output, size_t bytes);

/* Walks over what is left of an output without changing it. */
struct reply_cursor {
    const struct reply_output *output;
    size_t pos;
    size_t cut_index;
};

void reply_cursor_init(struct reply_cursor *cursor, const struct reply_output *output);
/* The next piece: a span, or (then *ret_span is empty) a file range. False at the end. */
bool reply_cursor_next(struct reply_cursor *cursor, struct span *ret_span, struct file_slice **ret_slice);
/* Bytes that are left, buffer and files. */
size_t reply_output_left(const struct reply_output *output);

#endif
