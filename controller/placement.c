#include "controller/placement.h"

/* One usable broker. */
struct placement_load {
    const struct image_broker *broker;
    uint32_t topic_leaders;
    uint32_t topic_replicas;
    uint64_t leaders;
    uint64_t replicas;
    uint64_t *directory_replicas;
    bool is_chosen; /* for the partition being placed */
};

static struct placement_load *find_load(struct placement *placement, int32_t broker_id)
{
    for (uint32_t i = 0; i < placement->load_count; i++) {
        if (placement->loads[i].broker->id == broker_id) {
            return &placement->loads[i];
        }
    }
    return NULL;
}

static void count_directory(struct placement_load *load, struct uuid directory)
{
    for (uint32_t i = 0; i < load->broker->directory_count; i++) {
        if (uuid_equal(load->broker->directories[i], directory)) {
            load->directory_replicas[i]++;
        }
    }
}

static void count_partition(struct placement *placement, const struct image_partition *partition, bool is_of_topic)
{
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        struct placement_load *load = find_load(placement, partition->replicas[i]);
        if (load == NULL) {
            continue;
        }
        load->replicas++;
        load->topic_replicas += is_of_topic;
        load->leaders += i == 0;
        load->topic_leaders += is_of_topic && i == 0;
        count_directory(load, partition->directories[i]);
    }
}

/* Those that new replicas may be put on, or the others. */
static void add_brokers(struct placement *placement, const struct image *image, bool is_usable, struct arena *arena)
{
    for (uint32_t i = 0; i < image_broker_count(image); i++) {
        const struct image_broker *broker = image_broker_at(image, i);
        if (broker->directory_count == 0 || is_usable == (broker->is_fenced || broker->is_shutting_down)) {
            continue;
        }
        struct placement_load *load = &placement->loads[placement->load_count++];
        load->broker = broker;
        load->directory_replicas = (uint64_t *)arena_array(arena, broker->directory_count, sizeof(uint64_t));
        CHECK(load->directory_replicas != NULL);
    }
}

void placement_init(struct placement *placement, const struct image *image, const struct image_topic *topic,
                    uint64_t seed, struct arena *arena)
{
    uint32_t broker_count = image_broker_count(image);
    *placement = (struct placement){.turn = seed};
    placement->loads = (struct placement_load *)arena_array(arena, broker_count + 1, sizeof(placement->loads[0]));
    CHECK(placement->loads != NULL);
    add_brokers(placement, image, true, arena);
    placement->usable_count = placement->load_count;
    add_brokers(placement, image, false, arena);
    for (uint32_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *other = image_topic_at(image, i);
        for (uint32_t j = 0; j < other->partition_count; j++) {
            count_partition(placement, other->partitions[j], other == topic);
        }
    }
}

uint32_t placement_usable_count(const struct placement *placement)
{
    return placement->usable_count;
}

static struct uuid take_directory(struct placement *placement, struct placement_load *load)
{
    uint32_t count = load->broker->directory_count;
    uint32_t best = (uint32_t)(placement->turn % count);
    for (uint32_t i = 0; i < count; i++) {
        if (load->directory_replicas[i] < load->directory_replicas[best]) {
            best = i;
        }
    }
    load->directory_replicas[best]++;
    return load->broker->directories[best];
}

struct uuid placement_directory(struct placement *placement, int32_t broker_id)
{
    struct placement_load *load = find_load(placement, broker_id);
    return load == NULL ? UUID_ZERO : take_directory(placement, load);
}

/* Replicas of the partition being placed that are in the broker's rack; brokers without a rack share none. */
static uint64_t rack_uses(const struct placement *placement, const struct placement_load *candidate)
{
    uint64_t uses = 0;
    for (uint32_t i = 0; i < placement->usable_count; i++) {
        const struct placement_load *load = &placement->loads[i];
        uses += load->is_chosen && !span_is_null(candidate->broker->rack) &&
                span_equal(load->broker->rack, candidate->broker->rack);
    }
    return uses;
}

/* Compares by the first number that differs. */
static bool is_lighter(const uint64_t a[3], const uint64_t b[3])
{
    for (int i = 0; i < 3; i++) {
        if (a[i] != b[i]) {
            return a[i] < b[i];
        }
    }
    return false;
}

static struct placement_load *choose_one(struct placement *placement, bool is_leader)
{
    struct placement_load *best = NULL;
    uint64_t best_key[3] = {0};
    for (uint32_t i = 0; i < placement->usable_count; i++) {
        struct placement_load *load = &placement->loads[(placement->turn + i) % placement->usable_count];
        if (load->is_chosen) {
            continue;
        }
        uint64_t leader_key[3] = {load->topic_leaders, load->topic_replicas, load->leaders};
        uint64_t follower_key[3] = {rack_uses(placement, load), load->topic_replicas, load->replicas};
        const uint64_t *key = is_leader ? leader_key : follower_key;
        if (best == NULL || is_lighter(key, best_key)) {
            best = load;
            memcpy(best_key, key, sizeof(best_key));
        }
    }
    CHECK(best != NULL);
    return best;
}

/* Followers in another order from round to round: who is next in the order leads when the first is gone, and that must not
 * always be the same broker. */
static void rotate_followers(const struct placement *placement, uint32_t replica_count, int32_t *replicas,
                             struct uuid *directories)
{
    uint32_t follower_count = replica_count - 1;
    uint64_t shift = follower_count < 2 ? 0 : placement->turn / placement->usable_count % follower_count;
    for (; shift > 0; shift--) {
        int32_t first = replicas[1];
        struct uuid directory = directories[1];
        memmove(&replicas[1], &replicas[2], (follower_count - 1) * sizeof(replicas[0]));
        memmove(&directories[1], &directories[2], (follower_count - 1) * sizeof(directories[0]));
        replicas[follower_count] = first;
        directories[follower_count] = directory;
    }
}

void placement_choose(struct placement *placement, uint32_t replica_count, int32_t *ret_replicas,
                      struct uuid *ret_directories)
{
    CHECK(replica_count <= placement->usable_count);
    for (uint32_t i = 0; i < placement->usable_count; i++) {
        placement->loads[i].is_chosen = false;
    }
    for (uint32_t i = 0; i < replica_count; i++) {
        struct placement_load *load = choose_one(placement, i == 0);
        load->is_chosen = true;
        load->topic_leaders += i == 0;
        load->leaders += i == 0;
        load->topic_replicas++;
        load->replicas++;
        ret_replicas[i] = load->broker->id;
        ret_directories[i] = take_directory(placement, load);
    }
    rotate_followers(placement, replica_count, ret_replicas, ret_directories);
    placement->turn++;
}
