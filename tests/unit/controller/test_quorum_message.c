/* Messages and configurations as bytes: all of a message arrives; nothing that is not one gets in. */
#include "common/big_endian.h"
#include "common/mem.h"
#include "controller/quorum_message.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ADDRESS "7@host:9093/directory"
#define ENTRIES_MAX 6
#define DATA_BYTES_MAX 50

struct encoded {
    struct bytebuf header;
    struct bytebuf body;
};

static void encoded_init(struct encoded *encoded, const struct quorum_message *message)
{
    bytebuf_init(&encoded->header, QUORUM_FRAME_BYTES_MAX);
    bytebuf_init(&encoded->body, QUORUM_FRAME_BYTES_MAX);
    quorum_message_encode(message, &encoded->header, &encoded->body);
}

static void encoded_done(struct encoded *encoded)
{
    bytebuf_done(&encoded->header);
    bytebuf_done(&encoded->body);
}

/* Copies in memory of their exact size, so that the sanitizers see any step beyond it. */
static enum err decode_exact(struct span header, struct span body, struct quorum_message *ret_message)
{
    uint8_t *header_copy = (uint8_t *)mem_alloc(header.bytes + 1);
    uint8_t *body_copy = (uint8_t *)mem_alloc(body.bytes + 1);
    memcpy(header_copy + 1, header.data, header.bytes);
    if (body.bytes > 0) {
        memcpy(body_copy + 1, body.data, body.bytes);
    }
    enum err err = quorum_message_decode(span_make(header_copy + 1, header.bytes), span_make(body_copy + 1, body.bytes),
                                         ret_message);
    if (err == ERR_OK) {
        quorum_message_done(ret_message);
    }
    mem_free(header_copy);
    mem_free(body_copy);
    return err;
}

static struct bytebuf make_configuration(uint32_t count)
{
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    char addresses[QUORUM_MEMBERS_MAX][32];
    struct bytebuf bytes;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(addresses[i], sizeof(addresses[i]), "%u@host:9093/dir", i);
        members[i] = (struct quorum_member){100 - i, addresses[i], i == 0 ? QUORUM_VOTER : QUORUM_STANDBY};
    }
    bytebuf_init(&bytes, 10000);
    assert_int_equal(quorum_configuration_encode(members, count, &bytes), ERR_OK);
    return bytes;
}

struct drawn {
    struct quorum_message message;
    struct quorum_message_entry entries[ENTRIES_MAX];
    uint8_t data[ENTRIES_MAX][DATA_BYTES_MAX];
    struct bytebuf configuration;
};

static void draw_append(struct prop *prop, struct drawn *drawn)
{
    struct quorum_message *message = &drawn->message;
    message->append.prev_index = prop_chance(prop, 1, 4) ? 0 : 1 + prop_skewed(prop, 1u << 30);
    message->append.prev_term = message->append.prev_index == 0 ? 0 : 1 + prop_below(prop, message->term);
    message->append.commit_index = prop_skewed(prop, QUORUM_INDEX_MAX);
    message->append.entry_count = (uint32_t)prop_below(prop, ENTRIES_MAX + 1);
    message->append.entries = drawn->entries;
    uint64_t term = message->append.prev_term == 0 ? 1 : message->append.prev_term;
    for (uint32_t i = 0; i < message->append.entry_count; i++) {
        struct quorum_message_entry *entry = &drawn->entries[i];
        term = prop_range(prop, term, message->term);
        bool is_change = (i == 0 && message->append.prev_index == 0) || prop_chance(prop, 1, 6);
        prop_fill(prop, drawn->data[i], DATA_BYTES_MAX);
        entry->term = term;
        entry->type = is_change ? QUORUM_CHANGE : prop_chance(prop, 1, 5) ? QUORUM_BARRIER : QUORUM_COMMAND;
        entry->data = is_change ? bytebuf_span(&drawn->configuration)
                                : span_make(drawn->data[i], prop_below(prop, DATA_BYTES_MAX + 1));
    }
}

