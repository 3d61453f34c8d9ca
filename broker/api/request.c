/* Replies: one encoded frame each, moved to the connection, which keeps the order. */
#include "broker/api/request.h"

#include "broker/broker.h"
#include "broker/broker_metrics.h"
#include "broker/net/connection.h"
#include "broker/worker.h"
#include "common/check.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/fs.h"
#include "proto/api/api_table.h"
#include "proto/wire/frame.h"
#include "proto/wire/header.h"

#include <stdio.h>

/* Without the records of fetches, which stay in files. */
#define REPLY_BYTES_MAX (128u << 20)

static void count_latency(const struct request *request)
{
    uint64_t now_us = clock_mono_us(request->worker->broker->env->clock);
    metric_observe_us(request->worker->metrics, broker_metric_latency(request->api), now_us - request->received_us);
}

static void free_cuts(struct writer_cut *cuts, size_t cut_count)
{
    for (size_t i = 0; i < cut_count; i++) {
        struct file_slice *slice = cuts[i].external;
        file_unref(slice->file);
        mem_free(slice);
    }
    mem_free(cuts);
}

/* Completes the frame and hands it over. */
static void send_frame(struct request *request, struct writer *writer, size_t begin_pos)
{
    enum err err = frame_end(writer, begin_pos);
    struct bytebuf *buf = writer->buf;
    struct reply_output output = {.data = buf->data, .bytes = buf->bytes};
    output.cuts = writer_take_cuts(writer, &output.cut_count);
    writer_done(writer);
    if (err != ERR_OK) {
        free_cuts(output.cuts, output.cut_count);
        bytebuf_done(buf);
        char why[128];
        snprintf(why, sizeof(why), "a reply could not be encoded: %s", err_text(err));
        request_close_connection(request, why);
        return;
    }
    count_latency(request);
    connection_reply(request, &output);
}

void request_reply(struct request *request, const void *response)
{
    CHECK(!request->is_replied && request->api != NULL);
    struct bytebuf buf;
    struct writer writer;
    bytebuf_init(&buf, REPLY_BYTES_MAX);
    writer_init(&writer, &buf);
    size_t begin_pos = frame_begin(&writer);
    header_response_encode(&writer, request->api->key, request->api_version, request->correlation_id);
    enum err err = codec_encode(request->api->response, request->api_version, response, &writer);
    if (err != ERR_OK) {
        writer_fail(&writer, err);
    }
    send_frame(request, &writer, begin_pos);
}

void request_reply_encoded(struct request *request, struct span body)
{
    CHECK(!request->is_replied && request->api != NULL);
    struct bytebuf buf;
    struct writer writer;
    bytebuf_init(&buf, REPLY_BYTES_MAX);
    writer_init(&writer, &buf);
    size_t begin_pos = frame_begin(&writer);
    header_response_encode(&writer, request->api->key, request->api_version, request->correlation_id);
    writer_bytes(&writer, body);
    send_frame(request, &writer, begin_pos);
}

void request_reply_nothing(struct request *request)
{
    CHECK(!request->is_replied && request->api != NULL);
    count_latency(request);
    connection_reply_nothing(request);
}

void request_close_connection(struct request *request, const char *why)
{
    CHECK(!request->is_replied);
    if (request->api != NULL) {
        metric_add(request->worker->metrics, broker_metric_failures(request->api), 1);
    }
    connection_close_because(request, why);
}
