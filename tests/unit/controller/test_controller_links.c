/* Three controllers and a broker's client on real threads and loopback: they form, serve, hand over, and go on when one ends. What needs faults and
 * time is in tests/sim/controller_sim.c; this one is for the threads (TSan). */
#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "common/rpc/rpc_server.h"
#include "controller/controller_client.h"
#include "controller/controller_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODES 3
#define DEADLINE_US 60000000u

struct links_test;

struct node {
    struct links_test *test;
    char dir[64];
    struct rpc_server *server;
    struct controller_options options;
    struct controller *controller;
    struct controller_watch watch;
    struct controller_view view;
    bool is_unwatched;
};

struct links_test {
    struct posix_env *posix;
    struct env *env;
    struct loop *loop;
    struct loop_timer deadline;
    struct node nodes[NODES];
    char voters_text[256];
    struct controller_voter voters[CONTROLLER_VOTERS_MAX];
    uint32_t voter_count;
    struct controller_client *client;
    struct controller_subscription subscription;
    const struct image *image;
    char cluster_id[RPC_CLUSTER_ID_BYTES];
    bool is_unsubscribed;
    bool is_client_stopped;
    bool (*is_wanted)(struct links_test *test);
    bool is_reached;
};

static void on_deadline(struct loop_timer *timer)
{
    (void)timer;
    CHECK(!"the test did not come to its end in time");
}

static void look(struct links_test *test)
{
    test->is_reached = test->is_reached || (test->is_wanted != NULL && test->is_wanted(test));
}

static void await(struct links_test *test, bool (*is_wanted)(struct links_test *test))
{
    test->is_wanted = is_wanted;
    test->is_reached = is_wanted(test);
    posix_loop_run_until(test->loop, &test->is_reached);
    test->is_wanted = NULL;
}

/* ---- controllers ---- */

static void set_hello(struct node *node)
{
    struct rpc_hello hello = {.kind = RPC_KIND_PROBE,
                              .node_id = node->options.node_id,
                              .directory_id = controller_directory_id(node->controller),
                              .incarnation_id = node->options.incarnation_id,
                              .broker_epoch = -1};
    snprintf(hello.cluster_id, sizeof(hello.cluster_id), "%s", node->view.cluster_id);
    rpc_server_set_hello(node->server, &hello);
}

static void on_view(void *ctx, const struct controller_view *view)
{
    struct node *node = (struct node *)ctx;
    node->view = *view;
    set_hello(node);
    look(node->test);
}

static void on_unwatched(void *ctx)
{
    ((struct node *)ctx)->is_unwatched = true;
}

static void bind_server(struct node *node, uint16_t port)
{
    assert_int_equal(rpc_server_new(node->test->env, node->test->loop, "127.0.0.1", port, &node->server), ERR_OK);
}

static void start_node(struct node *node)
{
    struct links_test *test = node->test;
    struct option_problem problem = {.text = ""};
    controller_options_init(&node->options);
    node->options.node_id = (int32_t)(node - test->nodes) + 1;
    node->options.metadata_dir = node->dir;
    node->options.quorum_voters = test->voters_text;
    node->options.server = node->server;
    node->options.incarnation_id = uuid_random(test->env->rng);
    node->view = (struct controller_view){.leader = {.node_id = -1}};
    enum err err = controller_start(test->env, &node->options, &node->controller, &problem);
    assert_string_equal(problem.text, "");
    assert_int_equal(err, ERR_OK);
    set_hello(node);
    node->watch =
        (struct controller_watch){.loop = test->loop, .on_view = on_view, .on_unwatched = on_unwatched, .ctx = node};
    controller_watch(node->controller, &node->watch);
}

static void stop_node(struct node *node)
{
    node->is_unwatched = false;
    controller_unwatch(&node->watch);
    posix_loop_run_until(node->test->loop, &node->is_unwatched);
    controller_stop(node->controller);
    rpc_server_close(node->server);
    controller_free(node->controller);
    rpc_server_free(node->server);
    node->controller = NULL;
    node->view.is_active = false;
}

