/* Random lives of a cluster of 3 to 5 brokers, decision by decision: they register, die, lose memory and disks, shut down, catch up; people
 * elect, rebalance, change settings. After every applied entry the invariants hold (testing.md 6, oracle 5); and nobody leads who lacks
 * something that was committed, unless an unclean election was allowed. */
#include "controller/config_control.h"
#include "tests/support/prop.h"
#include "tests/unit/controller/cluster_support.h"

#define BROKERS_MAX 5
#define TOPICS 4
#define PARTITIONS 2

/* What really is on the disks, which the controller can't see. */
struct truth {
    bool is_complete[BROKERS_MAX + 1]; /* the replica holds all that was committed; by broker id */
};

struct broker_truth {
    uint32_t life;
    uint32_t directory; /* number of the disk that it has now */
    uint32_t boot;
    int64_t mark; /* of its last orderly stop, -1: none */
    bool is_running;
};

struct world {
    struct prop prop;
    struct state state;
    struct decision_defaults defaults;
    uint32_t broker_count;
    struct broker_truth brokers[BROKERS_MAX + 1];
    struct truth truths[TOPICS][PARTITIONS];
    const struct image *before; /* as it was checked last */
    uint64_t counts
        [8]; /* of what happened: elections from the ISR, from the ELR, unclean, empty ISRs, losses, rehomed, refused, commits */
};

enum { FROM_ISR, FROM_ELR, UNCLEAN, EMPTIED, LOST, REHOMED, REFUSED, COMMITTED };

static const char *const topic_names[TOPICS] = {"synced", "cached", "single", "unclean"};

static const struct image_topic *topic_of(const struct world *world, uint32_t index)
{
    return image_find_topic(world->state.image, span_text(topic_names[index]));
}

static uint32_t min_isr_of(const struct world *world, const struct image_topic *topic,
                           const struct image_partition *partition)
{
    uint32_t min_isr = (uint32_t)config_control_topic_number(world->state.image, topic->name, "min.insync.replicas", 1);
    return min_isr < partition->replica_count ? min_isr : partition->replica_count;
}

static bool is_in_elr(const struct image_partition *partition, int32_t id)
{
    for (uint32_t i = 0; i < partition->elr_count; i++) {
        if (partition->elr[i] == id) {
            return true;
        }
    }
    return false;
}

static struct uuid directory_of(const struct world *world, int32_t id)
{
    return id_of((uint32_t)id * 1000 + world->brokers[id].directory);
}

/* ---- checks ---- */

static void check_sets(const struct world *world, const struct image_topic *topic,
                       const struct image_partition *partition)
{
    for (uint32_t i = 0; i < partition->isr_count; i++) {
        assert_true(image_partition_has_replica(partition, partition->isr[i]));
        assert_true(image_is_broker_alive(world->state.image, partition->isr[i]));
        assert_false(is_in_elr(partition, partition->isr[i]));
    }
    for (uint32_t i = 0; i < partition->elr_count; i++) {
        assert_true(image_partition_has_replica(partition, partition->elr[i]));
    }
    if (partition->isr_count >= min_isr_of(world, topic, partition)) {
        assert_int_equal(partition->elr_count, 0);
    }
    assert_true(partition->last_known_count == 0 || partition->isr_count + partition->elr_count == 0);
    if (partition->leader_id != IMAGE_NO_LEADER) {
        assert_true(image_partition_in_isr(partition, partition->leader_id));
        assert_true(!world->brokers[partition->leader_id].is_running ||
                    uuid_equal(image_partition_directory(partition, partition->leader_id),
                               directory_of(world, partition->leader_id)));
    }
}

/* From here on this replica's log is what the partition holds. */
static void make_truth(struct truth *truth, int32_t id)
{
    memset(truth->is_complete, 0, sizeof(truth->is_complete));
    truth->is_complete[id] = true;
}

static void check_change(struct world *world, struct truth *truth, const struct image_partition *before,
                         const struct image_partition *after)
{
    assert_int_equal(after->partition_epoch, before->partition_epoch + 1);
    assert_true(after->leader_epoch == before->leader_epoch || after->leader_epoch == before->leader_epoch + 1);
    assert_true(after->leader_id == before->leader_id || after->leader_epoch > before->leader_epoch);
    world->counts[EMPTIED] += after->isr_count == 0 && before->isr_count > 0;
    for (uint32_t i = 0; i < after->replica_count; i++) {
        world->counts[REHOMED] += !uuid_equal(after->directories[i], before->directories[i]);
    }
    if (after->leader_id == before->leader_id || after->leader_id == IMAGE_NO_LEADER) {
        return;
    }
    bool is_from_isr = image_partition_in_isr(before, after->leader_id);
    bool is_from_elr = is_in_elr(before, after->leader_id);
    world->counts[is_from_isr ? FROM_ISR : is_from_elr ? FROM_ELR : UNCLEAN]++;
    if (!is_from_isr && !is_from_elr) {
        assert_true(after->is_recovering && after->isr_count == 1 && after->elr_count == 0);
        world->counts[LOST] += !truth->is_complete[after->leader_id];
        make_truth(truth, after->leader_id);
    }
}

