/* The CALL link: who is active, and requests over there.
 *
 *   no link --connect--> asked (the controller says at once who is active, and again when that changes)
 *   asked --it is the active one--> active: requests are sent
 *   asked --it names another one--> no link, that one next
 *   asked --it knows nobody for CLIENT_UNDECIDED_US, or is silent--> no link, the next voter
 *
 * A link that is lost leaves requests whose outcome is unknown: they are sent again where that does no harm. */
#include "common/bytebuf.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "controller/call_codec.h"
#include "controller/controller_client_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

static struct loop *home(const struct controller_client *client)
{
    return client->config.home;
}

static void retry_soon(struct controller_client *client)
{
    loop_timer_set(home(client), &client->call.retry_timer, loop_now_us(home(client)) + CLIENT_RETRY_US);
}

/* Whatever was sent and not answered: nobody knows whether it was done. */
static void lose_sent(struct controller_client *client)
{
    struct client_call *sent = client->sent;
    client->sent = NULL;
    struct client_call *call, *next;
    DL_FOREACH_SAFE (sent, call, next) {
        DL_DELETE(sent, call);
        call->inner.err = ERR_CLOSED;
        client_settle(call);
    }
}

static void drop_link(struct controller_client *client)
{
    struct client_call_link *link = &client->call;
    rpc_dial_free(link->dial);
    link->dial = NULL;
    link->is_up = false;
    link->is_active = false;
    loop_timer_cancel(home(client), &link->ping_timer);
    lose_sent(client);
}

/* ---- who to dial ---- */

static bool is_own(const struct controller_client *client, int32_t node_id)
{
    return client->config.local != NULL && node_id == client->config.hello.node_id;
}

/* It was not there a moment ago; who names it has not noticed yet. */
static bool is_missed(struct controller_client *client, int32_t node_id)
{
    const struct client_call_link *link = &client->call;
    return node_id == link->missed_node_id && loop_now_us(home(client)) - link->missed_us < CLIENT_MISSED_US;
}

/* Fills node, host and port of the next attempt; false: nobody needs to be dialled now. */
static bool choose(struct controller_client *client)
{
    struct client_call_link *link = &client->call;
    const struct controller_hint *hint = &link->hint;
    if (hint->node_id >= 0 && !is_own(client, hint->node_id) && !is_missed(client, hint->node_id) &&
        controller_address_parse(span_text(hint->address), link->host, &link->port) == ERR_OK) {
        link->node_id = hint->node_id;
        link->hint.node_id = -1; /* once: when it does not answer, the voters are asked again */
        return true;
    }
    if (client->voter_count == 0) {
        return false;
    }
    const struct controller_voter *voter = NULL;
    for (uint32_t i = 0; i < client->voter_count && (i == 0 || is_missed(client, voter->node_id)); i++) {
        voter = &client->voters[link->voter_index++ % client->voter_count];
    }
    link->node_id = voter->node_id;
    link->port = voter->port;
    (void)snprintf(link->host, sizeof(link->host), "%s", voter->host);
    return true;
}

static void try_next(struct controller_client *client)
{
    drop_link(client);
    retry_soon(client);
}

/* The one that is dialled is not there, or says nothing. */
static void give_up(struct controller_client *client)
{
    client->call.missed_node_id = client->call.node_id;
    client->call.missed_us = loop_now_us(home(client));
    try_next(client);
}

/* ---- what the link tells ---- */

static void on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    struct controller_client *client = (struct controller_client *)ctx;
    client_fill_hello(client, ret_hello);
    ret_hello->lane = ++client->call.attempt_count;
}

static void on_up(void *ctx, struct rpc_link *rpc)
{
    struct controller_client *client = (struct controller_client *)ctx;
    struct client_call_link *link = &client->call;
    char who[CONTROLLER_ADDRESS_BYTES + 32];
    const struct rpc_hello *peer = rpc_link_peer(rpc);
    (void)snprintf(who, sizeof(who), "the controller at %s:%u", link->host, (unsigned)link->port);
    if (!client_learn_cluster(client, peer->cluster_id, who)) {
        return;
    }
    link->is_up = true;
    link->node_id = peer->node_id;
    link->up_since_us = link->heard_us = link->pinged_us = loop_now_us(home(client));
    loop_timer_set(home(client), &link->ping_timer, link->up_since_us + CLIENT_PING_US);
}

