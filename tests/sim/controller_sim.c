/* controller_sim: three controllers and two brokers (without partitions) in one simulated world: formation, sessions, elections, requests over
 * links, metadata from afar, faults, a wiped directory, orderly ends. Usage: controller_sim [SEED] [--seeds N] [--trace]
 *
 * Always: no two nodes have different metadata at one offset (R8), no node goes backwards, no broker that lives is told that it was
 * replaced. In the end: every acknowledged topic is in every image. In between: what the limits of correctness.md 2 promise. */
#include "controller/controller_private.h"
#include "tests/sim/controller_actor.h"

#include <stdio.h>
#include <stdlib.h>

#define ACTORS 5
#define CONTROLLERS 3
#define B4 3 /* index */
#define B5 4

struct run {
    struct sim_world world;
    struct sim_fabric *fabric;
    struct actor *actors[ACTORS];
    struct actor_sight sight;
    int32_t wanted_id;
    bool wanted_alive;
};

/* ---- conditions ---- */

static struct actor *active(struct run *run)
{
    struct actor *found = NULL;
    for (int i = 0; i < CONTROLLERS; i++) {
        struct actor *actor = run->actors[i];
        /* Of two that both say so, the older does not know yet. */
        if (actor->is_active && actor->image != NULL &&
            (found == NULL || image_controller_epoch(actor->image) > image_controller_epoch(found->image))) {
            found = actor;
        }
    }
    return found;
}

static bool has_active(void *ctx)
{
    return active((struct run *)ctx) != NULL;
}

/* The active controller shows the wanted broker as wanted. */
static bool is_as_wanted(void *ctx)
{
    struct run *run = (struct run *)ctx;
    struct actor *actor = active(run);
    return actor != NULL && actor_sees_alive(actor, run->wanted_id) == run->wanted_alive;
}

static bool all_alive(void *ctx)
{
    struct run *run = (struct run *)ctx;
    for (int i = 0; i < ACTORS; i++) {
        struct actor *actor = run->actors[i];
        if (!actor_sees_alive(actor, 4) || !actor_sees_alive(actor, 5)) {
            return false;
        }
    }
    return active(run) != NULL;
}

static bool is_settled(void *ctx)
{
    struct run *run = (struct run *)ctx;
    if (!all_alive(ctx) || run->actors[B4]->is_wishing || run->actors[B5]->is_wishing) {
        return false;
    }
    for (int i = 1; i < ACTORS; i++) {
        if (image_offset(run->actors[i]->image) != image_offset(run->actors[0]->image)) {
            return false;
        }
    }
    return true;
}

static bool all_stopped(void *ctx)
{
    struct run *run = (struct run *)ctx;
    bool is_stopped = true;
    for (int i = 0; i < ACTORS; i++) {
        is_stopped = actor_is_stopped(run->actors[i]) && is_stopped;
    }
    return is_stopped;
}

static bool waits_for_admission(void *ctx)
{
    struct run *run = (struct run *)ctx;
    for (int i = 0; i < CONTROLLERS; i++) {
        if (run->actors[i]->waits[0] != '\0') {
            return true;
        }
    }
    return false;
}

/* Runs until it holds; else a violation that names it. Returns the time that it took. */
static uint64_t await(struct run *run, uint64_t most_us, sim_world_done_fn is_done, const char *what)
{
    uint64_t since_us = run->world.now_us;
    if (run->sight.violation_count == 0 && !sim_world_run_until(&run->world, most_us, is_done, run)) {
        actor_violation(&run->sight, "not in %llu ms: %s", (unsigned long long)most_us / 1000, what);
    }
    return run->world.now_us - since_us;
}

static uint64_t await_broker(struct run *run, int32_t id, bool is_alive, uint64_t most_us, const char *what)
{
    run->wanted_id = id;
    run->wanted_alive = is_alive;
    return await(run, most_us, is_as_wanted, what);
}

static bool chance(struct run *run, uint64_t hits, uint64_t out_of)
{
    return prop_chance(&run->world.prop, hits, out_of);
}

/* ---- what happens ---- */

static void make(struct run *run, uint64_t seed)
{
    sim_world_init(&run->world, seed, 4u << 20);
    run->fabric = sim_fabric_new(&run->world);
    for (int i = 0; i < ACTORS; i++) {
        run->actors[i] = actor_new(&run->world, run->fabric, &run->sight, i + 1, i < CONTROLLERS);
    }
}

