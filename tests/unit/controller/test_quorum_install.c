/* Snapshots between controllers: chunks, answers, what takes their place on the disk, and what a crash leaves. */
#include "tests/unit/controller/quorum_peer.h"

#include <openssl/evp.h>

#define SNAPSHOT_INDEX 50u

/* ---- a follower ---- */

struct source {
    uint8_t *data;
    size_t bytes;
    uint64_t index_term;
    uint8_t hash[QUORUM_HASH_BYTES];
    struct bytebuf configuration;
};

static void source_init(struct source *source, size_t bytes)
{
    static const uint64_t voters[] = {1, 2, 3};
    source->bytes = bytes;
    source->index_term = 2;
    source->data = (uint8_t *)mem_zalloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++) {
        source->data[i] = (uint8_t)(i * 31 >> 8);
    }
    unsigned hash_bytes = 0;
    assert_int_equal(EVP_Digest(source->data, bytes, source->hash, &hash_bytes, EVP_sha256(), NULL), 1);
    harness_encode_members(voters, 3, 0, &source->configuration);
}

static void source_done(struct source *source)
{
    mem_free(source->data);
    bytebuf_done(&source->configuration);
}

static struct quorum_message chunk_of(const struct source *source, uint64_t term, uint64_t pos, uint32_t sequence)
{
    size_t left = source->bytes - (size_t)pos;
    struct quorum_message message = {.type = QUORUM_CHUNK,
                                     .term = term,
                                     .chunk = {.index = SNAPSHOT_INDEX,
                                               .index_term = source->index_term,
                                               .configuration_index = 1,
                                               .configuration = bytebuf_span(&source->configuration),
                                               .total_bytes = source->bytes,
                                               .pos = pos,
                                               .sequence = sequence}};
    message.chunk.data = span_make(source->data + pos, left < QUORUM_CHUNK_BYTES_MAX ? left : QUORUM_CHUNK_BYTES_MAX);
    memcpy(message.chunk.hash, source->hash, QUORUM_HASH_BYTES);
    return message;
}

static void give(struct harness *harness, const struct source *source, uint64_t from, uint64_t term, uint64_t pos,
                 uint32_t sequence)
{
    struct quorum_message message = chunk_of(source, term, pos, sequence);
    assert_int_equal(harness_receive(harness, &message, from), ERR_OK);
}

static void assert_answer(struct harness *harness, uint32_t sequence, uint64_t received_bytes)
{
    const struct quorum_message *result = harness_only(harness, QUORUM_CHUNK_RESULT);
    assert_int_equal(result->chunk_result.sequence, sequence);
    assert_int_equal(result->chunk_result.received_bytes, received_bytes);
    assert_int_equal(result->chunk_result.index, SNAPSHOT_INDEX);
    harness_forget_sent(harness);
}

static void assert_installed(struct harness *harness)
{
    struct quorum_facts facts;
    quorum_get_facts(harness->quorum, &facts);
    assert_int_equal(facts.snapshot_index, SNAPSHOT_INDEX);
    assert_int_equal(facts.applied_index, SNAPSHOT_INDEX);
    assert_int_equal(facts.first_index, SNAPSHOT_INDEX + 1);
    assert_int_equal(facts.last_index, SNAPSHOT_INDEX);
    assert_int_equal(facts.voter_count, 3);
}

/* A follower of 2 in term 2 with entries 2 to 4 on the disk. */
static void follow(struct harness *harness)
{
    harness_init(harness);
    harness_append(harness, 2, 2, 1, 1, 3, 2, 1);
    harness_end_jobs(harness);
    harness_forget_sent(harness);
    harness_forget_told(harness);
}

