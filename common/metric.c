#include "common/metric.h"

#include "common/mem.h"

#include <pthread.h>

/* A histogram has its buckets, one for what is larger, and the sum. */
#define HISTOGRAM_SLOTS (METRIC_HISTOGRAM_BUCKETS + 2)
#define HISTOGRAM_INF_SLOT METRIC_HISTOGRAM_BUCKETS
#define HISTOGRAM_SUM_SLOT (METRIC_HISTOGRAM_BUCKETS + 1)

/* One table of the registry: its living sets, and what freed sets have counted. */
struct metric_family {
    struct metric_family *next;
    const struct metric_table *table;
    uint32_t *row_slots;
    size_t slot_count;
    int64_t *past;
    struct metric_set *sets;
};

struct metric_collector {
    struct metric_collector *next;
    metric_collect_fn collect;
    void *ctx;
};

/* The mutex guards the lists; counting never takes it. */
struct metric_registry {
    pthread_mutex_t mutex;
    struct metric_family *families;
    struct metric_family **families_end;
    struct metric_collector *collectors;
    struct metric_collector **collectors_end;
};

struct metric_registry *metric_registry_new(void)
{
    struct metric_registry *registry = MEM_NEW(struct metric_registry);
    CHECK(pthread_mutex_init(&registry->mutex, NULL) == 0);
    registry->families_end = &registry->families;
    registry->collectors_end = &registry->collectors;
    return registry;
}

void metric_registry_free(struct metric_registry *registry)
{
    if (registry == NULL) {
        return;
    }
    while (registry->families != NULL) {
        struct metric_family *family = registry->families;
        registry->families = family->next;
        CHECK(family->sets == NULL);
        mem_free(family->past);
        mem_free(family->row_slots);
        mem_free(family);
    }
    while (registry->collectors != NULL) {
        struct metric_collector *collector = registry->collectors;
        registry->collectors = collector->next;
        mem_free(collector);
    }
    pthread_mutex_destroy(&registry->mutex);
    mem_free(registry);
}

/* All series of one name must stand together in the text, so they must in the table. */
static void table_check(const struct metric_table *table)
{
    for (size_t i = 1; i < table->row_count; i++) {
        for (size_t j = 0; j + 1 < i; j++) {
            CHECK(strcmp(table->rows[i].name, table->rows[j].name) != 0 ||
                  strcmp(table->rows[i].name, table->rows[i - 1].name) == 0);
        }
    }
}

static struct metric_family *family_new(const struct metric_table *table)
{
    table_check(table);
    struct metric_family *family = MEM_NEW(struct metric_family);
    family->table = table;
    family->row_slots = mem_array(table->row_count, sizeof(*family->row_slots));
    for (size_t i = 0; i < table->row_count; i++) {
        family->row_slots[i] = (uint32_t)family->slot_count;
        family->slot_count += table->rows[i].kind == METRIC_HISTOGRAM_US ? HISTOGRAM_SLOTS : 1;
    }
    family->past = mem_array(family->slot_count, sizeof(*family->past));
    return family;
}

static struct metric_family *registry_find(struct metric_registry *registry, const struct metric_table *table)
{
    struct metric_family *family = registry->families;
    while (family != NULL && family->table != table) {
        family = family->next;
    }
    return family;
}

struct metric_set *metric_set_new(struct metric_registry *registry, const struct metric_table *table)
{
    struct metric_set *set = MEM_NEW(struct metric_set);
    set->table = table;
    pthread_mutex_lock(&registry->mutex);
    struct metric_family *family = registry_find(registry, table);
    if (family == NULL) {
        family = family_new(table);
        *registry->families_end = family;
        registry->families_end = &family->next;
    }
    set->row_slots = family->row_slots;
    set->values = mem_array(family->slot_count, sizeof(*set->values));
    set->next = family->sets;
    family->sets = set;
    pthread_mutex_unlock(&registry->mutex);
    return set;
}

