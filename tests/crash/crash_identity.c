/* Who a node is, over restarts: identity and clean-shutdown mark of a log directory, topic ids of partitions, identity and mark of the
 * metadata directory. What anybody was told once stays so; a clean stop is believed only when there was one. */
#include "common/mem.h"
#include "controller/controller_directory.h"
#include "tests/crash/crash_campaign.h"
#include "tests/unit/storage/log_harness.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ROUNDS 4
#define NODE_ID 7
#define METADATA_DIR "/meta/metadata"
#define CLUSTER_ID "abcdefghijklmnopqrstuv"
#define CONFIGURATION "first configuration"
/* Seeds of the product's random numbers: ids made after a crash are not those made before. */
#define RNG_AGAIN 1000003u

struct identity_run {
    struct harness harness;
    struct prop prop;
    bool has_controller; /* open now */
    struct controller_directory controller;
    /* What somebody was told. */
    bool is_dir_formed;
    struct uuid dir_id;
    bool has_partition;
    bool is_controller_known;
    bool is_controller_formed;
    struct uuid controller_id;
    int64_t clean_epoch; /* that the next start must find; LOG_DIR_NO_BROKER_EPOCH: none */
    int64_t tried_clean_epoch;
    int64_t next_epoch;
};

static void start_harness(struct harness *harness, struct fs_sim *sim, uint64_t rng_seed)
{
    harness_init(harness, sim, NULL, HARNESS_DIR);
    prop_init_seed(&harness->rng.prop, rng_seed);
}

/* ---- the log directory ---- */

static enum err open_dir(struct harness *harness, int64_t *ret_clean_epoch)
{
    enum err err = log_dir_open(&harness->env, HARNESS_DIR, &harness->dir, &harness->problem);
    if (err != ERR_OK) {
        harness->dir = NULL;
        return err;
    }
    if (!log_dir_meta(harness->dir)->exists) {
        err = log_dir_form(harness->dir, CLUSTER_ID, NODE_ID, NULL, &harness->problem);
    }
    return err == ERR_OK ? log_dir_take_clean_mark(harness->dir, ret_clean_epoch) : err;
}

static void close_dir(struct harness *harness)
{
    log_dir_close(harness->dir);
    harness->dir = NULL;
}

/* The partition, its log closed again. */
static enum err make_partition(struct harness *harness)
{
    struct partition_log *log = NULL;
    enum err err = partition_log_create(harness->dir, &harness->id, &harness->settings, &log, &harness->problem);
    if (err != ERR_OK) {
        return err;
    }
    struct sync_group_events events = {.ctx = harness};
    file_cache_init(&harness->files, harness->fs, 4);
    harness->group = sync_group_new(&harness->loop, harness->dir, &events);
    partition_log_attach(log, &harness->loop, &harness->files, harness->group, harness);
    harness->log = log;
    err = harness_close_log(harness);
    sync_group_free(harness->group);
    harness->group = NULL;
    file_cache_done(&harness->files);
    return err;
}

static enum err round_of_dir(struct identity_run *run)
{
    struct harness *harness = &run->harness;
    int64_t clean_epoch = LOG_DIR_NO_BROKER_EPOCH;
    run->tried_clean_epoch = LOG_DIR_NO_BROKER_EPOCH;
    enum err err = open_dir(harness, &clean_epoch);
    if (err == ERR_OK) {
        assert_int_equal(clean_epoch, run->clean_epoch);
        run->clean_epoch = LOG_DIR_NO_BROKER_EPOCH;
        run->dir_id = log_dir_meta(harness->dir)->directory_id;
        run->is_dir_formed = true;
    }
    if (err == ERR_OK && !run->has_partition && prop_chance(&run->prop, 2, 3)) {
        err = make_partition(harness);
        run->has_partition = err == ERR_OK;
    }
    if (err == ERR_OK && prop_chance(&run->prop, 2, 3)) {
        run->tried_clean_epoch = run->next_epoch++;
        err = log_dir_put_clean_mark(harness->dir, run->tried_clean_epoch);
        run->clean_epoch = err == ERR_OK ? run->tried_clean_epoch : run->clean_epoch;
    }
    close_dir(harness);
    return err;
}

/* ---- the metadata directory ---- */

static enum err open_controller(struct harness *harness, struct controller_directory *ret_directory,
                                struct quorum_identity *ret_identity)
{
    struct controller_options options = {.node_id = NODE_ID, .metadata_dir = METADATA_DIR};
    return controller_directory_open(&harness->env, &options, false, ret_directory, ret_identity, &harness->problem);
}

