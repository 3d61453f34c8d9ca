/* Committed metadata from afar: entries of some controller, applied here to the same images as there, each checked against the hash chain.
 *
 *   no link --connect, subscribe {offset, hash}--> following: entries, or first a snapshot
 *   following --silent, lost, or behind what an answer named--> no link, the next voter
 *
 * With a local controller this is for when that one is not fed: it was taken out of the quorum, waits to be admitted, or is cut off. What an
 * answer of the active controller names does not come then; as soon as the local one has it all again, the link is closed.
 *
 * Only committed entries come, so nothing is ever taken back; what is not newer than the image is dropped (correctness.md 5). */
#include "common/bytebuf.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/rng.h"
#include "controller/controller_client_private.h"
#include "controller/controller_private.h"
#include "controller/image_apply.h"
#include "controller/metadata_frames.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>

static struct loop *home(const struct controller_client *client)
{
    return client->config.home;
}

static void forget_snapshot(struct client_metadata_link *link)
{
    mem_free(link->snapshot);
    link->snapshot = NULL;
}

static void drop_link(struct controller_client *client)
{
    struct client_metadata_link *link = &client->metadata;
    rpc_dial_free(link->dial);
    link->dial = NULL;
    link->is_up = false;
    loop_timer_cancel(home(client), &link->ping_timer);
    forget_snapshot(link);
}

static void try_next(struct controller_client *client)
{
    drop_link(client);
    client->metadata.voter_index++;
    loop_timer_set(home(client), &client->metadata.retry_timer, loop_now_us(home(client)) + CLIENT_RETRY_US);
}

static const struct controller_voter *followed(const struct controller_client *client)
{
    return &client->voters[client->metadata.voter_index % client->voter_count];
}

static void fail_mismatch(struct controller_client *client, int64_t offset)
{
    char sentence[OPTION_PROBLEM_BYTES];
    const struct controller_voter *voter = followed(client);
    (void)snprintf(sentence, sizeof(sentence),
                   "the metadata of this node and of controller %" PRId32 " (%s:%u) differ at offset %" PRId64
                   ": one of them has not applied what was committed; restart this node, and compare the hashes of the "
                   "controllers (moldau cluster status)",
                   voter->node_id, voter->host, (unsigned)voter->port, offset);
    client_fail(client, sentence);
}

/* ---- the image ---- */

static void show(struct controller_client *client, const struct image *image)
{
    const struct image *older = client->image;
    client->image = image;
    controller_publish(&client->publisher, image);
    image_unref(older);
    client_see_term(client, image_term(image));
    if (client->metadata.wanted_offset <= image_offset(image)) {
        client->metadata.wanted_since_us = 0;
    }
    loop_defer(home(client), &client->metadata.applied_task);
}

static void on_entry(struct controller_client *client, const struct rpc_frame *frame)
{
    struct metadata_entry entry;
    if (!metadata_entry_unpack(frame->header, &entry)) {
        try_next(client);
        return;
    }
    if (entry.index <= image_offset(client->image)) {
        return;
    }
    struct image *after = NULL;
    bool is_applied = false;
    enum err err = image_apply(client->image, entry.index, entry.term, frame->body, &after, &is_applied);
    if (err != ERR_OK) {
        char sentence[OPTION_PROBLEM_BYTES];
        (void)snprintf(sentence, sizeof(sentence),
                       "the metadata entry at offset %" PRId64 " can't be applied by this version: %s", entry.index,
                       err_text(err));
        client_fail(client, sentence);
        return;
    }
    if (memcmp(image_hash(after), entry.hash, IMAGE_HASH_BYTES) != 0) {
        image_unref(after);
        fail_mismatch(client, entry.index);
        return;
    }
    show(client, after);
}

static void finish_snapshot(struct controller_client *client)
{
    struct client_metadata_link *link = &client->metadata;
    uint8_t sha256[SHA256_DIGEST_LENGTH];
    struct image *image = NULL;
    SHA256(link->snapshot, link->snapshot_bytes, sha256);
    enum err err = memcmp(sha256, link->snapshot_sha256, sizeof(sha256)) == 0
                       ? image_snapshot_decode(span_make(link->snapshot, link->snapshot_bytes), &image)
                       : ERR_CORRUPT;
    forget_snapshot(link);
    if (err != ERR_OK || image_offset(image) != link->snapshot_offset) {
        log_warn(client->config.env->logger, "controller_client", "snapshot_refused", "offset=%" PRId64 " err=%s",
                 link->snapshot_offset, err_name(err));
        image_unref(image);
        try_next(client);
        return;
    }
    if (image_offset(image) <= image_offset(client->image)) {
        image_unref(image); /* never backwards */
        return;
    }
    show(client, image);
}