static void on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct controller_client *client = (struct controller_client *)ctx;
    struct client_call_link *link = &client->call;
    if (was_up) {
        log_info(client->config.env->logger, "controller_client", "call_link_lost", "address=%s:%u err=%s", link->host,
                 (unsigned)link->port, err_name(err));
    } else if (err == ERR_INVALID || err == ERR_UNSUPPORTED) {
        log_warn(client->config.env->logger, "controller_client", "call_refused", "address=%s:%u err=%s reason=\"%s\"",
                 link->host, (unsigned)link->port, err_name(err), text);
    }
    give_up(client);
}

void client_call_follow_hint(struct controller_client *client, const struct controller_hint *hint)
{
    struct client_call_link *link = &client->call;
    if (hint->node_id < 0 || is_own(client, hint->node_id) || is_missed(client, hint->node_id) ||
        (link->dial != NULL && hint->node_id == link->node_id)) {
        return;
    }
    link->hint = *hint;
    try_next(client);
}

static void on_leader(struct controller_client *client, const struct rpc_frame *frame)
{
    struct client_call_link *link = &client->call;
    struct controller_view view;
    char who[CONTROLLER_ADDRESS_BYTES + 32];
    (void)snprintf(who, sizeof(who), "the controller at %s:%u", link->host, (unsigned)link->port);
    if (call_codec_unpack_leader(frame, &view) != ERR_OK) {
        try_next(client);
        return;
    }
    if (!client_learn_cluster(client, view.cluster_id, who)) {
        return;
    }
    bool was_active = link->is_active;
    client_see_term(client, view.term);
    link->is_active = view.is_active && view.term >= client->term;
    link->term = view.term;
    link->up_since_us = link->heard_us;
    if (view.is_active && !link->is_active) {
        log_info(client->config.env->logger, "controller_client", "controller_is_deposed",
                 "node_id=%" PRId32 " address=%s:%u term=%" PRIu64 " newest_term=%" PRIu64, link->node_id, link->host,
                 (unsigned)link->port, view.term, client->term);
        give_up(client);
    } else if (view.is_active) {
        if (!was_active) {
            log_info(client->config.env->logger, "controller_client", "active_controller",
                     "node_id=%" PRId32 " address=%s:%u", link->node_id, link->host, (unsigned)link->port);
        }
        client_pump(client);
    } else {
        client_call_follow_hint(client, &view.leader);
    }
}

static void on_answer(struct controller_client *client, const struct rpc_frame *frame)
{
    uint64_t id = 0;
    if (call_codec_answer_id(frame, &id) != ERR_OK) {
        try_next(client);
        return;
    }
    struct client_call *call;
    DL_FOREACH (client->sent, call) {
        if (call->id == id) {
            break;
        }
    }
    if (call == NULL) {
        return; /* it came too late */
    }
    if (call_codec_unpack_answer(frame, &call->inner) != ERR_OK) {
        log_warn(client->config.env->logger, "controller_client", "answer_malformed", "address=%s:%u",
                 client->call.host, (unsigned)client->call.port);
        try_next(client);
        return;
    }
    DL_DELETE(client->sent, call);
    client_judge_answer(call);
    /* Else it is active again, in another term than the one that this was sent for. */
    bool is_elsewhere = call->inner.err == ERR_NOT_LEADER && call->inner.for_term == client->call.term;
    struct controller_hint hint = call->inner.hint;
    client_settle(call);
    if (is_elsewhere && client->call.is_active && client->is_running) {
        client->call.is_active = false;
        client->call.up_since_us = client->call.heard_us;
        client_call_follow_hint(client, &hint);
    }
}

static void on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct controller_client *client = (struct controller_client *)ctx;
    client->call.heard_us = loop_now_us(home(client));
    if (frame->type == CALL_FRAME_LEADER) {
        on_leader(client, frame);
    } else if (frame->type == CALL_FRAME_ANSWER) {
        on_answer(client, frame);
    } /* a pong, or what a later version says */
}

/* ---- sending ---- */

