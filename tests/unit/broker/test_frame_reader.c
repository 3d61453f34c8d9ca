/* Cutting a stream into frames. */
#include "broker/net/frame_reader.h"
#include "common/big_endian.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Any frames, any cuts of the stream, copied or read directly: the same frames come out. */
static void random_cuts_give_the_same_frames(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "random_cuts_give_the_same_frames", 11);
    for (uint64_t run = 0; run < prop_runs(200); run++) {
        uint8_t stream[4096];
        size_t stream_bytes = 0;
        size_t sizes[64];
        size_t frame_count = 0;
        while (frame_count < 64) {
            size_t bytes = (size_t)prop_range(&prop, FRAME_BODY_BYTES_MIN, 200);
            if (stream_bytes + bytes + 4 > sizeof(stream)) {
                break;
            }
            be32_put(stream + stream_bytes, (uint32_t)bytes);
            memset(stream + stream_bytes + 4, (int)frame_count, bytes);
            stream_bytes += bytes + 4;
            sizes[frame_count++] = bytes;
        }
        struct frame_reader reader;
        frame_reader_init(&reader, 200);
        size_t got_count = 0;
        size_t pos = 0;
        while (got_count < frame_count) {
            size_t room_bytes = 0;
            uint8_t *room = frame_reader_room(&reader, &room_bytes);
            size_t part = (size_t)prop_range(&prop, 0, stream_bytes - pos < 90 ? stream_bytes - pos : 90);
            struct span input = span_make(stream + pos, part);
            if (room_bytes > 0 && prop_chance(&prop, 1, 2)) {
                part = part < room_bytes ? part : room_bytes;
                memcpy(room, stream + pos, part);
                frame_reader_added(&reader, part);
                input = span_make(stream + pos + part, 0);
            }
            pos += part;
            for (enum frame_status status; (status = frame_reader_feed(&reader, &input)) != FRAME_NEEDS_INPUT;) {
                assert_int_not_equal(status, FRAME_BAD);
                if (status == FRAME_NEEDS_MEMORY) {
                    assert_int_equal(frame_reader_wanted(&reader), sizes[got_count]);
                    frame_reader_begin(&reader);
                    continue;
                }
                struct shared_bytes *frame = frame_reader_take(&reader);
                assert_int_equal(frame->bytes, sizes[got_count]);
                for (size_t i = 0; i < frame->bytes; i++) {
                    assert_int_equal(frame->data[i], got_count);
                }
                shared_bytes_unref(frame);
                got_count++;
            }
            assert_int_equal(input.bytes, 0);
        }
        assert_false(frame_reader_is_inside(&reader));
        frame_reader_done(&reader);
    }
}

/* The largest frame passes, one byte more does not; a reader that is dropped inside a frame leaks nothing. */
static void limits_are_exact(void **state)
{
    (void)state;
    struct frame_reader reader;
    frame_reader_init(&reader, 1000);
    uint8_t size[4];
    be32_put(size, 1000);
    struct span input = span_make(size, 4);
    assert_int_equal(frame_reader_feed(&reader, &input), FRAME_NEEDS_MEMORY);
    frame_reader_begin(&reader);
    assert_true(frame_reader_is_inside(&reader));
    frame_reader_done(&reader);
    frame_reader_init(&reader, 1000);
    be32_put(size, 1001);
    input = span_make(size, 4);
    assert_int_equal(frame_reader_feed(&reader, &input), FRAME_BAD);
    assert_int_equal(frame_reader_size(&reader), 1001);
    frame_reader_done(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_cuts_give_the_same_frames),
        cmocka_unit_test(limits_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