static void test_chunks_are_collected_and_installed(void **state)
{
    (void)state;
    struct harness harness;
    struct source source;
    source_init(&source, 2 * QUORUM_CHUNK_BYTES_MAX + 777);
    follow(&harness);
    give(&harness, &source, 2, 2, 0, 7);
    assert_answer(&harness, 7, QUORUM_CHUNK_BYTES_MAX);
    give(&harness, &source, 2, 2, 0, 8); /* again: the answer was lost */
    assert_answer(&harness, 8, QUORUM_CHUNK_BYTES_MAX);
    give(&harness, &source, 2, 2, QUORUM_CHUNK_BYTES_MAX, 9);
    assert_answer(&harness, 9, 2 * QUORUM_CHUNK_BYTES_MAX);
    assert_int_equal(harness.job_count, 0);
    give(&harness, &source, 2, 2, 2 * QUORUM_CHUNK_BYTES_MAX, 10);
    assert_answer(&harness, 10, source.bytes);
    assert_int_equal(harness.job_count, 1);
    harness_assert_text(&harness.told, "");
    give(&harness, &source, 2, 2, 0, 11); /* while it is being written */
    assert_answer(&harness, 11, source.bytes);
    harness_end_job(&harness);
    harness_assert_text(&harness.told, "restored 50;members 3 at 1;");
    assert_installed(&harness);
    assert_int_equal(harness_only(&harness, QUORUM_APPEND_RESULT)->append_result.last_index, SNAPSHOT_INDEX);
    /* It goes on from there; and after a power loss begins there. */
    harness_append(&harness, 2, 2, SNAPSHOT_INDEX, 2, 2, 2, SNAPSHOT_INDEX + 1);
    harness_end_jobs(&harness);
    harness_assert_text(&harness.applied, "51:a;");
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    harness_assert_text(&harness.told, "restored 50;members 3 at 1;");
    assert_int_equal(quorum_tail_end(&harness.quorum->tail), SNAPSHOT_INDEX + 3);
    source_done(&source);
    harness_done(&harness);
}

static void test_gap_other_leader_and_wrong_hash(void **state)
{
    (void)state;
    struct harness harness;
    struct source source;
    source_init(&source, 2 * QUORUM_CHUNK_BYTES_MAX);
    follow(&harness);
    give(&harness, &source, 2, 2, QUORUM_CHUNK_BYTES_MAX, 1); /* not from the beginning */
    assert_answer(&harness, 1, 0);
    give(&harness, &source, 2, 2, 0, 2);
    assert_answer(&harness, 2, QUORUM_CHUNK_BYTES_MAX);
    /* A new leader sends its own: what came from the old one is of no use. */
    harness_append(&harness, 3, 3, 4, 2, 0, 0, 1);
    harness_end_jobs(&harness);
    harness_forget_sent(&harness);
    assert_false(harness.quorum->incoming.is_open);
    give(&harness, &source, 2, 2, QUORUM_CHUNK_BYTES_MAX, 3);
    assert_int_equal(harness.sent_count, 0);
    give(&harness, &source, 3, 3, QUORUM_CHUNK_BYTES_MAX, 1);
    assert_answer(&harness, 1, 0);
    source.data[5] ^= 1;
    give(&harness, &source, 3, 3, 0, 2);
    assert_answer(&harness, 2, QUORUM_CHUNK_BYTES_MAX);
    struct quorum_message last = chunk_of(&source, 3, QUORUM_CHUNK_BYTES_MAX, 3);
    assert_int_equal(harness_receive(&harness, &last, 3), ERR_MALFORMED);
    assert_int_equal(harness.job_count, 0);
    assert_false(harness.quorum->incoming.is_open);
    source_done(&source);
    harness_done(&harness);
}

/* Entries that are being written when the snapshot comes are gone when they are reported. */
static void test_entries_in_flight_do_not_count(void **state)
{
    (void)state;
    struct harness harness;
    struct source source;
    source_init(&source, 100);
    follow(&harness);
    harness_append(&harness, 2, 2, 4, 2, 2, 2, 1);
    harness_work(&harness);
    harness_append(&harness, 2, 2, 6, 2, 2, 2, 1); /* queued, and dropped */
    give(&harness, &source, 2, 2, 0, 1);
    harness_forget_sent(&harness);
    harness_end_job(&harness);
    assert_int_equal(harness_count(&harness, QUORUM_APPEND_RESULT), 0);
    harness_append(&harness, 2, 2, 8, 2, 1, 2, 1); /* ignored meanwhile */
    /* libraft takes a heartbeat at the snapshot for a commit; nothing is applied before it is there. */
    harness_append(&harness, 2, 2, SNAPSHOT_INDEX, 2, 0, 0, SNAPSHOT_INDEX);
    harness_assert_text(&harness.told, "");
    harness_end_jobs(&harness);
    assert_installed(&harness);
    source_done(&source);
    harness_done(&harness);
}

