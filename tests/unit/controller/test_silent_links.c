/* Links whose other end has gone without a word, as after a cut or the loss of a machine: TCP would keep them for minutes, or for ever when nothing is
 * sent. The controller's dialled ones are dialled anew, those that it accepted are closed: else they fill its limits, and then nobody comes in. And
 * those whose other end asks and takes no answers. */
#include "common/rpc/rpc_dial.h"
#include "common/rpc/rpc_server.h"
#include "controller/call_codec.h"
#include "tests/unit/controller/controller_harness.h"

struct scene;

/* Another voter: takes links. */
struct voter {
    struct scene *scene;
    struct rpc_server *server;
    struct rpc_link *link; /* the newest */
    unsigned link_count;
    bool is_mute; /* else it answers pings */
};

/* Somebody who dials the controller, and says nothing unless it pings. */
struct visitor {
    struct scene *scene;
    struct rpc_dial *dial;
    struct rpc_link *link;
    enum rpc_kind kind;
    struct loop_timer timer; /* of pings */
    bool is_down;
};

struct scene {
    struct harness harness;
    struct rpc_server *server;
    struct voter mute;
    struct voter alive;
    struct visitor voter;
    struct visitor metadata;
    struct visitor call;
    struct visitor pinging;
    bool is_over;
};

static void look(struct scene *scene)
{
    scene->is_over =
        scene->mute.link_count >= 2 && scene->voter.is_down && scene->metadata.is_down && scene->call.is_down;
}

/* ---- voters ---- */

static void voter_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct voter *voter = (struct voter *)ctx;
    if (frame->type == LINKS_FRAME_PING && !voter->is_mute) {
        rpc_link_send(voter->link, LINKS_FRAME_PONG, SPAN_NULL, NULL, 0);
    }
}

static void voter_on_closed(void *ctx, enum err err)
{
    struct voter *voter = (struct voter *)ctx;
    assert_true(err == ERR_END || err == ERR_RESET);
    rpc_link_free(voter->link);
    voter->link = NULL;
}

static bool voter_check(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop,
                        char ret_refusal[RPC_REFUSAL_BYTES])
{
    (void)peer;
    (void)ret_refusal;
    *ret_loop = ((struct voter *)ctx)->scene->harness.loop;
    return true;
}

static void voter_on_link(void *ctx, struct rpc_link *link)
{
    struct voter *voter = (struct voter *)ctx;
    struct rpc_link_events events = {.ctx = voter, .on_frame = voter_on_frame, .on_closed = voter_on_closed};
    rpc_link_free(voter->link);
    voter->link = link;
    voter->link_count++;
    rpc_link_set_events(link, &events);
    look(voter->scene);
}

static uint16_t voter_open(struct voter *voter, struct scene *scene, int32_t node_id, bool is_mute)
{
    struct rpc_acceptor acceptor = {.ctx = voter, .check = voter_check, .on_link = voter_on_link};
    struct net_address address;
    struct rpc_hello hello = {
        .kind = RPC_KIND_PROBE, .node_id = node_id, .directory_id = {{(uint8_t)node_id, 5}}, .broker_epoch = -1};
    *voter = (struct voter){.scene = scene, .is_mute = is_mute};
    assert_int_equal(rpc_server_new(scene->harness.env, scene->harness.loop, "127.0.0.1", 0, &voter->server), ERR_OK);
    rpc_server_set_acceptor(voter->server, RPC_KIND_QUORUM, &acceptor);
    rpc_server_set_hello(voter->server, &hello);
    rpc_server_address(voter->server, &address);
    return address.port;
}

static void voter_close(struct voter *voter)
{
    rpc_server_close(voter->server);
    rpc_link_free(voter->link);
    rpc_server_free(voter->server);
}

/* ---- visitors ---- */

static void visitor_on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    const struct visitor *visitor = (const struct visitor *)ctx;
    ret_hello->node_id = visitor == &visitor->scene->pinging ? 8 : 7;
    ret_hello->incarnation_id = (struct uuid){{7}};
    ret_hello->directory_id = (struct uuid){{7}};
}

static void visitor_on_up(void *ctx, struct rpc_link *link)
{
    ((struct visitor *)ctx)->link = link;
}

static void visitor_on_frame(void *ctx, const struct rpc_frame *frame)
{
    (void)ctx;
    (void)frame;
}

static void visitor_on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct visitor *visitor = (struct visitor *)ctx;
    (void)text;
    assert_true(was_up && (err == ERR_END || err == ERR_RESET));
    visitor->is_down = true;
    visitor->link = NULL;
    look(visitor->scene);
}

static void visitor_ping(struct loop_timer *timer)
{
    struct visitor *visitor = CONTAINER_OF(timer, struct visitor, timer);
    if (visitor->link != NULL) {
        rpc_link_send(visitor->link, CALL_FRAME_PING, SPAN_NULL, NULL, 0);
    }
    loop_timer_set(visitor->scene->harness.loop, timer, loop_now_us(visitor->scene->harness.loop) + 100000);
}

static void visit(struct visitor *visitor, struct scene *scene, enum rpc_kind kind)
{
    struct net_address address;
    rpc_server_address(scene->server, &address);
    *visitor = (struct visitor){.scene = scene, .kind = kind, .timer.fire = visitor_ping};
    struct rpc_dial_config config = {
        .env = scene->harness.env, .loop = scene->harness.loop, .kind = kind, .is_once = true};
    struct rpc_dial_events events = {.ctx = visitor,
                                     .on_hello = visitor_on_hello,
                                     .on_up = visitor_on_up,
                                     .on_frame = visitor_on_frame,
                                     .on_down = visitor_on_down};
    visitor->dial = rpc_dial_new(&config, address.host, address.port, &events);
}

