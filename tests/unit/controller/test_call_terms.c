/* Requests and answers on CALL links belong to one term of one controller: what a deposed controller answers is not believed, what was sent to a
 * controller of before is not done by the one that follows, and what still comes by an older link of a broker is not done at all (ADR-0012). Whoever
 * knew no leader may be named as the next one. The
 * controllers of the client's tests are played by the test; the controller's tests have a real one, and play the broker. */
#include "common/rpc/rpc_dial.h"
#include "common/rpc/rpc_server.h"
#include "controller/call_codec.h"
#include "controller/controller_client.h"
#include "tests/unit/controller/controller_harness.h"

#define ACTORS 3

/* ---- controllers that are played ---- */

struct stage;

struct actor {
    struct stage *stage;
    struct rpc_server *server;
    struct rpc_link *link; /* NULL: none */
    uint64_t term;         /* says that it is active in it; 0: that it is not */
    struct actor *names;   /* as active, from the first link on; NULL: nobody */
    unsigned ping_count;
    unsigned request_count;
    uint64_t request_id; /* of the last one */
    uint64_t request_term;
};

struct stage {
    struct posix_env *posix;
    struct loop *loop;
    struct loop_timer deadline;
    struct actor actors[ACTORS];
    struct controller_voter voters[ACTORS];
    struct controller_client *client;
    struct controller_isr_change change;
    struct controller_request request;
    bool is_done;
    bool is_stopped;
    unsigned link_count; /* that came, at all */
    struct actor *wanted;
    unsigned wanted_count; /* requests at it */
    bool is_reached;
};

static void stage_look(struct stage *stage)
{
    stage->is_reached =
        stage->is_reached || (stage->wanted != NULL && stage->wanted->request_count >= stage->wanted_count);
}

static void actor_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct actor *actor = (struct actor *)ctx;
    if (frame->type == CALL_FRAME_PING) {
        actor->ping_count++;
        rpc_link_send(actor->link, CALL_FRAME_PONG, SPAN_NULL, NULL, 0);
        return;
    }
    struct arena arena;
    struct controller_request request = {0};
    arena_init(&arena, CALL_UNPACK_BYTES_MAX);
    assert_int_equal(frame->type, CALL_FRAME_REQUEST);
    assert_int_equal(call_codec_unpack_request(frame, &arena, &actor->request_id, &request), ERR_OK);
    assert_int_equal(request.kind, CONTROLLER_ALTER_ISR);
    actor->request_term = request.for_term;
    actor->request_count++;
    arena_done(&arena);
    stage_look(actor->stage);
}

static void actor_drop(struct actor *actor)
{
    rpc_link_free(actor->link);
    actor->link = NULL;
}

static void actor_on_closed(void *ctx, enum err err)
{
    (void)err;
    actor_drop((struct actor *)ctx);
}

static void actor_say(struct actor *actor)
{
    struct controller_view view = {
        .is_active = actor->term != 0, .term = actor->term, .cluster_id = "cluster", .leader = {.node_id = -1}};
    if (actor->names != NULL) {
        const struct controller_voter *voter = &actor->stage->voters[actor->names - actor->stage->actors];
        actor->names->term = 5;
        view.leader.node_id = voter->node_id;
        (void)snprintf(view.leader.address, sizeof(view.leader.address), "%s:%u", voter->host, (unsigned)voter->port);
    }
    struct bytebuf header;
    bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
    assert_int_equal(call_codec_pack_leader(&view, &header), ERR_OK);
    rpc_link_send(actor->link, CALL_FRAME_LEADER, bytebuf_span(&header), NULL, 0);
    bytebuf_done(&header);
}

/* Answers the last request in the name of a controller of this term. */
static void actor_answer(struct actor *actor, uint64_t term, int16_t code)
{
    struct controller_isr_change change = {.code = code};
    struct controller_request request = {.kind = CONTROLLER_ALTER_ISR,
                                         .alter_isr = {.changes = &change, .change_count = 1},
                                         .hint = {.node_id = -1},
                                         .term = term};
    struct bytebuf header;
    bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
    assert_int_equal(call_codec_pack_answer(&request, actor->request_id, &header), ERR_OK);
    rpc_link_send(actor->link, CALL_FRAME_ANSWER, bytebuf_span(&header), NULL, 0);
    bytebuf_done(&header);
}