static void test_own_snapshot_is_overtaken(void **state)
{
    (void)state;
    for (unsigned stage = 0; stage < 3; stage++) {
        struct harness harness;
        struct source source;
        source_init(&source, 100);
        follow(&harness);
        harness.quorum->options.snapshot_entries = 2;
        harness_append(&harness, 2, 2, 4, 2, 0, 0, 4); /* commits: a snapshot is begun */
        assert_int_equal(harness.job_count, 1);
        if (stage > 0) {
            harness_end_job(&harness); /* encoded; now it is being written */
            assert_int_equal(harness.job_count, 1);
        }
        if (stage > 1) {
            harness_work(&harness);
        }
        give(&harness, &source, 2, 2, 0, 1);
        harness_end_jobs(&harness);
        assert_installed(&harness);
        assert_null(harness.quorum->snapshot_state);
        harness_crash(&harness, FS_SIM_CRASH_LOSE);
        harness_open(&harness);
        assert_installed(&harness);
        source_done(&source);
        harness_done(&harness);
    }
}

static void test_snapshot_of_a_new_leader_waits_for_the_term(void **state)
{
    (void)state;
    struct harness harness;
    struct source source;
    source_init(&source, 100);
    follow(&harness);
    give(&harness, &source, 3, 3, 0, 1);
    /* One job writes the term and installs; libraft hears of both when they are durable. */
    harness_end_jobs(&harness);
    assert_installed(&harness);
    assert_int_equal(raft_current_term(&harness.quorum->raft), 3);
    source_done(&source);
    harness_done(&harness);
}

/* At every call of the installation: what is there afterwards is the old log or the snapshot, and never refused. */
static void test_crash_at_every_call_of_an_installation(void **state)
{
    (void)state;
    static const enum fs_sim_crash_mode modes[] = {FS_SIM_CRASH_KILL, FS_SIM_CRASH_LOSE, FS_SIM_CRASH_RANDOM};
    unsigned olds = 0;
    unsigned news = 0;
    bool is_through = false;
    for (uint64_t call = 1; !is_through; call++) {
        for (unsigned mode = 0; mode < ARRAY_COUNT(modes); mode++) {
            struct harness harness;
            struct source source;
            source_init(&source, 3000);
            follow(&harness);
            /* Two files, of which the second begins right behind the snapshot: as if the installation had made it. */
            source.index_term = 3;
            harness_append(&harness, 2, 2, 4, 2, 20, 2, 1);
            harness_end_jobs(&harness);
            harness_append(&harness, 2, 2, 24, 2, 26, 2, 1);
            harness_end_jobs(&harness);
            harness_append(&harness, 2, 2, 50, 2, 9, 2, 1);
            harness_end_jobs(&harness);
            give(&harness, &source, 3, 3, 0, 1);
            fs_sim_crash_at(harness.disk, fs_sim_call_count(harness.disk) + call, FS_SIM_TEAR_PREFIX);
            harness_end_jobs(&harness);
            is_through = !fs_sim_is_crashed(harness.disk);
            harness_crash(&harness, modes[mode]);
            harness_open(&harness);
            bool is_new = harness.quorum->snapshot_index == SNAPSHOT_INDEX;
            if (is_new) {
                assert_installed(&harness);
            } else {
                assert_int_equal(quorum_tail_end(&harness.quorum->tail), 60);
                assert_int_equal(quorum_term_of(harness.quorum, 50), 2);
            }
            olds += !is_new;
            news += is_new;
            source_done(&source);
            harness_done(&harness);
        }
    }
    assert_true(olds > 5 && news > 5);
}

/* ---- a leader ---- */

/* A leader with a snapshot and nothing behind it in memory; 2 needs it. */
static void lead(struct harness *harness, uint32_t snapshot_bytes)
{
    harness_init(harness);
    harness->snapshot_bytes = snapshot_bytes;
    harness->quorum->options.trailing_entries = 0;
    harness->quorum->options.snapshot_entries = 4;
    harness_elect(harness);
    for (unsigned i = 0; i < 5; i++) {
        harness_propose(harness, "x");
    }
    harness_end_jobs(harness);
    harness_append_result(harness, 3, 2, 0, 6);
    harness_end_jobs(harness);
    assert_int_equal(harness->quorum->snapshot_index, 6);
    harness_forget_sent(harness);
    harness_append_result(harness, 2, 2, 1, 0); /* it has nothing */
    assert_int_equal(harness_count(harness, QUORUM_CHUNK), 0);
    harness_end_jobs(harness);
}

