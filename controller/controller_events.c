/* What the quorum tells the controller, and what follows from it. */
#include "common/logger.h"
#include "common/mem.h"
#include "common/metric.h"
#include "controller/controller_metrics.h"
#include "controller/controller_private.h"
#include "controller/image_apply.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#define ACTIVATE_AGAIN_US 50000u

/* ---- metrics ---- */

void controller_count(struct controller *controller, unsigned metric, int64_t delta)
{
    if (controller->metrics != NULL) {
        metric_add(controller->metrics, (size_t)metric, delta);
    }
}

static void gauge(struct controller *controller, enum controller_metric metric, int64_t value)
{
    if (controller->metrics != NULL) {
        metric_set_value(controller->metrics, (size_t)metric, value);
    }
}

static void show_gauges(struct controller *controller)
{
    struct quorum_facts facts;
    quorum_get_facts(controller->quorum, &facts);
    gauge(controller, CONTROLLER_METRIC_ACTIVE, controller->is_active);
    gauge(controller, CONTROLLER_METRIC_METADATA_OFFSET, image_offset(controller->image));
    gauge(controller, CONTROLLER_METRIC_TOPICS, image_topic_count(controller->image));
    gauge(controller, CONTROLLER_METRIC_PARTITIONS, (int64_t)image_partition_total(controller->image));
    gauge(controller, CONTROLLER_METRIC_BROKERS, image_broker_count(controller->image));
    gauge(controller, CONTROLLER_METRIC_LOG_BYTES, (int64_t)facts.log_bytes);
}

/* ---- who is active ---- */

static bool is_same_view(const struct controller_view *a, const struct controller_view *b)
{
    return a->is_active == b->is_active && a->term == b->term && a->leader.node_id == b->leader.node_id &&
           strcmp(a->leader.address, b->leader.address) == 0 && strcmp(a->cluster_id, b->cluster_id) == 0;
}

void controller_view_update(struct controller *controller)
{
    struct controller_view view = {.is_active = controller->is_active};
    (void)snprintf(view.cluster_id, sizeof(view.cluster_id), "%s", controller_cluster_id(controller));
    controller_hint(controller, &view.leader);
    if (controller->is_active) {
        view.leader.node_id = controller->options.node_id;
        view.term = controller->active_term;
    }
    if (!is_same_view(&view, &controller->view)) {
        controller->view = view;
        controller_watch_show(controller);
        controller_serve_view(&controller->serve);
    }
}

/* ---- failure ---- */

void controller_fail(struct controller *controller, const char *reason)
{
    if (controller->is_failed) {
        return;
    }
    controller->is_failed = true;
    controller->is_active = false;
    log_error(controller->env->logger, "controller", "failed", "reason=\"%s\"", reason);
    if (controller->options.on_fatal != NULL) {
        controller->options.on_fatal(controller->options.on_fatal_ctx, reason);
        return;
    }
    check_failed(__FILE__, __LINE__, reason, __func__);
}

static void on_fatal(void *ctx, const char *reason)
{
    controller_fail((struct controller *)ctx, reason);
}

/* ---- commits ---- */

static enum err on_restore(void *ctx, uint64_t index, uint64_t term, struct span data)
{
    struct controller *controller = (struct controller *)ctx;
    struct image *image = NULL;
    enum err err = image_snapshot_decode(data, &image);
    if (err != ERR_OK) {
        return err;
    }
    /* The image's offset is that of its last command; configurations may lie between it and the snapshot's index. */
    bool is_sound = image_offset(image) <= (int64_t)index && image_term(image) <= term &&
                    image_offset(image) >= image_offset(controller->image);
    if (is_sound && image_offset(image) == image_offset(controller->image)) {
        is_sound = memcmp(image_hash(image), image_hash(controller->image), IMAGE_HASH_BYTES) == 0;
        image_unref(image); /* nothing new for anybody */
        return is_sound ? ERR_OK : ERR_CORRUPT;
    }
    if (!is_sound) {
        image_unref(image);
        return ERR_CORRUPT;
    }
    const struct image *older = controller->image;
    controller->image = image;
    controller_serve_restored(&controller->serve);
    controller_publish(&controller->publisher, controller->image);
    image_unref(older);
    return ERR_OK;
}

/* A broker that came back is to lead again what it led before, as soon as it holds all of it. */
static void note_brokers(struct controller *controller)
{
    uint32_t alive_count = 0;
    for (uint32_t i = 0; i < image_broker_count(controller->image); i++) {
        alive_count += !image_broker_at(controller->image, i)->is_fenced;
    }
    if (alive_count > controller->alive_count && controller->is_active && controller->options.auto_rebalance) {
        controller->balance_soon_count = CONTROLLER_BALANCE_SOON_COUNT;
        loop_timer_set(controller->loop, &controller->balance_timer,
                       loop_now_us(controller->loop) + CONTROLLER_BALANCE_SOON_US);
    }
    controller->alive_count = alive_count;
}