static bool actor_check(void *ctx, const struct rpc_hello *peer, struct loop **ret_loop,
                        char ret_refusal[RPC_REFUSAL_BYTES])
{
    (void)peer;
    (void)ret_refusal;
    *ret_loop = ((struct actor *)ctx)->stage->loop;
    return true;
}

static void actor_on_link(void *ctx, struct rpc_link *link)
{
    struct actor *actor = (struct actor *)ctx;
    struct rpc_link_events events = {.ctx = actor, .on_frame = actor_on_frame, .on_closed = actor_on_closed};
    actor_drop(actor);
    assert_true(rpc_link_peer(link)->lane > actor->stage->link_count); /* each link has a higher number */
    actor->stage->link_count = rpc_link_peer(link)->lane;
    actor->link = link;
    rpc_link_set_events(link, &events);
    actor_say(actor);
}

static void stage_on_deadline(struct loop_timer *timer)
{
    (void)timer;
    CHECK(!"the test did not come to its end in time");
}

static void on_cluster_id(void *ctx, const char *cluster_id)
{
    (void)ctx;
    assert_string_equal(cluster_id, "cluster");
}

static void on_fatal(void *ctx, const char *sentence)
{
    (void)ctx;
    print_message("%s\n", sentence);
    CHECK(!"the client ended");
}

static void stage_init(struct stage *stage, uint32_t voter_count)
{
    *stage = (struct stage){0};
    stage->posix = posix_env_new(LOG_ERROR);
    struct env *env = &stage->posix->env;
    assert_int_equal(runtime_loop_new(env->runtime, "test", &stage->loop), ERR_OK);
    stage->deadline.fire = stage_on_deadline;
    loop_timer_set(stage->loop, &stage->deadline, loop_now_us(stage->loop) + HARNESS_DEADLINE_US);
    for (int i = 0; i < ACTORS; i++) {
        struct actor *actor = &stage->actors[i];
        struct rpc_acceptor acceptor = {.ctx = actor, .check = actor_check, .on_link = actor_on_link};
        struct net_address address;
        actor->stage = stage;
        assert_int_equal(rpc_server_new(env, stage->loop, "127.0.0.1", 0, &actor->server), ERR_OK);
        rpc_server_set_acceptor(actor->server, RPC_KIND_CALL, &acceptor);
        rpc_server_address(actor->server, &address);
        stage->voters[i] = (struct controller_voter){.node_id = i + 1, .host = "127.0.0.1", .port = address.port};
        rpc_server_set_hello(actor->server, &(struct rpc_hello){.kind = RPC_KIND_PROBE, .node_id = i + 1});
    }
    struct controller_client_config config = {.env = env,
                                              .home = stage->loop,
                                              .voters = stage->voters,
                                              .voter_count = voter_count,
                                              .hello = {.node_id = 7, .incarnation_id = {{7}}, .broker_epoch = -1},
                                              .ctx = stage,
                                              .on_cluster_id = on_cluster_id,
                                              .on_fatal = on_fatal};
    stage->client = controller_client_new(&config);
}

static void on_stopped(void *ctx)
{
    ((struct stage *)ctx)->is_stopped = true;
}

static void stage_done(struct stage *stage)
{
    controller_client_stop(stage->client, on_stopped, stage);
    posix_loop_run_until(stage->loop, &stage->is_stopped);
    controller_client_free(stage->client);
    for (int i = 0; i < ACTORS; i++) {
        actor_drop(&stage->actors[i]);
        rpc_server_close(stage->actors[i].server);
    }
    for (int i = 0; i < ACTORS; i++) {
        rpc_server_free(stage->actors[i].server);
    }
    runtime_loop_free(stage->posix->env.runtime, stage->loop);
    posix_env_free(stage->posix);
}

static void stage_on_done(struct controller_request *request)
{
    struct stage *stage = CONTAINER_OF(request, struct stage, request);
    assert_false(stage->is_done);
    stage->is_done = true;
    stage->is_reached = true;
}

