/* Life of the controller, and the way of requests and commits through it. */
#include "controller/controller.h"

#include "common/big_endian.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/metric.h"
#include "common/seam/fs.h"
#include "controller/controller_metrics.h"
#include "controller/controller_private.h"
#include "controller/image_apply.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

static const struct metric_row metric_rows[] = {
#define X(member, metric_name, metric_kind, metric_help)                                                               \
    {.name = (metric_name), .kind = (metric_kind), .help = (metric_help)},
    CONTROLLER_METRICS(X)
#undef X
};

const struct metric_table controller_metric_table = {metric_rows, ARRAY_COUNT(metric_rows)};

void controller_options_init(struct controller_options *options)
{
    *options = (struct controller_options){
        .session_timeout_ms = 3000,
        .auto_rebalance = true,
        .imbalance_check_ms = 300000,
        .election_timeout_ms = 400,
        .heartbeat_timeout_ms = 80,
        .snapshot_entries = 4096,
        .trailing_entries = 8192,
        .segment_bytes = 8u << 20,
        .num_partitions = 1,
        .default_replication_factor = 1,
        .min_insync_replicas = 1,
    };
}

static void count(struct controller *controller, enum controller_metric metric, int64_t delta)
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

void controller_view_update(struct controller *controller)
{
    struct controller_view view = {.is_active = controller->is_active, .leader = {.node_id = -1}};
    (void)snprintf(view.cluster_id, sizeof(view.cluster_id), "%s", controller->identity.cluster_id);
    if (controller->is_active) {
        view.leader.node_id = controller->options.node_id;
    }
    if (memcmp(&view, &controller->view, sizeof(view)) != 0) {
        controller->view = view;
        controller_watch_show(controller);
    }
}

/* ---- what the quorum tells ---- */

static void on_fatal(void *ctx, const char *reason)
{
    struct controller *controller = (struct controller *)ctx;
    controller->is_failed = true;
    controller->is_active = false;
    log_error(controller->env->logger, "controller", "failed", "reason=\"%s\"", reason);
    if (controller->options.on_fatal != NULL) {
        controller->options.on_fatal(controller->options.on_fatal_ctx, reason);
        return;
    }
    check_failed(__FILE__, __LINE__, reason, __func__);
}

static enum err on_restore(void *ctx, uint64_t index, uint64_t term, struct span data)
{
    struct controller *controller = (struct controller *)ctx;
    struct image *image = NULL;
    enum err err = image_snapshot_decode(data, &image);
    if (err != ERR_OK) {
        return err;
    }
    /* The image's offset is that of its last command; configurations may lie between it and the snapshot's index. */
    if (image_offset(image) > (int64_t)index || image_term(image) > term) {
        image_unref(image);
        return ERR_CORRUPT;
    }
    image_unref(controller->image);
    controller->image = image;
    return ERR_OK;
}

/* Its own activation is applied: everything before it is known, so decisions may begin. */
static void activated(struct controller *controller, bool is_applied)
{
    controller->activation_index = 0;
    if (!is_applied) {
        /* Another leader's activation was committed in between; this one leads on and asks again. */
        loop_post(controller->loop, &controller->activate_task);
        return;
    }
    controller->is_active = true;
    log_info(controller->env->logger, "controller", "active", "cluster_id=%s node_id=%" PRId32 " epoch=%" PRId64,
             image_cluster_id(controller->image), controller->identity.node_id,
             image_controller_epoch(controller->image));
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
    image_unref(controller->image);
    controller->image = after;
    count(controller, CONTROLLER_METRIC_COMMITS, 1);
    if (!is_applied) {
        count(controller, CONTROLLER_METRIC_REFUSED, 1);
        log_warn(controller->env->logger, "controller", "entry_refused", "index=%" PRIu64 " term=%" PRIu64, index,
                 term);
    }
    if (index == controller->activation_index) {
        activated(controller, is_applied);
    }
    show_gauges(controller);
    controller_publish(&controller->publisher, controller->image);
    controller_round_committed(controller, index, is_applied);
    return ERR_OK;
}

static void on_leader(void *ctx, bool is_leader)
{
    struct controller *controller = (struct controller *)ctx;
    controller->is_leader = is_leader;
    if (is_leader) {
        loop_post(controller->loop, &controller->activate_task);
    } else {
        controller->is_active = false;
        controller->activation_index = 0;
        controller_round_abort(controller, ERR_NOT_LEADER);
        controller_view_update(controller);
    }
}

/* A new leader's first entry; the very first one also names the cluster. */
static void activate(struct loop_task *task)
{
    struct controller *controller = CONTAINER_OF(task, struct controller, activate_task);
    if (!controller->is_leader || controller->activation_index != 0 || controller->is_failed ||
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
    }
    bytebuf_done(&bytes);
    arena_done(&arena);
}

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