static void answer_chunk(struct harness *harness, uint32_t sequence, uint64_t received_bytes)
{
    struct quorum_message message = {
        .type = QUORUM_CHUNK_RESULT,
        .term = 2,
        .chunk_result = {.index = 6, .received_bytes = received_bytes, .sequence = sequence}};
    harness_forget_sent(harness);
    assert_int_equal(harness_receive(harness, &message, 2), ERR_OK);
}

static void test_leader_sends_chunk_by_chunk(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness, 2 * QUORUM_CHUNK_BYTES_MAX + 10);
    const struct quorum_message *chunk = harness_only(&harness, QUORUM_CHUNK);
    assert_int_equal(chunk->chunk.index, 6);
    assert_int_equal(chunk->chunk.index_term, 2);
    assert_int_equal(chunk->chunk.configuration_index, 1);
    assert_int_equal(chunk->chunk.pos, 0);
    assert_int_equal(chunk->chunk.data.bytes, QUORUM_CHUNK_BYTES_MAX);
    uint32_t sequence = chunk->chunk.sequence;
    harness_append_result(&harness, 2, 2, 6, 0); /* a rejected heartbeat makes libraft ask again */
    assert_int_equal(harness.job_count, 0);
    answer_chunk(&harness, sequence + 5, QUORUM_CHUNK_BYTES_MAX); /* to another sending */
    assert_int_equal(harness.sent_count, 0);
    answer_chunk(&harness, sequence, QUORUM_CHUNK_BYTES_MAX);
    assert_int_equal(harness_only(&harness, QUORUM_CHUNK)->chunk.pos, QUORUM_CHUNK_BYTES_MAX);
    answer_chunk(&harness, sequence, QUORUM_CHUNK_BYTES_MAX); /* late: no second sending */
    assert_int_equal(harness.sent_count, 0);
    answer_chunk(&harness, sequence + 1, 0); /* it was started anew */
    assert_int_equal(harness_only(&harness, QUORUM_CHUNK)->chunk.pos, 0);
    answer_chunk(&harness, sequence + 2, 2 * QUORUM_CHUNK_BYTES_MAX);
    assert_int_equal(harness_only(&harness, QUORUM_CHUNK)->chunk.data.bytes, 10);
    answer_chunk(&harness, sequence + 3, 2 * QUORUM_CHUNK_BYTES_MAX + 10);
    assert_int_equal(harness.sent_count, 0);
    assert_null(harness.quorum->outgoing);
    assert_int_equal(harness.quorum->snapshot_sent_count, 1);
    harness_done(&harness);
}

static void test_leader_repeats_and_gives_up(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness, 10);
    unsigned chunks = 1;
    harness_forget_sent(&harness);
    for (unsigned i = 0; i < 100 && harness.quorum->outgoing != NULL; i++) {
        harness_append_result(&harness, 3, 2, 0, 6); /* the majority answers */
        harness_advance(&harness, 100);
        chunks += harness_count(&harness, QUORUM_CHUNK);
        harness_forget_sent(&harness);
    }
    assert_null(harness.quorum->outgoing);
    assert_int_equal(chunks, 8);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    /* Who no longer leads sends nothing. */
    harness_append_result(&harness, 2, 2, 6, 0);
    harness_end_jobs(&harness);
    assert_non_null(harness.quorum->outgoing);
    harness_append(&harness, 3, 3, 6, 2, 0, 0, 6);
    harness_end_jobs(&harness);
    assert_null(harness.quorum->outgoing);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_are_collected_and_installed),
        cmocka_unit_test(test_gap_other_leader_and_wrong_hash),
        cmocka_unit_test(test_entries_in_flight_do_not_count),
        cmocka_unit_test(test_own_snapshot_is_overtaken),
        cmocka_unit_test(test_snapshot_of_a_new_leader_waits_for_the_term),
        cmocka_unit_test(test_crash_at_every_call_of_an_installation),
        cmocka_unit_test(test_leader_sends_chunk_by_chunk),
        cmocka_unit_test(test_leader_repeats_and_gives_up),
    };
    return cmocka_run_group_tests_name("quorum_install", tests, NULL, NULL);
}
