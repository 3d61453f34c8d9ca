#include "controller/controller_links.h"

#include "common/bytebuf.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/rpc/rpc_dial.h"
#include "controller.pb-c.h"
#include "controller/controller_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

struct link_peer {
    struct controller_links *links;
    struct link_address address;
    struct rpc_dial *dial;
    bool is_up;
    bool is_other;          /* somebody else than address.raft_id is there */
    unsigned unheard_count; /* pings since it said anything */
    struct uuid directory_id;
    struct log_limit log_limit;
    struct link_peer *prev, *next;
};

struct link_accepted {
    struct controller_links *links;
    struct rpc_link *link;
    uint64_t raft_id;
    struct uuid directory_id;
    int32_t node_id;
    unsigned unheard_count; /* turns of the ping timer */
    struct link_accepted *prev, *next;
};

static struct logger *logger(const struct controller_links *links)
{
    return links->controller->env->logger;
}

/* It knows its cluster, and that is this one. */
static bool is_member(const struct link_accepted *accepted)
{
    const char *cluster_id = rpc_link_peer(accepted->link)->cluster_id;
    return cluster_id[0] != '\0' && strcmp(cluster_id, controller_cluster_id(accepted->links->controller)) == 0;
}

/* ---- what was applied (R8) ---- */

static struct link_hash *hash_of(struct controller_links *links, uint64_t raft_id)
{
    struct link_hash *oldest = &links->hashes[0];
    for (size_t i = 0; i < ARRAY_COUNT(links->hashes); i++) {
        struct link_hash *hash = &links->hashes[i];
        if (hash->raft_id == raft_id) {
            return hash;
        }
        oldest = hash->offset < oldest->offset ? hash : oldest;
    }
    *oldest = (struct link_hash){.raft_id = raft_id};
    return oldest;
}

/* Ends this process when it is the odd one out. At a tie others may still speak up; then whoever differs from the leader ends. */
static void judge_hashes(struct controller_links *links)
{
    struct controller *controller = links->controller;
    unsigned agreeing = 1; /* this one */
    unsigned differing = 0;
    bool is_leader_different = false;
    for (size_t i = 0; i < ARRAY_COUNT(links->hashes); i++) {
        const struct link_hash *hash = &links->hashes[i];
        agreeing += hash->is_compared && !hash->is_different;
        differing += hash->is_compared && hash->is_different;
        is_leader_different = is_leader_different || (hash->is_compared && hash->is_different && hash->raft_id != 0 &&
                                                      hash->raft_id == controller->leader_raft_id);
    }
    uint64_t now_us = loop_now_us(controller->loop);
    links->disputed_since_us = differing == 0 ? 0 : links->disputed_since_us == 0 ? now_us : links->disputed_since_us;
    bool is_tie_over =
        differing == agreeing && is_leader_different && now_us - links->disputed_since_us >= LINKS_DISPUTE_US;
    if (controller->is_failed || (differing <= agreeing && !is_tie_over)) {
        return;
    }
    char sentence[OPTION_PROBLEM_BYTES];
    (void)snprintf(
        sentence, sizeof(sentence),
        "the metadata of this controller differs from that of %u other(s): this node has not applied what was "
        "committed; keep %s for an analysis, and admit the node anew with an empty directory",
        differing, controller->options.metadata_dir);
    controller_fail(controller, sentence);
}

/* Compares, if what it names is known here. */
static void compare_hash(struct controller_links *links, struct link_hash *hash)
{
    const uint8_t *own = hash->offset == 0 ? NULL : controller_ring_hash(&links->controller->serve.ring, hash->offset);
    if (own == NULL || hash->is_compared) {
        return;
    }
    hash->is_compared = true;
    hash->is_different = memcmp(own, hash->hash, IMAGE_HASH_BYTES) != 0;
    if (hash->is_different) {
        log_error(logger(links), "controller", "metadata_differs", "offset=%" PRId64 " from_raft_id=%" PRIu64,
                  hash->offset, hash->raft_id);
        judge_hashes(links);
    }
}

static void on_hash(struct controller_links *links, uint64_t raft_id, struct span header)
{
    Node__ControllerHash *message =
        header.bytes > 256 ? NULL : node__controller_hash__unpack(NULL, header.bytes, header.data);
    if (message != NULL && message->offset > 0 && message->hash.len == IMAGE_HASH_BYTES) {
        struct link_hash *hash = hash_of(links, raft_id);
        hash->offset = message->offset;
        memcpy(hash->hash, message->hash.data, IMAGE_HASH_BYTES);
        hash->is_compared = false;
        compare_hash(links, hash);
    }
    node__controller_hash__free_unpacked(message, NULL);
}

