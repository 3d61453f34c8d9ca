#include "controller/controller_api.h"

#include "common/seam/rng.h"
#include "controller/image_apply.h"
#include "proto/wire/codec.h"

#define RESPONSE_BYTES_MAX (64u << 20)

struct api_handler {
    int16_t api_key;
    int16_t version_max;
    int16_t version_min;
    enum err (*handle)(struct api_call *call);
};

static const struct api_handler handlers[] = {
    {.api_key = 19, .version_min = 2, .version_max = 7, .handle = admin_create_topics},
    {.api_key = 20, .version_min = 1, .version_max = 6, .handle = admin_delete_topics},
    {.api_key = 33, .version_min = 0, .version_max = 2, .handle = admin_alter_configs},
    {.api_key = 37, .version_min = 0, .version_max = 3, .handle = admin_create_partitions},
    {.api_key = 43, .version_min = 0, .version_max = 2, .handle = admin_elect_leaders},
    {.api_key = 44, .version_min = 0, .version_max = 1, .handle = admin_incremental_alter_configs},
    {.api_key = 55, .version_min = 0, .version_max = 2, .handle = admin_describe_quorum},
    {.api_key = 57, .version_min = 0, .version_max = 2, .handle = admin_update_features},
    {.api_key = 64, .version_min = 0, .version_max = 0, .handle = admin_unregister_broker},
    {.api_key = 80, .version_min = 0, .version_max = 1, .handle = admin_add_raft_voter},
    {.api_key = 81, .version_min = 0, .version_max = 0, .handle = admin_remove_raft_voter},
};

static const struct api_handler *find_handler(int16_t api_key, int16_t api_version)
{
    for (size_t i = 0; i < ARRAY_COUNT(handlers); i++) {
        if (handlers[i].api_key == api_key && api_version >= handlers[i].version_min &&
            api_version <= handlers[i].version_max) {
            return &handlers[i];
        }
    }
    return NULL;
}

bool controller_api_serves(int16_t api_key, int16_t api_version)
{
    return find_handler(api_key, api_version) != NULL;
}

bool controller_api_needs_quorum(int16_t api_key)
{
    return api_key == 55 || api_key == 57 || api_key == 80 || api_key == 81;
}

enum err controller_api_handle(struct api_call *call)
{
    const struct api_handler *handler = find_handler(call->admin->api_key, call->admin->api_version);
    if (handler == NULL) {
        return ERR_UNSUPPORTED;
    }
    if (call->admin->body.bytes > META_DECISION_BYTES_MAX) {
        return ERR_LIMIT;
    }
    return handler->handle(call);
}

void api_call_done(struct api_call *call)
{
    image_unref(call->draft);
    call->draft = NULL;
}

enum err api_call_decode(struct api_call *call, const struct codec_message *message, void *ret_body)
{
    struct reader reader;
    reader_init(&reader, call->admin->body);
    return codec_decode_front(message, call->admin->api_version, &reader, call->decision.arena, ret_body);
}

enum err api_call_encode(struct api_call *call, const struct codec_message *message, const void *body)
{
    struct bytebuf buf;
    struct writer writer;
    bytebuf_init(&buf, RESPONSE_BYTES_MAX);
    writer_init(&writer, &buf);
    enum err err = codec_encode(message, call->admin->api_version, body, &writer);
    if (err == ERR_OK) {
        struct span bytes = bytebuf_span(&buf);
        call->response = shared_bytes_new(bytes.bytes);
        memcpy(call->response->data, bytes.data, bytes.bytes);
    }
    writer_done(&writer);
    bytebuf_done(&buf);
    return err;
}

void api_call_advance(struct api_call *call, size_t first_record, struct decision_result *result)
{
    struct decision *decision = &call->decision;
    size_t count = decision->records->count - first_record;
    if (count == 0) {
        return;
    }
    /* What other requests of the same entry have made does not count: with them the whole request goes into the next one. */
    size_t bytes = meta_packed_bytes(decision->records, first_record, count, INT64_MAX);
    if (call->packed_bytes + bytes > META_BATCH_BYTES_MAX) {
        meta_records_cut(decision->records, first_record);
        (void)decision_refuse(decision, result, ERROR_POLICY_VIOLATION,
                              "The changes of this request are too many to be made at once: split it.");
        return;
    }
    struct image *draft = image_draft(decision->image, call->index, decision->records, first_record, count);
    CHECK(draft != NULL); /* a decision upon an image applies to it */
    image_unref(call->draft);
    call->draft = draft;
    call->packed_bytes += bytes;
    decision->image = draft;
}

bool api_call_is_too_much(struct api_call *call, size_t item_count, struct decision_result *result)
{
    if (item_count <= API_CALL_ITEMS_MAX) {
        return false;
    }
    (void)decision_refuse(&call->decision, result, ERROR_POLICY_VIOLATION,
                          "%zu items in one request; at most %d are decided at once: split it.", item_count,
                          API_CALL_ITEMS_MAX);
    return true;
}

void api_call_forget(struct api_call *call, const struct image *image, size_t first_record)
{
    meta_records_cut(call->decision.records, first_record);
    call->decision.image = image;
    api_call_done(call);
}

void api_call_back(struct api_call *call, const struct image *image, size_t first_record)
{
    meta_records_cut(call->decision.records, first_record);
    image_unref(call->draft);
    call->draft = image;
    call->decision.image = image;
}

void api_call_draw_seed(struct api_call *call)
{
    call->decision.seed = rng_u64(call->rng);
}