/* The leader of each partition against what is on the disks. A leader that does not run can't serve; when it comes back it
 * registers first. */
static void check_leader(struct world *world, uint32_t topic_index, const struct image_partition *partition)
{
    struct truth *truth = &world->truths[topic_index][partition->partition_index];
    int32_t leader_id = partition->leader_id;
    if (leader_id == IMAGE_NO_LEADER || !world->brokers[leader_id].is_running || truth->is_complete[leader_id]) {
        return;
    }
    assert_int_equal(partition->replica_count, 1); /* nothing better exists than its one replica */
    make_truth(truth, leader_id);
}

static void check(struct world *world)
{
    const struct image *image = world->state.image;
    for (uint32_t i = 0; i < TOPICS; i++) {
        const struct image_topic *topic = topic_of(world, i);
        const struct image_topic *older = image_find_topic(world->before, topic->name);
        for (uint32_t j = 0; j < PARTITIONS; j++) {
            if (topic->partitions[j] != older->partitions[j]) {
                check_change(world, &world->truths[i][j], older->partitions[j], topic->partitions[j]);
            }
            check_leader(world, i, topic->partitions[j]);
            check_sets(world, topic, topic->partitions[j]);
        }
    }
    assert_true(image_offset(image) >= image_offset(world->before));
    image_unref(world->before);
    world->before = image_ref(image);
}

/* ---- what happens ---- */

static int32_t any_broker(struct world *world)
{
    return 1 + (int32_t)prop_below(&world->prop, world->broker_count);
}

static void each_truth(struct world *world, int32_t id, void (*visit)(struct truth *truth, int32_t id),
                       bool cached_only)
{
    for (uint32_t i = 0; i < TOPICS; i++) {
        bool is_cached =
            config_control_topic_is(world->state.image, topic_of(world, i)->name, "durability", "cached", false);
        for (uint32_t j = 0; j < PARTITIONS && (is_cached || !cached_only); j++) {
            visit(&world->truths[i][j], id);
        }
    }
}

static void lose(struct truth *truth, int32_t id)
{
    truth->is_complete[id] = false;
}

/* The process ends: orderly with a mark, by a kill, by a power cut, or with its disk. */
static void stop(struct world *world, int32_t id)
{
    struct broker_truth *broker = &world->brokers[id];
    if (!broker->is_running) {
        return;
    }
    broker->is_running = false;
    broker->mark = -1;
    switch (prop_below(&world->prop, 6)) {
    case 0:
        broker->mark = cluster_epoch(&world->state, id);
        broker->boot += (uint32_t)prop_below(&world->prop, 2);
        break;
    case 1:
    case 2:
        break; /* killed: the page cache stays */
    case 3:
        broker->boot++;
        each_truth(world, id, lose, true);
        break;
    case 4:
        broker->boot++;
        broker->directory++;
        each_truth(world, id, lose, false);
        break;
    default:
        broker->is_running = true; /* goes on */
        break;
    }
}

/* A directory that is replaced begins empty: what the partition's assigned directory held is gone also if it stays assigned. */
static void start(struct world *world, int32_t id)
{
    struct broker_truth *broker = &world->brokers[id];
    char boot[32];
    broker->life++;
    snprintf(boot, sizeof(boot), "boot-%d-%u", id, broker->boot);
    assert_int_equal(cluster_register(&world->state, id, broker->life, directory_of(world, id), boot, broker->mark),
                     ERROR_NONE);
    broker->is_running = true;
    check(world);
}

static void heartbeat(struct world *world, int32_t id)
{
    if (!world->brokers[id].is_running) {
        return;
    }
    struct controller_heartbeat heartbeat = {.applied_offset = INT64_MAX,
                                             .wants_shut_down = prop_chance(&world->prop, 1, 5),
                                             .wants_fence = prop_chance(&world->prop, 1, 20)};
    bool may = cluster_heartbeat(&world->state, id, heartbeat);
    check(world);
    if (may && prop_chance(&world->prop, 1, 2)) {
        stop(world, id);
    }
}