static void silent_links_are_found(void **state)
{
    (void)state;
    struct scene scene = {0};
    struct harness *harness = &scene.harness;
    struct net_address address;
    char voters[256];
    harness_init(harness);
    assert_int_equal(rpc_server_new(harness->env, harness->loop, "127.0.0.1", 0, &scene.server), ERR_OK);
    rpc_server_address(scene.server, &address);
    uint16_t mute_port = voter_open(&scene.mute, &scene, 2, true);
    uint16_t alive_port = voter_open(&scene.alive, &scene, 3, false);
    snprintf(voters, sizeof(voters), "1@127.0.0.1:%u,2@127.0.0.1:%u,3@127.0.0.1:%u", (unsigned)address.port,
             (unsigned)mute_port, (unsigned)alive_port);
    harness->options.quorum_voters = voters;
    harness->options.server = scene.server;
    harness->options.incarnation_id = (struct uuid){{1}};
    harness_start(harness);
    visit(&scene.voter, &scene, RPC_KIND_QUORUM);
    visit(&scene.metadata, &scene, RPC_KIND_METADATA);
    visit(&scene.call, &scene, RPC_KIND_CALL);
    visit(&scene.pinging, &scene, RPC_KIND_CALL);
    visitor_ping(&scene.pinging.timer);
    posix_loop_run_until(harness->loop, &scene.is_over);
    assert_int_equal(scene.alive.link_count, 1); /* who answers keeps its link, and so does who asks */
    assert_false(scene.pinging.is_down);
    loop_timer_cancel(harness->loop, &scene.pinging.timer);
    rpc_dial_free(scene.voter.dial);
    rpc_dial_free(scene.metadata.dial);
    rpc_dial_free(scene.call.dial);
    rpc_dial_free(scene.pinging.dial);
    rpc_server_close(scene.server);
    harness_stop(harness);
    rpc_server_free(scene.server);
    voter_close(&scene.mute);
    voter_close(&scene.alive);
    harness_done(harness);
}

/* ---- who asks, and takes no answers ---- */

#define FLOOD_STALL_US 2000000u
#define FLOOD_REQUESTS                                                                                                 \
    1000000u /* with answers of some 100 MB: more than the kernel keeps, and than the controller may */
#define FLOOD_TURN 20000u

struct flood {
    struct harness harness;
    struct rpc_link *link;
    struct loop_timer timer;
    unsigned sent_count;
    bool is_over;
};

static void flood_on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    (void)ctx;
    ret_hello->node_id = 7;
    ret_hello->incarnation_id = (struct uuid){{7}};
}

static void flood_more(struct loop_timer *timer)
{
    struct flood *flood = CONTAINER_OF(timer, struct flood, timer);
    struct controller_request request = {.kind = CONTROLLER_STATUS};
    struct bytebuf header;
    struct bytebuf body;
    bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
    bytebuf_init(&body, CALL_BODY_BYTES_MAX);
    assert_int_equal(call_codec_pack_request(&request, 1, 1000000, &header, &body), ERR_OK);
    for (unsigned i = 0; i < FLOOD_TURN && flood->sent_count < FLOOD_REQUESTS; i++) {
        rpc_link_send(flood->link, CALL_FRAME_REQUEST, bytebuf_span(&header), NULL, 0);
        flood->sent_count++;
    }
    bytebuf_done(&header);
    bytebuf_done(&body);
    /* All of it was read: nothing bounds what the controller keeps. */
    assert_false(flood->sent_count == FLOOD_REQUESTS && rpc_link_queued_bytes(flood->link) == 0);
    loop_timer_set(flood->harness.loop, timer, loop_now_us(flood->harness.loop) + 10000);
}

static void flood_on_up(void *ctx, struct rpc_link *link)
{
    struct flood *flood = (struct flood *)ctx;
    flood->link = link;
    rpc_link_pause(link);
    loop_timer_set(flood->harness.loop, &flood->timer, loop_now_us(flood->harness.loop));
}

static void flood_on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct flood *flood = (struct flood *)ctx;
    (void)text;
    assert_true(was_up);
    assert_int_equal(err, ERR_TIMEOUT); /* it takes nothing more */
    loop_timer_cancel(flood->harness.loop, &flood->timer);
    flood->is_over = true;
}

static void who_takes_no_answers_is_not_read(void **state)
{
    (void)state;
    struct flood flood = {.timer.fire = flood_more};
    struct harness *harness = &flood.harness;
    struct rpc_server *server = NULL;
    struct net_address address;
    harness_init(harness);
    assert_int_equal(rpc_server_new(harness->env, harness->loop, "127.0.0.1", 0, &server), ERR_OK);
    rpc_server_address(server, &address);
    harness->options.server = server;
    harness_start(harness);
    struct rpc_dial_config config = {
        .env = harness->env, .loop = harness->loop, .kind = RPC_KIND_CALL, .is_once = true, .stall_us = FLOOD_STALL_US};
    struct rpc_dial_events events = {.ctx = &flood,
                                     .on_hello = flood_on_hello,
                                     .on_up = flood_on_up,
                                     .on_frame = visitor_on_frame,
                                     .on_down = flood_on_down};
    struct rpc_dial *dial = rpc_dial_new(&config, address.host, address.port, &events);
    posix_loop_run_until(harness->loop, &flood.is_over);
    rpc_dial_free(dial);
    rpc_server_close(server);
    harness_stop(harness);
    rpc_server_free(server);
    harness_done(harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silent_links_are_found),
        cmocka_unit_test(who_takes_no_answers_is_not_read),
    };
    return cmocka_run_group_tests_name("silent_links", tests, NULL, NULL);
}