static enum err form_controller(struct harness *harness, struct controller_directory *directory, bool is_joining)
{
    struct quorum_identity identity = {.cluster_id = CLUSTER_ID,
                                       .node_id = NODE_ID,
                                       .raft_id = quorum_raft_id_of(directory->id),
                                       .directory_id = directory->id};
    struct span configuration = is_joining ? SPAN_NULL : span_text(CONFIGURATION);
    return controller_directory_form(harness->fs, directory, &identity, configuration, &harness->problem);
}

static enum err round_of_controller(struct identity_run *run)
{
    struct harness *harness = &run->harness;
    struct quorum_identity identity;
    enum err err = open_controller(harness, &run->controller, &identity);
    if (err != ERR_OK) {
        return err;
    }
    run->has_controller = true;
    assert_true(!run->is_controller_known || uuid_equal(run->controller.id, run->controller_id));
    run->controller_id = run->controller.id;
    run->is_controller_known = true;
    if (!run->controller.is_formed && prop_chance(&run->prop, 1, 2)) {
        err = form_controller(harness, &run->controller, prop_chance(&run->prop, 1, 3));
        run->is_controller_formed = err == ERR_OK;
    }
    controller_directory_close(&run->controller);
    run->has_controller = false;
    return err;
}

static void *run_identity(struct fs_sim *sim, uint64_t seed, uint64_t crash_call)
{
    struct identity_run *run = MEM_NEW(struct identity_run);
    run->clean_epoch = run->tried_clean_epoch = LOG_DIR_NO_BROKER_EPOCH;
    run->next_epoch = 10;
    prop_init_seed(&run->prop, seed);
    start_harness(&run->harness, sim, seed);
    fs_sim_crash_at(sim, crash_call, FS_SIM_TEAR_NONE);
    enum err err = ERR_OK;
    for (unsigned i = 0; i < ROUNDS && err == ERR_OK; i++) {
        err = round_of_dir(run);
        err = err == ERR_OK ? round_of_controller(run) : err;
    }
    assert_true(err == ERR_OK || fs_sim_is_crashed(sim));
    return run;
}

static void done_identity(void *run)
{
    struct identity_run *identity_run = (struct identity_run *)run;
    if (identity_run->has_controller) {
        controller_directory_close(&identity_run->controller);
    }
    harness_done(&identity_run->harness);
    mem_free(identity_run);
}

/* ---- what must be found again ---- */

struct found {
    bool is_new;
    struct uuid dir_id;
    struct uuid controller_id;
    int64_t clean_epoch;
    size_t partition_count;
    struct uuid topic_id;
    bool is_controller_formed;
};

static enum err list_partitions(struct harness *harness, struct found *found)
{
    struct log_dir_partition *partitions = NULL;
    enum err err = log_dir_list(harness->dir, &partitions, &found->partition_count);
    if (err == ERR_OK) {
        found->topic_id = found->partition_count == 0 ? (struct uuid){{0}} : partitions[0].topic_id;
        log_dir_partitions_free(partitions, found->partition_count);
    }
    return err;
}

/* As a start does it: says who the node is. The directories are closed again. */
static enum err look(struct harness *harness, struct found *ret_found)
{
    struct controller_directory controller;
    struct quorum_identity identity;
    *ret_found = (struct found){.clean_epoch = LOG_DIR_NO_BROKER_EPOCH};
    enum err err = open_dir(harness, &ret_found->clean_epoch);
    if (err == ERR_OK) {
        const struct log_dir_meta *meta = log_dir_meta(harness->dir);
        assert_int_equal(meta->node_id, NODE_ID);
        assert_string_equal(meta->cluster_id, CLUSTER_ID);
        ret_found->dir_id = meta->directory_id;
        err = list_partitions(harness, ret_found);
    }
    close_dir(harness);
    if (err != ERR_OK) {
        return err;
    }
    err = open_controller(harness, &controller, &identity);
    if (err == ERR_OK) {
        ret_found->controller_id = controller.id;
        ret_found->is_controller_formed = controller.is_formed;
        if (controller.is_formed) {
            assert_string_equal(controller.cluster_id, CLUSTER_ID);
            assert_string_equal(identity.cluster_id, CLUSTER_ID);
            assert_true(uuid_equal(identity.directory_id, controller.id));
            assert_int_equal(identity.raft_id, quorum_raft_id_of(controller.id));
        }
        controller_directory_close(&controller);
    }
    return err;
}