static void draw_chunk(struct prop *prop, struct drawn *drawn)
{
    struct quorum_message *message = &drawn->message;
    size_t bytes = 1 + prop_below(prop, DATA_BYTES_MAX);
    prop_fill(prop, drawn->data[0], DATA_BYTES_MAX);
    prop_fill(prop, message->chunk.hash, QUORUM_HASH_BYTES);
    message->chunk.index = 1 + prop_skewed(prop, 1u << 30);
    message->chunk.index_term = 1 + prop_below(prop, message->term);
    message->chunk.configuration_index = 1 + prop_below(prop, message->chunk.index);
    message->chunk.configuration = bytebuf_span(&drawn->configuration);
    message->chunk.pos = prop_below(prop, 1000);
    message->chunk.total_bytes = message->chunk.pos + bytes + prop_below(prop, 1000);
    message->chunk.sequence = (uint32_t)prop_u64(prop);
    message->chunk.data = span_make(drawn->data[0], bytes);
}

/* A message that is allowed, of any type. */
static void draw(struct prop *prop, struct drawn *drawn)
{
    *drawn = (struct drawn){.configuration = make_configuration(1 + (uint32_t)prop_below(prop, 5))};
    struct quorum_message *message = &drawn->message;
    message->type = (enum quorum_message_type)prop_range(prop, QUORUM_APPEND, QUORUM_CHUNK_RESULT);
    message->version = (uint8_t)prop_u64(prop);
    message->from_raft_id = 1 + prop_below(prop, 5);
    message->to_raft_id = prop_u64(prop) | 1;
    message->term = 1 + prop_skewed(prop, 1u << 20);
    message->from_address = span_make(ADDRESS, sizeof(ADDRESS));
    uint64_t index = 1 + prop_skewed(prop, QUORUM_INDEX_MAX - 1);
    switch (message->type) {
    case QUORUM_APPEND:
        draw_append(prop, drawn);
        return;
    case QUORUM_APPEND_RESULT:
        message->append_result.rejected_index = index;
        message->append_result.last_index = prop_skewed(prop, QUORUM_INDEX_MAX);
        message->append_result.features = (uint16_t)prop_u64(prop);
        message->append_result.capacity = (uint16_t)prop_u64(prop);
        return;
    case QUORUM_VOTE:
        message->vote.candidate_raft_id = message->from_raft_id;
        message->vote.last_index = index;
        message->vote.last_term = 1 + prop_below(prop, message->term);
        message->vote.disrupts_leader = prop_chance(prop, 1, 2);
        message->vote.is_pre_vote = prop_chance(prop, 1, 2);
        return;
    case QUORUM_VOTE_RESULT:
        message->vote_result.is_granted = prop_chance(prop, 1, 2);
        message->vote_result.is_pre_vote = prop_chance(prop, 1, 2);
        message->vote_result.features = (uint16_t)prop_u64(prop);
        message->vote_result.capacity = (uint16_t)prop_u64(prop);
        return;
    case QUORUM_CHUNK:
        draw_chunk(prop, drawn);
        return;
    case QUORUM_TIMEOUT_NOW:
        message->timeout_now.last_index = index;
        message->timeout_now.last_term = 1 + prop_below(prop, message->term);
        return;
    case QUORUM_CHUNK_RESULT:
        message->chunk_result.index = index;
        message->chunk_result.received_bytes = prop_u64(prop);
        message->chunk_result.sequence = (uint32_t)prop_u64(prop);
        return;
    }
}

/* Encoding what was decoded gives the same bytes: so no field is lost on either way; and the bytes differ when a field does. */
static void test_round_trip(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "round trip", 1);
    for (uint64_t i = 0; i < prop_runs(3000); i++) {
        struct drawn drawn;
        struct encoded first;
        struct encoded second;
        struct quorum_message decoded;
        draw(&prop, &drawn);
        encoded_init(&first, &drawn.message);
        assert_int_equal(quorum_message_decode(bytebuf_span(&first.header), bytebuf_span(&first.body), &decoded),
                         ERR_OK);
        assert_int_equal(decoded.type, drawn.message.type);
        assert_int_equal(decoded.version, drawn.message.version);
        encoded_init(&second, &decoded);
        assert_true(span_equal(bytebuf_span(&first.header), bytebuf_span(&second.header)));
        assert_true(span_equal(bytebuf_span(&first.body), bytebuf_span(&second.body)));
        quorum_message_done(&decoded);
        encoded_done(&first);
        encoded_done(&second);
        bytebuf_done(&drawn.configuration);
    }
}

