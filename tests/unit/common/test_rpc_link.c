/* Links on loopback: what is sent arrives, whatever it is made of; memory, turns and waiting are bounded; every end is told once and
 * by its own code; and callbacks may free what calls them. */
#include "common/logger.h"
#include "common/rpc/rpc_frame.h"
#include "tests/support/prop.h"
#include "tests/unit/common/rpc_support.h"

#include <stdio.h>
#include <unistd.h>

#define LARGE_BYTES (3u << 20)

static struct shared_bytes *shared_pattern(size_t bytes)
{
    struct shared_bytes *shared = shared_bytes_new(bytes);
    for (size_t i = 0; i < bytes; i++) {
        shared->data[i] = (uint8_t)(i * 7 + (i >> 9));
    }
    return shared;
}

/* A file with the pattern, and its path. */
static struct file *file_pattern(struct pair *pair, const char *path, size_t bytes)
{
    struct file *file = NULL;
    struct shared_bytes *shared = shared_pattern(bytes);
    struct span span = span_make(shared->data, bytes);
    unsigned flags = FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_TRUNCATE;
    assert_int_equal(fs_open(pair->world.env->fs, path, flags, &file), ERR_OK);
    assert_int_equal(file_pwritev(file, &span, 1, 0), ERR_OK);
    shared_bytes_unref(shared);
    return file;
}

static void every_kind_of_piece_arrives_in_order(void **state)
{
    (void)state;
    struct pair pair;
    char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/moldau-rpc-link-%d", (int)getpid());
    pair_start_links(&pair);
    struct shared_bytes *shared = shared_pattern(LARGE_BYTES);
    struct file *file = file_pattern(&pair, path, LARGE_BYTES);
    const struct rpc_piece pieces[] = {
        {.bytes = span_text("copied")},
        {.bytes = span_make(shared->data + 5, 100), .shared = shared},
        {.bytes = span_make(shared->data, LARGE_BYTES), .shared = shared},
        {.file = file, .pos = 3, .file_bytes = 1000},
        {.bytes = span_text("")},
        {.file = file, .pos = 17, .file_bytes = LARGE_BYTES - 17},
        {.file = file, .pos = 0, .file_bytes = 0},
        {.bytes = span_text("the end")},
    };
    rpc_link_send(pair.a.link, 0x1234, span_text("header"), pieces, ARRAY_COUNT(pieces));
    assert_int_equal(rpc_link_queued_bytes(pair.a.link), 16 + 6 + 6 + 100 + LARGE_BYTES + 1000 + LARGE_BYTES - 17 + 7);
    rpc_link_send(pair.a.link, 0xffff, SPAN_NULL, NULL, 0);
    for (int i = 0; i < 8; i++) {
        rpc_link_send(pair.a.link, (uint16_t)i, span_text("h"), pieces, 2);
    }
    pair_run(&pair, b_has_frames, 10);
    assert_int_equal(rpc_link_queued_bytes(pair.a.link), 0);

    struct bytebuf expected;
    bytebuf_init(&expected, PAIR_BYTES_MAX);
    struct span all = span_make(shared->data, LARGE_BYTES);
    struct span parts[] = {span_make("\x12\x34", 2),
                           span_text("header"),
                           span_text("copied"),
                           span_sub(all, 5, 100),
                           all,
                           span_sub(all, 3, 1000),
                           span_sub(all, 17, LARGE_BYTES - 17),
                           span_text("the end"),
                           span_make("\xff\xff", 2)};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        assert_int_equal(bytebuf_append(&expected, parts[i]), ERR_OK);
    }
    for (uint8_t i = 0; i < 8; i++) {
        uint8_t type[2] = {0, i};
        assert_int_equal(bytebuf_append(&expected, span_make(type, 2)), ERR_OK);
        assert_int_equal(bytebuf_append(&expected, span_text("hcopied")), ERR_OK);
        assert_int_equal(bytebuf_append(&expected, span_sub(all, 5, 100)), ERR_OK);
    }
    assert_true(span_equal(bytebuf_span(&pair.b.received), bytebuf_span(&expected)));
    bytebuf_done(&expected);
    shared_bytes_unref(shared);
    file_unref(file);
    assert_int_equal(fs_unlink(pair.world.env->fs, path), ERR_OK);
    pair_end(&pair);
}