static void tell_hash(struct loop_timer *timer)
{
    struct controller_links *links = CONTAINER_OF(timer, struct controller_links, hash_timer);
    struct controller *controller = links->controller;
    loop_timer_set(controller->loop, timer, loop_now_us(controller->loop) + LINKS_HASH_US);
    for (size_t i = 0; i < ARRAY_COUNT(links->hashes); i++) {
        compare_hash(links, &links->hashes[i]);
    }
    if (links->disputed_since_us != 0) {
        judge_hashes(links);
    }
    if (controller->is_failed || image_offset(controller->image) <= links->told_offset) {
        return;
    }
    links->told_offset = image_offset(controller->image);
    Node__ControllerHash message = NODE__CONTROLLER_HASH__INIT;
    uint8_t bytes[256];
    message.offset = links->told_offset;
    message.hash.len = IMAGE_HASH_BYTES;
    message.hash.data = (uint8_t *)(uintptr_t)image_hash(controller->image);
    CHECK(node__controller_hash__get_packed_size(&message) <= sizeof(bytes));
    struct span header = span_make(bytes, node__controller_hash__pack(&message, bytes));
    struct link_peer *peer;
    DL_FOREACH (links->peers, peer) {
        if (peer->is_up && !peer->is_other) {
            rpc_link_send(rpc_dial_link(peer->dial), LINKS_FRAME_HASH, header, NULL, 0);
        }
    }
}

/* ---- dialled links ---- */

static void on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    enum rpc_kind kind = ret_hello->kind;
    controller_fill_hello(((struct link_peer *)ctx)->links->controller, ret_hello);
    ret_hello->kind = kind;
}

static void on_up(void *ctx, struct rpc_link *rpc)
{
    struct link_peer *peer = (struct link_peer *)ctx;
    struct controller *controller = peer->links->controller;
    const struct rpc_hello *hello = rpc_link_peer(rpc);
    char id[UUID_TEXT_BYTES];
    peer->is_up = true;
    peer->unheard_count = 0;
    peer->directory_id = hello->directory_id;
    uint64_t raft_id = quorum_raft_id_of(hello->directory_id);
    peer->is_other = peer->address.raft_id != 0 && raft_id != peer->address.raft_id;
    uuid_format(hello->directory_id, id);
    if (!controller_is_own_cluster(controller, hello->cluster_id)) {
        logger_limited(controller->env->logger, &peer->log_limit, LOG_WARN, "controller", "voter_of_another_cluster",
                       "address=%s:%u its_cluster=%s own_cluster=%s remedy=\"check controller.quorum.voters\"",
                       peer->address.host, (unsigned)peer->address.port, hello->cluster_id,
                       controller_cluster_id(controller));
        peer->is_other = true;
    } else if (peer->is_other) {
        logger_limited(controller->env->logger, &peer->log_limit, LOG_WARN, "controller", "voter_has_another_directory",
                       "node_id=%" PRId32 " address=%s:%u directory_id=%s", peer->address.node_id, peer->address.host,
                       (unsigned)peer->address.port, id);
    } else {
        log_info(controller->env->logger, "controller", "voter_linked",
                 "node_id=%" PRId32 " address=%s:%u directory_id=%s", hello->node_id, peer->address.host,
                 (unsigned)peer->address.port, id);
        controller_form_look(controller);
    }
}

static void on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct link_peer *peer = (struct link_peer *)ctx;
    struct controller_links *links = peer->links;
    uint64_t raft_id = quorum_raft_id_of(peer->directory_id);
    peer->unheard_count = 0;
    if (frame->type == LINKS_FRAME_STATE) {
        controller_form_state(links->controller, &peer->address, peer->directory_id, frame->header);
    } else if (frame->type == LINKS_FRAME_RAFT && !peer->is_other) {
        (void)!controller_receive(links->controller, raft_id, frame->header, frame->body);
    }
}

static void on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct link_peer *peer = (struct link_peer *)ctx;
    peer->is_up = false;
    if (was_up || err == ERR_INVALID || err == ERR_UNSUPPORTED) {
        logger_limited(logger(peer->links), &peer->log_limit, LOG_INFO, "controller", "voter_link_lost",
                       "node_id=%" PRId32 " address=%s:%u err=%s reason=\"%s\"", peer->address.node_id,
                       peer->address.host, (unsigned)peer->address.port, err_name(err), text);
    }
}

static struct link_peer *add_peer(struct controller_links *links, const struct link_address *address)
{
    struct link_peer *peer = MEM_NEW(struct link_peer);
    peer->links = links;
    peer->address = *address;
    DL_APPEND(links->peers, peer);
    links->peer_count++;
    struct rpc_dial_config config = {.env = links->controller->env,
                                     .loop = links->controller->loop,
                                     .kind = RPC_KIND_QUORUM,
                                     .connect_timeout_us = LINKS_CONNECT_US};
    struct rpc_dial_events events = {
        .ctx = peer, .on_hello = on_hello, .on_up = on_up, .on_frame = on_frame, .on_down = on_down};
    peer->dial = rpc_dial_new(&config, address->host, address->port, &events);
    return peer;
}

