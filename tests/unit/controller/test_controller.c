/* The controller from outside: formation, registration, publications, producer ids, restart, refusals at the start. */
#include "common/seam/fs.h"
#include "tests/unit/controller/controller_harness.h"

static void test_forms_and_activates(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_start(&harness);
    harness_subscribe(&harness);
    harness_follow(&harness, 2);
    assert_string_equal(image_cluster_id(harness.image), controller_cluster_id(harness.controller));
    assert_string_equal(image_cluster_name(harness.image), "tests");
    assert_int_equal(image_controller_id(harness.image), 1);
    assert_int_equal(image_controller_epoch(harness.image), 2);
    assert_int_equal(image_metadata_level(harness.image), 1);
    assert_true(harness.full_count == 1);
    struct pending status = {.request = {.kind = CONTROLLER_STATUS}};
    harness_ask(&harness, &status);
    assert_true(status.request.status.is_active);
    assert_int_equal(status.request.status.voter_count, 1);
    assert_int_equal(status.request.status.applied_index, 2);
    assert_int_equal(status.request.status.leader_raft_id, status.request.status.raft_id);
    harness_unsubscribe(&harness);
    harness_stop(&harness);
    harness_done(&harness);
}

static void test_restart_keeps_everything(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_start(&harness);
    char cluster_id[UUID_TEXT_BYTES];
    strcpy(cluster_id, controller_cluster_id(harness.controller));
    struct span names[2] = {span_text("a"), span_text("b")};
    int16_t codes[2] = {-7, -7};
    (void)harness_register(&harness, 1, 1);
    struct pending create = {.request = {.kind = CONTROLLER_AUTO_CREATE,
                                         .auto_create = {.names = names, .name_count = 2, .ret_error_codes = codes}}};
    harness_ask(&harness, &create);
    assert_int_equal(create.request.err, ERR_OK);
    assert_int_equal(codes[0], 0);
    assert_int_equal(codes[1], 0);
    harness_subscribe(&harness);
    harness_follow(&harness, create.request.metadata_offset);
    uint8_t hash[IMAGE_HASH_BYTES];
    memcpy(hash, image_hash(harness.image), sizeof(hash));
    int64_t offset = image_offset(harness.image);
    struct uuid id = image_find_topic(harness.image, span_text("a"))->id;
    assert_int_equal(image_find_topic(harness.image, span_text("a"))->partitions[0]->leader_id, 1);
    assert_int_equal(image_find_topic(harness.image, span_text("a"))->partitions[0]->leader_epoch, 0);
    harness_unsubscribe(&harness);
    harness_stop(&harness);

    harness_start(&harness);
    assert_string_equal(controller_cluster_id(harness.controller), cluster_id);
    harness_subscribe(&harness);
    harness_follow(&harness, offset + 1); /* the new activation */
    assert_memory_not_equal(image_hash(harness.image), hash, sizeof(hash));
    assert_int_equal(image_controller_epoch(harness.image), offset + 1);
    const struct image_topic *topic = image_find_topic(harness.image, span_text("a"));
    assert_non_null(topic);
    assert_true(uuid_equal(topic->id, id));
    assert_ptr_equal(image_find_topic_id(harness.image, id), topic);
    assert_int_equal(image_topic_count(harness.image), 2);
    assert_int_equal(image_broker_count(harness.image), 1);
    harness_unsubscribe(&harness);
    harness_stop(&harness);
    harness_done(&harness);
}

/* A new incarnation: every partition that the broker led gets a new leader epoch, also with one replica; the old one is fenced. */
static void test_registration_bumps_epochs(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness.options.num_partitions = 3;
    harness_start(&harness);
    harness_subscribe(&harness);
    int64_t epoch = harness_register(&harness, 1, 1);
    struct span name = span_text("t");
    int16_t code = -7;
    struct pending create = {.request = {.kind = CONTROLLER_AUTO_CREATE,
                                         .auto_create = {.names = &name, .name_count = 1, .ret_error_codes = &code}}};
    harness_ask(&harness, &create);
    assert_int_equal(code, 0);
    int64_t second_epoch = harness_register(&harness, 1, 2);
    assert_true(second_epoch > epoch);
    harness_follow(&harness, second_epoch + 1);
    const struct image_topic *topic = image_find_topic(harness.image, name);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(topic->partitions[i]->leader_id, 1);
        assert_int_equal(topic->partitions[i]->leader_epoch, 2); /* nobody led in epoch 1 */
        assert_int_equal(topic->partitions[i]->partition_epoch, 2);
        assert_int_equal(topic->partitions[i]->isr_count, 1);
        assert_int_equal(topic->partitions[i]->elr_count, 0);
    }
    struct pending late = {.request = {.kind = CONTROLLER_HEARTBEAT,
                                       .heartbeat = {.broker_id = 1, .broker_epoch = epoch, .applied_offset = epoch}}};
    harness_ask(&harness, &late);
    assert_int_equal(late.request.err, ERR_STALE);
    struct pending ids = {
        .request = {.kind = CONTROLLER_PRODUCER_IDS, .producer_ids = {.broker_id = 1, .broker_epoch = epoch}}};
    harness_ask(&harness, &ids);
    assert_int_equal(ids.request.err, ERR_STALE);
    harness_unsubscribe(&harness);
    harness_stop(&harness);
    harness_done(&harness);
}