static void stage_propose(struct stage *stage)
{
    stage->change = (struct controller_isr_change){.code = -7};
    stage->request = (struct controller_request){
        .kind = CONTROLLER_ALTER_ISR,
        .loop = stage->loop,
        .on_done = stage_on_done,
        .alter_isr = {.broker_id = 7, .broker_epoch = 70, .changes = &stage->change, .change_count = 1}};
    controller_client_submit(stage->client, &stage->request);
}

static void stage_await_request(struct stage *stage, struct actor *actor, unsigned count)
{
    stage->wanted = actor;
    stage->wanted_count = count;
    stage->is_reached = actor->request_count >= count;
    posix_loop_run_until(stage->loop, &stage->is_reached);
    assert_false(stage->is_done);
    stage->wanted = NULL;
}

/* Controller 2 took a proposal in term 6; its answer is lost, and the client comes back to controller 1, which leads since term 5 and was told of
 * nothing. It is asked no more: its refusal would be about a state of before. */
static void nothing_is_asked_of_a_deposed_controller(void **state)
{
    (void)state;
    struct stage stage;
    stage_init(&stage, 2);
    struct actor *older = &stage.actors[0];
    struct actor *newer = &stage.actors[1];
    older->term = 5;
    controller_client_start(stage.client);
    stage_propose(&stage);
    stage_await_request(&stage, older, 1);
    assert_int_equal(older->request_term, 5);
    newer->term = 6;
    actor_drop(older);
    stage_await_request(&stage, newer, 1);
    assert_int_equal(newer->request_term, 6);
    actor_drop(newer);                     /* the next voter is controller 1, which says that it is active in term 5 */
    stage_await_request(&stage, newer, 2); /* and the one behind it controller 2 again */
    assert_int_equal(older->request_count, 1);
    actor_answer(newer, 6, 0);
    posix_loop_run_until(stage.loop, &stage.is_done);
    assert_int_equal(stage.request.err, ERR_OK);
    assert_int_equal(stage.request.term, 6);
    assert_int_equal(stage.change.code, 0);
    stage_done(&stage);
}

/* The newer term may become known while the older controller is asked: its answer leaves the outcome open. */
static void an_answer_of_an_older_term_is_no_outcome(void **state)
{
    (void)state;
    struct stage stage;
    stage_init(&stage, 2);
    struct actor *actor = &stage.actors[0];
    actor->term = 6;
    controller_client_start(stage.client);
    stage_propose(&stage);
    stage_await_request(&stage, actor, 1);
    actor_answer(actor, 5, ERROR_INELIGIBLE_REPLICA);
    stage_await_request(&stage, actor, 2); /* once more, as after a link that was lost */
    assert_int_equal(actor->request_term, 6);
    actor_answer(actor, 6, 0);
    posix_loop_run_until(stage.loop, &stage.is_done);
    assert_int_equal(stage.request.err, ERR_OK);
    assert_int_equal(stage.change.code, 0);
    stage_done(&stage);
}

/* Controller 1 knows no leader and is left for controller 2, which says that 1 has just become it: it is believed at once, before the next
 * voter is asked. 1 was not there when it was left only if it said nothing. */
static void whoever_knew_no_leader_may_be_the_next(void **state)
{
    (void)state;
    struct stage stage;
    stage_init(&stage, 3);
    struct actor *elected = &stage.actors[0];
    struct actor *voter = &stage.actors[1];
    voter->names = elected;
    controller_client_start(stage.client);
    stage_propose(&stage);
    stage_await_request(&stage, elected, 1);
    assert_int_equal(elected->request_term, 5);
    assert_int_equal(stage.link_count, 3); /* the third voter would be the next one if nobody were named */
    actor_answer(elected, 5, 0);
    posix_loop_run_until(stage.loop, &stage.is_done);
    assert_int_equal(stage.request.err, ERR_OK);
    stage_done(&stage);
}

/* ---- the controller ---- */