static void on_snapshot(struct controller_client *client, const struct rpc_frame *frame)
{
    struct client_metadata_link *link = &client->metadata;
    struct metadata_chunk chunk;
    if (!metadata_chunk_unpack(frame->header, &chunk) || chunk.total_bytes > IMAGE_SNAPSHOT_BYTES_MAX ||
        frame->body.bytes > METADATA_CHUNK_BYTES_MAX || frame->body.bytes == 0) {
        try_next(client);
        return;
    }
    if (chunk.position == 0) {
        forget_snapshot(link);
        link->snapshot = (uint8_t *)mem_alloc(chunk.total_bytes);
        link->snapshot_bytes = chunk.total_bytes;
        link->snapshot_done_bytes = 0;
        link->snapshot_offset = chunk.offset;
        memcpy(link->snapshot_sha256, chunk.sha256, sizeof(link->snapshot_sha256));
    }
    if (link->snapshot == NULL || chunk.position != link->snapshot_done_bytes ||
        chunk.total_bytes != link->snapshot_bytes || chunk.offset != link->snapshot_offset ||
        frame->body.bytes > link->snapshot_bytes - link->snapshot_done_bytes) {
        try_next(client);
        return;
    }
    memcpy(link->snapshot + link->snapshot_done_bytes, frame->body.data, frame->body.bytes);
    link->snapshot_done_bytes += frame->body.bytes;
    if (link->snapshot_done_bytes == link->snapshot_bytes) {
        finish_snapshot(client);
    }
}

/* ---- what the link tells ---- */

static void on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    client_fill_hello((struct controller_client *)ctx, ret_hello);
}

static void on_up(void *ctx, struct rpc_link *rpc)
{
    struct controller_client *client = (struct controller_client *)ctx;
    struct client_metadata_link *link = &client->metadata;
    const struct controller_voter *voter = followed(client);
    char who[CONTROLLER_ADDRESS_BYTES + 32];
    (void)snprintf(who, sizeof(who), "the controller at %s:%u", voter->host, (unsigned)voter->port);
    if (!client_learn_cluster(client, rpc_link_peer(rpc)->cluster_id, who)) {
        return;
    }
    struct bytebuf header;
    bytebuf_init(&header, METADATA_HEADER_BYTES_MAX);
    metadata_subscribe_pack(image_offset(client->image), image_hash(client->image), &header);
    rpc_link_send(rpc, METADATA_FRAME_SUBSCRIBE, bytebuf_span(&header), NULL, 0);
    bytebuf_done(&header);
    link->is_up = true;
    link->heard_us = link->pinged_us = loop_now_us(home(client));
    loop_timer_set(home(client), &link->ping_timer, link->heard_us + CLIENT_PING_US);
}

static void on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct controller_client *client = (struct controller_client *)ctx;
    client->metadata.heard_us = loop_now_us(home(client));
    switch (frame->type) {
    case METADATA_FRAME_ENTRY:
        on_entry(client, frame);
        return;
    case METADATA_FRAME_SNAPSHOT:
        on_snapshot(client, frame);
        return;
    case METADATA_FRAME_MISMATCH:
        fail_mismatch(client, image_offset(client->image));
        return;
    default:
        return; /* a pong, or what a later version says */
    }
}

static void on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct controller_client *client = (struct controller_client *)ctx;
    const struct controller_voter *voter = followed(client);
    if (was_up || err == ERR_INVALID || err == ERR_UNSUPPORTED) {
        log_info(client->config.env->logger, "controller_client", "metadata_link_lost",
                 "address=%s:%u err=%s reason=\"%s\"", voter->host, (unsigned)voter->port, err_name(err), text);
    }
    try_next(client);
}

static void tell_applied(struct loop_task *task)
{
    struct controller_client *client = CONTAINER_OF(task, struct controller_client, metadata.applied_task);
    struct rpc_link *rpc = client->metadata.is_up ? rpc_dial_link(client->metadata.dial) : NULL;
    if (rpc == NULL) {
        return;
    }
    struct bytebuf header;
    bytebuf_init(&header, METADATA_HEADER_BYTES_MAX);
    metadata_applied_pack(image_offset(client->image), &header);
    rpc_link_send(rpc, METADATA_FRAME_APPLIED, bytebuf_span(&header), NULL, 0);
    bytebuf_done(&header);
}

/* ---- timers ---- */

