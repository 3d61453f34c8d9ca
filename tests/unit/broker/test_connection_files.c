/* Replies with file ranges over real loopback sockets: partial writes, copied and sent ranges, dead peers. */
#include "common/big_endian.h"
#include "common/mem.h"
#include "common/seam/fs.h"
#include "net_harness.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_reply(int fd, const void *payload, size_t bytes)
{
    size_t got_bytes = 0;
    uint8_t *got = net_client_receive_frame(fd, &got_bytes);
    assert_int_equal(got_bytes, bytes);
    assert_memory_equal(got, payload, bytes);
    free(got);
}

#define FILE_BYTES (6u << 20)

struct file_reply {
    struct file *file;
    size_t index;
};

/* head "HEAD", file[0, n), "MID", file[100, 1100), "" at the end */
static void reply_with_files(struct net_harness *harness, void *ctx)
{
    const struct file_reply *args = ctx;
    struct reply_output output = {.bytes = 4 + 4 + 3, .cut_count = 2};
    output.data = mem_alloc(output.bytes);
    be32_put(output.data, 4 + FILE_BYTES + 3 + 1000);
    memcpy(output.data + 4, "HEADMID", 7);
    output.cuts = mem_array(2, sizeof(output.cuts[0]));
    struct file_slice *slices[2] = {MEM_NEW(struct file_slice), MEM_NEW(struct file_slice)};
    *slices[0] = (struct file_slice){file_ref(args->file), 0, FILE_BYTES};
    *slices[1] = (struct file_slice){file_ref(args->file), 100, 1000};
    output.cuts[0] = (struct writer_cut){8, slices[0], FILE_BYTES};
    output.cuts[1] = (struct writer_cut){11, slices[1], 1000};
    struct request *request = harness->requests[args->index];
    harness->requests[args->index] = NULL;
    connection_reply(request, &output);
}

static struct file *make_file(struct net_harness *harness, char *path, uint8_t *content)
{
    for (size_t i = 0; i < FILE_BYTES; i++) {
        content[i] = (uint8_t)(i * 7 + i / 251);
    }
    close(mkstemp(path));
    struct file *file = NULL;
    assert_int_equal(fs_open(harness->posix->env.fs, path, FS_OPEN_WRITE | FS_OPEN_CREATE, &file), ERR_OK);
    struct span span = span_make(content, FILE_BYTES);
    assert_int_equal(file_pwritev(file, &span, 1, 0), ERR_OK);
    unlink(path);
    return file;
}

/* A reply of buffer and file ranges, larger than every socket buffer, to a slow reader: every byte is right, replies around it
 * keep their places, the file is closed after the last byte. */
static void file_slices_survive_partial_writes(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    struct net_harness *harness = net_harness_start(&config);
    uint8_t *content = mem_alloc(FILE_BYTES);
    char path[] = "/tmp/test_connection_XXXXXX";
    struct file *file = make_file(harness, path, content);
    int fd = net_client_connect(harness);
    for (size_t i = 0; i < 3; i++) {
        net_client_send_frame(fd, "12345678", 8);
    }
    net_harness_wait_requests(harness, 3);
    net_harness_reply(harness, 2, "after", 5);
    struct file_reply args = {file, 1};
    net_harness_run(harness, reply_with_files, &args);
    net_harness_reply(harness, 0, "before", 6);
    expect_reply(fd, "before", 6);
    size_t bytes = 0;
    uint8_t *got = net_client_receive_frame(fd, &bytes);
    assert_int_equal(bytes, 4 + FILE_BYTES + 3 + 1000);
    assert_memory_equal(got, "HEAD", 4);
    assert_memory_equal(got + 4, content, FILE_BYTES);
    assert_memory_equal(got + 4 + FILE_BYTES, "MID", 3);
    assert_memory_equal(got + 4 + FILE_BYTES + 3, content + 100, 1000);
    free(got);
    expect_reply(fd, "after", 5);
    assert_int_equal(atomic_load(&file->reference_count), 1);
    close(fd);
    file_unref(file);
    net_harness_stop(harness);
    mem_free(content);
}

#define PIECES_MAX 12

struct piece_reply {
    struct file *file;
    size_t index;
    struct prop *prop;
    const uint8_t *content;
    uint8_t *expected; /* appended to */
    size_t expected_bytes;
};