/* Two of three voters never form a cluster: nobody knows what the third one has. */
static void hold_back(struct run *run)
{
    int missing = (int)prop_below(&run->world.prop, CONTROLLERS);
    for (int i = 0; i < CONTROLLERS; i++) {
        if (i != missing) {
            actor_start(run->actors[i]);
        }
    }
    sim_world_run_for(&run->world, 3000000);
    for (int i = 0; i < CONTROLLERS; i++) {
        if (i != missing && run->actors[i]->controller != NULL &&
            controller_cluster_id(run->actors[i]->controller)[0] != '\0') {
            actor_violation(&run->sight, "node %d formed a cluster without having heard of node %d", i + 1,
                            missing + 1);
        }
        if (i != missing) {
            sim_node_kill(run->actors[i]->machine);
        }
    }
}

static void form(struct run *run)
{
    if (chance(run, 1, 2)) {
        hold_back(run);
    }
    int first = (int)prop_below(&run->world.prop, ACTORS);
    for (int i = 0; i < ACTORS; i++) {
        actor_start(run->actors[(first + i) % ACTORS]);
        sim_world_run_for(&run->world, prop_below(&run->world.prop, 400000));
        if (chance(run, 1, 8)) { /* a start that is cut short */
            struct actor *actor = run->actors[(first + i) % ACTORS];
            sim_node_kill(actor->machine);
            actor_start(actor);
        }
    }
    (void)await(run, 10000000, all_alive, "all nodes form a cluster and know both brokers");
}

/* Kill -9 of a broker: its address refuses. */
static void kill_broker(struct run *run)
{
    sim_node_kill(run->actors[B5]->machine);
    uint64_t took_us = await_broker(run, 5, false, 2500000, "a killed broker is fenced");
    if (took_us > 500000) {
        actor_violation(&run->sight, "a killed broker was fenced after %llu ms", (unsigned long long)took_us / 1000);
    }
    actor_start(run->actors[B5]);
    (void)await(run, 10000000, all_alive, "a broker that was killed is back");
}

/* And of the active controller at the same moment. */
static void kill_both(struct run *run)
{
    struct actor *controller = active(run);
    if (controller == NULL) {
        return;
    }
    sim_node_kill(run->actors[B4]->machine);
    sim_node_kill(controller->machine);
    (void)await_broker(run, 4, false, 3500000, "a broker killed with the active controller is fenced");
    actor_start(controller);
    actor_start(run->actors[B4]);
    (void)await(run, 15000000, all_alive, "both are back");
}

/* SIGSTOP: its address takes connections and says nothing. */
static void pause_broker(struct run *run)
{
    sim_node_pause(run->actors[B4]->machine, 6000000);
    uint64_t took_us = await_broker(run, 4, false, 5000000, "a silent broker is fenced");
    if (took_us < 2400000) { /* less a heartbeat interval, and what was on its way */
        actor_violation(&run->sight, "a silent broker was fenced after %llu ms", (unsigned long long)took_us / 1000);
    }
    (void)await(run, 15000000, all_alive, "a broker that was silent is back");
}

static void isolate_active(struct run *run)
{
    struct actor *isolated = active(run);
    if (isolated == NULL) {
        return;
    }
    for (int i = 0; i < ACTORS; i++) {
        if (run->actors[i] != isolated) {
            sim_fabric_cut(run->fabric, run->actors[i]->machine->host, isolated->machine->host, true);
        }
    }
    sim_world_run_for(&run->world, 6000000);
    if (active(run) == isolated || active(run) == NULL) {
        actor_violation(&run->sight, "nobody took over from a controller that was cut off");
    }
    sim_fabric_heal(run->fabric);
    (void)await(run, 15000000, all_alive, "the network is whole again");
}

/* SIGSTOP of the active controller: its links stay open and say nothing. Nobody is fenced because of it. */
static void pause_active(struct run *run)
{
    struct actor *paused = active(run);
    if (paused == NULL) {
        return;
    }
    int64_t epoch = image_controller_epoch(paused->image);
    sim_node_pause(paused->machine, 5000000);
    for (int i = 0; i < 45; i++) {
        sim_world_run_for(&run->world, 100000);
        struct actor *now = active(run);
        if (now != NULL && now != paused && (!actor_sees_alive(now, 4) || !actor_sees_alive(now, 5))) {
            actor_violation(&run->sight, "a broker was fenced because the active controller was stopped");
        }
    }
    if (active(run) == NULL || image_controller_epoch(active(run)->image) <= epoch) {
        actor_violation(&run->sight, "nobody took over from a controller that was stopped");
    }
    (void)await(run, 15000000, all_alive, "a controller that was stopped is back");
}

static void storm(struct run *run)
{
    for (int i = 0; i < 12; i++) {
        struct actor *actor = run->actors[prop_below(&run->world.prop, ACTORS)];
        struct actor *other = run->actors[prop_below(&run->world.prop, ACTORS)];
        switch (prop_below(&run->world.prop, 4)) {
        case 0:
            sim_node_kill(actor->machine);
            sim_world_run_for(&run->world, prop_below(&run->world.prop, 1500000));
            actor_start(actor);
            break;
        case 1:
            if (actor != other) {
                sim_fabric_cut(run->fabric, actor->machine->host, other->machine->host, true);
            }
            break;
        case 2:
            (void)sim_fabric_reset_one(run->fabric, actor->machine->host);
            break;
        default:
            sim_fabric_heal(run->fabric);
            break;
        }
        sim_world_run_for(&run->world, prop_below(&run->world.prop, 1500000));
    }
    sim_fabric_heal(run->fabric);
    (void)await(run, 25000000, all_alive, "all is well after a storm");
}

