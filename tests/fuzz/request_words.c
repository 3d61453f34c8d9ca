#include "tests/fuzz/request_words.h"

#include "common/big_endian.h"
#include "proto/record/batch.h"
#include "proto/record/build.h"
#include "proto/wire/codec_table.h"
#include "tests/unit/proto/random_message.h"

#include <strings.h>

#define ID_WORD_PREFIX "moldau-fuzz-id-"         /* and a letter: the size of an id */
#define CLUSTER_ID_WORD "moldau-fuzz-cluster-id" /* the size of a cluster id */
#define BATCH_BYTES_MOST (64u << 10)
#define BATCH_RECORDS_MAX 5u
/* 2026-01-01, when the worlds of the simulator begin. */
#define WALL_MS INT64_C(1767225600000)
/* Times out of ten. */
#define CHANCE_WORD 9u

#define TEXTS(...)                                                                                                     \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

struct text_row {
    const char *field; /* a part of the field's name, case ignored */
    const char *texts[24];
};

/* The first that fits. "" stands for empty, "null" for null. */
static const struct text_row text_rows[] = {
    {"topic", TEXTS(WORDS_TOPIC, WORDS_TOPIC, WORDS_TOPIC_CACHED, WORDS_TOPIC_NEW, "", ".", "orders.eu", "orders_eu")},
    {"resourcename", TEXTS(WORDS_TOPIC, WORDS_TOPIC_CACHED, WORDS_TOPIC_NEW, "1", "", "2")},
    {"keys", TEXTS("cleanup.policy", "retention.ms", "min.insync.replicas", "node.id")},
    {"clusterid", TEXTS(CLUSTER_ID_WORD, "null", "another")},
    {"host", TEXTS("10.0.0.2", "10.0.0.1", "nowhere", "")},
    {"rack", TEXTS("null", "a")},
    {"transactionalid", TEXTS("null", "null", "null", "payments", "")},
    {"feature", TEXTS("metadata.version", "kraft.version", "")},
    {"software", TEXTS("fuzz", "1.0", "-", "")},
    {"value", TEXTS("delete", "compact", "1", "2", "0", "-1", "1000", "1048588", "zstd", "gzip", "producer", "synced",
                    "cached", "CreateTime", "LogAppendTime", "true", "false", "compact,delete", "x", "", "null")},
};
static const struct text_row config_name_row = {
    "name", TEXTS("cleanup.policy", "retention.ms", "retention.bytes", "min.insync.replicas", "max.message.bytes",
                  "segment.bytes", "segment.ms", "durability", "compression.type", "compression.validation",
                  "message.timestamp.type", "message.timestamp.before.max.ms", "message.timestamp.after.max.ms",
                  "delete.retention.ms", "flush.messages", "index.interval.bytes", "file.delete.delay.ms",
                  "unclean.leader.election.enable", "log.retention.ms", "no.such.setting")};
static const struct text_row listener_name_row = {"name", TEXTS("INTERNAL", "CONTROLLER", "PLAINTEXT")};

struct number_row {
    const char *field;
    uint8_t count;
    int64_t numbers[8];
};

/* The first that fits; the last fits all. */
static const struct number_row number_rows[] = {
    {"brokerid", 4, {1, 1, 1, 2}},
    {"replicaid", 4, {-1, -1, -1, 1}},
    {"voterid", 3, {1, 2, 3}},
    {"partitionmaxbytes", 4, {1 << 20, 4096, 1, 0}},
    {"responsepartitionlimit", 3, {2000, 1, 2}},
    {"numpartitions", 6, {1, 2, 3, -1, 4, 0}},
    {"replicationfactor", 4, {1, -1, 1, 2}},
    {"partition", 8, {0, 0, 0, 0, 1, 2, 3, -1}},
    {"index", 4, {0, 0, 1, 2}},
    {"acks", 4, {-1, 1, 0, -1}},
    {"transactiontimeout", 2, {60000, 0}},
    {"timeoutms", 4, {1000, 0, 30000, 100}},
    {"maxwaitms", 4, {0, 10, 500, 60000}},
    {"minbytes", 4, {0, 1, 1, 10000}},
    {"maxbytes", 4, {1 << 20, INT32_MAX, 100, 0}},
    {"isolation", 2, {0, 1}},
    {"sessionid", 4, {WORDS_FETCH_SESSION, WORDS_FETCH_SESSION, 0, 1}},
    {"sessionepoch", 5, {-1, 0, 1, 2, 3}},
    {"epoch", 5, {-1, 0, 0, 1, 2}},
    {"startoffset", 2, {-1, 0}},
    {"offset", 8, {0, 0, 1, 3, 5, 8, 12, -1}},
    {"timestamp", 8, {-1, -2, -3, -4, -5, 0, WALL_MS, WALL_MS + 5}},
    {"resourcetype", 4, {2, 2, 4, 8}},
    {"configoperation", 5, {0, 0, 1, 2, 3}},
    {"electiontype", 2, {0, 1}},
    {"upgradetype", 3, {1, 2, 3}},
    {"versionlevel", 3, {1, 0, 2}},
    {"endpointtype", 3, {1, 2, 0}},
    {"count", 5, {1, 3, 4, 5, -1}},
    {"port", 3, {9093, 9092, 0}},
    {"producerid", 4, {-1, 0, 1, 2}},
    {"", 5, {0, 1, -1, 2, 100}},
};