static void echo(struct pair_side *side, const struct rpc_frame *frame)
{
    struct rpc_piece body = {.bytes = frame->body, .shared = frame->buffer};
    rpc_link_send(side->link, frame->type, frame->header, &body, 1);
}

/* Both ways at once, bodies passed on by reference. */
static void frames_echo_unchanged(void **state)
{
    (void)state;
    struct pair pair;
    struct prop prop;
    struct bytebuf expected;
    struct shared_bytes *shared = shared_pattern(LARGE_BYTES);
    prop_init(&prop, "link_echo", 21);
    pair_start_links(&pair);
    bytebuf_init(&expected, PAIR_BYTES_MAX);
    pair.b.on_frame = echo;
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t type[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        size_t header_bytes = (size_t)prop_below(&prop, 50);
        size_t body_bytes = (size_t)prop_below(&prop, prop_below(&prop, 40) == 0 ? 300000 : 1500);
        struct rpc_piece body = {.bytes = span_make(shared->data + i, body_bytes), .shared = shared};
        struct span header = span_make(shared->data + 3 * i, header_bytes);
        rpc_link_send(pair.a.link, (uint16_t)i, header, &body, 1);
        assert_int_equal(bytebuf_append(&expected, span_make(type, 2)), ERR_OK);
        assert_int_equal(bytebuf_append(&expected, header), ERR_OK);
        assert_int_equal(bytebuf_append(&expected, body.bytes), ERR_OK);
    }
    pair_run(&pair, a_has_frames, 2000);
    assert_true(span_equal(bytebuf_span(&pair.a.received), bytebuf_span(&expected)));
    bytebuf_done(&expected);
    shared_bytes_unref(shared);
    pair_end(&pair);
}

static void flush_writes_at_once_and_calls_nobody_back(void **state)
{
    (void)state;
    struct pair pair;
    pair_start_links(&pair);
    rpc_link_send(pair.a.link, 1, span_text("x"), NULL, 0);
    assert_int_equal(rpc_link_queued_bytes(pair.a.link), 17);
    rpc_link_flush(pair.a.link);
    assert_int_equal(rpc_link_queued_bytes(pair.a.link), 0);
    assert_int_equal(pair.a.drained_count, 0);
    pair_run(&pair, a_is_drained, 1);
    pair_run(&pair, b_has_frames, 1);
    pair_end(&pair);
}

/* A reader that pauses holds the writer; the mark tells when there is room again; no frame is lost or doubled. */
static void pause_holds_the_sender_and_the_mark_wakes_it(void **state)
{
    (void)state;
    struct pair pair;
    struct shared_bytes *shared = shared_pattern(1u << 20);
    struct rpc_piece body = {.bytes = span_make(shared->data, 1u << 20), .shared = shared};
    pair_start_links(&pair);
    rpc_link_pause(pair.b.link);
    rpc_link_set_low_mark(pair.a.link, 5u << 20);
    for (int i = 0; i < 20; i++) {
        rpc_link_send(pair.a.link, 1, SPAN_NULL, &body, 1);
    }
    for (int i = 0; i < 20; i++) {
        rpc_link_flush(pair.a.link);
    }
    assert_true(rpc_link_queued_bytes(pair.a.link) > 5u << 20);
    assert_int_equal(pair.b.frame_count, 0);
    rpc_link_resume(pair.b.link);
    pair_run(&pair, a_is_drained, 1);
    assert_true(rpc_link_queued_bytes(pair.a.link) <= 5u << 20);
    pair_run(&pair, b_has_frames, 20);
    assert_int_equal(pair.b.frame_count, 20);
    assert_int_equal(pair.a.drained_count, 1); /* once for one crossing */
    /* A mark that is raised above what waits counts as reached. */
    rpc_link_pause(pair.b.link);
    rpc_link_set_low_mark(pair.a.link, 0);
    for (int i = 0; i < 20; i++) {
        rpc_link_send(pair.a.link, 1, SPAN_NULL, &body, 1);
    }
    rpc_link_set_low_mark(pair.a.link, 100u << 20);
    pair_run(&pair, a_is_drained, 2);
    shared_bytes_unref(shared);
    pair_end(&pair);
}

