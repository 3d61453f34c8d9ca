/* frame_reader: cuts a stream of bytes into frames: a size of four bytes, big-endian and positive, then that many bytes.
 *
 * Shape:     size field -> (memory is admitted by the caller) -> body -> frame taken -> size field ...
 *            Small frames are copied out of the bytes that are fed; the rest of a large one is read straight into it:
 *            frame_reader_room tells where.
 * Limits:    frames of FRAME_BODY_BYTES_MIN to `frame_bytes_max`.
 * Errors:    frame_reader_feed returns FRAME_BAD for an impossible size; frame_reader_complaint then says what it looks like.
 *            The stream can't be continued.
 * Ownership: the reader owns the frame that it fills; frame_reader_take moves it out.
 * Threads:   one at a time.
 * Source:    kafka.apache.org/protocol "Common Request and Response Structure".
 */
#ifndef BROKER_NET_FRAME_READER_H
#define BROKER_NET_FRAME_READER_H

#include "common/shared_bytes.h"
#include "proto/wire/frame.h"

struct frame_reader {
    uint8_t size_field[FRAME_SIZE_BYTES];
    unsigned size_field_bytes;
    size_t frame_bytes_max;
    struct shared_bytes *frame; /* NULL between frames and until memory is admitted */
    size_t filled_bytes;
};

enum frame_status {
    FRAME_NEEDS_INPUT,  /* all that was fed is consumed */
    FRAME_NEEDS_MEMORY, /* the size is known (frame_reader_wanted): call frame_reader_begin when it is admitted */
    FRAME_READY,        /* frame_reader_take */
    FRAME_BAD,
};

void frame_reader_init(struct frame_reader *reader, size_t frame_bytes_max);
void frame_reader_done(struct frame_reader *reader);

/* Consumes from the front of *input up to the next thing that the caller must do. */
enum frame_status frame_reader_feed(struct frame_reader *reader, struct span *input);
/* The body size that the size field announces. */
size_t frame_reader_wanted(const struct frame_reader *reader);
void frame_reader_begin(struct frame_reader *reader);
/* What is missing of the frame being filled, and where it goes; NULL and 0 when none is. */
uint8_t *frame_reader_room(struct frame_reader *reader, size_t *ret_bytes);
/* `bytes` were stored in the room. */
void frame_reader_added(struct frame_reader *reader, size_t bytes);
bool frame_reader_is_ready(const struct frame_reader *reader);
struct shared_bytes *frame_reader_take(struct frame_reader *reader);
/* Whether the stream stands inside a frame or its size. */
bool frame_reader_is_inside(const struct frame_reader *reader);

/* After FRAME_BAD: cause and remedy, a sentence for the log. */
const char *frame_reader_complaint(const struct frame_reader *reader);
/* The announced size as it stands in the field. */
int32_t frame_reader_size(const struct frame_reader *reader);

#endif