/* ---- place holders ---- */

struct uuid request_words_id(enum words_id id)
{
    struct uuid uuid;
    memcpy(uuid.bytes, ID_WORD_PREFIX, UUID_BYTES - 1);
    uuid.bytes[UUID_BYTES - 1] = (uint8_t)('a' + (int)id);
    return uuid;
}

static void replace(uint8_t *frame, size_t bytes, struct span word, const void *value)
{
    for (uint8_t *at = frame; (at = (uint8_t *)memmem(at, (size_t)(frame + bytes - at), word.data, word.bytes)) != NULL;
         at += word.bytes) {
        memcpy(at, value, word.bytes);
    }
}

void request_words_resolve(const struct words_known *known, uint8_t *frame, size_t bytes)
{
    for (int id = 0; id < WORDS_ID_COUNT; id++) {
        struct uuid word = request_words_id((enum words_id)id);
        if (!uuid_is_zero(known->ids[id])) {
            replace(frame, bytes, span_make(word.bytes, UUID_BYTES), known->ids[id].bytes);
        }
    }
    uint8_t session_word[4];
    uint8_t session_id[4];
    be32_put(session_word, WORDS_FETCH_SESSION);
    be32_put(session_id, (uint32_t)known->fetch_session_id);
    replace(frame, bytes, span_make(session_word, sizeof(session_word)), session_id);
    CHECK(strlen(known->cluster_id) == strlen(CLUSTER_ID_WORD));
    replace(frame, bytes, span_text(CLUSTER_ID_WORD), known->cluster_id);
}

/* ---- values ---- */

static bool is_named(const char *name, const char *part)
{
    return strcasestr(name, part) != NULL;
}

static const struct text_row *text_row_of(const struct codec_struct *parent, const struct codec_field *field)
{
    for (size_t i = 0; i < ARRAY_COUNT(text_rows); i++) {
        if (is_named(field->name, text_rows[i].field)) {
            return &text_rows[i];
        }
    }
    return !is_named(field->name, "name")       ? NULL
           : is_named(parent->name, "config")   ? &config_name_row
           : is_named(parent->name, "listener") ? &listener_name_row
                                                : &text_rows[0];
}

static bool draw_text(struct prop *prop, const struct codec_struct *parent, const struct codec_field *field,
                      struct span *ret_text)
{
    const struct text_row *row = text_row_of(parent, field);
    if (row == NULL) {
        return false;
    }
    size_t count = 0;
    while (row->texts[count] != NULL) {
        count++;
    }
    const char *text = row->texts[prop_below(prop, count)];
    bool is_null = strcmp(text, "null") == 0;
    if (is_null && !codec_field_knows_null(field)) {
        return false;
    }
    *ret_text = is_null ? SPAN_NULL : span_text(text);
    return true;
}

static int64_t draw_number(struct prop *prop, const struct codec_field *field)
{
    size_t i = 0;
    while (!is_named(field->name, number_rows[i].field)) {
        i++;
    }
    return number_rows[i].numbers[prop_below(prop, number_rows[i].count)];
}

static struct uuid draw_id(struct prop *prop, const struct codec_field *field)
{
    if (prop_chance(prop, 1, 8)) {
        return (struct uuid){0};
    }
    if (is_named(field->name, "directory")) {
        return request_words_id(prop_chance(prop, 1, 2) ? WORDS_ID_METADATA_DIRECTORY : WORDS_ID_LOG_DIRECTORY);
    }
    return request_words_id((enum words_id)prop_below(prop, WORDS_ID_TOPIC_NEW + 1));
}