/* ---- a wiped directory ---- */

struct change {
    struct loop_task task;
    struct run *run;
    uint64_t removed_id;
    uint64_t added_id;
    char address[512];
    bool is_done;
    enum err err;
};

static void on_added(void *ctx, enum err err)
{
    struct change *change = (struct change *)ctx;
    change->err = err;
    change->is_done = true;
}

static void on_removed(void *ctx, enum err err)
{
    struct change *change = (struct change *)ctx;
    struct actor *actor = active(change->run);
    if (err != ERR_OK || actor == NULL) {
        on_added(ctx, err == ERR_OK ? ERR_NOT_LEADER : err);
        return;
    }
    quorum_add_voter(actor->controller->quorum, change->added_id, change->address, on_added, change);
}

static void change_on_loop(struct loop_task *task)
{
    struct change *change = CONTAINER_OF(task, struct change, task);
    quorum_remove_voter(active(change->run)->controller->quorum, change->removed_id, on_removed, change);
}

static void change_code(struct sim_node *machine, void *ctx)
{
    struct change *change = (struct change *)ctx;
    (void)machine;
    loop_post(active(change->run)->controller->loop, &change->task);
}

static bool is_changed(void *ctx)
{
    return ((struct change *)ctx)->is_done;
}

static void wipe(struct run *run)
{
    struct actor *leader = active(run);
    struct actor *wiped = leader == NULL ? NULL : run->actors[leader->id % CONTROLLERS]; /* the next one */
    if (wiped == NULL) {
        return;
    }
    struct change change = {.run = run, .task = {.run = change_on_loop}};
    change.removed_id = quorum_raft_id_of(controller_directory_id(wiped->controller));
    sim_node_kill(wiped->machine);
    sim_node_replace_disk(wiped->machine);
    actor_start(wiped);
    (void)await(run, 15000000, waits_for_admission, "a wiped controller prints how it is admitted");
    char place[256] = "";
    (void)sscanf(wiped->waits, "add-controller %255[^ \"\n]", place);
    if (strstr(wiped->waits, "--replace") == NULL || place[0] == '\0') {
        actor_violation(&run->sight, "the wiped controller printed %s", wiped->waits);
    }
    (void)await(run, 10000000, has_active, "somebody is active");
    leader = active(run);
    if (run->sight.violation_count > 0 || leader == NULL) {
        return;
    }
    (void)snprintf(change.address, sizeof(change.address), "%s", place);
    change.added_id = quorum_raft_id_of(controller_directory_id(wiped->controller));
    sim_node_run(leader->machine, change_code, &change);
    if (!sim_world_run_until(&run->world, 20000000, is_changed, &change) || change.err != ERR_OK) {
        actor_violation(&run->sight, "the wiped controller was not admitted: %s", err_name(change.err));
    }
    (void)await(run, 15000000, all_alive, "the wiped controller follows");
}

/* ---- a controller whose state machine went wrong (R8) ---- */

/* One bit of its hash is another one, so all later hashes are, too: that process must end itself, the others must not. */
static bool check_mismatch(uint64_t seed)
{
    struct run *run = (struct run *)calloc(1, sizeof(*run));
    make(run, seed);
    form(run);
    struct actor *leader = active(run);
    unsigned aborts[CONTROLLERS] = {0};
    if (leader != NULL && run->sight.violation_count == 0) {
        /* The active one, or another. */
        struct actor *wrong = run->actors[(leader->id - 1 + (int)(seed % 2)) % CONTROLLERS];
        *(uint8_t *)(uintptr_t)image_hash(wrong->controller->image) ^= 1;
        sim_node_kill(run->actors[B4]->machine); /* which makes commits */
        sim_node_kill(run->actors[B5]->machine);
        sim_world_run_for(&run->world, 8000000);
        for (int i = 0; i < CONTROLLERS; i++) {
            aborts[i] = run->actors[i]->machine->abort_count > 0;
        }
        aborts[wrong->id - 1] ^= 1;
    } else {
        aborts[0] = 1;
    }
    bool is_right = aborts[0] + aborts[1] + aborts[2] == 0;
    if (!is_right) {
        printf("# seed %" PRIu64 ": %s\n", seed, run->sight.violation);
    }
    for (int i = 0; i < ACTORS; i++) {
        actor_free(run->actors[i]);
    }
    sim_fabric_free(run->fabric);
    sim_world_done(&run->world);
    free(run);
    return is_right;
}

