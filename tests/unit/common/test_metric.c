/* Metrics: sums over sets, histograms, and a text that follows the exposition format. */
#include "common/check.h"
#include "common/mem.h"
#include "common/metric.h"

#include <ctype.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PRODUCED, FETCHED, OPEN_FILES, SYNC_TIME, LABELLED_TIME };

static const struct metric_row rows[] = {
    {"moldau_bytes_total", "api=\"produce\"", METRIC_COUNTER, "Bytes by api."},
    {"moldau_bytes_total", "api=\"fetch\"", METRIC_COUNTER, "Bytes by api."},
    {"moldau_open_files", NULL, METRIC_GAUGE, "Files open now."},
    {"moldau_sync_seconds", NULL, METRIC_HISTOGRAM_US, "Time of a sync."},
    {"moldau_api_seconds", "api=\"produce\"", METRIC_HISTOGRAM_US, "Time of a request."},
};
static const struct metric_table table = {.rows = rows, .row_count = ARRAY_COUNT(rows)};

static char *text_of(struct metric_registry *registry)
{
    struct bytebuf text;
    bytebuf_init(&text, 1u << 20);
    assert_int_equal(metric_text(registry, &text), ERR_OK);
    assert_int_equal(bytebuf_append(&text, span_make("", 1)), ERR_OK);
    return (char *)text.data; /* free with mem_free */
}

static void expect_line(const char *text, const char *line)
{
    const char *found = strstr(text, line);
    if (found == NULL || (found != text && found[-1] != '\n')) {
        fail_msg("no line \"%s\" in:\n%s", line, text);
    }
}

static void sets_are_summed_and_remembered(void **state)
{
    (void)state;
    struct metric_registry *registry = metric_registry_new();
    struct metric_set *first = metric_set_new(registry, &table);
    struct metric_set *second = metric_set_new(registry, &table);
    metric_add(first, PRODUCED, 5);
    metric_add(second, PRODUCED, 7);
    metric_add(second, FETCHED, 1);
    metric_set_value(first, OPEN_FILES, 3);
    metric_set_value(second, OPEN_FILES, 4);
    metric_add(second, OPEN_FILES, -1);
    metric_observe_us(first, SYNC_TIME, 3);
    assert_int_equal(metric_total(registry, &table, PRODUCED), 12);
    assert_int_equal(metric_total(registry, &table, OPEN_FILES), 6);
    metric_set_free(registry, first); /* counters stay, the gauge goes */
    assert_int_equal(metric_total(registry, &table, PRODUCED), 12);
    assert_int_equal(metric_total(registry, &table, OPEN_FILES), 3);
    char *text = text_of(registry);
    expect_line(text, "# TYPE moldau_bytes_total counter\nmoldau_bytes_total{api=\"produce\"} 12\n"
                      "moldau_bytes_total{api=\"fetch\"} 1\n");
    expect_line(text,
                "# HELP moldau_open_files Files open now.\n# TYPE moldau_open_files gauge\nmoldau_open_files 3\n");
    expect_line(text, "moldau_sync_seconds_count 1\n");
    mem_free(text);
    metric_set_free(registry, second);
    metric_registry_free(registry);
}

static void histograms_are_cumulative(void **state)
{
    (void)state;
    struct metric_registry *registry = metric_registry_new();
    struct metric_set *set = metric_set_new(registry, &table);
    static const uint64_t values_us[] = {0, 1, 2, 3, 4, 5, 1000, 8388608, 8388609, 60000000};
    for (size_t i = 0; i < ARRAY_COUNT(values_us); i++) {
        metric_observe_us(set, SYNC_TIME, values_us[i]);
        metric_observe_us(set, LABELLED_TIME, values_us[i]);
    }
    char *text = text_of(registry);
    expect_line(text, "moldau_sync_seconds_bucket{le=\"1e-06\"} 2\nmoldau_sync_seconds_bucket{le=\"2e-06\"} 3\n"
                      "moldau_sync_seconds_bucket{le=\"4e-06\"} 5\nmoldau_sync_seconds_bucket{le=\"8e-06\"} 6\n");
    expect_line(text, "moldau_sync_seconds_bucket{le=\"0.001024\"} 7\n");
    expect_line(text, "moldau_sync_seconds_bucket{le=\"8.388608\"} 8\nmoldau_sync_seconds_bucket{le=\"+Inf\"} 10\n"
                      "moldau_sync_seconds_sum 76.778232\nmoldau_sync_seconds_count 10\n");
    expect_line(text,
                "moldau_api_seconds_bucket{api=\"produce\",le=\"+Inf\"} 10\n"
                "moldau_api_seconds_sum{api=\"produce\"} 76.778232\nmoldau_api_seconds_count{api=\"produce\"} 10\n");
    mem_free(text);
    metric_set_free(registry, set);
    metric_registry_free(registry);
}