static void test_every_field_travels(void **state)
{
    (void)state;
    struct quorum_message in = {.type = QUORUM_VOTE,
                                .version = 2,
                                .from_raft_id = 5,
                                .to_raft_id = 6,
                                .term = 9,
                                .from_address = span_make(ADDRESS, sizeof(ADDRESS)),
                                .vote = {5, 77, 8, true, true}};
    struct quorum_message out;
    struct encoded encoded;
    encoded_init(&encoded, &in);
    assert_int_equal(quorum_message_decode(bytebuf_span(&encoded.header), bytebuf_span(&encoded.body), &out), ERR_OK);
    assert_int_equal(out.from_raft_id, 5);
    assert_int_equal(out.to_raft_id, 6);
    assert_int_equal(out.term, 9);
    assert_string_equal((const char *)out.from_address.data, ADDRESS);
    assert_int_equal(out.vote.candidate_raft_id, 5);
    assert_int_equal(out.vote.last_index, 77);
    assert_int_equal(out.vote.last_term, 8);
    assert_true(out.vote.disrupts_leader && out.vote.is_pre_vote);
    encoded_done(&encoded);
    in.type = QUORUM_APPEND_RESULT;
    in.append_result.rejected_index = 3;
    in.append_result.last_index = 2;
    in.append_result.features = 0x1234;
    in.append_result.capacity = 0x5678;
    encoded_init(&encoded, &in);
    assert_int_equal(quorum_message_decode(bytebuf_span(&encoded.header), bytebuf_span(&encoded.body), &out), ERR_OK);
    assert_int_equal(out.append_result.rejected_index, 3);
    assert_int_equal(out.append_result.last_index, 2);
    assert_int_equal(out.append_result.features, 0x1234);
    assert_int_equal(out.append_result.capacity, 0x5678);
    encoded_done(&encoded);
}

static void test_cut_or_longer_is_malformed(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "cut", 2);
    for (uint64_t i = 0; i < prop_runs(200); i++) {
        struct drawn drawn;
        struct encoded encoded;
        struct quorum_message decoded;
        draw(&prop, &drawn);
        encoded_init(&encoded, &drawn.message);
        struct span header = bytebuf_span(&encoded.header);
        struct span body = bytebuf_span(&encoded.body);
        for (size_t bytes = 0; bytes < header.bytes; bytes++) {
            assert_int_equal(decode_exact(span_sub(header, 0, bytes), body, &decoded), ERR_MALFORMED);
        }
        /* A chunk may be shorter; anything else of the body may not. */
        for (size_t bytes = 0; bytes < body.bytes && drawn.message.type == QUORUM_APPEND; bytes++) {
            assert_int_equal(decode_exact(header, span_sub(body, 0, bytes), &decoded), ERR_MALFORMED);
        }
        uint8_t more = 0;
        assert_int_equal(bytebuf_append(&encoded.header, span_make(&more, 1)), ERR_OK);
        assert_int_equal(decode_exact(bytebuf_span(&encoded.header), body, &decoded), ERR_MALFORMED);
        encoded_done(&encoded);
        bytebuf_done(&drawn.configuration);
    }
}

/* Whatever is changed: refused, or a message that keeps the rules. */
static void test_changed_bytes_keep_the_rules(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "changed", 3);
    uint64_t accepted = 0;
    for (uint64_t i = 0; i < prop_runs(20000); i++) {
        struct drawn drawn;
        struct encoded encoded;
        struct quorum_message decoded;
        draw(&prop, &drawn);
        encoded_init(&encoded, &drawn.message);
        for (uint64_t j = 0; j <= prop_below(&prop, 3); j++) {
            struct bytebuf *buf = encoded.body.bytes > 0 && prop_chance(&prop, 1, 4) ? &encoded.body : &encoded.header;
            buf->data[prop_below(&prop, buf->bytes)] = (uint8_t)prop_u64(&prop);
        }
        if (quorum_message_decode(bytebuf_span(&encoded.header), bytebuf_span(&encoded.body), &decoded) == ERR_OK) {
            accepted++;
            assert_true(decoded.from_raft_id != 0 && decoded.to_raft_id != 0 && decoded.term <= QUORUM_INDEX_MAX);
            for (uint32_t j = 0; decoded.type == QUORUM_APPEND && j < decoded.append.entry_count; j++) {
                const struct quorum_message_entry *entry = &decoded.append.entries[j];
                assert_true(entry->term > 0 && entry->term <= decoded.term);
                assert_true(entry->term >= (j == 0 ? decoded.append.prev_term : entry[-1].term));
            }
            quorum_message_done(&decoded);
        }
        encoded_done(&encoded);
        bytebuf_done(&drawn.configuration);
    }
    assert_true(accepted > 100);
}