static void pause_at_every_frame(struct pair_side *side, const struct rpc_frame *frame)
{
    (void)frame;
    rpc_link_pause(side->link);
}

static void pause_within_a_frame_stops_the_next_one(void **state)
{
    (void)state;
    struct pair pair;
    pair_start_links(&pair);
    pair.b.on_frame = pause_at_every_frame;
    for (int i = 0; i < 5; i++) {
        rpc_link_send(pair.a.link, 1, SPAN_NULL, NULL, 0);
    }
    for (unsigned i = 1; i <= 5; i++) {
        pair_run(&pair, b_has_frames, i);
        assert_int_equal(pair.b.frame_count, i);
        rpc_link_resume(pair.b.link);
        assert_int_equal(pair.b.frame_count, i); /* not before resume returns */
    }
    pair_end(&pair);
}

struct turns {
    struct pair *pair;
    unsigned frame_count;
    unsigned most_frames;
    size_t received_bytes;
    size_t most_bytes;
};

static void note_turn(void *ctx)
{
    struct turns *turns = ctx;
    const struct pair_side *b = &turns->pair->b;
    unsigned frames = b->frame_count - turns->frame_count;
    size_t bytes = b->received.bytes - turns->received_bytes;
    turns->most_frames = frames > turns->most_frames ? frames : turns->most_frames;
    turns->most_bytes = bytes > turns->most_bytes ? bytes : turns->most_bytes;
    turns->frame_count = b->frame_count;
    turns->received_bytes = b->received.bytes;
}

static void one_link_can_not_starve_the_loop(void **state)
{
    (void)state;
    struct pair pair;
    struct shared_bytes *shared = shared_pattern(200000);
    struct rpc_piece body = {.bytes = span_make(shared->data, 200000), .shared = shared};
    pair_start_links(&pair);
    struct turns turns = {.pair = &pair};
    loop_set_step(pair.world.loop, note_turn, &turns);
    for (int i = 0; i < 3000; i++) {
        rpc_link_send(pair.a.link, 1, span_text("h"), NULL, 0);
    }
    pair_run(&pair, b_has_frames, 3000);
    assert_in_range(turns.most_frames, 2, 2 * 64);
    for (int i = 0; i < 150; i++) {
        rpc_link_send(pair.a.link, 1, SPAN_NULL, &body, 1);
    }
    pair_run(&pair, b_has_frames, 3150);
    assert_true(turns.most_bytes <= (1u << 20) + 400000);
    loop_set_step(pair.world.loop, NULL, NULL);
    shared_bytes_unref(shared);
    pair_end(&pair);
}

/* ---- ends ---- */

static void send_raw(struct socket *socket, const void *bytes, size_t count)
{
    struct span span = span_make(bytes, count);
    size_t written_bytes = 0;
    assert_int_equal(socket_writev(socket, &span, 1, &written_bytes), ERR_OK);
    assert_int_equal(written_bytes, count);
}

static void malformed_frame_ends_the_link_behind_the_good_ones(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t frames[2 * RPC_PREFIX_BYTES];
    pair_start(&pair);
    side_link(&pair.b);
    rpc_frame_put(frames, 1, SPAN_NULL, 0);
    rpc_frame_put(frames + RPC_PREFIX_BYTES, 2, SPAN_NULL, 0);
    frames[RPC_PREFIX_BYTES + 5] ^= 1; /* the type: its checksum is wrong now */
    logger_set_level(pair.world.env->logger, LOG_ERROR);
    send_raw(pair.a.socket, frames, sizeof(frames));
    pair_run(&pair, b_is_closed, 1);
    assert_int_equal(pair.b.closed_err, ERR_MALFORMED);
    assert_int_equal(pair.b.frame_count, 1);
    /* Everything is harmless on a link that has ended, and nothing more is told. */
    rpc_link_send(pair.b.link, 1, span_text("h"), NULL, 0);
    rpc_link_flush(pair.b.link);
    rpc_link_pause(pair.b.link);
    rpc_link_resume(pair.b.link);
    assert_int_equal(rpc_link_queued_bytes(pair.b.link), 0);
    pair_end(&pair);
    assert_int_equal(pair.b.closed_count, 1);
}

