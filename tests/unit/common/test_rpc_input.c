/* However the stream of bytes is cut, the same frames must come out of it; and what is no frame must be seen to be none. */
#include "common/bytebuf.h"
#include "common/mem.h"
#include "common/rpc/rpc_frame.h"
#include "common/rpc/rpc_input.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define STREAM_BYTES_MAX (64u << 20)
#define FRAMES_MAX 400u

/* What was put into the stream. */
struct sent_frame {
    uint16_t type;
    size_t pos; /* of the header in the stream */
    size_t header_bytes;
    size_t body_bytes;
};

struct stream {
    struct bytebuf bytes;
    struct sent_frame frames[FRAMES_MAX];
    size_t frame_count;
};

static void stream_put(struct stream *stream, struct prop *prop, uint16_t type, size_t header_bytes, size_t body_bytes)
{
    uint8_t *room = NULL;
    size_t frame_bytes = RPC_PREFIX_BYTES + header_bytes + body_bytes;
    assert_int_equal(bytebuf_reserve(&stream->bytes, frame_bytes, &room), ERR_OK);
    for (size_t i = RPC_PREFIX_BYTES; i < frame_bytes; i += i < 200 ? 1 : 97) {
        room[i] = (uint8_t)prop_u64(prop);
    }
    rpc_frame_put(room, type, span_make(room + RPC_PREFIX_BYTES, header_bytes), body_bytes);
    stream->frames[stream->frame_count++] =
        (struct sent_frame){type, stream->bytes.bytes + RPC_PREFIX_BYTES, header_bytes, body_bytes};
    bytebuf_added(&stream->bytes, frame_bytes);
}

/* Sizes around every edge: nothing, small, around the buffers' sizes, large. */
static size_t draw_bytes(struct prop *prop)
{
    switch (prop_below(prop, 8)) {
    case 0:
        return 0;
    case 1:
        return (size_t)prop_below(prop, 32u << 10);
    case 2:
        return RPC_INPUT_BYTES / 2 - 40 + (size_t)prop_below(prop, 80);
    case 3:
        return RPC_INPUT_BYTES - 40 + (size_t)prop_below(prop, 80);
    case 4:
        return (size_t)prop_below(prop, 20) == 0 ? (size_t)prop_below(prop, 2u << 20) : 1;
    default:
        return (size_t)prop_below(prop, 200);
    }
}

static void draw_stream(struct stream *stream, struct prop *prop)
{
    stream->frame_count = 0;
    bytebuf_init(&stream->bytes, STREAM_BYTES_MAX);
    size_t frame_count = 1 + (size_t)prop_below(prop, 60);
    for (size_t i = 0; i < frame_count; i++) {
        stream_put(stream, prop, (uint16_t)prop_u64(prop), draw_bytes(prop) / 4, draw_bytes(prop));
    }
}

static void assert_frame(const struct stream *stream, size_t index, const struct rpc_frame *frame)
{
    assert_true(index < stream->frame_count);
    const struct sent_frame *sent = &stream->frames[index];
    struct span all = bytebuf_span(&stream->bytes);
    assert_int_equal(frame->type, sent->type);
    assert_true(span_equal(frame->header, span_sub(all, sent->pos, sent->header_bytes)));
    assert_true(span_equal(frame->body, span_sub(all, sent->pos + sent->header_bytes, sent->body_bytes)));
}

/* How the bytes come: one after the other, all that fits, or drawn. */
enum cut { CUT_ONE, CUT_ALL, CUT_DRAWN };

static size_t draw_cut(struct prop *prop, enum cut cut, size_t bytes)
{
    if (cut == CUT_ALL) {
        return bytes;
    }
    if (cut == CUT_ONE || prop_below(prop, 4) == 0) {
        return 1;
    }
    return 1 + (size_t)prop_below(prop, prop_below(prop, 2) == 0 ? (bytes < 64 ? bytes : 64) : bytes);
}

struct kept_frame {
    struct rpc_frame frame;
    size_t index;
};

/* Feeds the stream in pieces; some frames are kept to the end, to see that nobody writes over them. */
static void feed(const struct stream *stream, struct prop *prop, enum cut cut)
{
    struct rpc_input input;
    struct kept_frame kept[FRAMES_MAX];
    size_t kept_count = 0;
    size_t fed_bytes = 0;
    size_t frame_index = 0;
    rpc_input_init(&input);
    while (fed_bytes < stream->bytes.bytes) {
        size_t room_bytes = 0;
        uint8_t *room = rpc_input_room(&input, &room_bytes);
        size_t left_bytes = stream->bytes.bytes - fed_bytes;
        size_t bytes = draw_cut(prop, cut, room_bytes < left_bytes ? room_bytes : left_bytes);
        memcpy(room, stream->bytes.data + fed_bytes, bytes);
        rpc_input_added(&input, bytes);
        fed_bytes += bytes;
        struct rpc_frame frame;
        const char *reason = NULL;
        enum rpc_input_status status;
        while ((status = rpc_input_next(&input, &frame, &reason)) == RPC_INPUT_READY) {
            assert_frame(stream, frame_index, &frame);
            if (prop_below(prop, 3) == 0) {
                shared_bytes_ref(frame.buffer);
                kept[kept_count++] = (struct kept_frame){frame, frame_index};
            }
            frame_index++;
        }
        assert_int_equal(status, RPC_INPUT_NEEDS_BYTES);
        if (prop_below(prop, 2) == 0) {
            rpc_input_rest(&input);
        }
    }
    assert_int_equal(frame_index, stream->frame_count);
    rpc_input_rest(&input);
    assert_null(input.buffer);
    rpc_input_done(&input);
    for (size_t i = 0; i < kept_count; i++) {
        assert_frame(stream, kept[i].index, &kept[i].frame);
        shared_bytes_unref(kept[i].frame.buffer);
    }
}

