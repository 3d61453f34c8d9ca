/* Three controllers and a broker's client on real threads and loopback: they form, serve, hand over, and go on when one ends. What needs faults and
 * time is in tests/sim/controller_sim.c; this one is for the threads (TSan). */
#include "controller/controller_private.h"
#include "tests/unit/controller/links_support.h"

/* ---- a client of another cluster ---- */

struct stranger {
    bool is_fatal;
    bool is_stopped;
};

static void stranger_fatal(void *ctx, const char *sentence)
{
    struct stranger *stranger = (struct stranger *)ctx;
    assert_false(stranger->is_fatal);
    assert_non_null(strstr(sentence, "but this node belongs to cluster AAAAAAAAAAAAAAAAAAAAAA"));
    stranger->is_fatal = true;
}

static void stranger_stopped(void *ctx)
{
    ((struct stranger *)ctx)->is_stopped = true;
}

/* Its log directories belong to another cluster: it ends, and has changed nothing. */
static void check_stranger(struct links_test *test)
{
    struct stranger stranger = {0};
    struct controller_client_config config = {
        .env = test->env,
        .home = test->loop,
        .voters = test->voters,
        .voter_count = test->voter_count,
        .hello = {.node_id = 8, .incarnation_id = {{8}}, .cluster_id = "AAAAAAAAAAAAAAAAAAAAAA", .broker_epoch = -1},
        .ctx = &stranger,
        .on_cluster_id = on_cluster_id,
        .on_fatal = stranger_fatal};
    struct controller_client *client = controller_client_new(&config);
    controller_client_start(client);
    posix_loop_run_until(test->loop, &stranger.is_fatal);
    controller_client_stop(client, stranger_stopped, &stranger);
    posix_loop_run_until(test->loop, &stranger.is_stopped);
    controller_client_free(client);
}

/* ---- a node whose controller is taken out of the quorum (D15) ---- */

struct outcast {
    struct links_test *test;
    struct controller_client *client;
    struct controller_subscription subscription;
    struct loop_task task;
    struct node *leader;
    uint64_t removed_id;
    atomic_bool is_removed; /* said on the leader's loop */
    bool is_seen;
    bool is_unsubscribed;
    bool is_stopped;
};

static void outcast_publish(void *ctx, const struct image *image, const struct image_delta *delta)
{
    struct outcast *outcast = (struct outcast *)ctx;
    (void)delta;
    outcast->is_seen = outcast->is_seen || image_find_topic(image, span_text("later")) != NULL;
}

static void outcast_cluster_id(void *ctx, const char *cluster_id)
{
    (void)ctx;
    (void)cluster_id;
}

static void outcast_unsubscribed(void *ctx)
{
    ((struct outcast *)ctx)->is_unsubscribed = true;
}

static void outcast_stopped(void *ctx)
{
    ((struct outcast *)ctx)->is_stopped = true;
}

static void on_removed(void *ctx, enum err err)
{
    assert_int_equal(err, ERR_OK);
    atomic_store(&((struct outcast *)ctx)->is_removed, true);
}

static void remove_on_loop(struct loop_task *task)
{
    struct outcast *outcast = CONTAINER_OF(task, struct outcast, task);
    quorum_remove_voter(outcast->leader->controller->quorum, outcast->removed_id, on_removed, outcast);
}

/* Its broker learns of what is committed all the same. */
static void check_outcast(struct links_test *test)
{
    struct outcast outcast = {.test = test, .leader = active(test)};
    struct node *removed = &test->nodes[(outcast.leader - test->nodes + 1) % NODES];
    outcast.removed_id = quorum_raft_id_of(controller_directory_id(removed->controller));
    outcast.task = (struct loop_task){.run = remove_on_loop};
    loop_post(outcast.leader->controller->loop, &outcast.task);
    while (!atomic_load(&outcast.is_removed)) {
        check_status_of(test, 0); /* passes through the loops */
    }
    struct controller_client_config config = {
        .env = test->env,
        .home = test->loop,
        .local = removed->controller,
        .voters = test->voters,
        .voter_count = test->voter_count,
        .hello = {.node_id = removed->options.node_id, .incarnation_id = {{9}}, .broker_epoch = -1},
        .ctx = &outcast,
        .on_cluster_id = outcast_cluster_id,
        .on_fatal = on_fatal};
    outcast.client = controller_client_new(&config);
    controller_client_start(outcast.client);
    outcast.subscription = (struct controller_subscription){
        .loop = test->loop, .on_publish = outcast_publish, .on_unsubscribed = outcast_unsubscribed, .ctx = &outcast};
    controller_client_subscribe(outcast.client, &outcast.subscription);
    create_topic_by(test, outcast.client, "later");
    posix_loop_run_until(test->loop, &outcast.is_seen);
    controller_client_unsubscribe(outcast.client, &outcast.subscription);
    posix_loop_run_until(test->loop, &outcast.is_unsubscribed);
    controller_client_stop(outcast.client, outcast_stopped, &outcast);
    posix_loop_run_until(test->loop, &outcast.is_stopped);
    controller_client_free(outcast.client);
}

/* ---- the test ---- */

static void test_three_controllers(void **state)
{
    (void)state;
    struct links_test test;
    init(&test);
    start_client(&test); /* before there is a cluster */
    for (int i = 0; i < NODES; i++) {
        start_node(&test.nodes[i]);
        assert_string_equal(controller_cluster_id(test.nodes[i].controller), ""); /* the start waits for nobody */
    }
    await(&test, all_agree);
    register_broker(&test);
    assert_string_equal(test.cluster_id, controller_cluster_id(test.nodes[0].controller));
    create_topic(&test);
    await(&test, sees_topic);
    check_status(&test);
    check_stranger(&test);

    /* The active one ends in good order: leadership is handed over, and requests go on. */
    struct node *ended = active(&test);
    stop_node(ended);
    create_topic(&test); /* exists: that's fine */
    await(&test, has_active);
    check_status(&test);
    bind_server(ended, test.voters[ended - test.nodes].port);
    start_node(ended);
    await(&test, all_agree);
    create_topic(&test);
    check_outcast(&test);

    controller_client_unsubscribe(test.client, &test.subscription);
    posix_loop_run_until(test.loop, &test.is_unsubscribed);
    controller_client_stop(test.client, on_client_stopped, &test);
    posix_loop_run_until(test.loop, &test.is_client_stopped);
    controller_client_free(test.client);
    for (int i = 0; i < NODES; i++) {
        stop_node(&test.nodes[i]);
    }
    done(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_three_controllers)};
    return cmocka_run_group_tests_name("controller_links", tests, NULL, NULL);
}