static void orderly_end_comes_behind_the_last_frame(void **state)
{
    (void)state;
    struct pair pair;
    pair_start_links(&pair);
    for (int i = 0; i < 500; i++) {
        rpc_link_send(pair.a.link, 1, span_text("h"), NULL, 0);
    }
    side_free(&pair.a); /* sends what is queued */
    pair_run(&pair, b_is_closed, 1);
    assert_int_equal(pair.b.closed_err, ERR_END);
    assert_int_equal(pair.b.frame_count, 500);
    pair_end(&pair);
}

static void end_within_a_frame_is_an_end(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t prefix[RPC_PREFIX_BYTES];
    pair_start(&pair);
    side_link(&pair.b);
    rpc_frame_put(prefix, 1, SPAN_NULL, 1000);
    send_raw(pair.a.socket, prefix, sizeof(prefix));
    socket_close(pair.a.socket);
    pair.a.socket = NULL;
    pair_run(&pair, b_is_closed, 1);
    assert_int_equal(pair.b.closed_err, ERR_END);
    assert_int_equal(pair.b.frame_count, 0);
    pair_end(&pair);
}

static void broken_write_is_told_by_the_loop_not_by_flush(void **state)
{
    (void)state;
    struct pair pair;
    pair_start(&pair);
    side_link(&pair.b);
    rpc_link_pause(pair.b.link); /* does not read, so that only writing can find out */
    socket_close(pair.a.socket);
    pair.a.socket = NULL;
    for (int i = 0; i < 1000 && pair.b.closed_count == 0; i++) {
        rpc_link_send(pair.b.link, 1, span_text("h"), NULL, 0);
        rpc_link_flush(pair.b.link);
        assert_int_equal(pair.b.closed_count, 0);
    }
    pair_run(&pair, b_is_closed, 1);
    assert_int_equal(pair.b.closed_err, ERR_RESET);
    pair_end(&pair);
}

static void file_that_is_too_short_breaks_the_link(void **state)
{
    (void)state;
    struct pair pair;
    char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/moldau-rpc-link-%d", (int)getpid());
    for (size_t promised_bytes = 200; promised_bytes < 200000; promised_bytes += 100000) {
        pair_start_links(&pair);
        struct file *file = file_pattern(&pair, path, 100);
        struct rpc_piece body = {.file = file, .pos = 0, .file_bytes = promised_bytes};
        rpc_link_send(pair.a.link, 1, span_text("h"), &body, 1);
        file_unref(file);
        pair_run(&pair, a_is_closed, 1);
        assert_int_equal(pair.a.closed_err, ERR_CORRUPT);
        assert_int_equal(pair.b.frame_count, 0);
        assert_int_equal(fs_unlink(pair.world.env->fs, path), ERR_OK);
        pair_end(&pair);
    }
}

static void peer_that_takes_nothing_loses_the_link(void **state)
{
    (void)state;
    struct pair pair;
    struct shared_bytes *shared = shared_pattern(1u << 20);
    struct rpc_piece body = {.bytes = span_make(shared->data, 1u << 20), .shared = shared};
    pair_start(&pair);
    pair.stall_us = 50000;
    side_link(&pair.a);
    for (int i = 0; i < 20; i++) {
        rpc_link_send(pair.a.link, 1, SPAN_NULL, &body, 1);
    }
    pair_run(&pair, a_is_closed, 1);
    assert_int_equal(pair.a.closed_err, ERR_TIMEOUT);
    assert_int_equal(rpc_link_queued_bytes(pair.a.link), 0);
    shared_bytes_unref(shared);
    pair_end(&pair);
}

/* ---- freeing in callbacks ---- */

static bool b_is_freed(struct pair *pair)
{
    return pair->b.link == NULL;
}

static bool a_is_freed(struct pair *pair)
{
    return pair->a.link == NULL;
}

