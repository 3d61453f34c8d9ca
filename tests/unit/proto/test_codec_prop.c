/* Properties of the codec, for every API at every version: what is encoded decodes to the same, no cut or damaged message
 * is taken for a whole one, and nothing reads out of bounds (each input lies in a block of exactly its size, so that
 * AddressSanitizer sees the first byte too many). */
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "tests/unit/proto/random_message.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MESSAGE_BYTES_MAX (1u << 20)

struct sample {
    struct arena arena;
    void *body;
    struct bytebuf encoded;
};

static void encode(const struct codec_message *message, int16_t version, const void *body, struct bytebuf *ret_encoded)
{
    struct writer writer;
    writer_init(&writer, ret_encoded);
    enum err err = codec_encode(message, version, body, &writer);
    if (err != ERR_OK) {
        fail_msg("%s version %d: encode says %s", message->name, version, err_name(err));
    }
    writer_done(&writer);
}

static void sample_init(struct sample *sample, struct prop *prop, const struct codec_message *message, int16_t version)
{
    arena_init(&sample->arena, 0);
    bytebuf_init(&sample->encoded, MESSAGE_BYTES_MAX);
    sample->body = mem_zalloc(message->body->struct_bytes);
    random_message_fill(prop, message, version, &sample->arena, sample->body);
    encode(message, version, sample->body, &sample->encoded);
}

static void sample_done(struct sample *sample)
{
    mem_free(sample->body);
    bytebuf_done(&sample->encoded);
    arena_done(&sample->arena);
}

/* Decodes from a block of exactly this size; when that succeeds, encodes again into *ret_again. */
static enum err decode_again(const struct codec_message *message, int16_t version, struct span bytes,
                             struct bytebuf *ret_again, struct bytebuf *ret_json)
{
    uint8_t *exact = mem_alloc(bytes.bytes);
    if (bytes.bytes > 0) {
        memcpy(exact, bytes.data, bytes.bytes);
    }
    void *body = mem_zalloc(message->body->struct_bytes);
    struct arena arena;
    struct reader reader;
    arena_init(&arena, 0);
    reader_init(&reader, span_make(exact, bytes.bytes));
    enum err err = codec_decode(message, version, &reader, &arena, body);
    if (err == ERR_OK) {
        encode(message, version, body, ret_again);
        assert_int_equal(codec_print_json(message, version, body, ret_json), ERR_OK);
    } else {
        assert_true(reader.error_pos <= bytes.bytes);
    }
    arena_done(&arena);
    mem_free(body);
    mem_free(exact);
    return err;
}

typedef void (*each_message_fn)(struct prop *prop, const struct codec_message *message, int16_t version);

static void for_each_message(struct prop *prop, each_message_fn each)
{
    for (size_t i = 0; i < api_table_count(); i++) {
        const struct api_row *row = api_table_at(i);
        for (int version = row->request->versions.first; version <= row->request->versions.last; version++) {
            each(prop, row->request, (int16_t)version);
            each(prop, row->response, (int16_t)version);
        }
    }
}

static void assert_round_trip(struct prop *prop, const struct codec_message *message, int16_t version)
{
    struct sample sample;
    struct bytebuf again;
    struct bytebuf json_before;
    struct bytebuf json_after;
    sample_init(&sample, prop, message, version);
    bytebuf_init(&again, MESSAGE_BYTES_MAX);
    bytebuf_init(&json_before, MESSAGE_BYTES_MAX);
    bytebuf_init(&json_after, MESSAGE_BYTES_MAX);
    assert_int_equal(codec_print_json(message, version, sample.body, &json_before), ERR_OK);
    struct span encoded = bytebuf_span(&sample.encoded);
    enum err err = decode_again(message, version, encoded, &again, &json_after);
    if (err != ERR_OK || !span_equal(encoded, bytebuf_span(&again)) ||
        !span_equal(bytebuf_span(&json_before), bytebuf_span(&json_after))) {
        fail_msg("%s version %d: decode says %s\nbefore %.*s\nafter  %.*s", message->name, version, err_name(err),
                 (int)json_before.bytes, (const char *)json_before.data, (int)json_after.bytes,
                 (const char *)json_after.data);
    }
    bytebuf_done(&again);
    bytebuf_done(&json_before);
    bytebuf_done(&json_after);
    sample_done(&sample);
}

static void every_message_round_trips_at_every_version(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, __func__, PROP_SEED_DEFAULT);
    for (uint64_t run = prop_runs(10); run > 0; run--) {
        for_each_message(&prop, assert_round_trip);
    }
}

static void assert_no_prefix_decodes(struct prop *prop, const struct codec_message *message, int16_t version)
{
    struct sample sample;
    struct bytebuf unused;
    sample_init(&sample, prop, message, version);
    bytebuf_init(&unused, MESSAGE_BYTES_MAX);
    for (size_t bytes = 0; bytes < sample.encoded.bytes; bytes++) {
        struct span prefix = span_make(sample.encoded.data, bytes);
        enum err err = decode_again(message, version, prefix, &unused, &unused);
        if (err != ERR_MALFORMED) {
            fail_msg("%s version %d: %zu of %zu bytes: %s", message->name, version, bytes, sample.encoded.bytes,
                     err_name(err));
        }
    }
    bytebuf_done(&unused);
    sample_done(&sample);
}

static void no_cut_message_decodes(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, __func__, PROP_SEED_DEFAULT);
    for (uint64_t run = prop_runs(1); run > 0; run--) {
        for_each_message(&prop, assert_no_prefix_decodes);
    }
}

/* What decodes, encodes; and from then on it is stable. (The first encoding may differ: tagged fields that were sent
 * with their default or that nobody knows are left out.) */
static void assert_damage_is_harmless(struct prop *prop, const struct codec_message *message, int16_t version)
{
    struct sample sample;
    struct bytebuf once;
    struct bytebuf twice;
    struct bytebuf json;
    sample_init(&sample, prop, message, version);
    bytebuf_init(&once, MESSAGE_BYTES_MAX);
    bytebuf_init(&twice, MESSAGE_BYTES_MAX);
    bytebuf_init(&json, 4 * MESSAGE_BYTES_MAX);
    for (int i = 0; i < 40 && sample.encoded.bytes > 0; i++) {
        size_t damaged_pos = prop_below(prop, sample.encoded.bytes);
        uint8_t before = sample.encoded.data[damaged_pos];
        sample.encoded.data[damaged_pos] = (uint8_t)prop_u64(prop);
        bytebuf_clear(&once);
        bytebuf_clear(&twice);
        bytebuf_clear(&json);
        if (decode_again(message, version, bytebuf_span(&sample.encoded), &once, &json) == ERR_OK) {
            assert_int_equal(decode_again(message, version, bytebuf_span(&once), &twice, &json), ERR_OK);
            assert_true(span_equal(bytebuf_span(&once), bytebuf_span(&twice)));
        }
        sample.encoded.data[damaged_pos] = before;
    }
    bytebuf_done(&once);
    bytebuf_done(&twice);
    bytebuf_done(&json);
    sample_done(&sample);
}

static void damaged_messages_are_refused_or_stay_stable(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, __func__, PROP_SEED_DEFAULT);
    for (uint64_t run = prop_runs(3); run > 0; run--) {
        for_each_message(&prop, assert_damage_is_harmless);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_round_trips_at_every_version),
        cmocka_unit_test(no_cut_message_decodes),
        cmocka_unit_test(damaged_messages_are_refused_or_stay_stable),
    };
    return cmocka_run_group_tests_name("codec_prop", tests, NULL, NULL);
}
