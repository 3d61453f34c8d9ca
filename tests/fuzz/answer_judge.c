#include "tests/fuzz/answer_judge.h"

#include "broker/api/dispatch.h"
#include "broker/api/handlers.h"
#include "proto/kmsg/fetch.h"
#include "proto/kmsg/produce.h"
#include "proto/record/batch.h"
#include "proto/wire/codec_table.h"
#include "proto/wire/header.h"

#define JSON_BYTES_MAX (16u << 20)

/* ---- requests ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t bytes = strlen(text);
    size_t end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(text + bytes - end_bytes, end) == 0;
}

/* Every API that may hold a request calls its field so. */
static uint64_t wait_us_of(const struct codec_message *message, int16_t version, const void *body)
{
    for (size_t i = 0; i < message->body->fields_count; i++) {
        const struct codec_field *field = &message->body->fields[i];
        bool is_wait = ends_with(field->name, "imeoutMs") || ends_with(field->name, "axWaitMs");
        if (is_wait && field->kind == CODEC_INT32 && codec_versions_have(field->present, version)) {
            int64_t wait_ms = codec_integer_get(CODEC_INT32, codec_member_const(body, field));
            return wait_ms <= 0 ? 0 : (uint64_t)wait_ms * 1000;
        }
    }
    return 0;
}

static void ask_body(struct reader *reader, struct frame_asked *asked)
{
    struct arena arena;
    arena_init(&arena, 0);
    const struct codec_message *message = asked->api->request;
    void *body = arena_alloc(&arena, message->body->struct_bytes);
    CHECK(body != NULL);
    if (codec_decode_front(message, asked->api_version, reader, &arena, body) != ERR_OK) {
        asked->is_refused = true;
    } else {
        asked->wait_us = wait_us_of(message, asked->api_version, body);
        asked->is_silent = asked->api->key == API_KEY_PRODUCE && ((const struct produce_request *)body)->acks == 0;
    }
    arena_done(&arena);
}

void answer_judge_ask(struct span frame, struct frame_asked *ret_asked)
{
    struct reader reader;
    struct request_header header = {0};
    reader_init(&reader, frame);
    enum err err = header_request_decode(&reader, &header);
    *ret_asked = (struct frame_asked){.api = api_table_find(header.api_key),
                                      .api_version = header.api_version,
                                      .correlation_id = header.correlation_id};
    const struct api_row *api = ret_asked->api;
    if (api == NULL || !dispatch_is_served(handlers_table(), api)) {
        ret_asked->is_refused = true;
    } else if (!api_table_has_version(api, header.api_version)) {
        ret_asked->is_refused = api->key != API_KEY_API_VERSIONS;
        ret_asked->api_version = 0; /* KIP-511 */
    } else if (err != ERR_OK) {
        ret_asked->is_refused = true;
    } else {
        ask_body(&reader, ret_asked);
    }
}

/* ---- answers ---- */

static void print_answer(const struct frame_asked *asked, const void *body)
{
    struct bytebuf json;
    bytebuf_init(&json, JSON_BYTES_MAX);
    if (codec_print_json(asked->api->response, asked->api_version, body, &json) == ERR_OK) {
        fprintf(stderr, "# %s version %d: %.*s\n", asked->api->name, asked->api_version, (int)json.bytes,
                (const char *)json.data);
    }
    bytebuf_done(&json);
}

/* What a consumer would be given: whole batches with their checksums, in order, all of it committed. */
static void judge_records(const struct lone_node *node, const struct fetch_response_partition_data *partition)
{
    struct span rest = partition->records.bytes;
    struct batch batch;
    int64_t next_offset = 0;
    for (;;) {
        enum err err = batch_next(&rest, &batch);
        if (err == ERR_END || err == ERR_INCOMPLETE) {
            return;
        }
        if (err != ERR_OK || batch_check_crc(&batch) != ERR_OK) {
            lone_node_problem(node, "Fetch gives a damaged batch: %s", err_text(err));
        }
        if (batch.header.base_offset < next_offset || batch_next_offset(&batch.header) > partition->high_watermark) {
            lone_node_problem(
                node,
                "Fetch gives a batch at %" PRId64 " to %" PRId64 " behind %" PRId64 ", the high watermark is %" PRId64,
                batch.header.base_offset, batch_last_offset(&batch.header), next_offset, partition->high_watermark);
        }
        next_offset = batch_next_offset(&batch.header);
    }
}

static void judge_fetch(const struct lone_node *node, const struct fetch_response *response, struct frame_notes *notes)
{
    if (response->session_id != 0) {
        notes->fetch_session_id = response->session_id;
    }
    for (size_t i = 0; i < response->responses_count; i++) {
        for (size_t j = 0; j < response->responses[i].partitions_count; j++) {
            judge_records(node, &response->responses[i].partitions[j]);
        }
    }
}

void answer_judge_body(const struct lone_node *node, const struct frame_asked *asked, struct reader *reader,
                       struct frame_notes *notes)
{
    struct arena arena;
    arena_init(&arena, 0);
    const struct codec_message *message = asked->api->response;
    void *body = arena_alloc(&arena, message->body->struct_bytes);
    CHECK(body != NULL);
    enum err err = codec_decode(message, asked->api_version, reader, &arena, body);
    if (err != ERR_OK) {
        lone_node_problem(node, "the answer to %s version %d can't be decoded: %s at byte %zu", asked->api->name,
                          asked->api_version, err_text(err), reader->error_pos);
    }
    if (node->world.trace.is_printed) {
        print_answer(asked, body);
    }
    if (asked->api->key == API_KEY_FETCH) {
        judge_fetch(node, (const struct fetch_response *)body, notes);
    }
    arena_done(&arena);
}