/* Buffer pieces and file ranges of every size in any order; what must arrive is appended to `expected`. */
static void reply_with_pieces(struct net_harness *harness, void *ctx)
{
    struct piece_reply *args = ctx;
    struct reply_output output = {.data = mem_zalloc(4 + PIECES_MAX * 100)};
    output.cuts = mem_array(PIECES_MAX, sizeof(output.cuts[0]));
    output.bytes = 4;
    uint8_t *frame = args->expected + args->expected_bytes;
    size_t frame_bytes = 4;
    for (size_t i = 0; i < PIECES_MAX; i++) {
        if (prop_chance(args->prop, 1, 2)) {
            size_t bytes = (size_t)prop_below(args->prop, 100);
            prop_fill(args->prop, output.data + output.bytes, bytes);
            memcpy(frame + frame_bytes, output.data + output.bytes, bytes);
            output.bytes += bytes;
            frame_bytes += bytes;
            continue;
        }
        size_t bytes = 1 + (size_t)prop_skewed(args->prop, 40000);
        size_t pos = (size_t)prop_below(args->prop, FILE_BYTES - bytes);
        struct file_slice *slice = MEM_NEW(struct file_slice);
        *slice = (struct file_slice){file_ref(args->file), pos, bytes};
        output.cuts[output.cut_count++] = (struct writer_cut){output.bytes, slice, bytes};
        memcpy(frame + frame_bytes, args->content + pos, bytes);
        frame_bytes += bytes;
    }
    be32_put(output.data, (uint32_t)(frame_bytes - 4));
    be32_put(frame, (uint32_t)(frame_bytes - 4));
    args->expected_bytes += frame_bytes;
    struct request *request = harness->requests[args->index];
    harness->requests[args->index] = NULL;
    connection_reply(request, &output);
}

/* Any mix of buffers, small ranges (copied) and large ones (sent as files), with a slow reader: every byte in its place. */
static void random_file_slices_arrive_in_order(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "random_file_slices_arrive_in_order", 5);
    struct net_harness_config config = net_harness_defaults();
    struct net_harness *harness = net_harness_start(&config);
    uint8_t *content = mem_alloc(FILE_BYTES);
    char path[] = "/tmp/test_connection_XXXXXX";
    struct file *file = make_file(harness, path, content);
    int fd = net_client_connect(harness);
    size_t request_count = 0;
    for (uint64_t round = 0; round < prop_runs(6); round++) {
        struct piece_reply args = {.file = file, .prop = &prop, .content = content};
        args.expected = mem_alloc(30 * PIECES_MAX * 41000);
        for (size_t i = 0; i < 30; i++) {
            net_client_send_frame(fd, "12345678", 8);
        }
        net_harness_wait_requests(harness, request_count + 30);
        for (size_t i = 0; i < 30; i++) {
            args.index = request_count + i;
            net_harness_run(harness, reply_with_pieces, &args);
        }
        request_count += 30;
        uint8_t *got = mem_alloc(args.expected_bytes);
        for (size_t pos = 0; pos < args.expected_bytes;) {
            size_t part = 1 + (size_t)prop_skewed(&prop, 100000);
            part = part < args.expected_bytes - pos ? part : args.expected_bytes - pos;
            net_client_receive(fd, got + pos, part);
            pos += part;
        }
        assert_memory_equal(got, args.expected, args.expected_bytes);
        mem_free(got);
        mem_free(args.expected);
    }
    close(fd);
    net_harness_wait_connections(harness, 0);
    assert_int_equal(atomic_load(&file->reference_count), 1);
    file_unref(file);
    net_harness_stop(harness);
    mem_free(content);
}

/* A peer that goes in the middle of a file: the references go with it. */
static void file_slices_are_freed_with_a_dead_peer(void **state)
{
    (void)state;
    struct net_harness_config config = net_harness_defaults();
    struct net_harness *harness = net_harness_start(&config);
    uint8_t *content = mem_alloc(FILE_BYTES);
    char path[] = "/tmp/test_connection_XXXXXX";
    struct file *file = make_file(harness, path, content);
    int fd = net_client_connect(harness);
    net_client_send_frame(fd, "12345678", 8);
    net_harness_wait_requests(harness, 1);
    struct file_reply args = {file, 0};
    net_harness_run(harness, reply_with_files, &args);
    uint8_t some[100];
    net_client_receive(fd, some, sizeof(some));
    close(fd);
    net_harness_wait_connections(harness, 0);
    assert_int_equal(atomic_load(&file->reference_count), 1);
    assert_int_equal(memory_budget_used(&harness->budget), 0);
    file_unref(file);
    net_harness_stop(harness);
    mem_free(content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_slices_survive_partial_writes),
        cmocka_unit_test(random_file_slices_arrive_in_order),
        cmocka_unit_test(file_slices_are_freed_with_a_dead_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