bool client_call_send(struct client_call *call)
{
    struct controller_client *client = call->client;
    struct rpc_link *rpc = client->call.is_active ? rpc_dial_link(client->call.dial) : NULL;
    if (rpc == NULL) {
        return false;
    }
    uint64_t now_us = loop_now_us(home(client));
    struct bytebuf header;
    struct bytebuf body;
    bytebuf_init(&header, CALL_HEADER_BYTES_MAX);
    bytebuf_init(&body, CALL_BODY_BYTES_MAX);
    call->id = client->next_id++;
    call->inner.for_term = client->call.term;
    uint64_t left_us = call->deadline_us > now_us ? call->deadline_us - now_us : 1;
    enum err err = call_codec_pack_request(&call->inner, call->id, left_us, &header, &body);
    DL_DELETE(client->waiting, call);
    if (err == ERR_OK) {
        struct rpc_piece piece = {.bytes = bytebuf_span(&body)};
        if (call->inner.kind == CONTROLLER_ADMIN) {
            piece = (struct rpc_piece){.bytes = call->inner.admin.body, .shared = call->inner.admin.frame};
        }
        call->place = CLIENT_SENT;
        DL_APPEND(client->sent, call);
        rpc_link_send(rpc, CALL_FRAME_REQUEST, bytebuf_span(&header), &piece, piece.bytes.bytes > 0 ? 1 : 0);
    } else {
        call->inner.err = err;
        client_settle(call);
    }
    bytebuf_done(&header);
    bytebuf_done(&body);
    return true;
}

/* ---- timers ---- */

/* An attempt is due; or what was not done is tried again with whoever is active. */
static void connect_again(struct loop_timer *timer)
{
    struct controller_client *client = CONTAINER_OF(timer, struct controller_client, call.retry_timer);
    struct client_call_link *link = &client->call;
    client_pump(client);
    if (!client->is_running || link->dial != NULL || client_is_local_active(client) || !choose(client)) {
        return;
    }
    struct rpc_dial_config config = {.env = client->config.env,
                                     .loop = home(client),
                                     .kind = RPC_KIND_CALL,
                                     .is_once = true,
                                     .connect_timeout_us = CLIENT_ATTEMPT_US};
    struct rpc_dial_events events = {
        .ctx = client, .on_hello = on_hello, .on_up = on_up, .on_frame = on_frame, .on_down = on_down};
    link->dial = rpc_dial_new(&config, link->host, link->port, &events);
    loop_timer_set(home(client), &link->ping_timer, loop_now_us(home(client)) + CLIENT_ATTEMPT_US);
}

static void ping(struct loop_timer *timer)
{
    struct controller_client *client = CONTAINER_OF(timer, struct controller_client, call.ping_timer);
    struct client_call_link *link = &client->call;
    uint64_t now_us = loop_now_us(home(client));
    if (!link->is_up) {
        give_up(client);
        return;
    }
    bool is_silent = link->pinged_us > link->heard_us && now_us - link->heard_us >= CLIENT_SILENCE_US;
    bool is_undecided = !link->is_active && now_us - link->up_since_us >= CLIENT_UNDECIDED_US;
    if (is_silent || (is_undecided && !client_is_local_active(client))) {
        logger_write(client->config.env->logger, is_silent ? LOG_INFO : LOG_DEBUG, "controller_client",
                     "call_link_given_up", "address=%s:%u why=%s", link->host, (unsigned)link->port,
                     is_silent ? "silent" : "knows_no_leader");
        if (is_silent) {
            give_up(client);
        } else {
            try_next(client); /* it is there, and may be the next leader: who names it is believed at once */
        }
        return;
    }
    if (now_us - link->heard_us >= CLIENT_PING_US) {
        link->pinged_us = now_us;
        rpc_link_send(rpc_dial_link(link->dial), CALL_FRAME_PING, SPAN_NULL, NULL, 0);
    }
    loop_timer_set(home(client), timer, now_us + CLIENT_PING_US);
}

void client_call_term_changed(struct controller_client *client)
{
    struct client_call_link *link = &client->call;
    if (link->is_active && link->term < client->term) {
        link->is_active = false; /* it will find out, and say who follows; or another one is asked */
        link->up_since_us = loop_now_us(home(client));
    }
    if (client->is_running && link->dial == NULL && !client_is_local_active(client)) {
        retry_soon(client);
    }
}

void client_call_local_changed(struct controller_client *client)
{
    if (client_is_local_active(client)) {
        return;
    }
    client->call.hint = client->local_view.leader;
    if (client->call.dial == NULL) {
        retry_soon(client);
    } else {
        client_call_follow_hint(client, &client->local_view.leader);
    }
}

void client_call_start(struct controller_client *client)
{
    struct client_call_link *link = &client->call;
    link->hint.node_id = -1;
    link->node_id = -1;
    link->missed_node_id = -1;
    link->retry_timer.fire = connect_again;
    link->ping_timer.fire = ping;
    loop_timer_set(home(client), &link->retry_timer, loop_now_us(home(client)));
}

void client_call_stop(struct controller_client *client)
{
    drop_link(client);
    loop_timer_cancel(home(client), &client->call.retry_timer);
}
