/* METADATA links, and what both kinds share. */
#include "controller/controller_serve.h"

#include "common/bytebuf.h"
#include "common/logger.h"
#include "common/mem.h"
#include "controller/controller_private.h"
#include "controller/image_apply.h"
#include "controller/metadata_frames.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <utlist.h>

enum metadata_state {
    METADATA_UNKNOWN,  /* it has not said what it has */
    METADATA_AHEAD,    /* it has what is not applied here yet: its hash is compared when it is */
    METADATA_SNAPSHOT, /* an image is being encoded, or sent */
    METADATA_FOLLOWING,
    METADATA_ENDED, /* told that its hash is another one */
};

struct serve_metadata_link {
    struct controller *controller;
    struct rpc_link *link; /* NULL: gone; freed when its job is done */
    int32_t node_id;
    unsigned unheard_count; /* turns of the sweep since it said anything */
    enum metadata_state state;
    int64_t offset;                 /* sent so far, or what it says it has */
    uint64_t sent_bytes;            /* ring's end_bytes up to `offset` */
    uint64_t applied_bytes;         /* and up to what it has applied */
    uint8_t hash[IMAGE_HASH_BYTES]; /* of a link that is ahead */
    /* METADATA_SNAPSHOT */
    struct loop_job job;
    bool is_encoding;
    const struct image *image;
    struct bytebuf snapshot;
    uint8_t sha256[METADATA_SHA256_BYTES];
    size_t position;
    struct serve_metadata_link *prev, *next;
};

static void pump(struct serve_metadata_link *link);

/* ---- a snapshot: encoded in the pool, sent in chunks as the link takes them ---- */

static void encode(struct loop_job *job)
{
    struct serve_metadata_link *link = CONTAINER_OF(job, struct serve_metadata_link, job);
    enum err err = image_snapshot_encode(link->image, &link->snapshot);
    CHECK(err == ERR_OK); /* an image within its limits */
    SHA256(link->snapshot.data, link->snapshot.bytes, link->sha256);
}

static void drop_snapshot(struct serve_metadata_link *link)
{
    bytebuf_done(&link->snapshot);
    image_unref(link->image);
    link->image = NULL;
}

static void encoded(struct loop_job *job)
{
    struct serve_metadata_link *link = CONTAINER_OF(job, struct serve_metadata_link, job);
    link->is_encoding = false;
    if (link->link == NULL) {
        link->controller->serve.busy_count--;
        drop_snapshot(link);
        mem_free(link);
        return;
    }
    pump(link);
}

static void begin_snapshot(struct serve_metadata_link *link)
{
    struct controller *controller = link->controller;
    link->state = METADATA_SNAPSHOT;
    link->image = image_ref(controller->image);
    link->position = 0;
    link->is_encoding = true;
    bytebuf_init(&link->snapshot, IMAGE_SNAPSHOT_BYTES_MAX);
    link->job = (struct loop_job){.work = encode, .done = encoded};
    log_info(controller->env->logger, "controller", "metadata_snapshot", "node_id=%" PRId32 " offset=%" PRId64,
             link->node_id, image_offset(link->image));
    loop_submit(controller->loop, &link->job);
}

static void send_chunk(struct serve_metadata_link *link)
{
    struct metadata_chunk chunk = {
        .offset = image_offset(link->image), .total_bytes = link->snapshot.bytes, .position = link->position};
    memcpy(chunk.sha256, link->sha256, sizeof(chunk.sha256));
    size_t left = link->snapshot.bytes - link->position;
    size_t bytes = left < METADATA_CHUNK_BYTES_MAX ? left : METADATA_CHUNK_BYTES_MAX;
    struct bytebuf header;
    bytebuf_init(&header, METADATA_HEADER_BYTES_MAX);
    metadata_chunk_pack(&chunk, &header);
    struct rpc_piece piece = {.bytes = span_make(link->snapshot.data + link->position, bytes)};
    rpc_link_send(link->link, METADATA_FRAME_SNAPSHOT, bytebuf_span(&header), &piece, 1);
    bytebuf_done(&header);
    link->position += bytes;
}

/* The ring's end_bytes at an offset; below the base: the base's. */
static uint64_t bytes_at(const struct controller_ring *ring, int64_t offset)
{
    uint32_t above = controller_ring_above(ring, offset);
    return above == 0 ? ring->base_bytes : controller_ring_at(ring, above - 1)->end_bytes;
}

