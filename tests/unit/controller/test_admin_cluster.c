/* Requests about the cluster itself as bytes: DescribeQuorum, AddRaftVoter, RemoveRaftVoter, UpdateFeatures upon a view of the quorum;
 * ElectLeaders. */
#include "controller/controller_api.h"
#include "proto/kmsg/add_raft_voter.h"
#include "proto/kmsg/describe_quorum.h"
#include "proto/kmsg/elect_leaders.h"
#include "proto/kmsg/remove_raft_voter.h"
#include "proto/kmsg/update_features.h"
#include "proto/wire/codec.h"
#include "tests/unit/controller/cluster_support.h"

#define NOW_MS 1700000000000

struct fixture {
    struct state state;
    struct controller_member members[8];
    struct quorum_view view;
    struct api_call call;
    struct controller_admin admin;
};

static void add_member(struct fixture *fixture, int32_t node_id, int64_t silent_ms, bool is_voter)
{
    struct controller_member *member = &fixture->members[fixture->view.member_count++];
    *member = (struct controller_member){
        .raft_id = 1000 + (uint64_t)node_id,
        .node_id = node_id,
        .directory_id = id_of((uint32_t)node_id),
        .is_voter = is_voter,
        .log_end = 50 + (uint64_t)node_id,
        .last_fetch_ms = NOW_MS - silent_ms,
        .last_caught_up_ms = NOW_MS - silent_ms - 1,
    };
    snprintf(member->address, sizeof(member->address), node_id == 2 ? "[::1]:%d" : "127.0.0.1:%d", 9000 + node_id);
}

/* Node 1 leads; voters 1 to 3. */
static void setup(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    state_init(&fixture->state);
    meta_add_cluster(&fixture->state.records, span_text("AAAAAAAAAAAAAAAAAAAAAA"), span_text(""));
    state_commit(&fixture->state);
    fixture->view = (struct quorum_view){.leader_node_id = 1,
                                         .leader_raft_id = 1001,
                                         .term = 7,
                                         .commit_index = 49,
                                         .now_ms = NOW_MS,
                                         .members = fixture->members};
    for (int32_t id = 1; id <= 3; id++) {
        add_member(fixture, id, id * 10, true);
    }
}

static void teardown(struct fixture *fixture)
{
    state_done(&fixture->state);
}

/* Encodes and decides. */
static enum err ask(struct fixture *fixture, const struct codec_message *codec, int16_t version, const void *request)
{
    struct bytebuf bytes;
    struct writer writer;
    bytebuf_init(&bytes, 1u << 20);
    writer_init(&writer, &bytes);
    assert_int_equal(codec_encode(codec, version, request, &writer), ERR_OK);
    struct span body = arena_copy(&fixture->state.arena, bytebuf_span(&bytes));
    fixture->admin = (struct controller_admin){.api_key = codec->api_key, .api_version = version, .body = body};
    fixture->call = (struct api_call){
        .decision = state_decision(&fixture->state, 0), .admin = &fixture->admin, .quorum = &fixture->view};
    assert_true(controller_api_serves(codec->api_key, version));
    enum err err = controller_api_handle(&fixture->call);
    writer_done(&writer);
    bytebuf_done(&bytes);
    return err;
}

static void decode(struct fixture *fixture, const struct codec_message *codec, struct shared_bytes *bytes,
                   void *ret_response)
{
    struct reader reader;
    assert_non_null(bytes);
    struct span copy = arena_copy(&fixture->state.arena, span_make(bytes->data, bytes->bytes));
    shared_bytes_unref(bytes);
    reader_init(&reader, copy);
    assert_int_equal(codec_decode(codec, fixture->admin.api_version, &reader, &fixture->state.arena, ret_response),
                     ERR_OK);
}

