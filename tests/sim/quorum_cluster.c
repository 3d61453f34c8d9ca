/* Machines, what is asked of them, and the checker. */
#include "tests/sim/quorum_cluster.h"

#include "tests/sim/quorum_cluster_private.h"
#include "tests/support/plain_mem.h"

#include <stdarg.h>

#define TRACE_BYTES_MAX (4u << 20)

/* ---- the checker ---- */

void quorum_cluster_violate(struct quorum_cluster *cluster, const char *format, ...)
{
    if (cluster->checker.violation[0] != '\0') {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(cluster->checker.violation, sizeof(cluster->checker.violation), format, arguments);
    va_end(arguments);
    sim_trace_write(&cluster->world.trace, cluster->world.now_us, "checker", "VIOLATION %s",
                    cluster->checker.violation);
}

static struct quorum_fate *fate_of(struct quorum_checker *checker, uint64_t index)
{
    if (index >= checker->fate_count) {
        size_t count = (size_t)index * 2 + 64;
        checker->fates = (struct quorum_fate *)plain_grow(checker->fates, count, sizeof(checker->fates[0]));
        memset(checker->fates + checker->fate_count, 0, (count - checker->fate_count) * sizeof(checker->fates[0]));
        checker->fate_count = count;
    }
    return &checker->fates[index];
}

/* The first to apply an index decides what it is; everybody else must have come to the same state. */
void quorum_checker_applied(struct quorum_process *process, uint64_t index, uint64_t term)
{
    struct quorum_cluster *cluster = process->slot->cluster;
    struct quorum_checker *checker = &cluster->checker;
    struct quorum_fate *fate = fate_of(checker, index);
    if (!fate->is_known) {
        *fate = (struct quorum_fate){true, term, process->chain, process->count};
        checker->command_count++;
        checker->applied_most = index > checker->applied_most ? index : checker->applied_most;
    } else if (fate->chain != process->chain || fate->count != process->count || fate->term != term) {
        quorum_cluster_violate(cluster, "%s applied %" PRIu64 " of term %" PRIu64 " and has another state than others",
                               process->slot->name, index, term);
    }
    process->slot->applied = index;
}

/* The state as of a snapshot is that of the last command at or before it. */
void quorum_checker_restored(struct quorum_process *process, uint64_t index, uint64_t term)
{
    (void)term;
    struct quorum_checker *checker = &process->slot->cluster->checker;
    while (index > 0 && !fate_of(checker, index)->is_known) {
        index--;
    }
    const struct quorum_fate *fate = fate_of(checker, index);
    if (fate->is_known && (fate->chain != process->chain || fate->count != process->count)) {
        quorum_cluster_violate(process->slot->cluster, "%s restored a state that nobody had at %" PRIu64,
                               process->slot->name, index);
    }
}

void quorum_checker_leads(struct quorum_process *process, uint64_t term)
{
    struct quorum_checker *checker = &process->slot->cluster->checker;
    if (term >= checker->leader_count) {
        size_t count = (size_t)term * 2 + 64;
        checker->leaders =
            (struct quorum_term_leader *)plain_grow(checker->leaders, count, sizeof(checker->leaders[0]));
        memset(checker->leaders + checker->leader_count, 0,
               (count - checker->leader_count) * sizeof(checker->leaders[0]));
        checker->leader_count = count;
    }
    uint64_t raft_id = process->slot->raft_id;
    if (checker->leaders[term].raft_id != 0 && checker->leaders[term].raft_id != raft_id) {
        quorum_cluster_violate(process->slot->cluster, "two leaders of term %" PRIu64, term);
    }
    checker->leaders[term].raft_id = raft_id;
    checker->election_count++;
}

void quorum_checker_configured(struct quorum_cluster *cluster, const struct quorum_member *members, uint32_t count,
                               uint64_t index)
{
    if (index <= cluster->members_index) {
        return;
    }
    cluster->members_index = index;
    for (unsigned i = 0; i < cluster->tuning.slots; i++) {
        struct quorum_slot *slot = &cluster->slots[i];
        bool is_kept = false;
        for (uint32_t j = 0; j < count; j++) {
            is_kept = is_kept || members[j].raft_id == slot->raft_id;
        }
        slot->is_free = slot->is_free || (quorum_cluster_is_member(cluster, slot) && !is_kept);
    }
    cluster->member_count = count;
    for (uint32_t i = 0; i < count; i++) {
        cluster->members[i] = members[i];
        (void)snprintf(cluster->addresses[i], sizeof(cluster->addresses[i]), "%s", members[i].address);
        cluster->members[i].address = cluster->addresses[i];
    }
}

/* ---- machines ---- */

static void slot_renew(struct quorum_cluster *cluster, struct quorum_slot *slot)
{
    slot->generation = (unsigned)++cluster->next_generation;
    slot->raft_id = prop_u64(&cluster->world.prop) | 1u;
    slot->applied = 0;
    slot->is_free = false;
    (void)snprintf(slot->path, sizeof(slot->path), "/sim/meta/log-%u", slot->generation);
    (void)snprintf(slot->address, sizeof(slot->address), "%u@%s:9093/%u", slot->number, slot->host, slot->generation);
}

void quorum_cluster_init(struct quorum_cluster *cluster, uint64_t seed, const struct quorum_tuning *tuning)
{
    *cluster = (struct quorum_cluster){.tuning = *tuning};
    sim_world_init(&cluster->world, seed, TRACE_BYTES_MAX);
    cluster->fabric = sim_fabric_new(&cluster->world);
    quorum_bus_heal(&cluster->bus);
    struct quorum_member members[QUORUM_SLOTS_MAX];
    for (unsigned i = 0; i < tuning->slots; i++) {
        struct quorum_slot *slot = &cluster->slots[i];
        slot->cluster = cluster;
        slot->number = i;
        (void)snprintf(slot->name, sizeof(slot->name), "n%u", i);
        (void)snprintf(slot->host, sizeof(slot->host), "10.0.0.%u", i + 1);
        slot->node =
            sim_node_new(&cluster->world, cluster->fabric,
                         &(struct sim_node_options){.name = slot->name, .address = slot->host, .log_level = LOG_ERROR});
        cluster->nodes[i] = slot->node;
        if (i < tuning->founders) {
            slot_renew(cluster, slot);
            slot->is_founder = true;
            members[i] = (struct quorum_member){slot->raft_id, slot->address, QUORUM_VOTER};
        }
    }
    bytebuf_init(&cluster->first_configuration, QUORUM_ENTRY_BYTES_MAX);
    enum err err = quorum_configuration_encode(members, tuning->founders, &cluster->first_configuration);
    CHECK(err == ERR_OK);
}

void quorum_cluster_done(struct quorum_cluster *cluster)
{
    quorum_bus_done(cluster);
    for (unsigned i = 0; i < cluster->tuning.slots; i++) {
        sim_node_free(cluster->slots[i].node);
    }
    sim_fabric_free(cluster->fabric);
    bytebuf_done(&cluster->first_configuration);
    plain_free(cluster->checker.fates);
    plain_free(cluster->checker.leaders);
    sim_world_done(&cluster->world);
}

void quorum_cluster_boot(struct sim_node *node, void *ctx)
{
    struct quorum_cluster *cluster = (struct quorum_cluster *)ctx;
    for (unsigned i = 0; i < cluster->tuning.slots; i++) {
        struct quorum_slot *slot = &cluster->slots[i];
        if (slot->node == node && slot->generation != 0) {
            quorum_process_boot(slot, &node->env);
        }
    }
}

struct quorum_slot *quorum_cluster_leader(struct quorum_cluster *cluster)
{
    struct quorum_slot *leader = NULL;
    for (unsigned i = 0; i < cluster->tuning.slots; i++) {
        struct quorum_slot *slot = &cluster->slots[i];
        if (quorum_process_is_alive(slot) && slot->is_leader && (leader == NULL || slot->term > leader->term)) {
            leader = slot;
        }
    }
    return leader;
}

struct quorum_slot *quorum_cluster_find(struct quorum_cluster *cluster, uint64_t raft_id)
{
    for (unsigned i = 0; i < cluster->tuning.slots; i++) {
        if (cluster->slots[i].generation != 0 && cluster->slots[i].raft_id == raft_id) {
            return &cluster->slots[i];
        }
    }
    return NULL;
}

bool quorum_cluster_is_member(const struct quorum_cluster *cluster, const struct quorum_slot *slot)
{
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        if (cluster->members[i].raft_id == slot->raft_id) {
            return slot->generation != 0;
        }
    }
    return false;
}

