/* The small things that everything stands on: limits of arena and bytebuf, references of shared bytes, Kafka's ids. */
#include "common/arena.h"
#include "common/bytebuf.h"
#include "common/mem.h"
#include "common/seam/rng.h"
#include "common/shared_bytes.h"
#include "common/uuid.h"
#include "tests/support/prop.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void arena_stops_at_its_limit(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 10000);
    uint8_t *first = arena_alloc(&arena, 9000); /* larger than a block */
    assert_non_null(first);
    assert_int_equal((uintptr_t)first % 16, 0);
    for (size_t i = 0; i < 9000; i++) {
        assert_int_equal(first[i], 0);
    }
    assert_null(arena_alloc(&arena, 1001));
    assert_non_null(arena_alloc(&arena, 1000));
    assert_null(arena_alloc(&arena, 1));
    assert_null(arena_array(&arena, SIZE_MAX / 2, 3)); /* the product overflows */
    assert_true(span_is_null(arena_copy(&arena, span_text("x"))));
    assert_true(span_is_null(arena_format(&arena, "%d", 1)));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    arena_reset(&arena);
    struct span copy = arena_copy(&arena, span_text("hello"));
    assert_true(span_equal_text(copy, "hello"));
    assert_int_equal(copy.data[5], 0);
    assert_true(span_equal_text(arena_format(&arena, "%s-%d", "a", 7), "a-7"));
    struct span empty = arena_copy(&arena, span_text(""));
    assert_false(span_is_null(empty));
    arena_done(&arena);
}

/* Random sizes: every piece keeps its own bytes. */
static void arena_pieces_do_not_overlap(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "arena_pieces_do_not_overlap", PROP_SEED_DEFAULT);
    struct arena arena;
    arena_init(&arena, 0);
    uint8_t *pieces[500];
    size_t piece_bytes[500];
    for (size_t i = 0; i < 500; i++) {
        piece_bytes[i] = (size_t)prop_skewed(&prop, 20000);
        pieces[i] = arena_alloc(&arena, piece_bytes[i]);
        assert_non_null(pieces[i]);
        memset(pieces[i], (int)(i & 0xff), piece_bytes[i]);
    }
    for (size_t i = 0; i < 500; i++) {
        for (size_t j = 0; j < piece_bytes[i]; j++) {
            assert_int_equal(pieces[i][j], i & 0xff);
        }
    }
    arena_done(&arena);
}

static void bytebuf_stops_at_its_limit(void **state)
{
    (void)state;
    struct bytebuf buf;
    bytebuf_init(&buf, 1000);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(bytebuf_append(&buf, span_text("0123456789")), ERR_OK);
    }
    assert_int_equal(bytebuf_append(&buf, span_text("x")), ERR_LIMIT);
    assert_int_equal(bytebuf_append_format(&buf, "%d", 1), ERR_LIMIT);
    uint8_t *room = NULL;
    assert_int_equal(bytebuf_reserve(&buf, SIZE_MAX, &room), ERR_LIMIT);
    assert_null(room);
    assert_int_equal(buf.bytes, 1000);
    bytebuf_drop_front(&buf, 995);
    assert_true(span_equal_text(bytebuf_span(&buf), "56789"));
    assert_int_equal(bytebuf_append_format(&buf, "-%03d", 7), ERR_OK);
    assert_true(span_equal_text(bytebuf_span(&buf), "56789-007"));
    bytebuf_clear(&buf);
    assert_int_equal(bytebuf_span(&buf).bytes, 0);
    bytebuf_done(&buf);
}

#define REFERENCES 20000

static void *drop_references(void *ctx)
{
    for (int i = 0; i < REFERENCES; i++) {
        shared_bytes_unref(shared_bytes_ref(ctx));
    }
    shared_bytes_unref(ctx);
    return NULL;
}

/* Two threads take and drop references; ASan and TSan see whether the last one frees, once. */
static void shared_bytes_live_until_the_last_reference(void **state)
{
    (void)state;
    struct shared_bytes *shared = shared_bytes_new(100);
    assert_int_equal(shared->bytes, 100);
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, drop_references, shared_bytes_ref(shared)), 0);
    }
    memset(shared->data, 'x', 100);
    shared_bytes_unref(shared);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    shared_bytes_unref(NULL);
}

/* Texts made by org.apache.kafka.common.Uuid of Kafka 4.3. */
static const struct {
    uint8_t bytes[UUID_BYTES];
    const char *text;
} kafka_uuids[] = {
    {{0}, "AAAAAAAAAAAAAAAAAAAAAA"},
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, "AAAAAAAAAAAAAAAAAAAAAQ"},
    {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
     "_____________________w"},
    {{0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f},
     "AAECAwQFBgcICQoLDA0ODw"},
    {{0xfb, 0xef, 0xbe, 0xfb, 0xef, 0xbe, 0xfb, 0xef, 0xbe, 0xfb, 0xef, 0xbe, 0xfb, 0xef, 0xbe, 0xfb},
     "---------------------w"},
};