static void link_may_be_freed_in_on_frame(void **state)
{
    (void)state;
    struct pair pair;
    pair_start_links(&pair);
    pair.b.frees_in_frame = true;
    for (int i = 0; i < 200; i++) {
        rpc_link_send(pair.a.link, 1, span_text("header"), NULL, 0);
    }
    rpc_link_send(pair.b.link, 1, span_text("later is queued"), NULL, 0);
    pair_run(&pair, b_is_freed, 0);
    assert_true(span_equal(bytebuf_span(&pair.b.received), span_make("\0\1header", 8)));
    pair_run(&pair, a_is_closed, 1);
    pair_end(&pair);
}

static void link_may_be_freed_in_on_drained_and_on_closed(void **state)
{
    (void)state;
    struct pair pair;
    pair_start_links(&pair);
    pair.a.frees_in_drained = true;
    pair.b.frees_in_closed = true;
    rpc_link_send(pair.a.link, 1, span_text("h"), NULL, 0);
    pair_run(&pair, a_is_freed, 0);
    pair_run(&pair, b_is_freed, 0);
    assert_int_equal(pair.b.frame_count, 1);
    assert_int_equal(pair.b.closed_err, ERR_END);
    pair_end(&pair);
}

static void free_other_side(struct pair_side *side, const struct rpc_frame *frame)
{
    (void)frame;
    side_free(&side->pair->a);
}

/* The other link may be one that is due in the same iteration. */
static void link_may_be_freed_by_another_one(void **state)
{
    (void)state;
    struct pair pair;
    pair_start_links(&pair);
    pair.b.on_frame = free_other_side;
    rpc_link_send(pair.b.link, 1, span_text("h"), NULL, 0);
    rpc_link_send(pair.a.link, 1, span_text("h"), NULL, 0);
    rpc_link_flush(pair.b.link);
    rpc_link_flush(pair.a.link);
    pair_run(&pair, b_is_closed, 1);
    pair_end(&pair);
}

static void other_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct pair *pair = ctx;
    (void)frame;
    pair->a.drained_count += 100; /* a mark that only this owner sets */
    pair->done = true;
}

static void other_on_closed(void *ctx, enum err err)
{
    (void)ctx;
    (void)err;
}

static void events_move_to_another_owner(void **state)
{
    (void)state;
    struct pair pair;
    struct rpc_link_events events = {.ctx = &pair, .on_frame = other_on_frame, .on_closed = other_on_closed};
    pair_start_links(&pair);
    rpc_link_set_events(pair.b.link, &events);
    rpc_link_send(pair.a.link, 1, span_text("h"), NULL, 0);
    pair_run(&pair, b_has_frames, 1); /* `done` is set by the other owner */
    assert_int_equal(pair.a.drained_count / 100, 1);
    assert_int_equal(pair.b.frame_count, 0);
    assert_int_equal(rpc_link_peer(pair.b.link)->node_id, 1);
    struct net_address address;
    rpc_link_peer_address(pair.b.link, &address);
    assert_string_equal(address.host, "127.0.0.1");
    pair_end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_piece_arrives_in_order),
        cmocka_unit_test(frames_echo_unchanged),
        cmocka_unit_test(flush_writes_at_once_and_calls_nobody_back),
        cmocka_unit_test(pause_holds_the_sender_and_the_mark_wakes_it),
        cmocka_unit_test(pause_within_a_frame_stops_the_next_one),
        cmocka_unit_test(one_link_can_not_starve_the_loop),
        cmocka_unit_test(malformed_frame_ends_the_link_behind_the_good_ones),
        cmocka_unit_test(orderly_end_comes_behind_the_last_frame),
        cmocka_unit_test(end_within_a_frame_is_an_end),
        cmocka_unit_test(broken_write_is_told_by_the_loop_not_by_flush),
        cmocka_unit_test(file_that_is_too_short_breaks_the_link),
        cmocka_unit_test(peer_that_takes_nothing_loses_the_link),
        cmocka_unit_test(link_may_be_freed_in_on_frame),
        cmocka_unit_test(link_may_be_freed_in_on_drained_and_on_closed),
        cmocka_unit_test(link_may_be_freed_by_another_one),
        cmocka_unit_test(events_move_to_another_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
