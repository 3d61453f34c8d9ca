#include "broker/http_pages.h"

#include "broker/broker_internal.h"
#include "broker/meta/metadata_follow.h"
#include "common/check.h"
#include "common/metric.h"

#include <inttypes.h>

#define HTTP_OK 200
#define HTTP_INTERNAL_ERROR 500
#define HTTP_UNAVAILABLE 503

static unsigned render_metrics(struct broker *broker, struct bytebuf *ret_body)
{
    return metric_text(broker->metrics, ret_body) == ERR_OK ? HTTP_OK : HTTP_INTERNAL_ERROR;
}

static unsigned render_live(struct broker *broker, struct bytebuf *ret_body)
{
    enum err err =
        bytebuf_append_format(ret_body, "{\"status\":\"live\",\"node_id\":%" PRId32 "}\n", broker->options->node_id);
    return err == ERR_OK ? HTTP_OK : HTTP_INTERNAL_ERROR;
}

/* The cluster id is base64 text and needs no escapes; the state is a word of ours. */
static unsigned render_ready(struct broker *broker, struct bytebuf *ret_body)
{
    enum broker_state state = broker_state(broker);
    int64_t offset = broker->metadata_follow == NULL ? -1 : metadata_follow_applied_offset(broker->metadata_follow);
    enum err err = bytebuf_append_format(
        ret_body, "{\"status\":\"%s\",\"node_id\":%" PRId32 ",\"cluster_id\":\"%s\",\"metadata_offset\":%" PRId64 "}\n",
        broker_state_name(state), broker->options->node_id, broker->priv->cluster_id, offset);
    if (err != ERR_OK) {
        return HTTP_INTERNAL_ERROR;
    }
    return state == BROKER_READY ? HTTP_OK : HTTP_UNAVAILABLE;
}

static const struct http_page pages[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", render_metrics},
    {"/health/live", "application/json", render_live},
    {"/health/ready", "application/json", render_ready},
};

const struct http_page *http_pages(size_t *ret_count)
{
    *ret_count = ARRAY_COUNT(pages);
    return pages;
}