static void refuse(struct quorum_message message)
{
    struct encoded encoded;
    struct quorum_message decoded;
    message.from_raft_id = message.from_raft_id == 0 ? 5 : message.from_raft_id;
    message.to_raft_id = 6;
    message.from_address =
        message.from_address.data == NULL ? span_make(ADDRESS, sizeof(ADDRESS)) : message.from_address;
    encoded_init(&encoded, &message);
    assert_int_equal(decode_exact(bytebuf_span(&encoded.header), bytebuf_span(&encoded.body), &decoded), ERR_MALFORMED);
    encoded_done(&encoded);
}

static void test_what_libraft_would_assert_is_refused(void **state)
{
    (void)state;
    struct bytebuf configuration = make_configuration(3);
    struct quorum_message_entry command = {2, QUORUM_COMMAND, span_text("x")};
    struct quorum_message_entry later = {4, QUORUM_COMMAND, span_text("x")};
    struct quorum_message_entry bad_change = {2, QUORUM_CHANGE, span_text("not a configuration")};
    struct quorum_message_entry falling[] = {{3, QUORUM_COMMAND, span_text("x")}, {2, QUORUM_COMMAND, span_text("x")}};
    refuse((struct quorum_message){.type = QUORUM_APPEND}); /* term 0 */
    refuse((struct quorum_message){.type = QUORUM_APPEND, .term = 3, .append = {.prev_index = 5}});
    refuse((struct quorum_message){.type = QUORUM_APPEND, .term = 3, .append = {.prev_term = 1}});
    refuse((struct quorum_message){.type = QUORUM_APPEND, .term = 3, .append = {5, 4, 0, NULL, 0}});
    refuse((struct quorum_message){.type = QUORUM_APPEND, .term = 3, .append = {0, 0, 0, &command, 1}});
    refuse((struct quorum_message){.type = QUORUM_APPEND, .term = 3, .append = {5, 2, 0, &later, 1}});
    refuse((struct quorum_message){.type = QUORUM_APPEND, .term = 3, .append = {5, 3, 0, &command, 1}});
    refuse((struct quorum_message){.type = QUORUM_APPEND, .term = 3, .append = {5, 2, 0, &bad_change, 1}});
    refuse((struct quorum_message){.type = QUORUM_APPEND, .term = 3, .append = {5, 2, 0, falling, 2}});
    refuse((struct quorum_message){.type = QUORUM_APPEND, .term = 3, .append = {QUORUM_INDEX_MAX + 1, 2, 0, NULL, 0}});
    refuse((struct quorum_message){.type = QUORUM_VOTE, .term = 3, .vote = {.candidate_raft_id = 4}});
    refuse((struct quorum_message){.type = QUORUM_VOTE, .term = 3, .vote = {.candidate_raft_id = 5, .last_index = 1}});
    refuse((struct quorum_message){
        .type = QUORUM_VOTE, .term = 3, .vote = {.candidate_raft_id = 5}, .from_address = span_make("no end", 6)});
    struct quorum_message chunk = {.type = QUORUM_CHUNK,
                                   .term = 3,
                                   .chunk = {.index = 5,
                                             .index_term = 2,
                                             .configuration_index = 1,
                                             .configuration = bytebuf_span(&configuration),
                                             .total_bytes = 10,
                                             .data = span_text("12345")}};
    struct quorum_message bad = chunk;
    bad.chunk.configuration_index = 6;
    refuse(bad);
    bad = chunk;
    bad.chunk.index = 0;
    refuse(bad);
    bad = chunk;
    bad.chunk.pos = 6;
    refuse(bad);
    bad = chunk;
    bad.chunk.total_bytes = (uint64_t)QUORUM_SNAPSHOT_BYTES_MAX + 1;
    refuse(bad);
    bad = chunk;
    bad.chunk.data = span_make("", 0);
    refuse(bad);
    bad = chunk;
    bad.chunk.configuration = span_sub(chunk.chunk.configuration, 0, 20);
    refuse(bad);
    bytebuf_done(&configuration);
}