static int64_t slot_load(const struct metric_set *set, size_t slot)
{
    return atomic_load_explicit(&set->values[slot], memory_order_relaxed);
}

static size_t row_slot_count(const struct metric_row *row)
{
    return row->kind == METRIC_HISTOGRAM_US ? HISTOGRAM_SLOTS : 1;
}

void metric_set_free(struct metric_registry *registry, struct metric_set *set)
{
    if (set == NULL) {
        return;
    }
    pthread_mutex_lock(&registry->mutex);
    struct metric_family *family = registry_find(registry, set->table);
    CHECK(family != NULL);
    struct metric_set **link = &family->sets;
    while (*link != set) {
        CHECK(*link != NULL);
        link = &(*link)->next;
    }
    *link = set->next;
    for (size_t i = 0; i < set->table->row_count; i++) {
        if (set->table->rows[i].kind != METRIC_GAUGE) { /* what a gauge measured is gone with its owner */
            for (size_t slot = set->row_slots[i]; slot < set->row_slots[i] + row_slot_count(&set->table->rows[i]);
                 slot++) {
                family->past[slot] += slot_load(set, slot);
            }
        }
    }
    pthread_mutex_unlock(&registry->mutex);
    mem_free(set->values);
    mem_free(set);
}

/* One writer per set: a load and a store cost less than a locked addition. */
static void slot_add(struct metric_set *set, size_t slot, int64_t delta)
{
    atomic_store_explicit(&set->values[slot], slot_load(set, slot) + delta, memory_order_relaxed);
}

void metric_add(struct metric_set *set, size_t row_index, int64_t delta)
{
    CHECK(row_index < set->table->row_count && set->table->rows[row_index].kind != METRIC_HISTOGRAM_US);
    slot_add(set, set->row_slots[row_index], delta);
}

void metric_set_value(struct metric_set *set, size_t row_index, int64_t value)
{
    CHECK(row_index < set->table->row_count && set->table->rows[row_index].kind == METRIC_GAUGE);
    atomic_store_explicit(&set->values[set->row_slots[row_index]], value, memory_order_relaxed);
}

void metric_observe_us(struct metric_set *set, size_t row_index, uint64_t value_us)
{
    CHECK(row_index < set->table->row_count && set->table->rows[row_index].kind == METRIC_HISTOGRAM_US);
    /* The smallest bucket i with value_us <= 2^i. */
    size_t bucket = value_us <= 1 ? 0 : 64 - (size_t)__builtin_clzll(value_us - 1);
    if (bucket > HISTOGRAM_INF_SLOT) {
        bucket = HISTOGRAM_INF_SLOT;
    }
    slot_add(set, set->row_slots[row_index] + bucket, 1);
    slot_add(set, set->row_slots[row_index] + HISTOGRAM_SUM_SLOT, (int64_t)value_us);
}

void metric_registry_add_collector(struct metric_registry *registry, metric_collect_fn collect, void *ctx)
{
    struct metric_collector *collector = MEM_NEW(struct metric_collector);
    collector->collect = collect;
    collector->ctx = ctx;
    pthread_mutex_lock(&registry->mutex);
    *registry->collectors_end = collector;
    registry->collectors_end = &collector->next;
    pthread_mutex_unlock(&registry->mutex);
}

static int64_t family_sum(const struct metric_family *family, size_t slot)
{
    int64_t sum = family->past[slot];
    for (const struct metric_set *set = family->sets; set != NULL; set = set->next) {
        sum += slot_load(set, slot);
    }
    return sum;
}

int64_t metric_total(struct metric_registry *registry, const struct metric_table *table, size_t row_index)
{
    CHECK(row_index < table->row_count && table->rows[row_index].kind != METRIC_HISTOGRAM_US);
    pthread_mutex_lock(&registry->mutex);
    struct metric_family *family = registry_find(registry, table);
    int64_t total = family == NULL ? 0 : family_sum(family, family->row_slots[row_index]);
    pthread_mutex_unlock(&registry->mutex);
    return total;
}