static void remove_peer(struct link_peer *peer)
{
    DL_DELETE(peer->links->peers, peer);
    peer->links->peer_count--;
    rpc_dial_free(peer->dial);
    mem_free(peer);
}

static bool is_same_place(const struct link_address *a, const struct link_address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Whether the link may go on as one to `address`; then it does. */
static bool adopt(struct link_peer *peer, const struct link_address *address)
{
    if (!is_same_place(&peer->address, address)) {
        return false;
    }
    if (peer->address.raft_id != address->raft_id) {
        if (peer->address.raft_id != 0) {
            return false;
        }
        peer->is_other = peer->is_up && quorum_raft_id_of(peer->directory_id) != address->raft_id;
    }
    peer->address = *address;
    return true;
}

void controller_links_set(struct controller_links *links, const struct link_address *addresses, uint32_t count)
{
    bool is_kept[LINKS_PEERS_MAX] = {false};
    struct link_peer *peer, *next;
    CHECK(count <= LINKS_PEERS_MAX);
    DL_FOREACH_SAFE (links->peers, peer, next) {
        bool is_wanted = false;
        for (uint32_t i = 0; i < count && !is_wanted; i++) {
            is_wanted = !is_kept[i] && adopt(peer, &addresses[i]);
            is_kept[i] = is_kept[i] || is_wanted;
        }
        if (!is_wanted) {
            remove_peer(peer);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!is_kept[i]) {
            (void)add_peer(links, &addresses[i]);
        }
    }
}

void controller_links_greet(struct controller_links *links)
{
    struct link_peer *peer;
    DL_FOREACH (links->peers, peer) {
        peer->is_up = false;
        rpc_dial_redo(peer->dial);
    }
}

/* ---- sending ---- */

static struct rpc_link *find_way(struct controller_links *links, uint64_t raft_id, bool *ret_is_dialled)
{
    struct link_peer *peer;
    struct rpc_link *way = NULL;
    *ret_is_dialled = false;
    DL_FOREACH (links->peers, peer) {
        if (peer->address.raft_id == raft_id) {
            *ret_is_dialled = true;
            if (peer->is_up && !peer->is_other) {
                return rpc_dial_link(peer->dial);
            }
        }
    }
    struct link_accepted *accepted;
    DL_FOREACH (links->accepted, accepted) {
        if (accepted->raft_id == raft_id && is_member(accepted)) {
            way = accepted->link; /* the newest */
        }
    }
    return way;
}

void controller_links_send(struct controller_links *links, uint64_t raft_id, const struct link_address *address,
                           struct span header, struct span body)
{
    bool is_dialled = false;
    struct rpc_link *way = find_way(links, raft_id, &is_dialled);
    if (!is_dialled && address->port != 0 && links->peer_count < LINKS_PEERS_MAX) {
        struct link_address added = *address;
        added.raft_id = raft_id;
        (void)add_peer(links, &added);
    }
    if (way == NULL || rpc_link_queued_bytes(way) + header.bytes + body.bytes > LINKS_QUEUED_BYTES_MAX) {
        return;
    }
    struct rpc_piece piece = {.bytes = body};
    rpc_link_send(way, LINKS_FRAME_RAFT, header, &piece, body.bytes > 0 ? 1 : 0);
}

void controller_links_probe(struct controller_links *links)
{
    struct link_peer *peer;
    DL_FOREACH (links->peers, peer) {
        if (peer->is_up && !peer->is_other) {
            rpc_link_send(rpc_dial_link(peer->dial), LINKS_FRAME_PROBE, SPAN_NULL, NULL, 0);
        }
    }
}

/* ---- accepted links ---- */

static void close_accepted(struct link_accepted *accepted)
{
    DL_DELETE(accepted->links->accepted, accepted);
    accepted->links->accepted_count--;
    rpc_link_free(accepted->link);
    mem_free(accepted);
}

/* It is there: no need to wait before it is dialled again. */
static void hurry(struct controller_links *links, uint64_t raft_id)
{
    struct link_peer *peer;
    DL_FOREACH (links->peers, peer) {
        if (!peer->is_up && (peer->address.raft_id == raft_id || peer->address.raft_id == 0)) {
            rpc_dial_hurry(peer->dial);
        }
    }
}

static void on_accepted_frame(void *ctx, const struct rpc_frame *frame)
{
    struct link_accepted *accepted = (struct link_accepted *)ctx;
    struct controller_links *links = accepted->links;
    accepted->unheard_count = 0;
    if (frame->type == LINKS_FRAME_RAFT && is_member(accepted)) {
        if (controller_receive(links->controller, accepted->raft_id, frame->header, frame->body) != ERR_OK) {
            log_warn(logger(links), "controller", "message_malformed", "node_id=%" PRId32, accepted->node_id);
            close_accepted(accepted);
        }
    } else if (frame->type == LINKS_FRAME_HASH && is_member(accepted)) {
        on_hash(links, accepted->raft_id, frame->header);
    } else if (rpc_link_queued_bytes(accepted->link) >= LINKS_ANSWERS_BYTES_MAX) {
        return; /* it asks, and takes no answers */
    } else if (frame->type == LINKS_FRAME_PROBE) {
        struct bytebuf header;
        bytebuf_init(&header, RPC_HEADER_BYTES_MAX);
        controller_form_describe(links->controller, accepted->directory_id, accepted->node_id, &header);
        rpc_link_send(accepted->link, LINKS_FRAME_STATE, bytebuf_span(&header), NULL, 0);
        bytebuf_done(&header);
    } else if (frame->type == LINKS_FRAME_PING) {
        rpc_link_send(accepted->link, LINKS_FRAME_PONG, SPAN_NULL, NULL, 0);
    }
}

static void on_accepted_closed(void *ctx, enum err err)
{
    (void)err;
    close_accepted((struct link_accepted *)ctx);
}

void controller_links_accept(void *ctx, struct rpc_link *rpc)
{
    struct controller *controller = (struct controller *)ctx;
    struct controller_links *links = &controller->links;
    const struct rpc_hello *peer = rpc_link_peer(rpc);
    if (controller->is_stopping || links->accepted_count >= LINKS_ACCEPTED_MAX || uuid_is_zero(peer->directory_id) ||
        !controller_is_own_cluster(controller, peer->cluster_id)) {
        rpc_link_free(rpc);
        return;
    }
    struct link_accepted *accepted = MEM_NEW(struct link_accepted);
    accepted->links = links;
    accepted->link = rpc;
    accepted->raft_id = quorum_raft_id_of(peer->directory_id);
    accepted->directory_id = peer->directory_id;
    accepted->node_id = peer->node_id;
    DL_APPEND(links->accepted, accepted);
    links->accepted_count++;
    hurry(links, accepted->raft_id);
    struct rpc_link_events events = {.ctx = accepted, .on_frame = on_accepted_frame, .on_closed = on_accepted_closed};
    rpc_link_set_events(rpc, &events);
}

/* ---- silence ---- */

static void ping_peers(struct controller_links *links)
{
    struct link_peer *peer;
    DL_FOREACH (links->peers, peer) {
        if (!peer->is_up) {
            continue;
        }
        if (peer->unheard_count++ < LINKS_UNHEARD_MAX) {
            rpc_link_send(rpc_dial_link(peer->dial), LINKS_FRAME_PING, SPAN_NULL, NULL, 0);
            continue;
        }
        logger_limited(logger(links), &peer->log_limit, LOG_INFO, "controller", "voter_link_silent",
                       "node_id=%" PRId32 " address=%s:%u", peer->address.node_id, peer->address.host,
                       (unsigned)peer->address.port);
        peer->is_up = false;
        rpc_dial_redo(peer->dial);
    }
}

static void ping(struct loop_timer *timer)
{
    struct controller_links *links = CONTAINER_OF(timer, struct controller_links, ping_timer);
    struct loop *loop = links->controller->loop;
    struct link_accepted *accepted, *next;
    loop_timer_set(loop, timer, loop_now_us(loop) + LINKS_PING_US);
    ping_peers(links);
    DL_FOREACH_SAFE (links->accepted, accepted, next) {
        if (accepted->unheard_count++ >= LINKS_ACCEPTED_UNHEARD_MAX) {
            close_accepted(accepted);
        }
    }
}

/* ---- life ---- */

void controller_links_init(struct controller_links *links, struct controller *controller)
{
    links->controller = controller;
    links->hash_timer.fire = tell_hash;
    links->ping_timer.fire = ping;
}

void controller_links_start(struct controller_links *links)
{
    struct loop *loop = links->controller->loop;
    loop_timer_set(loop, &links->hash_timer, loop_now_us(loop) + LINKS_HASH_US);
    loop_timer_set(loop, &links->ping_timer, loop_now_us(loop) + LINKS_PING_US);
}

void controller_links_stop(struct controller_links *links)
{
    loop_timer_cancel(links->controller->loop, &links->hash_timer);
    loop_timer_cancel(links->controller->loop, &links->ping_timer);
    while (links->peers != NULL) {
        remove_peer(links->peers);
    }
    while (links->accepted != NULL) {
        close_accepted(links->accepted);
    }
}