/* Its own activation is applied: everything before it is known, so decisions may begin (correctness.md 4, trap 10). */
static void activated(struct controller *controller, uint64_t term, bool is_applied)
{
    controller->activation_index = 0;
    if (!is_applied) {
        /* Another leader's activation was committed in between; this one leads on and asks again. */
        loop_timer_set(controller->loop, &controller->activate_timer, loop_now_us(controller->loop));
        return;
    }
    controller->is_active = true;
    controller->active_term = term;
    log_info(controller->env->logger, "controller", "active", "cluster_id=%s node_id=%" PRId32 " epoch=%" PRId64,
             image_cluster_id(controller->image), controller->identity.node_id,
             image_controller_epoch(controller->image));
    if (controller->sessions != NULL) {
        broker_sessions_activate(controller->sessions, controller->image);
    }
    if (controller->options.auto_rebalance) {
        controller->balance_soon_count = CONTROLLER_BALANCE_SOON_COUNT;
        loop_timer_set(controller->loop, &controller->balance_timer,
                       loop_now_us(controller->loop) + CONTROLLER_BALANCE_SOON_US);
    }
    controller_view_update(controller);
    loop_defer(controller->loop, &controller->round_task);
}

static enum err on_commit(void *ctx, uint64_t index, uint64_t term, struct span data)
{
    struct controller *controller = (struct controller *)ctx;
    struct image *after = NULL;
    bool is_applied = false;
    enum err err = image_apply(controller->image, (int64_t)index, term, data, &after, &is_applied);
    if (err != ERR_OK) {
        return err;
    }
    const struct image *older = controller->image;
    controller->image = after;
    controller_count(controller, CONTROLLER_METRIC_COMMITS, 1);
    if (!is_applied) {
        controller_count(controller, CONTROLLER_METRIC_REFUSED, 1);
        log_warn(controller->env->logger, "controller", "entry_refused", "index=%" PRIu64 " term=%" PRIu64, index,
                 term);
    }
    controller_serve_entry(&controller->serve, term, data);
    if (index == controller->activation_index) {
        activated(controller, term, is_applied);
    } else if (controller->is_active && controller->sessions != NULL) {
        broker_sessions_update(controller->sessions, controller->image);
    }
    note_brokers(controller);
    show_gauges(controller);
    controller_publish(&controller->publisher, controller->image);
    image_unref(older);
    controller_round_committed(controller, index, is_applied);
    return ERR_OK;
}

/* ---- leadership ---- */

static void on_leader(void *ctx, bool is_leader)
{
    struct controller *controller = (struct controller *)ctx;
    controller->is_leader = is_leader;
    if (is_leader) {
        loop_defer(controller->loop, &controller->activate_task);
        return;
    }
    log_info(controller->env->logger, "controller", "not_leading", "node_id=%" PRId32, controller->options.node_id);
    controller->is_active = false;
    controller->activation_index = 0;
    loop_timer_cancel(controller->loop, &controller->activate_timer);
    loop_timer_cancel(controller->loop, &controller->balance_timer);
    if (controller->sessions != NULL) {
        broker_sessions_deactivate(controller->sessions);
    }
    show_gauges(controller);
    controller_view_update(controller);
    controller_round_abort(controller, ERR_NOT_LEADER);
}

static void on_leader_known(void *ctx, uint64_t leader_raft_id, uint64_t term)
{
    struct controller *controller = (struct controller *)ctx;
    controller->leader_raft_id = leader_raft_id;
    log_info(controller->env->logger, "controller", "leader", "raft_id=%" PRIu64 " term=%" PRIu64, leader_raft_id,
             term);
    loop_defer(controller->loop, &controller->members_task); /* shows it; not from inside the quorum */
}

/* A new leader's first entry; the very first one also names the cluster. */
void controller_activate(struct loop_task *task)
{
    struct controller *controller = CONTAINER_OF(task, struct controller, activate_task);
    if (!controller->is_leader || controller->is_active || controller->activation_index != 0 || controller->is_failed ||
        controller->is_stopping) {
        return;
    }
    struct arena arena;
    struct meta_records records;
    struct bytebuf bytes;
    arena_init(&arena, 0);
    meta_records_init(&records, &arena);
    bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
    if (image_cluster_id(controller->image)[0] == '\0') {
        const char *name = controller->options.cluster_name;
        meta_add_cluster(&records, span_text(controller->identity.cluster_id), span_text(name == NULL ? "" : name));
        meta_add_level(&records, CONTROLLER_METADATA_LEVEL);
    }
    meta_add_activation(&records, controller->identity.node_id, 0);
    enum err err = meta_pack(&records, 0, records.count, image_controller_epoch(controller->image), &bytes);
    CHECK(err == ERR_OK);
    uint64_t index = 0;
    err = quorum_propose(controller->quorum, bytebuf_span(&bytes), &index);
    if (err == ERR_OK) {
        controller->activation_index = index;
    } else if (err == ERR_BUSY || err == ERR_NOT_LEADER) {
        /* Its term is not durable yet, or the leadership is being lost: then on_leader comes. */
        loop_timer_set(controller->loop, &controller->activate_timer,
                       loop_now_us(controller->loop) + ACTIVATE_AGAIN_US);
    }
    bytebuf_done(&bytes);
    arena_done(&arena);
}