static void check_found(const struct identity_run *run, const struct harness *harness, const struct found *found)
{
    assert_true(!run->is_dir_formed || uuid_equal(found->dir_id, run->dir_id));
    assert_true(found->partition_count <= 1 && (found->partition_count == 1 || !run->has_partition));
    assert_true(found->partition_count == 0 || uuid_equal(found->topic_id, harness->id.topic_id));
    assert_true(!run->is_controller_known || uuid_equal(found->controller_id, run->controller_id));
    assert_true(!run->is_controller_formed || found->is_controller_formed);
}

/* The power goes again at once: what this start has told is what the next one tells. */
static void check_is_durable(const struct fs_sim *recovered, const struct harness *harness, const struct found *first)
{
    struct fs_sim *sim = fs_sim_clone(recovered);
    struct harness again;
    struct found found;
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 1);
    start_harness(&again, sim, harness->rng.prop.seed + RNG_AGAIN);
    assert_int_equal(look(&again, &found), ERR_OK);
    assert_true(uuid_equal(found.dir_id, first->dir_id));
    assert_true(uuid_equal(found.controller_id, first->controller_id));
    assert_true(found.is_controller_formed || !first->is_controller_formed);
    assert_int_equal(found.partition_count, first->partition_count);
    assert_int_equal(found.clean_epoch, LOG_DIR_NO_BROKER_EPOCH); /* it was taken, and nothing stopped in order */
    harness_done(&again);
    fs_sim_free(sim);
}

static enum crash_end recover_identity(const void *run, struct fs_sim *sim, enum crash_kind kind, bool lost_power)
{
    const struct identity_run *identity_run = (const struct identity_run *)run;
    struct harness harness;
    struct found found;
    (void)lost_power;
    start_harness(&harness, sim, identity_run->prop.seed + RNG_AGAIN);
    enum err err = look(&harness, &found);
    if (err != ERR_OK) {
        fail_msg("%s: %s", err_name(err), harness.problem.text);
    }
    check_found(identity_run, &harness, &found);
    /* The start that did not come to its end may have taken the mark. */
    bool was_taken = kind == CRASH_TWICE && found.clean_epoch == LOG_DIR_NO_BROKER_EPOCH;
    assert_true(found.clean_epoch == identity_run->clean_epoch ||
                found.clean_epoch == identity_run->tried_clean_epoch || was_taken);
    check_is_durable(sim, &harness, &found);
    harness_done(&harness);
    return identity_run->is_dir_formed ? CRASH_WHOLE : CRASH_NEW;
}

static void stumble_identity(const void *run, struct fs_sim *sim)
{
    struct harness harness;
    struct found found;
    start_harness(&harness, sim, ((const struct identity_run *)run)->prop.seed);
    (void)look(&harness, &found);
    harness_done(&harness);
}

/* A damaged identity is refused with a sentence; a damaged clean mark is none; a damaged topic id makes a stray. Never another one. */
static enum crash_end check_identity_flip(const void *run, struct fs_sim *whole, struct fs_sim *sim,
                                          const struct crash_flip *flip)
{
    const struct identity_run *identity_run = (const struct identity_run *)run;
    struct harness harness;
    struct found found;
    enum crash_end end = CRASH_HARMLESS;
    (void)whole;
    (void)flip;
    start_harness(&harness, sim, identity_run->prop.seed + RNG_AGAIN);
    enum err err = look(&harness, &found);
    if (err != ERR_OK) {
        assert_true(err == ERR_CORRUPT || err == ERR_UNSUPPORTED);
        assert_non_null(strstr(harness.problem.text, "restore"));
        end = CRASH_REFUSED;
    } else {
        bool is_stray = found.partition_count == 1 && uuid_is_zero(found.topic_id);
        found.topic_id = is_stray ? harness.id.topic_id : found.topic_id;
        check_found(identity_run, &harness, &found);
        assert_true(found.clean_epoch == LOG_DIR_NO_BROKER_EPOCH || found.clean_epoch == identity_run->clean_epoch ||
                    found.clean_epoch == identity_run->tried_clean_epoch);
        end = is_stray ? CRASH_NOTICED : end;
    }
    harness_done(&harness);
    return end;
}

const struct crash_workload crash_identity = {.name = "identities",
                                              .seed_count = 6,
                                              .run = run_identity,
                                              .done = done_identity,
                                              .recover = recover_identity,
                                              .stumble = stumble_identity,
                                              .check_flip = check_identity_flip};