/* Many at once, over restarts: blocks never overlap. */
static void test_producer_ids_are_never_reused(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    int64_t next = 0;
    for (uint8_t run = 0; run < 3; run++) {
        harness_start(&harness);
        int64_t epoch = harness_register(&harness, 1, (uint8_t)(run + 1));
        struct pending asks[20];
        for (int i = 0; i < 20; i++) {
            asks[i] = (struct pending){
                .request = {.kind = CONTROLLER_PRODUCER_IDS, .producer_ids = {.broker_id = 1, .broker_epoch = epoch}}};
            harness_submit(&harness, &asks[i]);
        }
        for (int i = 0; i < 20; i++) {
            posix_loop_run_until(harness.loop, &asks[i].is_done);
            assert_int_equal(asks[i].request.err, ERR_OK);
            assert_int_equal(asks[i].request.producer_ids.first_producer_id, next);
            assert_int_equal(asks[i].request.producer_ids.count, 1000);
            next += 1000;
        }
        harness_stop(&harness);
    }
    harness_done(&harness);
}

static void test_snapshots_and_trims(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness.options.snapshot_entries = 10;
    harness.options.trailing_entries = 5;
    harness.options.segment_bytes = 512;
    harness_start(&harness);
    int64_t epoch = harness_register(&harness, 1, 1);
    for (int i = 0; i < 100; i++) {
        struct pending ask = {
            .request = {.kind = CONTROLLER_PRODUCER_IDS, .producer_ids = {.broker_id = 1, .broker_epoch = epoch}}};
        harness_ask(&harness, &ask);
        assert_int_equal(ask.request.err, ERR_OK);
    }
    struct pending status = {.request = {.kind = CONTROLLER_STATUS}};
    harness_ask(&harness, &status);
    assert_true(status.request.status.snapshot_index >= 80);
    assert_true(status.request.status.first_index > 60);
    uint8_t hash[IMAGE_HASH_BYTES];
    memcpy(hash, status.request.status.hash, sizeof(hash));
    harness_stop(&harness);
    harness_start(&harness);
    harness_subscribe(&harness);
    (void)harness_register(&harness, 1, 2);
    assert_int_equal(image_next_producer_id(harness.image), 100000);
    harness_unsubscribe(&harness);
    harness_stop(&harness);
    harness_done(&harness);
}

static void must_refuse(struct harness *harness, const char *words)
{
    struct option_problem problem = {0};
    struct controller *controller = NULL;
    assert_int_not_equal(controller_start(harness->env, &harness->options, &controller, &problem), ERR_OK);
    if (strstr(problem.text, words) == NULL) {
        print_message("%s\n", problem.text);
    }
    assert_non_null(strstr(problem.text, words));
}

static void test_refusals_at_start(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness.options.quorum_voters = "1@127.0.0.1:9093,2@127.0.0.1:9193";
    must_refuse(&harness, "no INTERNAL listener");
    harness.options.quorum_voters = "2@127.0.0.1:9093";
    must_refuse(&harness, "this is node 1");
    harness.options.quorum_voters = "1@";
    must_refuse(&harness, "id@host:port");
    harness.options.quorum_voters = NULL;
    harness.options.known_cluster_id = "AAAAAAAAAAAAAAAAAAAAAA";
    harness.options.known_cluster_dir = "/data/1";
    must_refuse(&harness, "holds no metadata");
    struct fs_stat stat;
    char path[128];
    snprintf(path, sizeof(path), "%s/" CONTROLLER_DIRECTORY_NAME, harness.dir);
    assert_int_equal(fs_stat(harness.env->fs, path, &stat), ERR_NOT_FOUND);

    harness.options.known_cluster_id = NULL;
    harness.options.quorum_voters = "1@127.0.0.1:9093";
    harness_start(&harness);
    must_refuse(&harness, "in use by another process");
    harness_stop(&harness);
    harness.options.known_cluster_id = "AAAAAAAAAAAAAAAAAAAAAA";
    must_refuse(&harness, "is of cluster");
    harness.options.known_cluster_id = NULL;
    harness.options.node_id = 2;
    harness.options.quorum_voters = NULL;
    must_refuse(&harness, "belongs to node 1");
    harness_done(&harness);
}

/* Requests that are on their way when the controller stops end all the same, each once. */
static void test_stop_ends_requests(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_start(&harness);
    int64_t epoch = harness_register(&harness, 1, 1);
    struct pending asks[50];
    for (int i = 0; i < 50; i++) {
        asks[i] = (struct pending){
            .request = {.kind = CONTROLLER_PRODUCER_IDS, .producer_ids = {.broker_id = 1, .broker_epoch = epoch}}};
        harness_submit(&harness, &asks[i]);
    }
    controller_stop(harness.controller);
    struct pending late = {.request = {.kind = CONTROLLER_STATUS}};
    harness_ask(&harness, &late);
    assert_int_equal(late.request.err, ERR_CLOSED);
    for (int i = 0; i < 50; i++) {
        posix_loop_run_until(harness.loop, &asks[i].is_done);
        assert_true(asks[i].request.err == ERR_OK || asks[i].request.err == ERR_CLOSED);
    }
    controller_free(harness.controller);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_and_activates),       cmocka_unit_test(test_restart_keeps_everything),
        cmocka_unit_test(test_registration_bumps_epochs), cmocka_unit_test(test_producer_ids_are_never_reused),
        cmocka_unit_test(test_snapshots_and_trims),       cmocka_unit_test(test_refusals_at_start),
        cmocka_unit_test(test_stop_ends_requests),
    };
    return cmocka_run_group_tests_name("controller", tests, NULL, NULL);
}