void controller_activate_again(struct loop_timer *timer)
{
    struct controller *controller = CONTAINER_OF(timer, struct controller, activate_timer);
    controller_activate(&controller->activate_task);
}

/* ---- snapshots ---- */

static void *snapshot_begin(void *ctx)
{
    return image_ref(((struct controller *)ctx)->image);
}

static enum err snapshot_encode(void *state, struct bytebuf *ret_bytes)
{
    return image_snapshot_encode((const struct image *)state, ret_bytes);
}

static void snapshot_end(void *ctx, void *state)
{
    struct controller *controller = (struct controller *)ctx;
    log_info(controller->env->logger, "controller", "snapshot", "offset=%" PRId64,
             image_offset((const struct image *)state));
    image_unref((const struct image *)state);
}

const struct quorum_events controller_quorum_events = {
    .on_restore = on_restore,
    .on_commit = on_commit,
    .on_leader = on_leader,
    .snapshot_begin = snapshot_begin,
    .snapshot_encode = snapshot_encode,
    .snapshot_end = snapshot_end,
    .send = controller_voters_send,
    .on_configuration = controller_voters_changed,
    .on_leader_known = on_leader_known,
    .on_fatal = on_fatal,
};

static void ignore_fatal(void *ctx, const char *reason)
{
    (void)ctx;
    (void)reason;
}

enum err controller_start_quorum(struct controller *controller, struct option_problem *ret_problem)
{
    controller_fatal_fn on_fatal_wanted = controller->options.on_fatal;
    controller->options.on_fatal = ignore_fatal; /* during the start a failure is returned */
    enum err err = quorum_start(controller->quorum, controller->loop);
    controller->options.on_fatal = on_fatal_wanted;
    if (err == ERR_OK && image_cluster_id(controller->image)[0] != '\0' &&
        strcmp(image_cluster_id(controller->image), controller->identity.cluster_id) != 0) {
        err = ERR_CORRUPT;
    }
    if (err != ERR_OK) {
        controller->is_failed = false; /* the caller tells, or fails it */
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text), "the metadata in %s can't be applied: %s",
                       controller->options.metadata_dir, err_text(err));
        return err;
    }
    controller->is_started = true;
    (void)snprintf(controller->cluster_id, sizeof(controller->cluster_id), "%s", controller->identity.cluster_id);
    atomic_store_explicit(&controller->is_cluster_known, true, memory_order_release);
    loop_defer(controller->loop, &controller->members_task);
    return ERR_OK;
}

enum err controller_receive(struct controller *controller, uint64_t from_raft_id, struct span header, struct span body)
{
    if (controller->quorum == NULL || controller->is_stopping || controller->is_failed) {
        return ERR_OK; /* lost, as on a wire */
    }
    return quorum_receive(controller->quorum, from_raft_id, header, body);
}

/* ---- requests of its own ---- */

struct own_request {
    struct controller_request request;
};

static void submit_own(struct controller *controller, const struct controller_request *fields);

static void own_done(struct controller_request *request)
{
    struct controller *controller = request->controller;
    if (request->kind == CONTROLLER_PREFERRED_LEADERS && request->err == ERR_OK && controller->is_balance_unfinished) {
        struct controller_request fields = {.kind = CONTROLLER_PREFERRED_LEADERS};
        controller->is_balance_unfinished = false;
        submit_own(controller, &fields); /* there were too many for once */
    }
    mem_free(CONTAINER_OF(request, struct own_request, request));
}

static void submit_own(struct controller *controller, const struct controller_request *fields)
{
    struct own_request *own = MEM_NEW(struct own_request);
    own->request = *fields;
    own->request.loop = controller->loop;
    own->request.on_done = own_done;
    controller_submit(controller, &own->request);
}

void controller_fence(void *ctx, int32_t broker_id, int64_t broker_epoch, const char *why)
{
    (void)why; /* was logged */
    struct controller_request fields = {.kind = CONTROLLER_FENCE,
                                        .fence = {.broker_id = broker_id, .broker_epoch = broker_epoch}};
    submit_own((struct controller *)ctx, &fields);
}

/* auto.leader.rebalance.enable. */
void controller_balance(struct loop_timer *timer)
{
    struct controller *controller = CONTAINER_OF(timer, struct controller, balance_timer);
    if (!controller->is_active || controller->is_stopping) {
        return;
    }
    struct controller_request fields = {.kind = CONTROLLER_PREFERRED_LEADERS};
    submit_own(controller, &fields);
    uint64_t gap_us = (uint64_t)controller->options.imbalance_check_ms * 1000;
    if (controller->balance_soon_count > 0) {
        controller->balance_soon_count--;
        gap_us = CONTROLLER_BALANCE_SOON_US;
    }
    loop_timer_set(controller->loop, timer, loop_now_us(controller->loop) + gap_us);
}
