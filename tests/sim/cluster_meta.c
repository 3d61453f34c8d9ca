#include "tests/sim/cluster_meta.h"

#include "broker/meta/metadata_follow.h"
#include "controller/controller_private.h"
#include "tests/support/plain_mem.h"

#include <limits.h>

void cluster_meta_init(struct cluster_meta *meta, const struct cluster_plan *plan, struct cluster_verdict *verdict)
{
    *meta = (struct cluster_meta){.plan = plan, .verdict = verdict, .active_node = -1};
}

void cluster_meta_done(struct cluster_meta *meta)
{
    plain_free(meta->hashes);
    plain_free(meta->term_leaders);
}

void cluster_meta_forget(struct cluster_meta *meta, unsigned node)
{
    memset(meta->views[node], 0, sizeof(meta->views[node]));
    meta->applied_index[node] = 0;
}

static int32_t node_of(const struct cluster_meta *meta, int32_t broker_id)
{
    for (unsigned i = 0; i < meta->plan->broker_count; i++) {
        if (meta->plan->nodes[i].node_id == broker_id) {
            return (int32_t)i;
        }
    }
    return -1;
}

static uint32_t bits_of(const struct cluster_meta *meta, const int32_t *ids, uint32_t count)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        int32_t node = node_of(meta, ids[i]);
        bits |= node < 0 ? 1u << 31 : 1u << node;
    }
    return bits;
}

static void violation(struct cluster_meta *meta, int64_t offset, unsigned index, const char *what,
                      const struct meta_partition *partition)
{
    cluster_verdict_violation(meta->verdict,
                              "metadata offset %" PRId64
                              ", partition %u: %s (leader %d epoch %d/%d replicas %x isr %x elr %x)",
                              offset, index, what, partition->leader, partition->leader_epoch,
                              partition->partition_epoch, partition->replicas, partition->isr, partition->elr);
}

/* What holds in every committed state. */
static void check_state(struct cluster_meta *meta, const struct image *image, unsigned index,
                        const struct meta_partition *now)
{
    int64_t offset = image_offset(image);
    if ((now->isr & ~now->replicas) != 0 || (now->elr & ~now->replicas) != 0) {
        violation(meta, offset, index, "ISR or ELR holds a broker that is no replica", now);
    }
    if ((now->isr & now->elr) != 0) {
        violation(meta, offset, index, "a broker is in the ISR and in the ELR", now);
    }
    if (now->leader >= 0 && (now->isr & (1u << now->leader)) == 0) {
        violation(meta, offset, index, "the leader is not in the ISR", now);
    }
    if (now->leader >= 0 && !image_is_broker_alive(image, meta->plan->nodes[now->leader].node_id)) {
        violation(meta, offset, index, "the leader is fenced", now);
    }
    for (unsigned node = 0; node < meta->plan->broker_count; node++) {
        if ((now->isr & (1u << node)) != 0 && !image_is_broker_alive(image, meta->plan->nodes[node].node_id) &&
            (now->isr & (now->isr - 1)) != 0) {
            violation(meta, offset, index, "a fenced broker is in an ISR of several", now);
        }
    }
}

/* What has changed since the newest metadata before. */
static void check_change(struct cluster_meta *meta, int64_t offset, unsigned index, const struct meta_partition *now)
{
    const struct meta_partition *before = &meta->partitions[index];
    if (!before->is_known) {
        return;
    }
    if (now->leader_epoch < before->leader_epoch || now->partition_epoch < before->partition_epoch) {
        violation(meta, offset, index, "an epoch goes back", now);
    }
    if (now->leader_epoch == before->leader_epoch && now->leader != before->leader) {
        violation(meta, offset, index, "R7: another leader in the same leader epoch", now);
    }
    if (now->partition_epoch == before->partition_epoch &&
        (now->isr != before->isr || now->elr != before->elr || now->leader_epoch != before->leader_epoch)) {
        violation(meta, offset, index, "a change without a new partition epoch", now);
    }
    if (now->leader >= 0 && now->leader_epoch > before->leader_epoch) {
        meta->counts.elections++;
        uint32_t bit = 1u << now->leader;
        meta->counts.elr_elections += (before->isr & bit) == 0 && (before->elr & bit) != 0 ? 1 : 0;
    }
    meta->counts.isr_shrinks += (before->isr & ~now->isr) != 0 ? 1 : 0;
    meta->counts.isr_expansions += (now->isr & ~before->isr) != 0 ? 1 : 0;
}