static enum err histogram_text(const struct metric_family *family, const struct metric_row *row, size_t slot,
                               struct bytebuf *text)
{
    const char *labels = row->labels == NULL ? "" : row->labels;
    const char *comma = row->labels == NULL ? "" : ",";
    int64_t count = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < METRIC_HISTOGRAM_BUCKETS && err == ERR_OK; i++) {
        count += family_sum(family, slot + i);
        double bound_seconds = (double)(UINT64_C(1) << i) / 1e6;
        err = bytebuf_append_format(text, "%s_bucket{%s%sle=\"%.10g\"} %lld\n", row->name, labels, comma, bound_seconds,
                                    (long long)count);
    }
    if (err != ERR_OK) {
        return err;
    }
    count += family_sum(family, slot + HISTOGRAM_INF_SLOT);
    int64_t sum_us = family_sum(family, slot + HISTOGRAM_SUM_SLOT);
    const char *open = row->labels == NULL ? "" : "{";
    const char *close = row->labels == NULL ? "" : "}";
    return bytebuf_append_format(text,
                                 "%s_bucket{%s%sle=\"+Inf\"} %lld\n"
                                 "%s_sum%s%s%s %lld.%06lld\n"
                                 "%s_count%s%s%s %lld\n",
                                 row->name, labels, comma, (long long)count, row->name, open, labels, close,
                                 (long long)(sum_us / 1000000), (long long)(sum_us % 1000000), row->name, open, labels,
                                 close, (long long)count);
}

static enum err family_text(const struct metric_family *family, struct bytebuf *text)
{
    static const char *const kind_names[] = {"counter", "gauge", "histogram"};
    const char *name_before = "";
    for (size_t i = 0; i < family->table->row_count; i++) {
        const struct metric_row *row = &family->table->rows[i];
        size_t slot = family->row_slots[i];
        enum err err = ERR_OK;
        if (strcmp(row->name, name_before) != 0) {
            err = bytebuf_append_format(text, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
                                        kind_names[row->kind]);
        }
        name_before = row->name;
        if (err == ERR_OK && row->kind == METRIC_HISTOGRAM_US) {
            err = histogram_text(family, row, slot, text);
        } else if (err == ERR_OK) {
            const char *labels = row->labels == NULL ? "" : row->labels;
            err = bytebuf_append_format(text, "%s%s%s%s %lld\n", row->name, row->labels == NULL ? "" : "{", labels,
                                        row->labels == NULL ? "" : "}", (long long)family_sum(family, slot));
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

enum err metric_text(struct metric_registry *registry, struct bytebuf *ret_text)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&registry->mutex);
    for (const struct metric_family *family = registry->families; family != NULL && err == ERR_OK;
         family = family->next) {
        err = family_text(family, ret_text);
    }
    for (const struct metric_collector *collector = registry->collectors; collector != NULL && err == ERR_OK;
         collector = collector->next) {
        collector->collect(collector->ctx, ret_text);
    }
    pthread_mutex_unlock(&registry->mutex);
    return err;
}

enum err metric_table_markdown(const struct metric_table *table, struct bytebuf *ret_text)
{
    static const char *const kind_names[] = {"counter", "gauge", "histogram"};
    enum err err = bytebuf_append(ret_text, span_text("| metric | kind | meaning |\n|---|---|---|\n"));
    for (size_t i = 0; i < table->row_count && err == ERR_OK; i++) {
        const struct metric_row *row = &table->rows[i];
        if (i > 0 && strcmp(row->name, row[-1].name) == 0) {
            continue; /* the same metric with another label */
        }
        const char *label = row->labels == NULL ? "" : row->labels;
        size_t label_bytes = strcspn(label, "=");
        err = bytebuf_append_format(ret_text, "| `%s%s%.*s%s` | %s | %s |\n", row->name, label_bytes == 0 ? "" : "{",
                                    (int)label_bytes, label, label_bytes == 0 ? "" : "}", kind_names[row->kind],
                                    row->help);
    }
    return err;
}
