/* CALL links. */
#include "common/bytebuf.h"
#include "common/logger.h"
#include "common/mem.h"
#include "controller/broker_sessions.h"
#include "controller/call_codec.h"
#include "controller/controller_private.h"
#include "controller/controller_serve.h"

#include <inttypes.h>
#include <utlist.h>

struct serve_call_link {
    struct controller *controller;
    struct rpc_link *link; /* NULL: gone; freed with its last request */
    int32_t node_id;
    struct uuid incarnation_id;
    uint32_t number; /* of the link, as the broker counts those that it dialled */
    bool is_broker;
    bool is_paused;
    unsigned unheard_count; /* turns of the sweep since it said anything */
    uint32_t request_count;
    size_t request_bytes;
    struct serve_call_link *prev, *next;
};

/* One request of a link. */
struct served_request {
    struct controller_request request;
    struct serve_call_link *link;
    struct arena arena;
    uint64_t id;
    size_t bytes;
};

static void close_link(struct serve_call_link *link)
{
    struct controller *controller = link->controller;
    rpc_link_free(link->link);
    link->link = NULL;
    DL_DELETE(controller->serve.call_links, link);
    controller->serve.link_count--;
    if (link->is_broker && controller->sessions != NULL) {
        broker_sessions_link_down(controller->sessions, link->node_id, link->incarnation_id);
    }
    if (link->request_count > 0) {
        controller->serve.busy_count++;
    } else {
        mem_free(link);
    }
}

/* ---- answers ---- */

static void send_answer(const struct served_request *served)
{
    const struct controller_request *request = &served->request;
    struct bytebuf header;
    bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
    enum err err = call_codec_pack_answer(request, served->id, &header);
    CHECK(err == ERR_OK); /* bounded by the limits of its request */
    struct rpc_piece piece = {.bytes = SPAN_NULL};
    if (request->kind == CONTROLLER_ADMIN && request->err == ERR_OK) {
        struct shared_bytes *response = request->admin.response;
        piece = (struct rpc_piece){.bytes = span_make(response->data, response->bytes), .shared = response};
    }
    rpc_link_send(served->link->link, CALL_FRAME_ANSWER, bytebuf_span(&header), &piece, piece.bytes.bytes > 0 ? 1 : 0);
    bytebuf_done(&header);
}

/* Reads no more while it has much under way, or does not take its answers. */
static void look_at_pause(struct serve_call_link *link)
{
    size_t queued_bytes = rpc_link_queued_bytes(link->link);
    if (!link->is_paused && (link->request_count >= SERVE_CALLS_MAX || link->request_bytes >= SERVE_CALL_BYTES_MAX ||
                             queued_bytes >= SERVE_ANSWER_BYTES_MAX)) {
        link->is_paused = true;
        rpc_link_pause(link->link);
    } else if (link->is_paused && link->request_count < SERVE_CALLS_MAX / 2 &&
               link->request_bytes < SERVE_CALL_BYTES_MAX / 2 && queued_bytes <= SERVE_ANSWER_BYTES_MAX / 2) {
        link->is_paused = false;
        rpc_link_resume(link->link);
    }
}

static void free_served(struct served_request *served)
{
    arena_done(&served->arena);
    mem_free(served);
}

static void on_done(struct controller_request *request)
{
    struct served_request *served = CONTAINER_OF(request, struct served_request, request);
    struct serve_call_link *link = served->link;
    link->request_count--;
    link->request_bytes -= served->bytes;
    if (request->kind == CONTROLLER_ADMIN && request->err == ERR_OK &&
        request->admin.response->bytes > CALL_BODY_BYTES_MAX) {
        shared_bytes_unref(request->admin.response);
        request->admin.response = NULL;
        request->err = ERR_LIMIT;
    }
    if (link->link != NULL) {
        send_answer(served);
        look_at_pause(link);
    } else if (link->request_count == 0) {
        link->controller->serve.busy_count--;
        mem_free(link);
    }
    if (request->kind == CONTROLLER_ADMIN && request->admin.response != NULL) {
        shared_bytes_unref(request->admin.response);
    }
    free_served(served);
}

/* ---- requests ---- */

static void refuse(struct serve_call_link *link, enum err err, uint64_t id)
{
    struct served_request served = {.link = link, .id = id, .request = {.kind = CONTROLLER_STATUS, .err = err}};
    served.request.hint.node_id = -1;
    send_answer(&served);
    look_at_pause(link);
}