struct span request_words_batch(struct prop *prop, struct arena *arena)
{
    struct bytebuf bytes;
    struct batch_builder builder;
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    options.codec = (enum batch_codec)(prop_chance(prop, 1, 2) ? 0 : prop_below(prop, BATCH_CODEC_COUNT));
    if (prop_chance(prop, 1, 2)) {
        options.producer_id = (int64_t)prop_below(prop, 3);
        options.producer_epoch = (int16_t)prop_below(prop, 2);
        options.base_sequence = (int32_t)prop_below(prop, 4);
        options.is_transactional = prop_chance(prop, 1, 8);
    }
    batch_builder_init(&builder, BATCH_BYTES_MOST);
    bytebuf_init(&bytes, BATCH_BYTES_MOST);
    batch_builder_begin(&builder, &options);
    size_t count = 1 + prop_below(prop, BATCH_RECORDS_MAX);
    for (size_t i = 0; i < count; i++) {
        char value[256];
        memset(value, 'v', sizeof(value));
        struct span key = prop_chance(prop, 1, 3) ? span_text("key") : SPAN_NULL;
        enum err err = batch_builder_add(&builder, WALL_MS + (int64_t)prop_below(prop, 10), key,
                                         span_make(value, prop_skewed(prop, sizeof(value))), NULL, 0);
        CHECK(err == ERR_OK);
    }
    enum err err = batch_builder_finish(&builder, &bytes);
    CHECK(err == ERR_OK);
    struct span batch = arena_copy(arena, bytebuf_span(&bytes));
    batch_builder_done(&builder);
    bytebuf_done(&bytes);
    return batch;
}

bool request_words_draw(struct prop *prop, struct arena *arena, const struct codec_struct *parent,
                        const struct codec_field *field, void *value)
{
    switch ((enum codec_kind)field->kind) {
    case CODEC_INT8:
    case CODEC_INT16:
    case CODEC_INT32:
    case CODEC_INT64:
    case CODEC_UINT16:
    case CODEC_UINT32:
        codec_integer_set((enum codec_kind)field->kind, value, draw_number(prop, field));
        return true;
    case CODEC_UUID: {
        struct uuid id = draw_id(prop, field);
        memcpy(value, &id, sizeof(id));
        return true;
    }
    case CODEC_STRING:
        return draw_text(prop, parent, field, (struct span *)value);
    case CODEC_RECORDS:
        ((struct kmsg_records *)value)->bytes = request_words_batch(prop, arena);
        return true;
    case CODEC_BOOL:
    case CODEC_FLOAT64:
    case CODEC_BYTES:
    case CODEC_STRUCT:
        return false;
    }
    return false;
}

/* ---- messages ---- */

struct words_filler {
    struct prop *prop;
    struct arena *arena;
    int16_t version;
};

static void fill_struct(const struct words_filler *filler, const struct codec_struct *type, void *base);

static void fill_value(const struct words_filler *filler, const struct codec_struct *parent,
                       const struct codec_field *field, void *value)
{
    if (field->kind == CODEC_STRUCT) {
        fill_struct(filler, field->child, value);
    } else if (prop_chance(filler->prop, CHANCE_WORD, 10)) {
        (void)request_words_draw(filler->prop, filler->arena, parent, field, value);
    }
}

static void fill_struct(const struct words_filler *filler, const struct codec_struct *type, void *base)
{
    for (size_t i = 0; i < type->fields_count; i++) {
        const struct codec_field *field = &type->fields[i];
        if (!codec_versions_have(field->present, filler->version)) {
            continue;
        }
        if (codec_field_is(field, CODEC_ARRAY)) {
            uint8_t *elements = codec_pointer_get(base, field);
            size_t count = elements == NULL ? 0 : codec_count_get(base, field);
            for (size_t j = 0; j < count; j++) {
                fill_value(filler, type, field, elements + j * codec_value_bytes(field));
            }
        } else if (codec_field_is(field, CODEC_POINTER)) {
            void *value = codec_pointer_get(base, field);
            if (value != NULL) {
                fill_value(filler, type, field, value);
            }
        } else {
            fill_value(filler, type, field, codec_member(base, field));
        }
    }
}

void request_words_fill(struct prop *prop, const struct codec_message *message, int16_t version, struct arena *arena,
                        void *body)
{
    struct words_filler filler = {.prop = prop, .arena = arena, .version = version};
    random_message_fill(prop, message, version, arena, body);
    fill_struct(&filler, message->body, body);
}
