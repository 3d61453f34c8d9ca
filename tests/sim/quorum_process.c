/* One process: a quorum, a loop, and a state machine that is a chain over what was applied. */
#include "common/big_endian.h"
#include "common/mem.h"
#include "tests/sim/quorum_cluster_private.h"

#define ELECTION_MS 300
#define HEARTBEAT_MS 60
#define STATE_BYTES 24

static struct quorum_cluster *cluster_of(const struct quorum_process *process)
{
    return process->slot->cluster;
}

static uint64_t mix(uint64_t chain, struct span data, uint64_t index)
{
    uint64_t hash = chain ^ (index * 0x9e3779b97f4a7c15u);
    for (size_t i = 0; i < data.bytes; i += i < 64 ? 1 : 61) {
        hash = (hash ^ data.data[i]) * 0x100000001b3u;
    }
    return (hash ^ data.bytes) * 0x100000001b3u;
}

/* ---- the state machine ---- */

static enum err on_commit(void *ctx, uint64_t index, uint64_t term, struct span data)
{
    struct quorum_process *process = (struct quorum_process *)ctx;
    if (index <= process->applied) {
        quorum_cluster_violate(cluster_of(process), "%s applies %" PRIu64 " after %" PRIu64, process->slot->name, index,
                               process->applied);
    }
    process->applied = index;
    process->chain = mix(process->chain, data, index);
    process->count++;
    quorum_checker_applied(process, index, term);
    return ERR_OK;
}

static enum err on_restore(void *ctx, uint64_t index, uint64_t term, struct span data)
{
    struct quorum_process *process = (struct quorum_process *)ctx;
    CHECK(data.bytes >= STATE_BYTES);
    if (index < process->applied) {
        quorum_cluster_violate(cluster_of(process), "%s goes back from %" PRIu64 " to %" PRIu64, process->slot->name,
                               process->applied, index);
    }
    process->applied = index;
    process->chain = be64_get(data.data + 8);
    process->count = be64_get(data.data + 16);
    for (size_t i = STATE_BYTES; i < data.bytes; i++) {
        CHECK(data.data[i] == (uint8_t)(i * 7 + process->count));
    }
    if (process->is_running) {
        cluster_of(process)->checker.install_count++;
    }
    quorum_checker_restored(process, index, term);
    return ERR_OK;
}

struct held_state {
    struct quorum_process process;
    uint32_t ballast_bytes;
};

static void *snapshot_begin(void *ctx)
{
    struct quorum_process *process = (struct quorum_process *)ctx;
    struct held_state *held = MEM_NEW(struct held_state);
    held->process = *process;
    held->ballast_bytes = cluster_of(process)->tuning.ballast_bytes;
    return held;
}

static enum err snapshot_encode(void *state, struct bytebuf *ret_bytes)
{
    const struct held_state *held = (const struct held_state *)state;
    uint8_t *room = NULL;
    enum err err = bytebuf_reserve(ret_bytes, STATE_BYTES + held->ballast_bytes, &room);
    if (err == ERR_OK) {
        be64_put(room, held->process.applied);
        be64_put(room + 8, held->process.chain);
        be64_put(room + 16, held->process.count);
        for (size_t i = STATE_BYTES; i < STATE_BYTES + held->ballast_bytes; i++) {
            room[i] = (uint8_t)(i * 7 + held->process.count);
        }
        bytebuf_added(ret_bytes, STATE_BYTES + held->ballast_bytes);
    }
    return err;
}

static void snapshot_end(void *ctx, void *state)
{
    (void)ctx;
    mem_free(state);
}

/* ---- what the quorum tells ---- */

static void on_leader(void *ctx, bool is_leader)
{
    struct quorum_process *process = (struct quorum_process *)ctx;
    struct quorum_facts facts;
    quorum_get_facts(process->quorum, &facts);
    process->slot->is_leader = is_leader;
    if (is_leader) {
        quorum_checker_leads(process, facts.term);
        /* As the controller: an activation, without which nothing of older terms would be committed. */
        static const uint8_t activation[] = "activation";
        uint64_t index = 0;
        (void)!quorum_propose(process->quorum, span_make(activation, sizeof(activation)), &index);
    }
}

static void on_configuration(void *ctx, const struct quorum_member *members, uint32_t count, uint64_t index)
{
    quorum_checker_configured(cluster_of((struct quorum_process *)ctx), members, count, index);
}

static void on_leader_known(void *ctx, uint64_t leader_raft_id, uint64_t term)
{
    const struct quorum_process *process = (const struct quorum_process *)ctx;
    const struct quorum_checker *checker = &cluster_of(process)->checker;
    uint64_t led_by = term < checker->leader_count ? checker->leaders[term].raft_id : 0;
    if (leader_raft_id != 0 && led_by != 0 && led_by != leader_raft_id) {
        quorum_cluster_violate(cluster_of(process), "%s takes somebody else for the leader of term %" PRIu64,
                               process->slot->name, term);
    }
}

static void on_send(void *ctx, uint64_t to_raft_id, const char *to_address, struct span header, struct span body)
{
    CHECK(to_address[0] != '\0' && header.bytes + body.bytes <= QUORUM_FRAME_BYTES_MAX);
    quorum_bus_send((struct quorum_process *)ctx, to_raft_id, header, body);
}

static void on_fatal(void *ctx, const char *reason)
{
    struct quorum_process *process = (struct quorum_process *)ctx;
    struct quorum_cluster *cluster = cluster_of(process);
    sim_trace_write(&cluster->world.trace, cluster->world.now_us, process->slot->name, "FATAL %s", reason);
    cluster->checker.fatal_count++;
    if (strstr(reason, "input/output") == NULL && strstr(reason, "no space") == NULL) {
        quorum_cluster_violate(cluster, "%s: %s", process->slot->name, reason);
    }
    sim_node_kill(process->slot->node);
}