static void test_describe(void **unused)
{
    (void)unused;
    for (int16_t version = 0; version <= 2; version++) {
        struct fixture fixture;
        struct describe_quorum_request_partition_data partitions[2] = {{0}, {1}};
        struct describe_quorum_request_topic_data topics[2] = {{span_text("__cluster_metadata"), partitions, 2},
                                                               {span_text("other"), partitions, 1}};
        struct describe_quorum_request request = {topics, 2};
        struct describe_quorum_response response;
        setup(&fixture);
        add_member(&fixture, 9, 5, false);
        fixture.members[2].log_end = 0;
        assert_int_equal(ask(&fixture, &describe_quorum_request_codec, version, &request), ERR_OK);
        decode(&fixture, &describe_quorum_response_codec, fixture.call.response, &response);
        assert_int_equal(response.error_code, ERROR_NONE);
        assert_int_equal(response.topics_count, 2);
        assert_int_equal(response.topics[0].partitions[1].error_code, ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(response.topics[1].partitions[0].error_code, ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        const struct describe_quorum_response_partition_data *partition = &response.topics[0].partitions[0];
        assert_int_equal(partition->error_code, ERROR_NONE);
        assert_int_equal(partition->leader_id, 1);
        assert_int_equal(partition->leader_epoch, 7);
        assert_int_equal(partition->high_watermark, 50);
        assert_int_equal(partition->current_voters_count, 3);
        assert_int_equal(partition->observers_count, 1);
        assert_int_equal(partition->observers[0].replica_id, 9);
        assert_int_equal(partition->current_voters[1].log_end_offset, 52);
        assert_int_equal(partition->current_voters[2].log_end_offset, -1);
        assert_int_equal(partition->current_voters[1].last_fetch_timestamp, version >= 1 ? NOW_MS - 20 : -1);
        assert_int_equal(partition->current_voters[1].last_caught_up_timestamp, version >= 1 ? NOW_MS - 21 : -1);
        assert_int_equal(response.nodes_count, version >= 2 ? 3 : 0);
        if (version >= 2) {
            assert_true(uuid_equal(partition->current_voters[1].replica_directory_id, id_of(2)));
            assert_int_equal(response.nodes[1].node_id, 2);
            assert_true(span_equal_text(response.nodes[1].listeners[0].name, "INTERNAL"));
            assert_true(span_equal_text(response.nodes[1].listeners[0].host, "::1"));
            assert_int_equal(response.nodes[1].listeners[0].port, 9002);
            assert_true(span_equal_text(response.nodes[2].listeners[0].host, "127.0.0.1"));
        }
        teardown(&fixture);
    }
}

/* ---- adding ---- */

struct addition {
    struct add_raft_voter_request request;
    struct add_raft_voter_request_listener listeners[2];
};

static void make_addition(struct addition *addition, int32_t id)
{
    *addition = (struct addition){
        .request = {.cluster_id = SPAN_NULL,
                    .timeout_ms = 5000,
                    .voter_id = id,
                    .voter_directory_id = id_of((uint32_t)id + 50)},
        .listeners = {{span_text("CLIENTS"), span_text("example.org"), 1},
                      {span_text("INTERNAL"), span_text("::1"), 9999}},
    };
    addition->request.listeners = addition->listeners;
    addition->request.listeners_count = 2;
    addition->request.ack_when_committed = true;
}

/* ERROR_NONE: a change is asked for; else refused with these words. */
static int16_t add(struct fixture *fixture, const struct addition *addition, const char *words)
{
    struct add_raft_voter_response response;
    struct addition copy = *addition;
    copy.request.listeners = copy.listeners;
    assert_int_equal(ask(fixture, &add_raft_voter_request_codec, 1, &copy.request), ERR_OK);
    if (fixture->call.voter_change.kind != VOTER_CHANGE_NONE) {
        assert_null(fixture->call.response);
        return ERROR_NONE;
    }
    decode(fixture, &add_raft_voter_response_codec, fixture->call.response, &response);
    assert_non_null(memmem(response.error_message.data, response.error_message.bytes, words, strlen(words)));
    return response.error_code;
}

static void test_add(void **unused)
{
    (void)unused;
    struct fixture fixture;
    struct addition addition;
    char expected[QUORUM_VIEW_ADDRESS_BYTES];
    char text[UUID_TEXT_BYTES];
    setup(&fixture);
    make_addition(&addition, 4);
    assert_int_equal(add(&fixture, &addition, ""), ERROR_NONE);
    uuid_format(id_of(54), text);
    snprintf(expected, sizeof(expected), "4@[::1]:9999/%s", text);
    const struct voter_change *change = &fixture.call.voter_change;
    assert_int_equal(change->kind, VOTER_CHANGE_ADD);
    assert_string_equal(change->address, expected);
    assert_true(uuid_equal(change->directory_id, id_of(54)));

    addition.request.cluster_id = span_text("BBBB");
    assert_int_equal(add(&fixture, &addition, "BBBB"), ERROR_INCONSISTENT_CLUSTER_ID);
    addition.request.cluster_id = span_text("AAAAAAAAAAAAAAAAAAAAAA");
    assert_int_equal(add(&fixture, &addition, ""), ERROR_NONE);

    make_addition(&addition, 2); /* its directory was lost */
    assert_int_equal(add(&fixture, &addition, "remove that voter first"), ERROR_DUPLICATE_VOTER);
    addition.request.voter_directory_id = id_of(2);
    assert_int_equal(add(&fixture, &addition, "already"), ERROR_DUPLICATE_VOTER);
    make_addition(&addition, 4);
    addition.request.voter_directory_id = UUID_ZERO;
    assert_int_equal(add(&fixture, &addition, "directory"), ERROR_INVALID_REQUEST);
    make_addition(&addition, -4);
    assert_int_equal(add(&fixture, &addition, "node.id"), ERROR_INVALID_REQUEST);

    make_addition(&addition, 4);
    addition.listeners[1].port = 9002;
    assert_int_equal(add(&fixture, &addition, "[::1]:9002"), ERROR_INVALID_REQUEST);
    addition.listeners[1].host = span_text("a/b@c");
    assert_int_equal(add(&fixture, &addition, "INTERNAL"), ERROR_INVALID_REQUEST);
    addition.listeners[1] = (struct add_raft_voter_request_listener){span_text("INTERNAL"), span_text("h"), 0};
    assert_int_equal(add(&fixture, &addition, "INTERNAL"), ERROR_INVALID_REQUEST);
    addition.listeners[1].name = span_text("OTHER"); /* which of the two? */
    assert_int_equal(add(&fixture, &addition, "INTERNAL"), ERROR_INVALID_REQUEST);
    addition.request.listeners_count = 1;
    assert_int_equal(add(&fixture, &addition, ""), ERROR_NONE); /* the only one, whatever its name */

    add_member(&fixture, 5, 1, true);
    add_member(&fixture, 6, 1, false); /* a stand-by does not count */
    assert_int_equal(add(&fixture, &addition, ""), ERROR_NONE);
    add_member(&fixture, 7, 1, true);
    assert_int_equal(add(&fixture, &addition, "5 voters"), ERROR_INVALID_REQUEST);
    teardown(&fixture);
}

/* ---- removing ---- */

static int16_t remove_voter(struct fixture *fixture, int32_t id, uint32_t directory, const char *words)
{
    struct remove_raft_voter_request request = {SPAN_NULL, id, id_of(directory)};
    struct remove_raft_voter_response response;
    assert_int_equal(ask(fixture, &remove_raft_voter_request_codec, 0, &request), ERR_OK);
    if (fixture->call.voter_change.kind != VOTER_CHANGE_NONE) {
        assert_null(fixture->call.response);
        assert_int_equal(fixture->call.voter_change.kind, VOTER_CHANGE_REMOVE);
        assert_int_equal(fixture->call.voter_change.raft_id, 1000 + (uint64_t)id);
        return ERROR_NONE;
    }
    decode(fixture, &remove_raft_voter_response_codec, fixture->call.response, &response);
    assert_non_null(memmem(response.error_message.data, response.error_message.bytes, words, strlen(words)));
    return response.error_code;
}

static void test_remove(void **unused)
{
    (void)unused;
    struct fixture fixture;
    setup(&fixture);
    assert_int_equal(remove_voter(&fixture, 9, 9, "no voter"), ERROR_VOTER_NOT_FOUND);
    assert_int_equal(remove_voter(&fixture, 2, 9, "has the directory"), ERROR_VOTER_NOT_FOUND);
    assert_int_equal(remove_voter(&fixture, 2, 2, ""), ERROR_NONE);
    assert_int_equal(remove_voter(&fixture, 1, 1, ""), ERROR_NONE);             /* the leader itself */
    fixture.members[2].last_fetch_ms = NOW_MS - QUORUM_VIEW_CONTACT_MS_MAX - 1; /* 3 is dead */
    assert_int_equal(remove_voter(&fixture, 2, 2, "no majority"), ERROR_INVALID_REQUEST);
    assert_int_equal(remove_voter(&fixture, 3, 3, ""), ERROR_NONE);
    fixture.members[2].last_fetch_ms = -1; /* never heard of */
    assert_int_equal(remove_voter(&fixture, 2, 2, "no majority"), ERROR_INVALID_REQUEST);
    fixture.view.member_count = 1;
    assert_int_equal(remove_voter(&fixture, 1, 1, "only voter"), ERROR_INVALID_REQUEST);
    teardown(&fixture);
}

/* What an interrupted addition left behind can go, whoever is alive; a broker that only follows the metadata is no member. */
static void test_remove_standby(void **unused)
{
    (void)unused;
    struct fixture fixture;
    setup(&fixture);
    add_member(&fixture, 4, 60000, false);
    add_member(&fixture, 5, 10, false);
    fixture.members[4].raft_id = 0;
    fixture.members[1].last_fetch_ms = -1;
    fixture.members[2].last_fetch_ms = -1;
    assert_int_equal(remove_voter(&fixture, 4, 9, "no voter"), ERROR_VOTER_NOT_FOUND);
    assert_int_equal(remove_voter(&fixture, 5, 5, "no voter"), ERROR_VOTER_NOT_FOUND);
    assert_int_equal(remove_voter(&fixture, 4, 4, ""), ERROR_NONE);
    /* Of the same node, by its directory. */
    fixture.members[3].node_id = 2;
    fixture.members[3].raft_id = 1002;
    assert_int_equal(remove_voter(&fixture, 2, 2, "no majority"), ERROR_INVALID_REQUEST);
    assert_int_equal(remove_voter(&fixture, 2, 4, ""), ERROR_NONE);
    assert_true(uuid_equal(fixture.call.voter_change.directory_id, id_of(4)));
    teardown(&fixture);
}

/* ---- the metadata level ---- */

static int16_t update(struct fixture *fixture, int16_t version, const char *feature, int16_t level, int8_t type)
{
    struct update_features_request_feature_update_key key = {
        .feature = span_text(feature), .max_version_level = level, .upgrade_type = version >= 1 ? type : 1};
    struct update_features_request request = {.timeout_ms = 1000, .feature_updates = &key, .feature_updates_count = 1};
    struct update_features_response response;
    assert_int_equal(ask(fixture, &update_features_request_codec, version, &request), ERR_OK);
    decode(fixture, &update_features_response_codec, fixture->call.response, &response);
    assert_int_equal(response.results_count, version < 2 && response.error_code == ERROR_NONE);
    return response.error_code;
}

static void test_update_features(void **unused)
{
    (void)unused;
    for (int16_t version = 0; version <= 2; version++) {
        struct fixture fixture;
        setup(&fixture);
        fixture.view.level_max = 2;
        meta_add_level(&fixture.state.records, 1);
        state_commit(&fixture.state);
        assert_int_equal(update(&fixture, version, "share.version", 1, 1), ERROR_INVALID_UPDATE_VERSION);
        assert_int_equal(update(&fixture, version, "metadata.version", 1, 1), ERROR_NONE);
        assert_int_equal(update(&fixture, version, "metadata.version", 3, 1), ERROR_INVALID_UPDATE_VERSION);
        assert_int_equal(update(&fixture, version, "metadata.version", 0, 3), ERROR_INVALID_UPDATE_VERSION);
        assert_int_equal(fixture.state.records.count, 0);
        assert_int_equal(update(&fixture, version, "metadata.version", 2, 1), ERROR_NONE);
        assert_int_equal(fixture.state.records.count, 1);
        teardown(&fixture);
    }
}

/* ---- elections ---- */

/* A partition that is named twice is decided once: two records of it would contradict each other. */
static void test_elect_leaders(void **unused)
{
    (void)unused;
    static const int32_t ids[3] = {1, 2, 3};
    struct fixture fixture;
    setup(&fixture);
    for (int32_t id = 1; id <= 3; id++) {
        state_add_broker(&fixture.state, id, "", 1);
    }
    cluster_create(&fixture.state, "t", ids, 3, 2, NULL, 0);
    cluster_fence(&fixture.state, 1);
    cluster_unfence(&fixture.state, 1);
    for (int32_t i = 0; i < 2; i++) {
        assert_int_equal(
            cluster_alter(&fixture.state, image_find_topic(fixture.state.image, span_text("t")), i, ids, 3, false),
            ERROR_NONE);
    }
    int32_t first[4] = {1, 0, 7, 0};
    int32_t second[1] = {1};
    struct elect_leaders_request_topic_partitions named[3] = {
        {span_text("t"), first, 4}, {span_text("x"), second, 1}, {span_text("t"), second, 1}};
    struct elect_leaders_request request = {.topic_partitions = named, .topic_partitions_count = 3, .timeout_ms = 1};
    struct elect_leaders_response response;
    assert_int_equal(ask(&fixture, &elect_leaders_request_codec, 2, &request), ERR_OK);
    decode(&fixture, &elect_leaders_response_codec, fixture.call.response, &response);
    assert_int_equal(response.replica_election_results_count, 3);
    static const int16_t codes[4] = {ERROR_NONE, ERROR_NONE, ERROR_UNKNOWN_TOPIC_OR_PARTITION, ERROR_INVALID_REQUEST};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(response.replica_election_results[0].partition_result[i].partition_id, first[i]);
        assert_int_equal(response.replica_election_results[0].partition_result[i].error_code, codes[i]);
    }
    assert_int_equal(response.replica_election_results[1].partition_result[0].error_code,
                     ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(response.replica_election_results[2].partition_result[0].error_code, ERROR_INVALID_REQUEST);
    cluster_commit(&fixture.state);
    assert_int_equal(cluster_partition(&fixture.state, "t", 0)->leader_id, 1);
    assert_int_equal(cluster_partition(&fixture.state, "t", 1)->leader_id, 1);

    request = (struct elect_leaders_request){.election_type = 5, .topic_partitions = NULL, .timeout_ms = 1};
    assert_int_equal(ask(&fixture, &elect_leaders_request_codec, 2, &request), ERR_OK);
    decode(&fixture, &elect_leaders_response_codec, fixture.call.response, &response);
    assert_int_equal(response.error_code, ERROR_INVALID_REQUEST);
    cluster_fence(&fixture.state, 1);
    request.election_type = LEADER_ELECTION_PREFERRED;
    assert_int_equal(ask(&fixture, &elect_leaders_request_codec, 2, &request), ERR_OK);
    decode(&fixture, &elect_leaders_response_codec, fixture.call.response, &response);
    assert_int_equal(response.replica_election_results[0].partition_result_count, 2);
    assert_int_equal(response.replica_election_results[0].partition_result[1].error_code,
                     ERROR_PREFERRED_LEADER_NOT_AVAILABLE);
    teardown(&fixture);
}

/* What the quorum made of the change. */
static void test_answers(void **unused)
{
    (void)unused;
    static const struct {
        enum err err;
        int16_t code;
    } rows[] = {{ERR_OK, ERROR_NONE},
                {ERR_EXISTS, ERROR_DUPLICATE_VOTER},
                {ERR_NOT_FOUND, ERROR_VOTER_NOT_FOUND},
                {ERR_BUSY, ERROR_REQUEST_TIMED_OUT},
                {ERR_TIMEOUT, ERROR_REQUEST_TIMED_OUT},
                {ERR_CLOSED, ERROR_UNKNOWN_SERVER_ERROR}};
    struct fixture fixture;
    setup(&fixture);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct add_raft_voter_response added;
        struct remove_raft_voter_response removed;
        fixture.admin = (struct controller_admin){.api_key = 80, .api_version = 1};
        assert_int_equal(controller_api_answer_voter(&fixture.admin, rows[i].err), ERR_OK);
        decode(&fixture, &add_raft_voter_response_codec, fixture.admin.response, &added);
        assert_int_equal(added.error_code, rows[i].code);
        assert_int_equal(added.error_message.bytes > 0, rows[i].code != ERROR_NONE);
        fixture.admin = (struct controller_admin){.api_key = 81};
        assert_int_equal(controller_api_answer_voter(&fixture.admin, rows[i].err), ERR_OK);
        decode(&fixture, &remove_raft_voter_response_codec, fixture.admin.response, &removed);
        assert_int_equal(removed.error_code, rows[i].code);
    }
    teardown(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_describe),        cmocka_unit_test(test_add),
        cmocka_unit_test(test_remove),          cmocka_unit_test(test_remove_standby),
        cmocka_unit_test(test_update_features), cmocka_unit_test(test_elect_leaders),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests_name("admin_cluster", tests, NULL, NULL);
}