static enum err ask_for_term(struct harness *harness, uint64_t term, uint64_t *ret_term)
{
    struct span name = span_text("topic");
    int16_t code = -7;
    struct pending create = {.request = {.kind = CONTROLLER_AUTO_CREATE,
                                         .for_term = term,
                                         .auto_create = {.names = &name, .name_count = 1, .ret_error_codes = &code}}};
    harness_ask(harness, &create);
    *ret_term = create.request.term;
    return create.request.err;
}

static void a_request_for_another_term_is_not_done(void **state)
{
    (void)state;
    struct harness harness;
    uint64_t term = 0;
    uint64_t own_term = 0;
    harness_init(&harness);
    harness_start(&harness);
    (void)harness_register(&harness, 1, 1);
    assert_int_equal(ask_for_term(&harness, 0, &own_term), ERR_OK);
    assert_true(own_term > 0);
    assert_int_equal(ask_for_term(&harness, own_term + 1, &term), ERR_NOT_LEADER);
    assert_int_equal(ask_for_term(&harness, own_term, &term), ERR_OK);
    assert_int_equal(term, own_term);
    harness_stop(&harness);
    harness_done(&harness);
}

struct visitor {
    struct harness *harness;
    struct rpc_dial *dial;
    uint32_t number;
    bool is_told; /* who is active */
    bool is_down;
};

static void visitor_on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    ret_hello->node_id = 7;
    ret_hello->incarnation_id = (struct uuid){{7}};
    ret_hello->lane = ((struct visitor *)ctx)->number;
}

static void visitor_on_up(void *ctx, struct rpc_link *link)
{
    (void)ctx;
    (void)link;
}

static void visitor_on_frame(void *ctx, const struct rpc_frame *frame)
{
    ((struct visitor *)ctx)->is_told = frame->type == CALL_FRAME_LEADER;
}

static void visitor_on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    (void)text;
    assert_true(was_up && (err == ERR_END || err == ERR_RESET));
    ((struct visitor *)ctx)->is_down = true;
}

static void visit(struct visitor *visitor, struct harness *harness, const struct net_address *address, uint32_t number)
{
    *visitor = (struct visitor){.harness = harness, .number = number};
    struct rpc_dial_config config = {
        .env = harness->env, .loop = harness->loop, .kind = RPC_KIND_CALL, .is_once = true};
    struct rpc_dial_events events = {.ctx = visitor,
                                     .on_hello = visitor_on_hello,
                                     .on_up = visitor_on_up,
                                     .on_frame = visitor_on_frame,
                                     .on_down = visitor_on_down};
    visitor->dial = rpc_dial_new(&config, address->host, address->port, &events);
}

static void of_a_brokers_links_only_the_newest_lives(void **state)
{
    (void)state;
    struct harness harness;
    struct rpc_server *server = NULL;
    struct net_address address;
    struct visitor first, second, late;
    harness_init(&harness);
    assert_int_equal(rpc_server_new(harness.env, harness.loop, "127.0.0.1", 0, &server), ERR_OK);
    rpc_server_address(server, &address);
    harness.options.server = server;
    harness_start(&harness);
    visit(&first, &harness, &address, 1);
    posix_loop_run_until(harness.loop, &first.is_told);
    visit(&second, &harness, &address, 3);
    posix_loop_run_until(harness.loop, &first.is_down);
    posix_loop_run_until(harness.loop, &second.is_told);
    visit(&late, &harness, &address, 2); /* was dialled before the second, and comes behind it */
    posix_loop_run_until(harness.loop, &late.is_down);
    assert_false(late.is_told);
    assert_false(second.is_down);
    rpc_dial_free(first.dial);
    rpc_dial_free(second.dial);
    rpc_dial_free(late.dial);
    rpc_server_close(server);
    harness_stop(&harness);
    rpc_server_free(server);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_asked_of_a_deposed_controller),
        cmocka_unit_test(an_answer_of_an_older_term_is_no_outcome),
        cmocka_unit_test(whoever_knew_no_leader_may_be_the_next),
        cmocka_unit_test(a_request_for_another_term_is_not_done),
        cmocka_unit_test(of_a_brokers_links_only_the_newest_lives),
    };
    return cmocka_run_group_tests_name("call_terms", tests, NULL, NULL);
}
