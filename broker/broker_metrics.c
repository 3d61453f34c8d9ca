/* The rows per API come from the generated list of APIs, so that a new API is counted without a line here. Their place
 * follows the place of the API in that list. */
#include "broker/broker_metrics.h"

#include "common/check.h"
#include "proto/api/api_table.h"

enum api_place {
#define X(key, upper, stem, text, first, last, advertised_first, flexible_first) API_PLACE_##upper,
    KMSG_API_ROWS(X)
#undef X
        API_PLACE_COUNT
};

static const struct metric_row rows[] = {
#define X(name_, text, kind_, help_) {.name = (text), .labels = NULL, .kind = (kind_), .help = (help_)},
    BROKER_METRIC_ROWS(X)
#undef X
#define X(key, upper, stem, text, first, last, advertised_first, flexible_first)                                       \
    {.name = "moldau_request_seconds",                                                                                 \
     .labels = "api=\"" text "\"",                                                                                     \
     .kind = METRIC_HISTOGRAM_US,                                                                                      \
     .help = "Time from a complete request to its encoded reply."},
        KMSG_API_ROWS(X)
#undef X
#define X(key, upper, stem, text, first, last, advertised_first, flexible_first)                                       \
    {.name = "moldau_request_failures_total",                                                                          \
     .labels = "api=\"" text "\"",                                                                                     \
     .kind = METRIC_COUNTER,                                                                                           \
     .help = "Requests that ended with the connection closed."},
            KMSG_API_ROWS(X)
#undef X
};

static const struct metric_table table = {.rows = rows, .row_count = ARRAY_COUNT(rows)};

_Static_assert(ARRAY_COUNT(rows) == (size_t)BROKER_METRIC_COUNT + 2 * (size_t)API_PLACE_COUNT, "two rows per API");

const struct metric_table *broker_metrics_table(void)
{
    return &table;
}

static size_t place_of(const struct api_row *api)
{
    return (size_t)(api - api_table_at(0));
}

size_t broker_metric_latency(const struct api_row *api)
{
    return (size_t)BROKER_METRIC_COUNT + place_of(api);
}

size_t broker_metric_failures(const struct api_row *api)
{
    return (size_t)BROKER_METRIC_COUNT + (size_t)API_PLACE_COUNT + place_of(api);
}
