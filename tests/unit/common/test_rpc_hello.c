/* A hello must say the same on both sides, and anything else must be seen to be none. */
#include "common/big_endian.h"
#include "common/rpc/rpc_hello.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void draw_text(struct prop *prop, char *ret_text, size_t text_bytes_max)
{
    size_t bytes = (size_t)prop_below(prop, text_bytes_max);
    memset(ret_text, 0, text_bytes_max);
    for (size_t i = 0; i < bytes; i++) {
        ret_text[i] = (char)(1 + prop_below(prop, 255));
    }
}

static void draw_uuid(struct prop *prop, struct uuid *ret_uuid)
{
    for (size_t i = 0; i < UUID_BYTES; i++) {
        ret_uuid->bytes[i] = (uint8_t)prop_u64(prop);
    }
}

static struct rpc_hello draw_hello(struct prop *prop, uint8_t authentication[300])
{
    struct rpc_hello hello = {.kind = (enum rpc_kind)(1 + prop_below(prop, RPC_KIND_MAX)),
                              .node_id = (int32_t)prop_u64(prop),
                              .broker_epoch = (int64_t)prop_u64(prop),
                              .worker_count = (uint32_t)prop_u64(prop),
                              .lane = (uint32_t)prop_u64(prop)};
    draw_text(prop, hello.cluster_id, sizeof(hello.cluster_id));
    draw_uuid(prop, &hello.directory_id);
    draw_uuid(prop, &hello.incarnation_id);
    size_t authentication_bytes = (size_t)prop_below(prop, 301);
    for (size_t i = 0; i < authentication_bytes; i++) {
        authentication[i] = (uint8_t)prop_u64(prop);
    }
    hello.authentication = span_make(authentication, authentication_bytes);
    return hello;
}

static void assert_hello_equal(const struct rpc_hello *a, const struct rpc_hello *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_string_equal(a->cluster_id, b->cluster_id);
    assert_int_equal(a->node_id, b->node_id);
    assert_true(uuid_equal(a->directory_id, b->directory_id));
    assert_true(uuid_equal(a->incarnation_id, b->incarnation_id));
    assert_int_equal(a->broker_epoch, b->broker_epoch);
    assert_int_equal(a->worker_count, b->worker_count);
    assert_int_equal(a->lane, b->lane);
    assert_true(span_equal(a->authentication, b->authentication));
}

static void what_is_said_is_what_is_heard(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "hello", 7);
    for (unsigned run = 0; run < prop_runs(500); run++) {
        uint8_t authentication[300];
        struct rpc_answer answer = {.hello = draw_hello(&prop, authentication)};
        draw_text(&prop, answer.refusal, sizeof(answer.refusal));
        struct bytebuf bytes;
        bytebuf_init(&bytes, 4096);
        struct rpc_hello hello;
        assert_int_equal(rpc_hello_encode(&answer.hello, &bytes), ERR_OK);
        assert_int_equal(rpc_hello_decode(bytebuf_span(&bytes), &hello), ERR_OK);
        assert_hello_equal(&hello, &answer.hello);
        size_t message_bytes = 0;
        assert_int_equal(rpc_hello_peek(bytebuf_span(&bytes), &message_bytes), ERR_OK);
        assert_int_equal(message_bytes, bytes.bytes);
        /* Encoding appends. */
        size_t hello_bytes = bytes.bytes;
        assert_int_equal(rpc_answer_encode(&answer, &bytes), ERR_OK);
        struct rpc_answer heard;
        struct span message = span_sub(bytebuf_span(&bytes), hello_bytes, bytes.bytes - hello_bytes);
        assert_int_equal(rpc_answer_decode(message, &heard), ERR_OK);
        assert_hello_equal(&heard.hello, &answer.hello);
        assert_string_equal(heard.refusal, answer.refusal);
        /* One is not taken for the other. */
        assert_int_equal(rpc_hello_decode(message, &hello), ERR_MALFORMED);
        bytebuf_done(&bytes);
    }
}

/* Every cut and every flipped bit must be seen: it is either no hello or, in the version field, that of another version. */
static void damage_is_seen(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "hello_damage", 8);
    uint8_t authentication[300];
    struct rpc_hello hello = draw_hello(&prop, authentication);
    struct bytebuf bytes;
    bytebuf_init(&bytes, RPC_HELLO_BYTES_MAX);
    assert_int_equal(rpc_hello_encode(&hello, &bytes), ERR_OK);
    struct rpc_hello heard;
    for (size_t cut = 0; cut < bytes.bytes; cut++) {
        assert_int_equal(rpc_hello_decode(span_make(bytes.data, cut), &heard), ERR_MALFORMED);
    }
    for (size_t bit = 0; bit < 8 * bytes.bytes; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        bool is_version = bit / 8 == 4 || bit / 8 == 5;
        assert_int_equal(rpc_hello_decode(bytebuf_span(&bytes), &heard), is_version ? ERR_UNSUPPORTED : ERR_MALFORMED);
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(rpc_hello_decode(bytebuf_span(&bytes), &heard), ERR_OK);
    bytebuf_done(&bytes);
}

static void strangers_are_known_by_their_first_bytes(void **state)
{
    (void)state;
    size_t message_bytes = 0;
    assert_int_equal(rpc_hello_peek(span_text("GET / HTTP/1.1"), &message_bytes), ERR_MALFORMED);
    assert_int_equal(rpc_hello_peek(span_make("\x16\x03\x01\x02", 4), &message_bytes), ERR_MALFORMED);
    assert_int_equal(rpc_hello_peek(span_make("\0\0\0\x20\0\x12\0\x03", 8), &message_bytes), ERR_MALFORMED);
    assert_int_equal(rpc_hello_peek(span_text("ML"), &message_bytes), ERR_INCOMPLETE);
    assert_int_equal(rpc_hello_peek(span_make("MLDH\0\1\0", 7), &message_bytes), ERR_INCOMPLETE);
    assert_int_equal(rpc_hello_peek(span_make("MLDH\0\1\0\7", 8), &message_bytes), ERR_MALFORMED);
    assert_int_equal(rpc_hello_peek(span_make("MLDH\0\1\4\1", 8), &message_bytes), ERR_MALFORMED);
    assert_int_equal(rpc_hello_peek(span_make("MLDA\0\2\4\0", 8), &message_bytes), ERR_OK);
    assert_int_equal(message_bytes, 1024);
}

static void what_does_not_fit_is_refused_whole(void **state)
{
    (void)state;
    uint8_t authentication[RPC_HELLO_BYTES_MAX + 1] = {0};
    struct rpc_hello hello = {.kind = RPC_KIND_CALL,
                              .authentication = span_make(authentication, sizeof(authentication))};
    struct bytebuf bytes;
    bytebuf_init(&bytes, 4096);
    assert_int_equal(bytebuf_append(&bytes, span_text("before")), ERR_OK);
    assert_int_equal(rpc_hello_encode(&hello, &bytes), ERR_LIMIT);
    hello.authentication.bytes = RPC_HELLO_BYTES_MAX - 50;
    assert_int_equal(rpc_hello_encode(&hello, &bytes), ERR_LIMIT);
    assert_true(span_equal_text(bytebuf_span(&bytes), "before"));
    bytebuf_done(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_is_what_is_heard),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(strangers_are_known_by_their_first_bytes),
        cmocka_unit_test(what_does_not_fit_is_refused_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