/* ---- what is asked of them ---- */

static void propose(struct quorum_process *process, struct span bytes)
{
    uint64_t index = 0;
    enum err err = quorum_propose(process->quorum, bytes, &index);
    if (err != ERR_OK && err != ERR_NOT_LEADER && err != ERR_BUSY && err != ERR_CLOSED) {
        quorum_cluster_violate(process->slot->cluster, "a proposal is answered with %s", err_name(err));
    }
}

void quorum_cluster_propose(struct quorum_cluster *cluster, struct quorum_slot *slot, size_t bytes)
{
    uint8_t *data = (uint8_t *)plain_zalloc(bytes + 8);
    uint64_t number = ++cluster->next_number;
    memcpy(data, &number, sizeof(number));
    memset(data + 8, (int)(number & 0xff), bytes);
    quorum_process_call(slot, propose, span_make(data, bytes + 8));
    plain_free(data);
}

void quorum_cluster_join(struct quorum_cluster *cluster, struct quorum_slot *slot)
{
    slot_renew(cluster, slot);
    slot->is_founder = false;
    sim_node_kill(slot->node);
    if (slot->node->state == SIM_NODE_DEAD) {
        sim_node_start(slot->node, quorum_cluster_boot, cluster);
    }
}

static void changed(void *ctx, enum err err)
{
    struct quorum_cluster *cluster = (struct quorum_cluster *)ctx;
    cluster->is_changing = false;
    cluster->change_err = err;
    cluster->checker.change_count += err == ERR_OK;
    sim_trace_write(&cluster->world.trace, cluster->world.now_us, "checker", "change %s", err_name(err));
}

