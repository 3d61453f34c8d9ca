/* links_support: three controllers and a broker's client on real threads and loopback, in one process.
 *
 * Threads:   the test's thread runs one loop: home of all servers and of the client; each controller has its own.
 */
#ifndef TESTS_UNIT_CONTROLLER_LINKS_SUPPORT_H
#define TESTS_UNIT_CONTROLLER_LINKS_SUPPORT_H

#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "common/rpc/rpc_server.h"
#include "controller/controller_client.h"

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

static inline void on_deadline(struct loop_timer *timer)
{
    (void)timer;
    CHECK(!"the test did not come to its end in time");
}

static inline void look(struct links_test *test)
{
    test->is_reached = test->is_reached || (test->is_wanted != NULL && test->is_wanted(test));
}

static inline void await(struct links_test *test, bool (*is_wanted)(struct links_test *test))
{
    test->is_wanted = is_wanted;
    test->is_reached = is_wanted(test);
    posix_loop_run_until(test->loop, &test->is_reached);
    test->is_wanted = NULL;
}

/* ---- controllers ---- */

static inline void set_hello(struct node *node)
{
    struct rpc_hello hello = {.kind = RPC_KIND_PROBE,
                              .node_id = node->options.node_id,
                              .directory_id = controller_directory_id(node->controller),
                              .incarnation_id = node->options.incarnation_id,
                              .broker_epoch = -1};
    snprintf(hello.cluster_id, sizeof(hello.cluster_id), "%s", node->view.cluster_id);
    rpc_server_set_hello(node->server, &hello);
}

static inline void on_view(void *ctx, const struct controller_view *view)
{
    struct node *node = (struct node *)ctx;
    node->view = *view;
    set_hello(node);
    look(node->test);
}

static inline void on_unwatched(void *ctx)
{
    ((struct node *)ctx)->is_unwatched = true;
}

static inline void bind_server(struct node *node, uint16_t port)
{
    assert_int_equal(rpc_server_new(node->test->env, node->test->loop, "127.0.0.1", port, &node->server), ERR_OK);
}

static inline void start_node(struct node *node)
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

static inline void stop_node(struct node *node)
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

static inline bool has_active(struct links_test *test)
{
    for (int i = 0; i < NODES; i++) {
        if (test->nodes[i].view.is_active) {
            return true;
        }
    }
    return false;
}

static inline struct node *active(struct links_test *test)
{
    for (int i = 0; i < NODES; i++) {
        if (test->nodes[i].view.is_active) {
            return &test->nodes[i];
        }
    }
    return NULL;
}

static inline bool all_agree(struct links_test *test)
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

static inline void on_publish(void *ctx, const struct image *image, const struct image_delta *delta)
{
    struct links_test *test = (struct links_test *)ctx;
    assert_ptr_equal(delta->before, test->image);
    image_unref(test->image);
    test->image = image_ref(image);
    look(test);
}

static inline void on_unsubscribed(void *ctx)
{
    ((struct links_test *)ctx)->is_unsubscribed = true;
}

static inline void on_cluster_id(void *ctx, const char *cluster_id)
{
    struct links_test *test = (struct links_test *)ctx;
    assert_string_equal(test->cluster_id, ""); /* once */
    snprintf(test->cluster_id, sizeof(test->cluster_id), "%s", cluster_id);
    look(test);
}

static inline void on_fatal(void *ctx, const char *sentence)
{
    (void)ctx;
    print_message("%s\n", sentence);
    CHECK(!"the client ended");
}

static inline void on_client_stopped(void *ctx)
{
    ((struct links_test *)ctx)->is_client_stopped = true;
}

static inline void start_client(struct links_test *test)
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

static inline void on_done(struct controller_request *request)
{
    CONTAINER_OF(request, struct ask, request)->is_done = true;
}

static inline void submit(struct links_test *test, struct ask *ask)
{
    ask->is_done = false;
    ask->request.loop = test->loop;
    ask->request.on_done = on_done;
    controller_client_submit(test->client, &ask->request);
}

static inline void register_broker(struct links_test *test)
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

static inline bool sees_topic(struct links_test *test)
{
    return test->image != NULL && image_find_topic(test->image, span_text("wanted")) != NULL;
}

static inline void create_topic_by(struct links_test *test, struct controller_client *client, const char *text)
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

static inline void create_topic(struct links_test *test)
{
    create_topic_by(test, test->client, "wanted");
}

/* voter_count 0: whatever it is. */
static inline void check_status_of(struct links_test *test, uint32_t voter_count)
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

static inline void check_status(struct links_test *test)
{
    check_status_of(test, NODES);
}

/* ---- life ---- */

static inline void init(struct links_test *test)
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

static inline void done(struct links_test *test)
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

#endif