static void uuid_text_is_kafkas(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(kafka_uuids); i++) {
        struct uuid uuid;
        char text[UUID_TEXT_BYTES];
        memcpy(uuid.bytes, kafka_uuids[i].bytes, UUID_BYTES);
        uuid_format(uuid, text);
        assert_string_equal(text, kafka_uuids[i].text);
        struct uuid parsed;
        assert_int_equal(uuid_parse(span_text(text), &parsed), ERR_OK);
        assert_true(uuid_equal(parsed, uuid));
        assert_int_equal(uuid_is_zero(parsed), i == 0);
    }
    struct uuid uuid;
    assert_int_equal(uuid_parse(span_text("AAAAAAAAAAAAAAAAAAAAAQ=="), &uuid), ERR_OK);
    assert_int_equal(uuid.bytes[15], 1);
    assert_int_equal(uuid_parse(span_text(""), &uuid), ERR_INVALID);
    assert_int_equal(uuid_parse(span_text("AAAAAAAAAAAAAAAAAAAAA"), &uuid), ERR_INVALID);
    assert_int_equal(uuid_parse(span_text("AAAAAAAAAAAAAAAAAAAAAAA"), &uuid), ERR_INVALID);
    assert_int_equal(uuid_parse(span_text("AAAAAAAAAAAAAAAAAAAA+/"), &uuid), ERR_INVALID); /* the other alphabet */
    assert_int_equal(uuid_parse(span_text("AAAAAAAAAAAAAAAAAAAAAQ=x"), &uuid), ERR_INVALID);
    assert_int_equal(uuid_parse(span_make("AAAAAAAAAAAAAAAAAAAA\0Q", 22), &uuid), ERR_INVALID);
}

struct prop_rng {
    struct rng rng;
    struct prop prop;
};

static void prop_rng_fill(struct rng *rng, void *ret_bytes, size_t bytes)
{
    prop_fill(&CONTAINER_OF(rng, struct prop_rng, rng)->prop, ret_bytes, bytes);
}

static const struct rng_ops prop_rng_ops = {.fill = prop_rng_fill};

/* Random ids are version 4, never begin with '-', and survive their text. */
static void random_uuids_are_usable(void **state)
{
    (void)state;
    struct prop_rng random = {.rng.ops = &prop_rng_ops};
    prop_init(&random.prop, "random_uuids_are_usable", PROP_SEED_DEFAULT);
    for (uint64_t run = 0; run < prop_runs(2000); run++) {
        struct uuid uuid = uuid_random(&random.rng);
        struct uuid parsed;
        char text[UUID_TEXT_BYTES];
        uuid_format(uuid, text);
        assert_int_equal(strlen(text), 22);
        assert_int_not_equal(text[0], '-');
        assert_int_equal(uuid.bytes[6] >> 4, 4);
        assert_int_equal(uuid.bytes[8] >> 6, 2);
        assert_int_equal(uuid_parse(span_text(text), &parsed), ERR_OK);
        assert_true(uuid_equal(parsed, uuid));
        assert_true(rng_below(&random.rng, 7) < 7);
    }
}

static void err_table_is_complete(void **state)
{
    (void)state;
    for (int i = 0; i < ERR_COUNT; i++) {
        assert_true(strlen(err_text((enum err)i)) > 0);
        assert_memory_equal(err_name((enum err)i), "ERR_", 4);
    }
    assert_int_equal(err_from_errno(0), ERR_OK);
    assert_int_equal(err_from_errno(ENOSPC), ERR_NO_SPACE);
    assert_int_equal(err_from_errno(EDQUOT), ERR_NO_SPACE);
    assert_int_equal(err_from_errno(ECONNREFUSED), ERR_REFUSED);
    assert_int_equal(err_from_errno(EPIPE), ERR_RESET);
    assert_int_equal(err_from_errno(EIO), ERR_IO);
    assert_int_equal(err_from_errno(123456), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_stops_at_its_limit),   cmocka_unit_test(arena_pieces_do_not_overlap),
        cmocka_unit_test(bytebuf_stops_at_its_limit), cmocka_unit_test(shared_bytes_live_until_the_last_reference),
        cmocka_unit_test(uuid_text_is_kafkas),        cmocka_unit_test(random_uuids_are_usable),
        cmocka_unit_test(err_table_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