static void pump_snapshot(struct serve_metadata_link *link)
{
    while (!link->is_encoding && link->position < link->snapshot.bytes &&
           rpc_link_queued_bytes(link->link) < SERVE_WINDOW_BYTES) {
        send_chunk(link);
    }
    if (!link->is_encoding && link->position == link->snapshot.bytes) {
        const struct controller_ring *ring = &link->controller->serve.ring;
        link->offset = image_offset(link->image);
        link->sent_bytes = link->applied_bytes = bytes_at(ring, link->offset);
        drop_snapshot(link);
        link->state = METADATA_FOLLOWING;
        link->unheard_count = 0; /* it says nothing while a snapshot comes */
    }
}

/* ---- entries ---- */

static void send_entry(struct serve_metadata_link *link, const struct ring_entry *entry)
{
    struct metadata_entry fields = {.index = entry->index, .term = entry->term};
    memcpy(fields.hash, entry->hash, sizeof(fields.hash));
    struct bytebuf header;
    bytebuf_init(&header, METADATA_HEADER_BYTES_MAX);
    metadata_entry_pack(&fields, &header);
    struct rpc_piece piece = {.bytes = span_make(entry->bytes->data, entry->bytes->bytes), .shared = entry->bytes};
    rpc_link_send(link->link, METADATA_FRAME_ENTRY, bytebuf_span(&header), &piece, piece.bytes.bytes > 0 ? 1 : 0);
    bytebuf_done(&header);
    link->offset = entry->index;
    link->sent_bytes = entry->end_bytes;
}

static void pump_entries(struct serve_metadata_link *link)
{
    const struct controller_ring *ring = &link->controller->serve.ring;
    if (link->offset < ring->base_offset) {
        begin_snapshot(link); /* it is too far behind */
        return;
    }
    for (uint32_t i = controller_ring_above(ring, link->offset); i < ring->count; i++) {
        if (link->sent_bytes - link->applied_bytes >= SERVE_WINDOW_BYTES ||
            rpc_link_queued_bytes(link->link) >= SERVE_WINDOW_BYTES) {
            return; /* goes on when it has applied, or taken, some */
        }
        send_entry(link, controller_ring_at(ring, i));
    }
}

static void mismatch(struct serve_metadata_link *link, const uint8_t *own_hash)
{
    struct bytebuf header;
    link->state = METADATA_ENDED;
    log_error(link->controller->env->logger, "controller", "metadata_differs",
              "node_id=%" PRId32 " offset=%" PRId64 " effect=\"it is sent nothing: one of us has not applied what was "
              "committed\"",
              link->node_id, link->offset);
    bytebuf_init(&header, METADATA_HEADER_BYTES_MAX);
    metadata_mismatch_pack(link->offset, own_hash, &header);
    rpc_link_send(link->link, METADATA_FRAME_MISMATCH, bytebuf_span(&header), NULL, 0);
    bytebuf_done(&header);
}

/* Compares what it says it has with what is here. */
static void compare(struct serve_metadata_link *link)
{
    const struct controller_ring *ring = &link->controller->serve.ring;
    if (link->offset > controller_ring_offset(ring)) {
        link->state = METADATA_AHEAD;
        return;
    }
    if (link->offset < ring->base_offset) {
        begin_snapshot(link);
        return;
    }
    const uint8_t *own_hash = controller_ring_hash(ring, link->offset);
    if (own_hash == NULL || memcmp(own_hash, link->hash, IMAGE_HASH_BYTES) != 0) {
        mismatch(link, own_hash == NULL ? image_hash(link->controller->image) : own_hash);
        return;
    }
    link->state = METADATA_FOLLOWING;
    link->sent_bytes = link->applied_bytes = bytes_at(ring, link->offset);
}

static void pump(struct serve_metadata_link *link)
{
    if (link->state == METADATA_AHEAD) {
        compare(link);
    }
    if (link->state == METADATA_SNAPSHOT) {
        pump_snapshot(link);
    }
    if (link->state == METADATA_FOLLOWING) {
        pump_entries(link);
    }
}

/* ---- links ---- */

static void close_link(struct serve_metadata_link *link)
{
    struct controller_serve *serve = &link->controller->serve;
    rpc_link_free(link->link);
    link->link = NULL;
    DL_DELETE(serve->metadata_links, link);
    serve->link_count--;
    if (link->is_encoding) {
        serve->busy_count++;
        return;
    }
    if (link->state == METADATA_SNAPSHOT) {
        drop_snapshot(link);
    }
    mem_free(link);
}

static void on_applied(struct serve_metadata_link *link, int64_t offset)
{
    const struct controller_ring *ring = &link->controller->serve.ring;
    if (link->state != METADATA_FOLLOWING || offset > link->offset) {
        return;
    }
    uint64_t bytes = bytes_at(ring, offset);
    link->applied_bytes = bytes > link->applied_bytes ? bytes : link->applied_bytes;
    pump(link);
}