static bool has_active(struct links_test *test)
{
    for (int i = 0; i < NODES; i++) {
        if (test->nodes[i].view.is_active) {
            return true;
        }
    }
    return false;
}

static struct node *active(struct links_test *test)
{
    for (int i = 0; i < NODES; i++) {
        if (test->nodes[i].view.is_active) {
            return &test->nodes[i];
        }
    }
    return NULL;
}

static bool all_agree(struct links_test *test)
{
    const struct node *leader = active(test);
    for (int i = 0; i < NODES && leader != NULL; i++) {
        const struct node *node = &test->nodes[i];
        if (node->controller != NULL && node->view.leader.node_id != leader->options.node_id) {
            return false;
        }
    }
    return leader != NULL;
}

/* ---- the client ---- */

static void on_publish(void *ctx, const struct image *image, const struct image_delta *delta)
{
    struct links_test *test = (struct links_test *)ctx;
    assert_ptr_equal(delta->before, test->image);
    image_unref(test->image);
    test->image = image_ref(image);
    look(test);
}

static void on_unsubscribed(void *ctx)
{
    ((struct links_test *)ctx)->is_unsubscribed = true;
}

static void on_cluster_id(void *ctx, const char *cluster_id)
{
    struct links_test *test = (struct links_test *)ctx;
    assert_string_equal(test->cluster_id, ""); /* once */
    snprintf(test->cluster_id, sizeof(test->cluster_id), "%s", cluster_id);
    look(test);
}

static void on_fatal(void *ctx, const char *sentence)
{
    (void)ctx;
    print_message("%s\n", sentence);
    CHECK(!"the client ended");
}

static void on_client_stopped(void *ctx)
{
    ((struct links_test *)ctx)->is_client_stopped = true;
}

static void start_client(struct links_test *test)
{
    struct controller_client_config config = {
        .env = test->env,
        .home = test->loop,
        .voters = test->voters,
        .voter_count = test->voter_count,
        .hello = {.node_id = 7, .incarnation_id = {{7}}, .directory_id = {{7, 7}}, .broker_epoch = -1},
        .ctx = test,
        .on_cluster_id = on_cluster_id,
        .on_fatal = on_fatal};
    test->client = controller_client_new(&config);
    controller_client_start(test->client);
    test->subscription = (struct controller_subscription){
        .loop = test->loop, .on_publish = on_publish, .on_unsubscribed = on_unsubscribed, .ctx = test};
    controller_client_subscribe(test->client, &test->subscription);
}

struct ask {
    struct controller_request request;
    bool is_done;
};

static void on_done(struct controller_request *request)
{
    CONTAINER_OF(request, struct ask, request)->is_done = true;
}

static void submit(struct links_test *test, struct ask *ask)
{
    ask->is_done = false;
    ask->request.loop = test->loop;
    ask->request.on_done = on_done;
    controller_client_submit(test->client, &ask->request);
}

static void register_broker(struct links_test *test)
{
    static const struct uuid directory = {{3, 3}};
    struct image_endpoint endpoint = {
        .listener_name = span_text("PLAINTEXT"), .host = span_text("127.0.0.1"), .port = 9092};
    struct ask ask = {.request = {.kind = CONTROLLER_REGISTER,
                                  .registration = {.broker_id = 7,
                                                   .incarnation_id = {{7}},
                                                   .previous_epoch = -1,
                                                   .boot_id = span_text("boot"),
                                                   .endpoints = &endpoint,
                                                   .endpoint_count = 1,
                                                   .directories = &directory,
                                                   .directory_count = 1}}};
    submit(test, &ask);
    posix_loop_run_until(test->loop, &ask.is_done);
    assert_string_equal(ask.request.message, "");
    assert_int_equal(ask.request.err, ERR_OK);
    int64_t epoch = ask.request.registration.broker_epoch;
    assert_true(epoch > 0);
    controller_client_set_broker_epoch(test->client, epoch);
    struct ask heartbeat = {.request = {.kind = CONTROLLER_HEARTBEAT,
                                        .heartbeat = {.broker_id = 7, .broker_epoch = epoch, .applied_offset = epoch}}};
    submit(test, &heartbeat);
    posix_loop_run_until(test->loop, &heartbeat.is_done);
    assert_int_equal(heartbeat.request.err, ERR_OK);
    assert_false(heartbeat.request.heartbeat.is_fenced);
}