void quorum_process_note(struct quorum_process *process)
{
    struct quorum_slot *slot = process->slot;
    struct quorum_facts facts;
    quorum_get_facts(process->quorum, &facts);
    slot->cluster->checker.truncate_count += facts.truncate_count - slot->truncate_count;
    slot->truncate_count = facts.truncate_count;
    slot->term = facts.term;
    slot->applied = facts.applied_index;
    slot->is_leader = facts.is_leader;
}

/* ---- birth ---- */

/* A disk that fails is the nemesis's doing; the machine is started again later. */
static void die(struct quorum_process *process, enum err err, const char *text)
{
    if (err == ERR_CORRUPT || err == ERR_INVALID) {
        quorum_cluster_violate(cluster_of(process), "%s can't start: %s", process->slot->name, text);
    }
    sim_node_kill(process->slot->node);
}

static enum err form(struct quorum_process *process, const struct quorum_identity *identity)
{
    struct quorum_slot *slot = process->slot;
    bool exists = false;
    struct option_problem problem = {0};
    enum err err = fs_mkdir(process->env->fs, "/sim/meta");
    if (err == ERR_OK || err == ERR_EXISTS) {
        err = fs_sync_dir(process->env->fs, "/sim");
    }
    if (err == ERR_OK) {
        err = quorum_log_exists(process->env->fs, slot->path, &exists);
    }
    if (err != ERR_OK || exists) {
        return err;
    }
    struct span configuration = slot->is_founder ? bytebuf_span(&slot->cluster->first_configuration) : SPAN_NULL;
    return quorum_log_form(process->env->fs, slot->path, identity, configuration, &problem);
}

static enum err open_quorum(struct quorum_process *process, struct option_problem *problem)
{
    struct quorum_slot *slot = process->slot;
    const struct quorum_tuning *tuning = &slot->cluster->tuning;
    struct quorum_identity identity = {
        .cluster_id = "abcdefghijklmnopqrstuv", .node_id = (int32_t)slot->number, .raft_id = slot->raft_id};
    enum err err = form(process, &identity);
    if (err == ERR_OK) {
        err = quorum_log_read_identity(process->env->fs, slot->path, &identity, problem);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct quorum_options options = {.directory = slot->path,
                                     .election_timeout_ms = ELECTION_MS,
                                     .heartbeat_timeout_ms = HEARTBEAT_MS,
                                     .snapshot_entries = tuning->snapshot_entries,
                                     .trailing_entries = tuning->trailing_entries,
                                     .segment_bytes = tuning->segment_bytes};
    struct quorum_events events = {.ctx = process,
                                   .on_restore = on_restore,
                                   .on_commit = on_commit,
                                   .on_leader = on_leader,
                                   .snapshot_begin = snapshot_begin,
                                   .snapshot_encode = snapshot_encode,
                                   .snapshot_end = snapshot_end,
                                   .send = on_send,
                                   .on_configuration = on_configuration,
                                   .on_leader_known = on_leader_known,
                                   .on_fatal = on_fatal};
    return quorum_open(process->env, &options, &identity, slot->address, &events, &process->quorum, problem);
}

void quorum_process_boot(struct quorum_slot *slot, struct env *env)
{
    struct quorum_process *process = MEM_NEW(struct quorum_process);
    struct option_problem problem = {0};
    process->slot = slot;
    process->env = env;
    slot->truncate_count = 0;
    slot->is_leader = false;
    enum err err = open_quorum(process, &problem);
    if (err == ERR_OK) {
        err = runtime_loop_new(env->runtime, "quorum", &process->loop);
        CHECK(err == ERR_OK);
        err = quorum_start(process->quorum, process->loop);
    }
    if (err != ERR_OK) {
        die(process, err, problem.text);
        return;
    }
    process->is_running = true;
    slot->process = process;
    slot->process_start = slot->node->start_count;
    quorum_process_note(process);
    runtime_loop_start(env->runtime, process->loop);
}

/* ---- calls from outside ---- */

struct process_call {
    struct loop_task task;
    struct quorum_process *process;
    quorum_process_fn code;
    size_t bytes;
    uint8_t data[];
};

static void run_call(struct loop_task *task)
{
    struct process_call *call = CONTAINER_OF(task, struct process_call, task);
    call->code(call->process, span_make(call->data, call->bytes));
    quorum_process_note(call->process);
    mem_free(call);
}

struct call_request {
    struct quorum_slot *slot;
    quorum_process_fn code;
    struct span bytes;
};

static void post_call(struct sim_node *node, void *ctx)
{
    (void)node;
    const struct call_request *request = (const struct call_request *)ctx;
    struct process_call *call = (struct process_call *)mem_zalloc(sizeof(*call) + request->bytes.bytes);
    call->task.run = run_call;
    call->process = request->slot->process;
    call->code = request->code;
    call->bytes = request->bytes.bytes;
    if (call->bytes > 0) {
        memcpy(call->data, request->bytes.data, call->bytes);
    }
    loop_post(call->process->loop, &call->task);
}

bool quorum_process_is_alive(const struct quorum_slot *slot)
{
    return slot->node->state == SIM_NODE_RUNNING && slot->process_start == slot->node->start_count;
}

void quorum_process_call(struct quorum_slot *slot, quorum_process_fn code, struct span bytes)
{
    if (quorum_process_is_alive(slot)) {
        struct call_request request = {slot, code, bytes};
        sim_node_run(slot->node, post_call, &request);
    }
}
