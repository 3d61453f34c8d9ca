#include "tests/sim/cluster_totals.h"

#include <stdio.h>

void cluster_totals_add(struct cluster_totals *totals, const struct cluster_world *cluster,
                        const struct cluster_nemesis *nemesis)
{
    totals->seconds += cluster->world.now_us / SIM_SECOND_US;
    totals->minutes = totals->seconds / 60;
    totals->events += cluster->world.event_count;
    totals->faults += cluster_nemesis_fault_count(nemesis);
    totals->starts += cluster->counts.starts;
    totals->stops += cluster->counts.orderly_stops;
    totals->failures += cluster->counts.failures;
    totals->aborts += cluster->counts.aborts;
    totals->acknowledged += cluster->history.acknowledged_count;
    totals->read += cluster->history.read_count;
    for (unsigned i = 0; i < cluster->plan.producer_count && cluster->producers[i] != NULL; i++) {
        bool is_alive = cluster->clients[i]->state == SIM_NODE_RUNNING;
        totals->retries += is_alive ? cluster_producer_retries(cluster->producers[i]) : 0;
    }
    totals->elections += cluster->meta.counts.elections;
    totals->leaderships += cluster->ledger.counts.leaderships;
    totals->truncations += cluster->ledger.counts.truncations;
    totals->isr_shrinks += cluster->meta.counts.isr_shrinks;
    totals->isr_expansions += cluster->meta.counts.isr_expansions;
    totals->isr_joins += cluster->ledger.counts.joins;
    totals->elr_elections += cluster->meta.counts.elr_elections;
    totals->unclean_restarts += cluster->counts.unclean_boots;
    totals->snapshot_installs += cluster->meta.counts.snapshot_installs;
    totals->metadata_snapshots += cluster->counts.metadata_snapshots;
    totals->controller_failovers += cluster->meta.counts.controller_failovers;
    if (cluster->people != NULL && cluster->people_machine->state == SIM_NODE_RUNNING) {
        const struct cluster_operator_counts *counts = cluster_operator_count(cluster->people);
        totals->voter_changes += counts->removed + counts->added + counts->replaced + counts->admitted;
    }
    if (cluster->lister != NULL && cluster->lister_machine->state == SIM_NODE_RUNNING) {
        totals->listed_ends += cluster_lister_count(cluster->lister)->checked;
        totals->unknown_ends += cluster_lister_count(cluster->lister)->refused;
    }
    totals->registrations += cluster->meta.counts.registrations;
    totals->fencings += cluster->meta.counts.fencings;
    totals->compared_batches += cluster->ledger.counts.compared_batches;
    totals->compared_hashes += cluster->meta.counts.compared_hashes;
}

void cluster_totals_describe(const struct cluster_totals *totals, char *ret_text, size_t bytes_max)
{
    size_t bytes = 0;
#define X(name, least)                                                                                                 \
    if (bytes < bytes_max) {                                                                                           \
        bytes += (size_t)snprintf(ret_text + bytes, bytes_max - bytes, "%s" #name "=%" PRIu64, bytes == 0 ? "" : " ",  \
                                  totals->name);                                                                       \
    }
    CLUSTER_TOTAL_TABLE(X)
#undef X
}

bool cluster_totals_suffice(const struct cluster_totals *totals, char *ret_text, size_t bytes_max)
{
#define X(name, least)                                                                                                 \
    if (totals->name + 1 <= (uint64_t)(least)) {                                                                       \
        (void)snprintf(ret_text, bytes_max, #name ": %" PRIu64 ", at least %u are needed,", totals->name,              \
                       (unsigned)(least));                                                                             \
        return false;                                                                                                  \
    }
    CLUSTER_TOTAL_TABLE(X)
#undef X
    (void)snprintf(ret_text, bytes_max, "everything that must happen has happened,");
    return true;
}