static void collect_topics(void *ctx, struct bytebuf *text)
{
    assert_int_equal(bytebuf_append_format(text, "moldau_topics{name=\"%s\"} 1\n", (const char *)ctx), ERR_OK);
}

static size_t name_bytes(const char *text)
{
    size_t bytes = 0;
    while (isalnum((unsigned char)text[bytes]) || text[bytes] == '_' || text[bytes] == ':') {
        bytes++;
    }
    return bytes;
}

/* One sample line: name, {label="value",...} and a number, nothing else. */
static void expect_sample(const char *line)
{
    size_t pos = name_bytes(line);
    assert_true(pos > 0);
    if (line[pos] == '{') {
        do {
            pos++;
            size_t label_bytes = name_bytes(line + pos);
            assert_true(label_bytes > 0);
            pos += label_bytes;
            assert_memory_equal(line + pos, "=\"", 2);
            pos += 2 + strcspn(line + pos + 2, "\"") + 1;
        } while (line[pos] == ',');
        assert_int_equal(line[pos++], '}');
    }
    assert_int_equal(line[pos++], ' ');
    char *end = NULL;
    (void)strtod(line + pos, &end);
    assert_true(end > line + pos && *end == '\0');
}

/* Every line is a comment of the two known kinds or a sample, and no name is described twice. */
static void text_follows_the_format(void **state)
{
    (void)state;
    static char topic[] = "orders";
    struct metric_registry *registry = metric_registry_new();
    struct metric_set *set = metric_set_new(registry, &table);
    metric_registry_add_collector(registry, collect_topics, topic);
    char *text = text_of(registry);
    expect_line(text, "moldau_topics{name=\"orders\"} 1\n");
    unsigned line_count = 0;
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); rest != NULL; line = strsep(&rest, "\n")) {
        line_count++;
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_null(rest == NULL ? NULL : strstr(rest, line));
        } else if (strncmp(line, "# TYPE ", 7) != 0) {
            expect_sample(line);
        }
    }
    assert_int_equal(line_count, 4 * 2 + 3 + 2 * (METRIC_HISTOGRAM_BUCKETS + 3) + 1);
    mem_free(text);
    struct bytebuf markdown;
    bytebuf_init(&markdown, 10000);
    assert_int_equal(metric_table_markdown(&table, &markdown), ERR_OK);
    assert_int_equal(bytebuf_append(&markdown, span_make("", 1)), ERR_OK);
    expect_line((const char *)markdown.data, "| `moldau_bytes_total{api}` | counter | Bytes by api. |\n"
                                             "| `moldau_open_files` | gauge | Files open now. |\n");
    bytebuf_done(&markdown);
    struct bytebuf small;
    bytebuf_init(&small, 100);
    assert_int_equal(metric_text(registry, &small), ERR_LIMIT);
    bytebuf_done(&small);
    metric_set_free(registry, set);
    metric_registry_free(registry);
}

#define COUNTS 100000

struct counter_thread {
    pthread_t thread;
    struct metric_registry *registry;
};

static void *count_much(void *ctx)
{
    struct counter_thread *counter = ctx;
    struct metric_set *set = metric_set_new(counter->registry, &table);
    for (int i = 0; i < COUNTS; i++) {
        metric_add(set, PRODUCED, 1);
        metric_observe_us(set, SYNC_TIME, (uint64_t)i);
    }
    metric_set_free(counter->registry, set);
    return NULL;
}

/* Threads count while another one reads (TSan looks on); nothing is lost. */
static void threads_count_without_locks(void **state)
{
    (void)state;
    struct metric_registry *registry = metric_registry_new();
    struct counter_thread counters[3];
    for (size_t i = 0; i < ARRAY_COUNT(counters); i++) {
        counters[i].registry = registry;
        assert_int_equal(pthread_create(&counters[i].thread, NULL, count_much, &counters[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        mem_free(text_of(registry));
    }
    for (size_t i = 0; i < ARRAY_COUNT(counters); i++) {
        assert_int_equal(pthread_join(counters[i].thread, NULL), 0);
    }
    assert_int_equal(metric_total(registry, &table, PRODUCED), 3 * COUNTS);
    metric_registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_summed_and_remembered),
        cmocka_unit_test(histograms_are_cumulative),
        cmocka_unit_test(text_follows_the_format),
        cmocka_unit_test(threads_count_without_locks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