static void any_cut_of_the_stream_gives_the_same_frames(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "input_cuts", 11);
    for (unsigned run = 0; run < prop_runs(30); run++) {
        struct stream stream;
        draw_stream(&stream, &prop);
        feed(&stream, &prop, CUT_ALL);
        feed(&stream, &prop, CUT_DRAWN);
        if (run < 3) {
            feed(&stream, &prop, CUT_ONE);
        }
        bytebuf_done(&stream.bytes);
    }
}

static void largest_frame_passes(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "input_largest", 12);
    struct stream stream = {.frame_count = 0};
    bytebuf_init(&stream.bytes, STREAM_BYTES_MAX);
    stream_put(&stream, &prop, 1, RPC_HEADER_BYTES_MAX, RPC_FRAME_BYTES_MAX - RPC_PREFIX_BYTES - RPC_HEADER_BYTES_MAX);
    stream_put(&stream, &prop, 2, 0, RPC_FRAME_BYTES_MAX - RPC_PREFIX_BYTES);
    stream_put(&stream, &prop, 3, 0, 0);
    feed(&stream, &prop, CUT_ALL);
    bytebuf_done(&stream.bytes);
}

/* Of a prefix with these fields, and a header of zeros. */
static const char *complaint_of(uint32_t bytes, uint16_t reserved, uint32_t header_bytes, uint32_t crc_change)
{
    uint8_t frame[64] = {0};
    struct rpc_input input;
    struct rpc_frame got;
    const char *reason = "none";
    size_t room_bytes = 0;
    be32_put(frame, bytes);
    be16_put(frame + 4, 9);
    be16_put(frame + 6, reserved);
    be32_put(frame + 8, header_bytes);
    uint32_t crc = rpc_frame_crc(frame, span_make(frame + RPC_PREFIX_BYTES, header_bytes < 40 ? header_bytes : 0));
    be32_put(frame + RPC_CRC_POS, crc ^ crc_change);
    rpc_input_init(&input);
    memcpy(rpc_input_room(&input, &room_bytes), frame, sizeof(frame));
    rpc_input_added(&input, sizeof(frame));
    if (rpc_input_next(&input, &got, &reason) != RPC_INPUT_BAD) {
        reason = "none";
    }
    rpc_input_done(&input);
    return reason;
}

static void what_is_no_frame_is_refused(void **state)
{
    (void)state;
    assert_string_equal(complaint_of(12, 0, 0, 0), "none");
    assert_string_equal(complaint_of(22, 0, 10, 0), "none");
    assert_string_equal(complaint_of(11, 0, 0, 0), "shorter_than_its_prefix");
    assert_string_equal(complaint_of(0, 0, 0, 0), "shorter_than_its_prefix");
    assert_string_equal(complaint_of(RPC_FRAME_BYTES_MAX - 4, 0, 0, 0), "none"); /* waits for the rest */
    assert_string_equal(complaint_of(RPC_FRAME_BYTES_MAX - 3, 0, 0, 0), "longer_than_allowed");
    assert_string_equal(complaint_of(UINT32_MAX, 0, 0, 0), "longer_than_allowed");
    assert_string_equal(complaint_of(22, 1, 10, 0), "reserved_field_not_zero");
    assert_string_equal(complaint_of(22, 0, 11, 0), "header_longer_than_frame");
    assert_string_equal(complaint_of(22, 0, UINT32_MAX, 0), "header_longer_than_allowed");
    assert_string_equal(complaint_of(RPC_FRAME_BYTES_MAX - 4, 0, RPC_HEADER_BYTES_MAX + 1, 0),
                        "header_longer_than_allowed");
    assert_string_equal(complaint_of(22, 0, 10, 1u << 31), "checksum_wrong");
}

static void stream_of_large_frames_is_read_in_place(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "input_large", 13);
    struct stream stream = {.frame_count = 0};
    bytebuf_init(&stream.bytes, STREAM_BYTES_MAX);
    for (int i = 0; i < 20; i++) {
        stream_put(&stream, &prop, 1, 30, 300000);
    }
    struct rpc_input input;
    struct rpc_frame frame;
    const char *reason = NULL;
    rpc_input_init(&input);
    size_t fed_bytes = 0;
    unsigned read_count = 0;
    while (fed_bytes < stream.bytes.bytes) {
        size_t room_bytes = 0;
        uint8_t *room = rpc_input_room(&input, &room_bytes);
        size_t left_bytes = stream.bytes.bytes - fed_bytes;
        size_t bytes = room_bytes < left_bytes ? room_bytes : left_bytes;
        memcpy(room, stream.bytes.data + fed_bytes, bytes);
        rpc_input_added(&input, bytes);
        fed_bytes += bytes;
        read_count++;
        while (rpc_input_next(&input, &frame, &reason) == RPC_INPUT_READY) {
            /* Its own buffer: a kept body keeps little else. */
            assert_true(frame.buffer->bytes <= 300046 + RPC_INPUT_SLACK_BYTES);
        }
    }
    assert_in_range(read_count, 20, 23);
    rpc_input_done(&input);
    bytebuf_done(&stream.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_of_the_stream_gives_the_same_frames),
        cmocka_unit_test(largest_frame_passes),
        cmocka_unit_test(what_is_no_frame_is_refused),
        cmocka_unit_test(stream_of_large_frames_is_read_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
