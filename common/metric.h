/* metric: counters, gauges and histograms, declared in tables, counted without locks, shown as Prometheus text.
 *
 * Shape:     a layer declares one const table of rows; every thread (or object) that counts has a metric_set of its own
 *            for that table; metric_text sums the sets of one table. Rows of one name (with other labels) stand
 *            together. Series with labels that arise at run time (one per topic, say) are rendered by their owner
 *            through a collector, with a cap on their number.
 * Units:     in the name, as Prometheus wants: _bytes, _seconds, _total.
 * Threads:   one thread adds to a set; any thread may read it (relaxed atomics).
 */
#ifndef COMMON_METRIC_H
#define COMMON_METRIC_H

#include "common/bytebuf.h"

#include <stdatomic.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM_US };

struct metric_row {
    const char *name;   /* "moldau_produce_bytes_total" */
    const char *labels; /* "api=\"produce\"" or NULL */
    enum metric_kind kind;
    const char *help;
};

#define METRIC_HISTOGRAM_BUCKETS 24 /* upper bounds 1 us * 2^i: 1 us .. 8.4 s, then +Inf */

struct metric_table {
    const struct metric_row *rows;
    size_t row_count;
};

/* Values of one owner. `values` has one entry for a counter or gauge and METRIC_HISTOGRAM_BUCKETS + 2 for a
   histogram. */
struct metric_set {
    const struct metric_table *table;
    struct metric_set *next; /* list of the registry */
    atomic_int_fast64_t *values;
    const uint32_t *row_slots; /* index into `values` of each row */
};

struct metric_registry;

struct metric_registry *metric_registry_new(void);
void metric_registry_free(struct metric_registry *registry);
/* Makes a zeroed set and registers it. Freed by metric_set_free, which folds counters into the registry's past. */
struct metric_set *metric_set_new(struct metric_registry *registry, const struct metric_table *table);
void metric_set_free(struct metric_registry *registry, struct metric_set *set);

void metric_add(struct metric_set *set, size_t row_index, int64_t delta);
void metric_set_value(struct metric_set *set, size_t row_index, int64_t value); /* gauges */
void metric_observe_us(struct metric_set *set, size_t row_index, uint64_t value_us);

/* The sum over living and freed sets, of a counter or gauge. Any thread. */
int64_t metric_total(struct metric_registry *registry, const struct metric_table *table, size_t row_index);

/* A collector appends its own lines when the text is made, on the thread that asks. It must not call the registry. */
typedef void (*metric_collect_fn)(void *ctx, struct bytebuf *text);
void metric_registry_add_collector(struct metric_registry *registry, metric_collect_fn collect, void *ctx);

/* Appends the text of all sets and collectors, Prometheus exposition format 0.0.4. Any thread. ERR_LIMIT when the
 * buffer's maximum is reached: the text is then cut. */
enum err metric_text(struct metric_registry *registry, struct bytebuf *ret_text) MUST_USE;
/* Appends a Markdown table for docs/metrics.md: a line for each name, with the first label's name in braces. */
enum err metric_table_markdown(const struct metric_table *table, struct bytebuf *ret_text) MUST_USE;

#endif