static void take_partitions(struct cluster_meta *meta, const struct image *image, bool is_newest)
{
    for (unsigned index = 0; index < meta->plan->partition_count; index++) {
        unsigned of_topic = 0;
        const struct cluster_plan_topic *plan = cluster_plan_topic_of(meta->plan, index, &of_topic);
        const struct image_partition *partition =
            image_find_partition(image_find_topic(image, span_text(plan->name)), (int32_t)of_topic);
        if (partition == NULL) {
            if (is_newest && meta->partitions[index].is_known) {
                violation(meta, image_offset(image), index, "a partition has gone", &meta->partitions[index]);
            }
            continue;
        }
        struct meta_partition now = {
            .is_known = true,
            .leader = partition->leader_id == IMAGE_NO_LEADER ? -1 : node_of(meta, partition->leader_id),
            .leader_epoch = partition->leader_epoch,
            .partition_epoch = partition->partition_epoch,
            .replicas = bits_of(meta, partition->replicas, partition->replica_count),
            .isr = bits_of(meta, partition->isr, partition->isr_count),
            .elr = bits_of(meta, partition->elr, partition->elr_count),
        };
        check_state(meta, image, index, &now);
        if (is_newest) {
            check_change(meta, image_offset(image), index, &now);
            meta->partitions[index] = now;
        }
    }
}

static void take_brokers(struct cluster_meta *meta, const struct image *image)
{
    for (unsigned node = 0; node < meta->plan->broker_count; node++) {
        const struct image_broker *broker = image_find_broker(image, meta->plan->nodes[node].node_id);
        if (broker == NULL) {
            continue;
        }
        if (broker->epoch < meta->broker_epochs[node]) {
            cluster_verdict_violation(meta->verdict, "metadata offset %" PRId64 ": the broker epoch of %s goes back",
                                      image_offset(image), meta->plan->nodes[node].name);
        }
        meta->counts.registrations += broker->epoch > meta->broker_epochs[node] ? 1 : 0;
        meta->counts.fencings += broker->is_fenced && !meta->is_fenced[node] ? 1 : 0;
        meta->broker_epochs[node] = broker->epoch;
        meta->is_fenced[node] = broker->is_fenced;
    }
    int64_t controller_epoch = image_controller_epoch(image);
    if (controller_epoch > meta->controller_epoch) {
        meta->counts.controller_failovers += meta->controller_epoch > 0 ? 1 : 0;
        meta->controller_epoch = controller_epoch;
        for (unsigned node = 0; node < meta->plan->node_count; node++) {
            meta->active_node =
                meta->plan->nodes[node].node_id == image_controller_id(image) ? (int32_t)node : meta->active_node;
        }
    }
}

/* R8. False: this offset is known already. */
static bool take_hash(struct cluster_meta *meta, unsigned node, const struct image *image)
{
    size_t offset = (size_t)image_offset(image);
    if (offset >= meta->hash_capacity) {
        size_t capacity = (offset + 1) * 2;
        meta->hashes = (struct meta_hash *)plain_grow(meta->hashes, capacity, sizeof(*meta->hashes));
        memset(meta->hashes + meta->hash_capacity, 0, (capacity - meta->hash_capacity) * sizeof(*meta->hashes));
        meta->hash_capacity = capacity;
    }
    struct meta_hash *hash = &meta->hashes[offset];
    if (!hash->is_known) {
        hash->is_known = true;
        hash->node = (uint8_t)node;
        memcpy(hash->bytes, image_hash(image), sizeof(hash->bytes));
        return true;
    }
    meta->counts.compared_hashes++;
    if (memcmp(hash->bytes, image_hash(image), sizeof(hash->bytes)) != 0) {
        cluster_verdict_violation(meta->verdict, "R8: metadata offset %zu has another hash on %s than on %s", offset,
                                  meta->plan->nodes[node].name, meta->plan->nodes[hash->node].name);
    }
    return false;
}