/* ---- requests ---- */

/* Requests that wait too long are told so; what was proposed for them may still be committed. */
static void end_late(struct controller_request **list, uint64_t now_us)
{
    struct controller_request *request, *next;
    DL_FOREACH_SAFE (*list, request, next) {
        if (request->deadline_us <= now_us) {
            DL_DELETE(*list, request);
            controller_complete(request, ERR_TIMEOUT, 0);
        }
    }
}

static void sweep(struct loop_timer *timer)
{
    struct controller *controller = CONTAINER_OF(timer, struct controller, sweep_timer);
    uint64_t now_us = loop_now_us(controller->loop);
    end_late(&controller->waiting, now_us);
    end_late(&controller->round.requests, now_us);
    if (controller->waiting != NULL || controller->round.requests != NULL) {
        loop_timer_set(controller->loop, timer, now_us + CONTROLLER_SWEEP_US);
    }
}

void controller_get_status(struct controller *controller, struct controller_status *ret_status)
{
    struct quorum_facts facts;
    quorum_get_facts(controller->quorum, &facts);
    *ret_status = (struct controller_status){
        .is_active = controller->is_active,
        .raft_id = facts.raft_id,
        .term = facts.term,
        .leader_raft_id = facts.leader_raft_id,
        .controller_id = image_controller_id(controller->image),
        .controller_epoch = image_controller_epoch(controller->image),
        .first_index = facts.first_index,
        .last_index = facts.last_index,
        .commit_index = facts.commit_index,
        .applied_index = facts.applied_index,
        .snapshot_index = facts.snapshot_index,
        .log_bytes = facts.log_bytes,
        .voter_count = facts.voter_count,
        .ret_members = ret_status->ret_members,
    };
    memcpy(ret_status->hash, image_hash(controller->image), IMAGE_HASH_BYTES);
}

/* On the controller's loop. */
static void receive(struct loop_task *task)
{
    struct controller_request *request = CONTAINER_OF(task, struct controller_request, task);
    struct controller *controller = request->controller;
    count(controller, CONTROLLER_METRIC_REQUESTS, 1);
    if (controller->is_stopping || controller->is_failed) {
        controller_complete(request, ERR_CLOSED, 0);
        return;
    }
    if (request->kind == CONTROLLER_STATUS) {
        controller_get_status(controller, &request->status);
        controller_complete(request, ERR_OK, image_offset(controller->image));
        return;
    }
    if (!controller->is_leader) {
        controller_complete(request, ERR_NOT_LEADER, 0);
        return;
    }
    uint64_t now_us = loop_now_us(controller->loop);
    request->deadline_us = now_us + (request->timeout_us == 0 ? CONTROLLER_TIMEOUT_US_DEFAULT : request->timeout_us);
    DL_APPEND(controller->waiting, request);
    loop_defer(controller->loop, &controller->round_task);
    if (controller->sweep_timer.heap_slot == 0) {
        loop_timer_set(controller->loop, &controller->sweep_timer, now_us + CONTROLLER_SWEEP_US);
    }
}

void controller_submit(struct controller *controller, struct controller_request *request)
{
    request->controller = controller;
    request->err = ERR_OK;
    request->metadata_offset = 0;
    request->message[0] = '\0';
    request->hint = (struct controller_hint){.node_id = -1};
    if (request->kind == CONTROLLER_ADMIN) {
        request->admin.frame = shared_bytes_ref(request->admin.frame);
        request->admin.response = NULL;
    }
    atomic_fetch_add(&controller->submitting_count, 1);
    if (atomic_load(&controller->is_closed)) {
        controller_complete(request, ERR_CLOSED, 0);
    } else {
        request->task = (struct loop_task){.run = receive};
        loop_post(controller->loop, &request->task);
    }
    atomic_fetch_sub(&controller->submitting_count, 1);
}

/* ---- start ---- */

static enum err open_quorum(struct controller *controller, struct option_problem *ret_problem)
{
    char *directory = NULL;
    char *address = NULL;
    enum err err = controller_form(controller, &directory, &address, ret_problem);
    if (err != ERR_OK) {
        return err;
    }
    struct quorum_options options = {
        .directory = directory,
        .election_timeout_ms = controller->options.election_timeout_ms,
        .heartbeat_timeout_ms = controller->options.heartbeat_timeout_ms,
        .snapshot_entries = controller->options.snapshot_entries,
        .trailing_entries = controller->options.trailing_entries,
        .segment_bytes = controller->options.segment_bytes,
    };
    struct quorum_events events = {
        .ctx = controller,
        .on_restore = on_restore,
        .on_commit = on_commit,
        .on_leader = on_leader,
        .snapshot_begin = snapshot_begin,
        .snapshot_encode = snapshot_encode,
        .snapshot_end = snapshot_end,
        .on_fatal = on_fatal,
    };
    err = quorum_open(controller->env, &options, &controller->identity, address, &events, &controller->quorum,
                      ret_problem);
    mem_free(directory);
    mem_free(address);
    return err;
}