/* ---- the end ---- */

static void check_topics(struct run *run)
{
    for (int i = 0; i < ACTORS; i++) {
        for (uint32_t j = 0; j < run->sight.topic_count && run->actors[i]->image != NULL; j++) {
            char name[16];
            (void)snprintf(name, sizeof(name), "t-%u", (unsigned)run->sight.topics[j]);
            if (image_find_topic(run->actors[i]->image, span_text(name)) == NULL) {
                actor_violation(&run->sight, "node %d lacks the acknowledged topic %s", (int)run->actors[i]->id, name);
            }
        }
    }
}

static void finish(struct run *run)
{
    run->actors[B4]->is_quiet = run->actors[B5]->is_quiet = true;
    (void)await(run, 15000000, is_settled, "all nodes have the same metadata");
    check_topics(run);
    for (int i = 0; i < ACTORS; i++) {
        actor_stop(run->actors[i]);
        sim_world_run_for(&run->world, prop_below(&run->world.prop, 300000));
    }
    (void)await(run, 60000000, all_stopped, "all nodes end in good order");
}

/* Returns the hash of all that happened. */
static uint64_t run_seed(uint64_t seed, bool is_traced, struct actor_sight *ret_sight)
{
    struct run *run = (struct run *)calloc(1, sizeof(*run));
    make(run, seed);
    run->world.trace.is_printed = is_traced;
    form(run);
    void (*const parts[])(struct run *) = {kill_broker,  kill_both, pause_broker, isolate_active,
                                           pause_active, storm,     wipe,         storm};
    for (size_t i = 0; i < ARRAY_COUNT(parts) && run->sight.violation_count == 0; i++) {
        sim_world_run_for(&run->world, prop_below(&run->world.prop, 1000000));
        parts[i](run);
    }
    if (run->sight.violation_count == 0) {
        finish(run);
    }
    for (int i = 0; i < ACTORS; i++) {
        if (run->actors[i]->machine->abort_count > 0) {
            actor_violation(&run->sight, "node %d aborted: %s", i + 1, run->actors[i]->machine->abort_sentence);
        }
    }
    if (run->sight.violation_count > 0) {
        printf("# seed %" PRIu64 ": %s\n", seed, run->sight.violation);
    }
    *ret_sight = run->sight;
    uint64_t hash = run->world.trace.hash;
    for (int i = 0; i < ACTORS; i++) {
        actor_free(run->actors[i]);
    }
    sim_fabric_free(run->fabric);
    sim_world_done(&run->world);
    free(run);
    return hash;
}

int main(int argument_count, char **arguments)
{
    uint64_t seed = prop_seed_choose(PROP_SEED_DEFAULT);
    uint64_t seed_count = prop_runs(12);
    bool is_traced = false;
    for (int i = 1; i < argument_count; i++) {
        if (strcmp(arguments[i], "--trace") == 0) {
            is_traced = true;
        } else if (strcmp(arguments[i], "--seeds") == 0 && i + 1 < argument_count) {
            seed_count = prop_number("--seeds", arguments[++i], 1);
        } else {
            seed = prop_number("the seed", arguments[i], 0);
            seed_count = 1;
        }
    }
    struct actor_sight *sight = (struct actor_sight *)calloc(1, sizeof(*sight));
    uint64_t failed = 0, topics = 0, delivered = 0, snapshots = 0, hash = 0;
    printf("# controller_sim seed=%" PRIu64 " seeds=%" PRIu64 "\n", seed, seed_count);
    for (uint64_t i = 0; i < seed_count; i++) {
        hash = run_seed(seed + i, is_traced, sight);
        failed += sight->violation_count > 0;
        topics += sight->topic_count;
        delivered += sight->delivered_count;
        snapshots += sight->snapshot_count;
    }
    bool is_same = run_seed(seed + seed_count - 1, false, sight) == hash;
    printf("# topics=%" PRIu64 " images=%" PRIu64 " snapshots=%" PRIu64 "\n", topics, delivered, snapshots);
    printf("%s 1 - every seed keeps the promises\n", failed == 0 ? "ok" : "not ok");
    printf("%s 2 - topics were made, and brokers were sent snapshots\n",
           topics >= seed_count * 20 && (snapshots > 0 || seed_count == 1) ? "ok" : "not ok");
    printf("%s 3 - one seed gives one run\n", is_same ? "ok" : "not ok");
    bool is_told = true;
    for (uint64_t i = 0; i < 8; i++) {
        is_told = check_mismatch(seed + i) && is_told;
    }
    printf("%s 4 - who differs from the others ends itself, and only that one\n1..4\n", is_told ? "ok" : "not ok");
    free(sight);
    return failed == 0 && is_same && is_told ? 0 : 1;
}