static bool sees_topic(struct links_test *test)
{
    return test->image != NULL && image_find_topic(test->image, span_text("wanted")) != NULL;
}

static void create_topic_by(struct links_test *test, struct controller_client *client, const char *text)
{
    struct span name = span_text(text);
    int16_t code = -7;
    struct ask ask = {.request = {.kind = CONTROLLER_AUTO_CREATE,
                                  .loop = test->loop,
                                  .on_done = on_done,
                                  .auto_create = {.names = &name, .name_count = 1, .ret_error_codes = &code}}};
    controller_client_submit(client, &ask.request);
    posix_loop_run_until(test->loop, &ask.is_done);
    assert_int_equal(ask.request.err, ERR_OK);
    assert_int_equal(code, 0);
}

static void create_topic(struct links_test *test)
{
    create_topic_by(test, test->client, "wanted");
}

/* voter_count 0: whatever it is. */
static void check_status_of(struct links_test *test, uint32_t voter_count)
{
    struct controller_member members[CONTROLLER_VOTERS_MAX];
    struct ask ask = {.request = {.kind = CONTROLLER_STATUS, .status = {.ret_members = members}}};
    submit(test, &ask);
    posix_loop_run_until(test->loop, &ask.is_done);
    assert_int_equal(ask.request.err, ERR_OK);
    assert_true(ask.request.status.is_active);
    for (uint32_t i = 0; i < voter_count; i++) {
        assert_int_equal(ask.request.status.member_count, voter_count);
        assert_int_equal(ask.request.status.voter_count, voter_count);
        assert_in_range(members[i].node_id, 1, NODES);
        assert_true(members[i].is_voter && members[i].address[0] != '\0' && members[i].log_end > 0);
    }
}

static void check_status(struct links_test *test)
{
    check_status_of(test, NODES);
}

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

static void init(struct links_test *test)
{
    *test = (struct links_test){0};
    test->posix = posix_env_new(LOG_ERROR);
    test->env = &test->posix->env;
    assert_int_equal(runtime_loop_new(test->env->runtime, "test", &test->loop), ERR_OK);
    test->deadline.fire = on_deadline;
    loop_timer_set(test->loop, &test->deadline, loop_now_us(test->loop) + DEADLINE_US);
    for (int i = 0; i < NODES; i++) {
        struct node *node = &test->nodes[i];
        struct net_address address;
        node->test = test;
        snprintf(node->dir, sizeof(node->dir), "/tmp/moldau-links-XXXXXX");
        assert_non_null(mkdtemp(node->dir));
        bind_server(node, 0);
        rpc_server_address(node->server, &address);
        size_t used = strlen(test->voters_text);
        snprintf(test->voters_text + used, sizeof(test->voters_text) - used, "%s%d@127.0.0.1:%u", i == 0 ? "" : ",",
                 i + 1, (unsigned)address.port);
    }
    struct option_problem problem;
    assert_int_equal(controller_voters_parse(span_text(test->voters_text), test->voters, &test->voter_count, &problem),
                     ERR_OK);
}

static void done(struct links_test *test)
{
    char command[128];
    image_unref(test->image);
    runtime_loop_free(test->env->runtime, test->loop);
    posix_env_free(test->posix);
    for (int i = 0; i < NODES; i++) {
        snprintf(command, sizeof(command), "rm -rf %s", test->nodes[i].dir);
        assert_int_equal(system(command), 0);
    }
}

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