/* Leader and followers of a partition write and catch up, and the leader proposes an ISR. */
static void serve(struct world *world)
{
    uint32_t topic_index = (uint32_t)prop_below(&world->prop, TOPICS);
    uint32_t index = (uint32_t)prop_below(&world->prop, PARTITIONS);
    const struct image_topic *topic = topic_of(world, topic_index);
    const struct image_partition *partition = topic->partitions[index];
    struct truth *truth = &world->truths[topic_index][index];
    int32_t ids[BROKERS_MAX];
    uint32_t count = 0;
    if (partition->leader_id == IMAGE_NO_LEADER || !world->brokers[partition->leader_id].is_running) {
        return;
    }
    if (prop_chance(&world->prop, 1, 2) && partition->isr_count >= min_isr_of(world, topic, partition)) {
        /* A record is committed: all of the ISR have it, whoever else is behind now. Members that are dead had it before they died,
         * or it would not be committed: here only what runs commits. */
        for (uint32_t i = 0; i < partition->isr_count; i++) {
            if (!world->brokers[partition->isr[i]].is_running) {
                return;
            }
        }
        for (int32_t id = 1; id <= BROKERS_MAX; id++) {
            truth->is_complete[id] = image_partition_in_isr(partition, id) && truth->is_complete[id];
        }
        world->counts[COMMITTED]++;
        return;
    }
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        int32_t id = partition->replicas[i];
        bool is_there = world->brokers[id].is_running &&
                        uuid_equal(image_partition_directory(partition, id), directory_of(world, id));
        bool stays = image_partition_in_isr(partition, id) && prop_chance(&world->prop, 2, 3);
        if (id == partition->leader_id || stays || (is_there && prop_chance(&world->prop, 1, 2))) {
            ids[count++] = id;
        }
    }
    bool is_recovered = partition->is_recovering && prop_chance(&world->prop, 1, 2);
    int16_t code = cluster_alter(&world->state, topic, (int32_t)index, ids, count, is_recovered);
    if (code == ERROR_NONE) {
        for (uint32_t i = 0; i < count; i++) {
            /* Who comes in has caught up with this leader, down to the divergence. */
            if (!image_partition_in_isr(partition, ids[i])) {
                truth->is_complete[ids[i]] = truth->is_complete[partition->leader_id];
            }
        }
    } else {
        assert_true(code == ERROR_INELIGIBLE_REPLICA || code == ERROR_INVALID_REQUEST);
        world->counts[REFUSED]++;
    }
}

static void ask(struct world *world)
{
    struct decision decision = state_decision(&world->state, prop_u64(&world->prop));
    struct partition_sweep sweep = {.decision = &decision};
    struct decision_result result = {0};
    uint32_t topic_index = (uint32_t)prop_below(&world->prop, TOPICS);
    if (prop_chance(&world->prop, 1, 3)) {
        (void)leader_control_balance(&decision, (uint32_t)prop_below(&world->prop, 50),
                                     (uint32_t)prop_below(&world->prop, 5));
    } else {
        (void)leader_control_elect(
            &sweep, topic_of(world, topic_index), (int32_t)prop_below(&world->prop, PARTITIONS),
            prop_chance(&world->prop, 1, 6) ? LEADER_ELECTION_UNCLEAN : LEADER_ELECTION_PREFERRED, &result);
    }
    cluster_commit(&world->state);
    check(world);
}

/* min.insync.replicas of a topic, with what follows, in one entry. */
static void set_min_isr(struct world *world)
{
    uint32_t topic_index = (uint32_t)prop_below(&world->prop, TOPICS);
    char value[4];
    snprintf(value, sizeof(value), "%u", 1 + (unsigned)prop_below(&world->prop, 3));
    struct decision decision = state_decision(&world->state, 0);
    struct decision_result result = {0};
    struct config_change change = CONFIG("min.insync.replicas", value);
    assert_true(
        config_control_change(&decision, IMAGE_CONFIG_TOPIC, span_text(topic_names[topic_index]), &change, 1, &result));
    struct image *draft =
        image_draft(world->state.image, world->state.index + 1, decision.records, 0, decision.records->count);
    assert_non_null(draft);
    decision.image = draft;
    struct partition_sweep sweep = {.decision = &decision};
    leader_control_settings_changed(&sweep, image_find_topic(draft, span_text(topic_names[topic_index])));
    cluster_commit(&world->state);
    image_unref(draft);
    check(world);
}

