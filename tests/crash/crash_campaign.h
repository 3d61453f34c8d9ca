/* crash_campaign: a scripted workload is run once and its file operations are recorded; then for every prefix of them all the disks
 * that a crash there can leave are built, opened by the product's own recovery, and measured against what had been promised.
 *
 * Shape:     kinds of disks: see enum crash_kind. What was promised at a moment comes from running the same seed again up to a
 *            crash at that operation.
 * Seeds:     the same seed gives the same operations, disks and damage.
 * Errors:    a broken promise fails the cmocka test; crash_campaign_where tells which disk it was.
 * Threads:   one.
 * Source:    testing.md 3 and 10 (rows 23-26).
 */
#ifndef TESTS_CRASH_CRASH_CAMPAIGN_H
#define TESTS_CRASH_CRASH_CAMPAIGN_H

#include "tests/crash/crash_tape.h"

enum crash_kind {
    CRASH_KILLED,  /* the first n operations, nothing else: kill -9 */
    CRASH_TORN,    /* and a part of the next one, a write: its first bytes, or all but those */
    CRASH_POWER,   /* power loss: what was not synced is gone */
    CRASH_DROPPED, /* power loss: all of it is there but one write or truncation that was not synced */
    CRASH_UNNAMED, /* power loss: all of it is there but the names from one on that were not synced */
    CRASH_MIXED,   /* power loss: a random set of pages, sectors and names that were not synced */
    CRASH_TWICE,   /* another crash in the middle of the recovery */
    CRASH_FLIPPED, /* the process was killed, and a bit of a file has changed */
    CRASH_KIND_COUNT
};

enum crash_end {
    CRASH_WHOLE,    /* opened with all that was written */
    CRASH_SHORTER,  /* opened; a tail that nobody was promised is gone */
    CRASH_REFUSED,  /* not opened, with a sentence that says why */
    CRASH_NEW,      /* nothing had been made yet: begins anew */
    CRASH_NOTICED,  /* opened; whoever reads the damaged place is told */
    CRASH_HARMLESS, /* opened; the damage met bytes that say nothing, or a file that is made again */
    CRASH_END_COUNT
};

struct crash_flip {
    const char *path;
    uint64_t pos;
    unsigned bit;
};

struct crash_workload {
    const char *name;
    unsigned seed_count; /* times MOLDAU_RUNS */
    /* Runs the script of a seed on `sim` until its end or until the disk crashes at `crash_call` (0: never). */
    void *(*run)(struct fs_sim *sim, uint64_t seed, uint64_t crash_call);
    /* Frees the run, and closes what it holds open. */
    void (*done)(void *run);
    /* Opens what a crash has left, checks it, and shows that it works. */
    enum crash_end (*recover)(const void *run, struct fs_sim *sim, enum crash_kind kind, bool lost_power);
    /* Begins to open it; the disk crashes meanwhile. */
    void (*stumble)(const void *run, struct fs_sim *sim);
    /* `whole` is what a killed process left; `sim` is the same with the flip. */
    enum crash_end (*check_flip)(const void *run, struct fs_sim *whole, struct fs_sim *sim,
                                 const struct crash_flip *flip);
};

struct crash_counts {
    uint64_t disks[CRASH_KIND_COUNT][CRASH_END_COUNT];
    uint64_t operations;
};

/* All seeds of a workload, from `first_seed`. */
void crash_campaign_run(const struct crash_workload *workload, uint64_t first_seed, struct crash_counts *ret_counts);
const char *crash_kind_name(enum crash_kind kind);
const char *crash_end_name(enum crash_end end);
/* Disks of a kind, with all their ends. */
uint64_t crash_counts_of(const struct crash_counts *counts, enum crash_kind kind);
void crash_counts_print(const struct crash_workload *workload, const struct crash_counts *counts);
/* "log seed=3 dropped at 120 of 300 (sync /data/...) without 118 (write /data/...)": the disk that is being tried. Empty: none. */
const char *crash_campaign_where(void);

extern const struct crash_workload crash_log_leader;
extern const struct crash_workload crash_log_follower;
extern const struct crash_workload crash_quorum;
extern const struct crash_workload crash_identity;

#endif