static enum err start_quorum(struct controller *controller, struct option_problem *ret_problem)
{
    enum err err = runtime_loop_new(controller->env->runtime, "controller", &controller->loop);
    controller->publisher.loop = controller->loop;
    if (err == ERR_OK) {
        err = quorum_start(controller->quorum, controller->loop);
    }
    if (err == ERR_OK && image_cluster_id(controller->image)[0] != '\0' &&
        strcmp(image_cluster_id(controller->image), controller->identity.cluster_id) != 0) {
        err = ERR_CORRUPT;
    }
    if (err != ERR_OK) {
        snprintf(ret_problem->text, sizeof(ret_problem->text), "the metadata in %s can't be applied: %s",
                 controller->options.metadata_dir, err_text(err));
    }
    return err;
}

static void ignore_fatal(void *ctx, const char *reason)
{
    (void)ctx;
    (void)reason;
}

enum err controller_start(struct env *env, const struct controller_options *options, struct controller **ret_controller,
                          struct option_problem *ret_problem)
{
    struct controller *controller = MEM_NEW(struct controller);
    controller->env = env;
    controller->options = *options;
    controller->defaults = (struct decision_defaults){
        .num_partitions = options->num_partitions,
        .default_replication_factor = options->default_replication_factor,
        .min_insync_replicas = options->min_insync_replicas,
        .partitions_max = options->partitions_max,
        .is_cached = options->is_cached,
        .allows_unclean = options->allows_unclean,
        .broker_options = options->broker_options,
    };
    controller->image = image_new_empty();
    controller->round_task.run = controller_round_run;
    controller->activate_task.run = activate;
    controller->sweep_timer.fire = sweep;
    if (options->metrics != NULL) {
        controller->metrics = metric_set_new(options->metrics, &controller_metric_table);
    }
    enum err err = open_quorum(controller, ret_problem);
    if (err == ERR_OK) {
        controller->options.on_fatal = ignore_fatal; /* a failure is returned for now */
        err = start_quorum(controller, ret_problem);
        controller->options.on_fatal = options->on_fatal;
    }
    if (err != ERR_OK) {
        controller_free(controller);
        return err;
    }
    runtime_loop_start(env->runtime, controller->loop);
    *ret_controller = controller;
    return ERR_OK;
}

const char *controller_cluster_id(const struct controller *controller)
{
    return controller->identity.cluster_id;
}

struct uuid controller_directory_id(const struct controller *controller)
{
    struct uuid id = UUID_ZERO;
    be64_put(id.bytes, controller->identity.raft_id);
    return id;
}

/* ---- stop: no new requests -> those under way end -> the quorum stops -> the loop ends ---- */

static void quorum_stopped(void *ctx)
{
    struct controller *controller = (struct controller *)ctx;
    loop_stop(controller->loop);
}

/* A request that passed the test of is_closed is posted when submitting_count is 0, and received one turn later. */
static void stop_on_loop(struct loop_task *task)
{
    struct controller *controller = CONTAINER_OF(task, struct controller, stop_task);
    if (controller->stop_turns == 0 && atomic_load(&controller->submitting_count) > 0) {
        loop_defer(controller->loop, task);
        return;
    }
    if (controller->stop_turns++ < 2) {
        loop_defer(controller->loop, task);
        return;
    }
    controller->is_stopping = true;
    controller->is_active = false;
    loop_timer_cancel(controller->loop, &controller->sweep_timer);
    controller_round_abort(controller, ERR_CLOSED);
    quorum_stop(controller->quorum, quorum_stopped, controller);
}

void controller_stop(struct controller *controller)
{
    atomic_store(&controller->is_closed, true);
    controller->stop_task = (struct loop_task){.run = stop_on_loop};
    loop_post(controller->loop, &controller->stop_task);
    runtime_loop_join(controller->env->runtime, controller->loop);
}

void controller_free(struct controller *controller)
{
    if (controller == NULL) {
        return;
    }
    CHECK(controller->publisher.subscriptions == NULL && controller->watches == NULL && controller->waiting == NULL &&
          controller->round.requests == NULL);
    quorum_free(controller->quorum);
    if (controller->loop != NULL) {
        runtime_loop_free(controller->env->runtime, controller->loop);
    }
    if (controller->metrics != NULL) {
        metric_set_free(controller->options.metrics, controller->metrics);
    }
    image_unref(controller->image);
    file_unref(controller->lock);
    mem_free(controller);
}