static void on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct serve_metadata_link *link = (struct serve_metadata_link *)ctx;
    int64_t offset = 0;
    bool is_sound = true;
    link->unheard_count = 0;
    switch (frame->type) {
    case METADATA_FRAME_SUBSCRIBE:
        is_sound =
            link->state == METADATA_UNKNOWN && metadata_subscribe_unpack(frame->header, &link->offset, link->hash);
        if (is_sound) {
            compare(link);
            pump(link);
        }
        break;
    case METADATA_FRAME_APPLIED:
        is_sound = metadata_applied_unpack(frame->header, &offset);
        if (is_sound) {
            on_applied(link, offset);
        }
        break;
    case METADATA_FRAME_PING:
        if (rpc_link_queued_bytes(link->link) < SERVE_WINDOW_BYTES) { /* else it hears what is on its way */
            rpc_link_send(link->link, METADATA_FRAME_PONG, SPAN_NULL, NULL, 0);
        }
        break;
    default:
        break; /* what a later version says */
    }
    if (!is_sound) {
        close_link(link);
    }
}

static void on_drained(void *ctx)
{
    pump((struct serve_metadata_link *)ctx);
}

static void on_closed(void *ctx, enum err err)
{
    (void)err;
    close_link((struct serve_metadata_link *)ctx);
}

void controller_serve_metadata(void *ctx, struct rpc_link *rpc)
{
    struct controller *controller = (struct controller *)ctx;
    const struct rpc_hello *peer = rpc_link_peer(rpc);
    if (controller->is_stopping || controller->serve.link_count >= SERVE_LINKS_MAX ||
        !controller_is_own_cluster(controller, peer->cluster_id)) {
        rpc_link_free(rpc);
        return;
    }
    struct serve_metadata_link *link = MEM_NEW(struct serve_metadata_link);
    link->controller = controller;
    link->link = rpc;
    link->node_id = peer->node_id;
    DL_APPEND(controller->serve.metadata_links, link);
    controller->serve.link_count++;
    controller_serve_watch(&controller->serve);
    rpc_link_set_low_mark(rpc, SERVE_WINDOW_BYTES / 2);
    struct rpc_link_events events = {
        .ctx = link, .on_frame = on_frame, .on_drained = on_drained, .on_closed = on_closed};
    rpc_link_set_events(rpc, &events);
}

/* ---- silence ---- */

static void sweep(struct loop_timer *timer)
{
    struct controller_serve *serve = CONTAINER_OF(timer, struct controller_serve, sweep_timer);
    struct serve_metadata_link *link, *next;
    DL_FOREACH_SAFE (serve->metadata_links, link, next) {
        if (link->state != METADATA_SNAPSHOT && link->unheard_count++ >= SERVE_UNHEARD_MAX) {
            log_info(serve->controller->env->logger, "controller", "metadata_link_silent", "node_id=%" PRId32,
                     link->node_id);
            close_link(link);
        }
    }
    controller_serve_sweep_calls(serve);
    controller_serve_watch(serve);
}

void controller_serve_watch(struct controller_serve *serve)
{
    struct loop *loop = serve->controller->loop;
    if (serve->link_count > 0 && serve->sweep_timer.heap_slot == 0) {
        loop_timer_set(loop, &serve->sweep_timer, loop_now_us(loop) + SERVE_SWEEP_US);
    }
}

/* ---- what the controller tells ---- */

static void pump_all(struct controller_serve *serve)
{
    struct serve_metadata_link *link;
    DL_FOREACH (serve->metadata_links, link) {
        pump(link);
    }
}

void controller_serve_entry(struct controller_serve *serve, uint64_t term, struct span bytes)
{
    controller_ring_append(&serve->ring, serve->controller->image, term, bytes);
    pump_all(serve);
}

void controller_serve_restored(struct controller_serve *serve)
{
    controller_ring_reset(&serve->ring, serve->controller->image);
    pump_all(serve);
}

void controller_serve_stop(struct controller_serve *serve)
{
    loop_timer_cancel(serve->controller->loop, &serve->sweep_timer);
    controller_serve_stop_calls(serve);
    while (serve->metadata_links != NULL) {
        close_link(serve->metadata_links);
    }
}

void controller_serve_init(struct controller_serve *serve, struct controller *controller)
{
    serve->controller = controller;
    serve->sweep_timer.fire = sweep;
    controller_ring_init(&serve->ring);
}

void controller_serve_done(struct controller_serve *serve)
{
    CHECK(serve->call_links == NULL && serve->metadata_links == NULL && serve->busy_count == 0);
    if (serve->ring.entries != NULL) {
        controller_ring_done(&serve->ring);
    }
}
