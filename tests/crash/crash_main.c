/* The crash campaign (docs/testing.md): crash_campaign [WORKLOAD]: every seed of it, every prefix, every disk; then whether enough of each
 * kind was tried, and every end was met. */
#include "tests/crash/crash_campaign.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* What a run must have seen, so that a campaign which tries nothing fails. */
struct least {
    const struct crash_workload *workload;
    uint64_t disks[CRASH_KIND_COUNT];
    uint64_t ends[CRASH_END_COUNT];
};

static const struct least leader = {
    &crash_log_leader,
    {[CRASH_KILLED] = 500,
     [CRASH_TORN] = 900,
     [CRASH_POWER] = 500,
     [CRASH_DROPPED] = 800,
     [CRASH_UNNAMED] = 800,
     [CRASH_MIXED] = 1000,
     [CRASH_TWICE] = 500,
     [CRASH_FLIPPED] = 1500},
    {[CRASH_WHOLE] = 2000, [CRASH_SHORTER] = 2000, [CRASH_REFUSED] = 100, [CRASH_NOTICED] = 60, [CRASH_HARMLESS] = 500},
};

static const struct least follower = {
    &crash_log_follower,
    {[CRASH_KILLED] = 350,
     [CRASH_TORN] = 600,
     [CRASH_POWER] = 350,
     [CRASH_DROPPED] = 500,
     [CRASH_UNNAMED] = 500,
     [CRASH_MIXED] = 700,
     [CRASH_TWICE] = 350,
     [CRASH_FLIPPED] = 1000},
    {[CRASH_WHOLE] = 1500, [CRASH_SHORTER] = 1500, [CRASH_REFUSED] = 60, [CRASH_NOTICED] = 40, [CRASH_HARMLESS] = 300},
};

static const struct least controllers = {
    &crash_quorum,
    {[CRASH_KILLED] = 700,
     [CRASH_TORN] = 1200,
     [CRASH_POWER] = 700,
     [CRASH_DROPPED] = 700,
     [CRASH_UNNAMED] = 200,
     [CRASH_MIXED] = 1400,
     [CRASH_TWICE] = 700,
     [CRASH_FLIPPED] = 2000},
    {[CRASH_WHOLE] = 3000, [CRASH_SHORTER] = 1500, [CRASH_REFUSED] = 1500, [CRASH_NEW] = 200, [CRASH_HARMLESS] = 150},
};

/* Nothing of an identity is ever left unsynced behind something later: no disk without just one write of it. */
static const struct least identity = {
    &crash_identity,
    {[CRASH_KILLED] = 300,
     [CRASH_TORN] = 200,
     [CRASH_POWER] = 300,
     [CRASH_UNNAMED] = 150,
     [CRASH_MIXED] = 600,
     [CRASH_TWICE] = 300,
     [CRASH_FLIPPED] = 800},
    {[CRASH_WHOLE] = 1500, [CRASH_REFUSED] = 200, [CRASH_NEW] = 100, [CRASH_NOTICED] = 50, [CRASH_HARMLESS] = 200},
};

static int tell_where(void **state)
{
    (void)state;
    if (crash_campaign_where()[0] != '\0') {
        printf("# crash: %s\n", crash_campaign_where());
        fflush(stdout);
    }
    return 0;
}

static void on_abort(int signal_number)
{
    (void)signal_number;
    (void)tell_where(NULL);
}

static void run_workload(const struct least *least)
{
    struct crash_counts counts;
    struct prop prop;
    prop_init(&prop, least->workload->name, 1);
    crash_campaign_run(least->workload, prop.seed, &counts);
    crash_counts_print(least->workload, &counts);
    for (unsigned kind = 0; kind < CRASH_KIND_COUNT; kind++) {
        uint64_t count = crash_counts_of(&counts, (enum crash_kind)kind);
        if (count < least->disks[kind]) {
            fail_msg("only %lu disks of the kind '%s', %lu are wanted", (unsigned long)count,
                     crash_kind_name((enum crash_kind)kind), (unsigned long)least->disks[kind]);
        }
    }
    for (unsigned end = 0; end < CRASH_END_COUNT; end++) {
        uint64_t count = 0;
        for (unsigned kind = 0; kind < CRASH_KIND_COUNT; kind++) {
            count += counts.disks[kind][end];
        }
        if (count < least->ends[end]) {
            fail_msg("only %lu disks ended '%s', %lu are wanted", (unsigned long)count,
                     crash_end_name((enum crash_end)end), (unsigned long)least->ends[end]);
        }
    }
}

static void log_of_a_leader(void **state)
{
    (void)state;
    run_workload(&leader);
}

static void log_of_a_follower(void **state)
{
    (void)state;
    run_workload(&follower);
}

static void log_of_the_controllers(void **state)
{
    (void)state;
    run_workload(&controllers);
}

static void identities(void **state)
{
    (void)state;
    run_workload(&identity);
}

int main(int argument_count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(log_of_a_leader, tell_where),
        cmocka_unit_test_teardown(log_of_a_follower, tell_where),
        cmocka_unit_test_teardown(log_of_the_controllers, tell_where),
        cmocka_unit_test_teardown(identities, tell_where),
    };
    (void)signal(SIGABRT, on_abort);
    if (argument_count > 1) {
        bool is_known = false;
        for (size_t i = 0; i < ARRAY_COUNT(tests); i++) {
            is_known = is_known || strcmp(tests[i].name, arguments[1]) == 0;
        }
        if (!is_known) { /* cmocka would run nothing, and be content */
            printf("Bail out! no workload is called %s\n", arguments[1]);
            return 2;
        }
        cmocka_set_test_filter(arguments[1]);
    }
    return cmocka_run_group_tests_name("crash_campaign", tests, NULL, NULL);
}