static void setup(struct world *world, uint64_t seed)
{
    static const char *const configs[TOPICS][3] = {{"durability", "synced", "2"},
                                                   {"durability", "cached", "2"},
                                                   {"durability", "cached", "1"},
                                                   {"unclean.leader.election.enable", "true", "2"}};
    *world = (struct world){0};
    prop_init_seed(&world->prop, seed);
    state_init(&world->state);
    world->broker_count = 3 + (uint32_t)prop_below(&world->prop, BROKERS_MAX - 2);
    for (uint32_t i = 0; i < TOPICS; i++) {
        for (uint32_t j = 0; j < PARTITIONS; j++) {
            memset(world->truths[i][j].is_complete, 1, sizeof(world->truths[i][j].is_complete));
        }
    }
    for (int32_t id = 1; id <= (int32_t)world->broker_count; id++) {
        assert_int_equal(cluster_register(&world->state, id, 0, directory_of(world, id), "boot-0", -1), ERROR_NONE);
        cluster_unfence(&world->state, id);
        world->brokers[id].is_running = true;
        world->brokers[id].mark = -1;
    }
    for (uint32_t i = 0; i < TOPICS; i++) {
        int32_t ids[3];
        for (int32_t j = 0; j < 3; j++) {
            ids[j] = 1 + (int32_t)((i + (uint32_t)j) % world->broker_count);
        }
        struct config_change changes[2] = {CONFIG(configs[i][0], configs[i][1]),
                                           CONFIG("min.insync.replicas", configs[i][2])};
        cluster_create(&world->state, topic_names[i], ids, i == 2 ? 1 : 3, PARTITIONS, changes, 2);
    }
    world->before = image_ref(world->state.image);
}

static void live(struct world *world, unsigned steps)
{
    for (unsigned step = 0; step < steps; step++) {
        int32_t id = any_broker(world);
        uint64_t what = prop_below(&world->prop, 100);
        if (what < 8) {
            stop(world, id);
        } else if (what < 18) {
            cluster_fence(&world->state, id);
            check(world);
        } else if (what < 30 && !world->brokers[id].is_running) {
            start(world, id);
        } else if (what < 50) {
            heartbeat(world, id);
        } else if (what < 90) {
            serve(world);
            check(world);
        } else if (what < 97) {
            ask(world);
        } else {
            set_min_isr(world);
        }
    }
}

/* The image survives its snapshot, with everything that the checks look at. */
static void check_snapshot(const struct world *world)
{
    struct bytebuf bytes;
    struct bytebuf again;
    struct image *restored = NULL;
    bytebuf_init(&bytes, 1u << 20);
    bytebuf_init(&again, 1u << 20);
    assert_int_equal(image_snapshot_encode(world->state.image, &bytes), ERR_OK);
    assert_int_equal(image_snapshot_decode(bytebuf_span(&bytes), &restored), ERR_OK);
    assert_int_equal(image_snapshot_encode(restored, &again), ERR_OK);
    assert_true(span_equal(bytebuf_span(&bytes), bytebuf_span(&again)));
    image_unref(restored);
    bytebuf_done(&bytes);
    bytebuf_done(&again);
}

/* After the last fault everything comes back, but for what is lost for good: offline partitions have no complete replica on a disk. */
static void heal(struct world *world)
{
    for (int32_t id = 1; id <= (int32_t)world->broker_count; id++) {
        if (!world->brokers[id].is_running) {
            start(world, id);
        }
        cluster_unfence(&world->state, id);
        check(world);
    }
    for (uint32_t i = 0; i < TOPICS; i++) {
        for (uint32_t j = 0; j < PARTITIONS; j++) {
            const struct image_partition *partition = topic_of(world, i)->partitions[j];
            if (partition->leader_id != IMAGE_NO_LEADER) {
                continue;
            }
            assert_int_equal(partition->isr_count, 0);
            for (uint32_t k = 0; k < partition->elr_count; k++) { /* its disk is gone */
                int32_t id = partition->elr[k];
                assert_false(uuid_equal(image_partition_directory(partition, id), directory_of(world, id)));
            }
        }
    }
}

static void test_random_lives(void **unused)
{
    (void)unused;
    struct prop prop;
    uint64_t totals[8] = {0};
    prop_init(&prop, "random lives", 23);
    for (uint64_t run = 0, runs = prop_runs(300); run < runs; run++) {
        struct world world;
        setup(&world, prop_u64(&prop));
        live(&world, 400);
        check_snapshot(&world);
        heal(&world);
        for (int i = 0; i < 8; i++) {
            totals[i] += world.counts[i];
        }
        image_unref(world.before);
        state_done(&world.state);
    }
    print_message("# elections: ISR %" PRIu64 ", ELR %" PRIu64 ", unclean %" PRIu64 "; ISRs emptied %" PRIu64
                  ", lost %" PRIu64 ", rehomed %" PRIu64 ", refused %" PRIu64 ", committed %" PRIu64 "\n",
                  totals[0], totals[1], totals[2], totals[3], totals[4], totals[5], totals[6], totals[7]);
    for (int i = 0; i < 8; i++) {
        assert_true(totals[i] > 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_lives),
    };
    return cmocka_run_group_tests_name("cluster_property", tests, NULL, NULL);
}