/* ---- configurations ---- */

static void test_configuration_is_the_same_everywhere(void **state)
{
    (void)state;
    struct quorum_member members[] = {{3, "c", QUORUM_VOTER}, {1, "a", QUORUM_STANDBY}, {2, "b", QUORUM_SPARE}};
    struct quorum_member turned[] = {members[1], members[2], members[0]};
    struct quorum_member found[QUORUM_MEMBERS_MAX];
    struct bytebuf first;
    struct bytebuf second;
    uint32_t count = 0;
    bytebuf_init(&first, 1000);
    bytebuf_init(&second, 1000);
    assert_int_equal(quorum_configuration_encode(members, 3, &first), ERR_OK);
    assert_int_equal(quorum_configuration_encode(turned, 3, &second), ERR_OK);
    assert_true(span_equal(bytebuf_span(&first), bytebuf_span(&second)));
    assert_int_equal(quorum_configuration_decode(bytebuf_span(&first), found, &count), ERR_OK);
    assert_int_equal(count, 3);
    assert_int_equal(found[0].raft_id, 1);
    assert_string_equal(found[0].address, "a");
    assert_int_equal(found[0].role, QUORUM_STANDBY);
    assert_int_equal(found[1].role, QUORUM_SPARE);
    assert_int_equal(found[2].role, QUORUM_VOTER);
    bytebuf_done(&first);
    bytebuf_done(&second);
}

static void test_bad_configurations(void **state)
{
    (void)state;
    struct bytebuf bytes;
    bytebuf_init(&bytes, 100000);
    struct quorum_member twice[] = {{1, "a", QUORUM_VOTER}, {1, "b", QUORUM_VOTER}};
    struct quorum_member same[] = {{1, "a", QUORUM_VOTER}, {2, "a", QUORUM_VOTER}};
    struct quorum_member silent[] = {{1, "a", QUORUM_STANDBY}};
    struct quorum_member nobody[] = {{0, "a", QUORUM_VOTER}};
    struct quorum_member nowhere[] = {{1, "", QUORUM_VOTER}};
    assert_int_equal(quorum_configuration_encode(twice, 2, &bytes), ERR_INVALID);
    assert_int_equal(quorum_configuration_encode(same, 2, &bytes), ERR_INVALID);
    assert_int_equal(quorum_configuration_encode(silent, 1, &bytes), ERR_INVALID);
    assert_int_equal(quorum_configuration_encode(nobody, 1, &bytes), ERR_INVALID);
    assert_int_equal(quorum_configuration_encode(nowhere, 1, &bytes), ERR_INVALID);
    assert_int_equal(quorum_configuration_encode(twice, 0, &bytes), ERR_INVALID);
    bytebuf_done(&bytes);
    struct prop prop;
    prop_init(&prop, "configurations", 4);
    for (uint64_t i = 0; i < prop_runs(20000); i++) {
        struct bytebuf good = make_configuration(1 + (uint32_t)prop_below(&prop, 5));
        size_t count = prop_below(&prop, good.bytes + 1);
        uint8_t *copy = (uint8_t *)mem_alloc(count + 1);
        struct quorum_member found[QUORUM_MEMBERS_MAX];
        uint32_t found_count = 0;
        memcpy(copy + 1, good.data, count);
        if (count > 0 && prop_chance(&prop, 1, 2)) {
            copy[1 + prop_below(&prop, count)] = (uint8_t)prop_u64(&prop);
        }
        if (quorum_configuration_decode(span_make(copy + 1, count), found, &found_count) == ERR_OK) {
            assert_true(found_count > 0 && found_count <= QUORUM_MEMBERS_MAX);
            for (uint32_t j = 0; j < found_count; j++) {
                assert_true(found[j].raft_id != 0 && found[j].address[0] != '\0');
            }
        }
        mem_free(copy);
        bytebuf_done(&good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_field_travels),
        cmocka_unit_test(test_cut_or_longer_is_malformed),
        cmocka_unit_test(test_changed_bytes_keep_the_rules),
        cmocka_unit_test(test_what_libraft_would_assert_is_refused),
        cmocka_unit_test(test_configuration_is_the_same_everywhere),
        cmocka_unit_test(test_bad_configurations),
    };
    return cmocka_run_group_tests_name("quorum_message", tests, NULL, NULL);
}