static void connect_again(struct loop_timer *timer)
{
    struct controller_client *client = CONTAINER_OF(timer, struct controller_client, metadata.retry_timer);
    bool is_wanted = client->config.local == NULL || client->metadata.wanted_since_us != 0;
    if (!client->is_running || client->metadata.dial != NULL || !is_wanted) {
        return;
    }
    const struct controller_voter *voter = followed(client);
    if (client->config.local != NULL) {
        log_warn(client->config.env->logger, "controller_client", "local_metadata_stands_still",
                 "offset=%" PRId64 " wanted=%" PRId64 " effect=\"another controller is followed\"",
                 image_offset(client->image), client->metadata.wanted_offset);
    }
    struct rpc_dial_config config = {.env = client->config.env,
                                     .loop = home(client),
                                     .kind = RPC_KIND_METADATA,
                                     .is_once = true,
                                     .connect_timeout_us = CLIENT_ATTEMPT_US};
    struct rpc_dial_events events = {
        .ctx = client, .on_hello = on_hello, .on_up = on_up, .on_frame = on_frame, .on_down = on_down};
    client->metadata.dial = rpc_dial_new(&config, voter->host, voter->port, &events);
    loop_timer_set(home(client), &client->metadata.ping_timer, loop_now_us(home(client)) + CLIENT_ATTEMPT_US);
}

static void ping(struct loop_timer *timer)
{
    struct controller_client *client = CONTAINER_OF(timer, struct controller_client, metadata.ping_timer);
    struct client_metadata_link *link = &client->metadata;
    uint64_t now_us = loop_now_us(home(client));
    if (!link->is_up) {
        try_next(client);
        return;
    }
    bool is_silent = link->pinged_us > link->heard_us && now_us - link->heard_us >= CLIENT_SILENCE_US;
    bool is_behind = link->wanted_since_us != 0 && now_us - link->wanted_since_us >= CLIENT_LAG_US;
    if (is_silent || (is_behind && link->snapshot == NULL && client->voter_count > 1)) {
        log_info(client->config.env->logger, "controller_client", "metadata_link_given_up", "address=%s:%u why=%s",
                 followed(client)->host, (unsigned)followed(client)->port, is_silent ? "silent" : "behind");
        link->wanted_since_us = link->wanted_since_us == 0 ? 0 : now_us;
        try_next(client);
        return;
    }
    if (now_us - link->heard_us >= CLIENT_PING_US) {
        link->pinged_us = now_us;
        rpc_link_send(rpc_dial_link(link->dial), METADATA_FRAME_PING, SPAN_NULL, NULL, 0);
    }
    loop_timer_set(home(client), timer, now_us + CLIENT_PING_US);
}

void client_metadata_want(struct controller_client *client, int64_t offset)
{
    struct client_metadata_link *link = &client->metadata;
    if (client->is_direct || offset <= image_offset(client->image) || offset <= link->wanted_offset) {
        return;
    }
    link->wanted_offset = offset;
    if (link->wanted_since_us != 0) {
        return;
    }
    link->wanted_since_us = loop_now_us(home(client));
    if (client->config.local != NULL && link->dial == NULL && client->is_running) {
        loop_timer_set(home(client), &link->retry_timer, link->wanted_since_us + CLIENT_LAG_US);
    }
}

void client_metadata_local(struct controller_client *client, const struct image *image)
{
    struct client_metadata_link *link = &client->metadata;
    if (!client->is_running || image_offset(image) < image_offset(client->image)) {
        return; /* another controller told of it already */
    }
    if (link->dial != NULL) {
        log_info(client->config.env->logger, "controller_client", "local_metadata_again", "offset=%" PRId64,
                 image_offset(image));
        drop_link(client);
    }
    if (image_offset(image) > image_offset(client->image)) {
        show(client, image_ref(image));
    } else if (memcmp(image_hash(image), image_hash(client->image), IMAGE_HASH_BYTES) != 0) {
        client_fail(client, "the metadata of this node's controller differs from that of the others: see its log");
    }
}

void client_metadata_init(struct controller_client *client)
{
    struct client_metadata_link *link = &client->metadata;
    link->retry_timer.fire = connect_again;
    link->ping_timer.fire = ping;
    link->applied_task.run = tell_applied;
    if (client->voter_count > 0) {
        link->voter_index = (uint32_t)rng_below(client->config.env->rng, client->voter_count); /* brokers spread */
    }
}

void client_metadata_start(struct controller_client *client)
{
    loop_timer_set(home(client), &client->metadata.retry_timer, loop_now_us(home(client)));
}

void client_metadata_stop(struct controller_client *client)
{
    drop_link(client);
    loop_timer_cancel(home(client), &client->metadata.retry_timer);
}
