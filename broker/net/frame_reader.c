/* The size field is the one place where a stranger's first bytes are judged: read as a size, the beginnings of TLS and of
 * HTTP are far above every permitted maximum, so that they are recognised here without a special path.
 */
#include "broker/net/frame_reader.h"

#include "common/big_endian.h"
#include "common/check.h"

void frame_reader_init(struct frame_reader *reader, size_t frame_bytes_max)
{
    CHECK(frame_bytes_max >= FRAME_BODY_BYTES_MIN && frame_bytes_max <= INT32_MAX);
    *reader = (struct frame_reader){.frame_bytes_max = frame_bytes_max};
}

void frame_reader_done(struct frame_reader *reader)
{
    if (reader->frame != NULL) {
        shared_bytes_unref(reader->frame);
        reader->frame = NULL;
    }
}

int32_t frame_reader_size(const struct frame_reader *reader)
{
    return (int32_t)be32_get(reader->size_field);
}

static struct span size_field_span(const struct frame_reader *reader)
{
    return span_make(reader->size_field, reader->size_field_bytes);
}

static size_t copy_front(uint8_t *to, size_t room_bytes, struct span *input)
{
    size_t bytes = room_bytes < input->bytes ? room_bytes : input->bytes;
    if (bytes > 0) {
        memcpy(to, input->data, bytes);
        *input = span_sub(*input, bytes, input->bytes - bytes);
    }
    return bytes;
}

enum frame_status frame_reader_feed(struct frame_reader *reader, struct span *input)
{
    if (reader->size_field_bytes < FRAME_SIZE_BYTES) {
        reader->size_field_bytes += (unsigned)copy_front(reader->size_field + reader->size_field_bytes,
                                                         FRAME_SIZE_BYTES - reader->size_field_bytes, input);
        if (reader->size_field_bytes < FRAME_SIZE_BYTES) {
            return FRAME_NEEDS_INPUT;
        }
    }
    if (reader->frame == NULL) {
        size_t body_bytes = 0;
        enum err err = frame_peek(size_field_span(reader), reader->frame_bytes_max, &body_bytes);
        return err == ERR_OK ? FRAME_NEEDS_MEMORY : FRAME_BAD;
    }
    size_t room_bytes = 0;
    uint8_t *room = frame_reader_room(reader, &room_bytes);
    if (room_bytes > 0) {
        reader->filled_bytes += copy_front(room, room_bytes, input);
    }
    return frame_reader_is_ready(reader) ? FRAME_READY : FRAME_NEEDS_INPUT;
}

size_t frame_reader_wanted(const struct frame_reader *reader)
{
    size_t body_bytes = 0;
    CHECK(frame_peek(size_field_span(reader), reader->frame_bytes_max, &body_bytes) == ERR_OK);
    return body_bytes;
}

void frame_reader_begin(struct frame_reader *reader)
{
    CHECK(reader->frame == NULL);
    reader->frame = shared_bytes_new(frame_reader_wanted(reader));
    reader->filled_bytes = 0;
}

uint8_t *frame_reader_room(struct frame_reader *reader, size_t *ret_bytes)
{
    if (reader->frame == NULL) {
        *ret_bytes = 0;
        return NULL;
    }
    *ret_bytes = reader->frame->bytes - reader->filled_bytes;
    return reader->frame->data + reader->filled_bytes;
}

void frame_reader_added(struct frame_reader *reader, size_t bytes)
{
    CHECK(reader->frame != NULL && bytes <= reader->frame->bytes - reader->filled_bytes);
    reader->filled_bytes += bytes;
}

bool frame_reader_is_ready(const struct frame_reader *reader)
{
    return reader->frame != NULL && reader->filled_bytes == reader->frame->bytes;
}

struct shared_bytes *frame_reader_take(struct frame_reader *reader)
{
    CHECK(frame_reader_is_ready(reader));
    struct shared_bytes *frame = reader->frame;
    reader->frame = NULL;
    reader->filled_bytes = 0;
    reader->size_field_bytes = 0;
    return frame;
}

bool frame_reader_is_inside(const struct frame_reader *reader)
{
    return reader->size_field_bytes > 0;
}

const char *frame_reader_complaint(const struct frame_reader *reader)
{
    switch (frame_guess(size_field_span(reader))) {
    case FRAME_GUESS_TLS:
        return "a TLS handshake came to a plaintext listener: set security.protocol=PLAINTEXT in the client or connect "
               "to a TLS listener";
    case FRAME_GUESS_HTTP:
        return "an HTTP request came to the Kafka listener: use the address of http.listener";
    case FRAME_GUESS_UNKNOWN:
        break;
    }
    if (frame_reader_size(reader) <= 0) {
        return "the size of a request is zero or negative: this is not a Kafka client";
    }
    if (frame_reader_size(reader) < FRAME_BODY_BYTES_MIN) {
        return "a request is smaller than its header: this is not a Kafka client";
    }
    return "a request is larger than allowed: raise socket.request.max.bytes or send smaller requests; if the size is "
           "absurd this is not a Kafka client";
}