static void observe_image(struct cluster_meta *meta, unsigned node, struct meta_view *view, const struct image *image)
{
    if (image == NULL || (image == view->image && image_offset(image) == view->offset)) {
        return;
    }
    int64_t offset = image_offset(image);
    if (offset < view->offset) {
        cluster_verdict_violation(meta->verdict, "R8: the metadata of %s goes back from %" PRId64 " to %" PRId64,
                                  meta->plan->nodes[node].name, view->offset, offset);
    }
    *view = (struct meta_view){.image = image, .offset = offset};
    if (offset > 0 && take_hash(meta, node, image)) {
        bool is_newest = offset > meta->offset;
        take_partitions(meta, image, is_newest);
        if (is_newest) {
            take_brokers(meta, image);
            meta->offset = offset;
        }
    }
}

/* One active controller per term: who forgets its vote may vote twice (correctness.md 6). */
static void take_term(struct cluster_meta *meta, unsigned node, size_t term)
{
    if (term >= meta->term_capacity) {
        size_t capacity = (term + 1) * 2;
        meta->term_leaders = (uint8_t *)plain_grow(meta->term_leaders, capacity, 1);
        memset(meta->term_leaders + meta->term_capacity, 0, capacity - meta->term_capacity);
        meta->term_capacity = capacity;
    }
    uint8_t known = meta->term_leaders[term];
    if (known != 0 && known != node + 1) {
        cluster_verdict_violation(meta->verdict, "R8: term %zu is led by %s, and was led by %s", term,
                                  meta->plan->nodes[node].name, meta->plan->nodes[known - 1].name);
    }
    meta->term_leaders[term] = (uint8_t)(node + 1);
}

/* A snapshot beyond what this process had applied came from somebody else. */
static void observe_quorum(struct cluster_meta *meta, unsigned node, const struct quorum *quorum)
{
    struct quorum_facts facts;
    quorum_get_facts(quorum, &facts);
    uint64_t applied_index = meta->applied_index[node];
    meta->counts.snapshot_installs += applied_index > 0 && facts.snapshot_index > applied_index ? 1 : 0;
    meta->applied_index[node] = facts.applied_index > facts.snapshot_index ? facts.applied_index : facts.snapshot_index;
}

void cluster_meta_observe(struct cluster_meta *meta, unsigned node, const struct broker *broker)
{
    if (broker->controller != NULL && broker->controller->quorum != NULL) {
        observe_quorum(meta, node, broker->controller->quorum);
    }
    if (broker->controller != NULL) {
        observe_image(meta, node, &meta->views[node][0], broker->controller->image);
        if (broker->controller->is_active) {
            take_term(meta, node, (size_t)broker->controller->active_term);
        }
    }
    if (broker->metadata_follow != NULL) {
        observe_image(meta, node, &meta->views[node][1], metadata_follow_image(broker->metadata_follow));
    }
}

static bool is_full(const struct meta_partition *partition)
{
    return partition->is_known && partition->leader >= 0 && partition->isr == partition->replicas;
}

bool cluster_meta_is_full(const struct cluster_meta *meta)
{
    for (unsigned i = 0; i < meta->plan->partition_count; i++) {
        if (!is_full(&meta->partitions[i])) {
            return false;
        }
    }
    return true;
}

void cluster_meta_describe_gap(const struct cluster_meta *meta, char *ret_text, size_t bytes_max)
{
    (void)snprintf(ret_text, bytes_max, "every partition is whole at metadata offset %" PRId64, meta->offset);
    for (unsigned i = 0; i < meta->plan->partition_count; i++) {
        const struct meta_partition *partition = &meta->partitions[i];
        if (!is_full(partition)) {
            (void)snprintf(
                ret_text, bytes_max,
                "partition %u%s: leader %d epoch %d/%d replicas %x isr %x elr %x at metadata offset %" PRId64, i,
                partition->is_known ? "" : " does not exist", partition->leader, partition->leader_epoch,
                partition->partition_epoch, partition->replicas, partition->isr, partition->elr, meta->offset);
            return;
        }
    }
}