static void on_request(struct serve_call_link *link, const struct rpc_frame *frame)
{
    struct served_request *served = MEM_NEW(struct served_request);
    arena_init(&served->arena, CALL_UNPACK_BYTES_MAX);
    /* What is unpacked may point into the frame for ADMIN only, whose buffer is referenced by controller_submit. */
    enum err err = call_codec_unpack_request(frame, &served->arena, &served->id, &served->request);
    if (err == ERR_OK && atomic_load(&link->controller->is_closed)) {
        err = ERR_NOT_LEADER; /* it stops: certainly not done */
    }
    if (err == ERR_UNSUPPORTED || err == ERR_NOT_LEADER) {
        refuse(link, err, served->id);
        free_served(served);
        return;
    }
    if (err != ERR_OK) {
        log_warn(link->controller->env->logger, "controller", "request_malformed", "node_id=%" PRId32 " err=%s",
                 link->node_id, err_name(err));
        free_served(served);
        close_link(link);
        return;
    }
    served->link = link;
    served->bytes = frame->header.bytes + frame->body.bytes;
    served->request.loop = link->controller->loop;
    served->request.on_done = on_done;
    link->request_count++;
    link->request_bytes += served->bytes;
    controller_submit(link->controller, &served->request);
    look_at_pause(link);
}

static void on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct serve_call_link *link = (struct serve_call_link *)ctx;
    link->unheard_count = 0;
    if (frame->type == CALL_FRAME_REQUEST) {
        on_request(link, frame);
    } else if (frame->type == CALL_FRAME_PING) {
        rpc_link_send(link->link, CALL_FRAME_PONG, SPAN_NULL, NULL, 0);
        look_at_pause(link);
    }
}

static void on_drained(void *ctx)
{
    look_at_pause((struct serve_call_link *)ctx);
}

static void on_closed(void *ctx, enum err err)
{
    struct serve_call_link *link = (struct serve_call_link *)ctx;
    logger_write(link->controller->env->logger, link->controller->is_active ? LOG_INFO : LOG_DEBUG, "controller",
                 "call_link_lost", "node_id=%" PRId32 " err=%s", link->node_id, err_name(err));
    close_link(link);
}

/* ---- links ---- */

static void tell_leader(struct serve_call_link *link)
{
    struct bytebuf header;
    bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
    enum err err = call_codec_pack_leader(&link->controller->view, &header);
    CHECK(err == ERR_OK);
    rpc_link_send(link->link, CALL_FRAME_LEADER, bytebuf_span(&header), NULL, 0);
    bytebuf_done(&header);
}

/* A broker has one CALL link at a time. What still comes by an older one was sent before anything that comes by this one, and must not be done
 * behind it: a copy of a proposal that was answered meanwhile (ADR-0012). Returns false when `link` is itself an older one. */
static bool close_older(const struct serve_call_link *link)
{
    struct serve_call_link *other, *next;
    DL_FOREACH_SAFE (link->controller->serve.call_links, other, next) {
        if (other == link || !link->is_broker || !other->is_broker || other->node_id != link->node_id ||
            !uuid_equal(other->incarnation_id, link->incarnation_id)) {
            continue;
        }
        if (other->number > link->number) {
            return false;
        }
        close_link(other);
    }
    return true;
}

void controller_serve_call(void *ctx, struct rpc_link *rpc)
{
    struct controller *controller = (struct controller *)ctx;
    const struct rpc_hello *peer = rpc_link_peer(rpc);
    if (controller->is_stopping || controller->serve.link_count >= SERVE_LINKS_MAX ||
        !controller_is_own_cluster(controller, peer->cluster_id)) {
        rpc_link_free(rpc);
        return;
    }
    struct serve_call_link *link = MEM_NEW(struct serve_call_link);
    link->controller = controller;
    link->link = rpc;
    link->node_id = peer->node_id;
    link->incarnation_id = peer->incarnation_id;
    link->number = peer->lane;
    link->is_broker = peer->node_id >= 0 && !uuid_is_zero(peer->incarnation_id);
    DL_APPEND(controller->serve.call_links, link);
    controller->serve.link_count++;
    controller_serve_watch(&controller->serve);
    rpc_link_set_low_mark(rpc, SERVE_ANSWER_BYTES_MAX / 2);
    struct rpc_link_events events = {
        .ctx = link, .on_frame = on_frame, .on_drained = on_drained, .on_closed = on_closed};
    rpc_link_set_events(rpc, &events);
    if (link->is_broker && controller->sessions != NULL) {
        broker_sessions_link_up(controller->sessions, link->node_id, link->incarnation_id);
    }
    if (close_older(link)) {
        tell_leader(link);
    } else {
        close_link(link);
    }
}

void controller_serve_view(struct controller_serve *serve)
{
    struct serve_call_link *link;
    DL_FOREACH (serve->call_links, link) {
        tell_leader(link);
    }
}

void controller_serve_sweep_calls(struct controller_serve *serve)
{
    struct serve_call_link *link, *next;
    DL_FOREACH_SAFE (serve->call_links, link, next) {
        if (!link->is_paused && link->unheard_count++ >= SERVE_UNHEARD_MAX) {
            log_info(serve->controller->env->logger, "controller", "call_link_silent", "node_id=%" PRId32,
                     link->node_id);
            close_link(link);
        }
    }
}

void controller_serve_stop_calls(struct controller_serve *serve)
{
    while (serve->call_links != NULL) {
        close_link(serve->call_links);
    }
}