static void handed_over(void *ctx, enum err err)
{
    struct quorum_cluster *cluster = (struct quorum_cluster *)ctx;
    cluster->is_changing = false;
    cluster->change_err = err;
    cluster->checker.transfer_count += err == ERR_OK;
    sim_trace_write(&cluster->world.trace, cluster->world.now_us, "checker", "transfer %s", err_name(err));
}

struct member_request {
    uint64_t raft_id;
    char address[QUORUM_ADDRESS_TEXT_BYTES];
};

static void add(struct quorum_process *process, struct span bytes)
{
    const struct member_request *request = (const struct member_request *)(const void *)bytes.data;
    quorum_add_voter(process->quorum, request->raft_id, request->address, changed, process->slot->cluster);
}

static void remove_member(struct quorum_process *process, struct span bytes)
{
    const struct member_request *request = (const struct member_request *)(const void *)bytes.data;
    quorum_remove_voter(process->quorum, request->raft_id, changed, process->slot->cluster);
}

static void transfer(struct quorum_process *process, struct span bytes)
{
    (void)bytes;
    quorum_transfer(process->quorum, handed_over, process->slot->cluster);
}

void quorum_cluster_add(struct quorum_cluster *cluster, struct quorum_slot *leader, struct quorum_slot *slot)
{
    slot->is_free = false;
    struct member_request request = {.raft_id = slot->raft_id};
    memcpy(request.address, slot->address, sizeof(request.address));
    cluster->is_changing = true;
    quorum_process_call(leader, add, span_make(&request, sizeof(request)));
}

void quorum_cluster_remove(struct quorum_cluster *cluster, struct quorum_slot *leader, uint64_t raft_id)
{
    struct member_request request = {.raft_id = raft_id};
    cluster->is_changing = true;
    quorum_process_call(leader, remove_member, span_make(&request, sizeof(request)));
}

void quorum_cluster_transfer(struct quorum_cluster *cluster, struct quorum_slot *leader)
{
    cluster->is_changing = true;
    quorum_process_call(leader, transfer, SPAN_NULL);
}

void quorum_cluster_print(const struct quorum_cluster *cluster)
{
    printf("# members as of %" PRIu64 ":", cluster->members_index);
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        static const char *const roles[] = {"voter", "standby", "spare"};
        printf(" %s=%s", cluster->members[i].address, roles[cluster->members[i].role]);
    }
    printf("\n");
    for (unsigned i = 0; i < cluster->tuning.slots; i++) {
        const struct quorum_slot *slot = &cluster->slots[i];
        if (slot->generation == 0) {
            continue;
        }
        printf("# %s %s raft_id=%" PRIu64 " %s%s term=%" PRIu64 " applied=%" PRIu64 " of %" PRIu64 "\n", slot->name,
               slot->address, slot->raft_id, quorum_process_is_alive(slot) ? "alive" : "gone",
               slot->is_leader ? " leader" : "", slot->term, slot->applied, cluster->checker.applied_most);
    }
}
