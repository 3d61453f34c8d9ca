/* One row per setting: the topic's name for it, the node's option that is its default, and where the value goes. */
#include "broker/replica/topic_settings.h"

#include "broker/broker_options.h"
#include "common/bytebuf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Above what the controller accepts (32767) and what a line of a configuration file holds. */
#define SETTING_TEXT_BYTES_MAX 65537

struct setting_row {
    const char *topic_name;
    const char *option_name;
    void (*assign)(struct topic_settings *settings, const char *text);
};

static int64_t setting_long(const char *text)
{
    return strtoll(text, NULL, 10); /* checked when it was set */
}

static bool setting_has_word(const char *list, const char *word)
{
    size_t word_bytes = strlen(word);
    for (const char *at = list; *at != '\0';) {
        at += strspn(at, ", ");
        size_t bytes = strcspn(at, ", ");
        if (bytes == word_bytes && memcmp(at, word, bytes) == 0) {
            return true;
        }
        at += bytes;
    }
    return false;
}

#define SETTING_NUMBER(function, member, type)                                                                         \
    static void function(struct topic_settings *settings, const char *text)                                            \
    {                                                                                                                  \
        settings->member = (type)setting_long(text);                                                                   \
    }

SETTING_NUMBER(assign_segment_bytes, log.segment_bytes, int32_t) /* also of internal.segment.bytes, which comes later */
SETTING_NUMBER(assign_segment_ms, log.segment_ms, int64_t)
SETTING_NUMBER(assign_segment_jitter_ms, log.segment_jitter_ms, int64_t)
SETTING_NUMBER(assign_index_interval_bytes, log.index_interval_bytes, int32_t)
SETTING_NUMBER(assign_segment_index_bytes, log.segment_index_bytes, int32_t)
SETTING_NUMBER(assign_retention_ms, log.retention_ms, int64_t)
SETTING_NUMBER(assign_retention_bytes, log.retention_bytes, int64_t)
SETTING_NUMBER(assign_file_delete_delay_ms, log.file_delete_delay_ms, int64_t)
SETTING_NUMBER(assign_min_insync_replicas, min_insync_replicas, int32_t)
SETTING_NUMBER(assign_max_message_bytes, policy.batch_bytes_max, size_t)
SETTING_NUMBER(assign_timestamp_before_ms_max, policy.timestamp_before_ms_max, int64_t)
SETTING_NUMBER(assign_timestamp_after_ms_max, policy.timestamp_after_ms_max, int64_t)

static void assign_durability(struct topic_settings *settings, const char *text)
{
    settings->log.durability = strcmp(text, "cached") == 0 ? DURABILITY_CACHED : DURABILITY_SYNCED;
}

static void assign_cleanup_policy(struct topic_settings *settings, const char *text)
{
    settings->log.has_delete_policy = setting_has_word(text, "delete");
    settings->policy.is_key_required = setting_has_word(text, "compact");
}

static void assign_timestamp_type(struct topic_settings *settings, const char *text)
{
    settings->policy.is_append_time = strcmp(text, "LogAppendTime") == 0;
}

static void assign_compression_validation(struct topic_settings *settings, const char *text)
{
    settings->policy.compressed_validation =
        strcmp(text, "header") == 0 ? COMPRESSED_VALIDATE_HEADER : COMPRESSED_VALIDATE_RECORDS;
}

static const struct setting_row setting_rows[] = {
    {"segment.bytes", "log.segment.bytes", assign_segment_bytes},
    {"internal.segment.bytes", "", assign_segment_bytes},
    {"segment.ms", "log.roll.ms", assign_segment_ms},
    {"segment.jitter.ms", "log.roll.jitter.ms", assign_segment_jitter_ms},
    {"index.interval.bytes", "log.index.interval.bytes", assign_index_interval_bytes},
    {"segment.index.bytes", "log.index.size.max.bytes", assign_segment_index_bytes},
    {"retention.ms", "log.retention.ms", assign_retention_ms},
    {"retention.bytes", "log.retention.bytes", assign_retention_bytes},
    {"file.delete.delay.ms", "log.segment.delete.delay.ms", assign_file_delete_delay_ms},
    {"min.insync.replicas", "min.insync.replicas", assign_min_insync_replicas},
    {"max.message.bytes", "message.max.bytes", assign_max_message_bytes},
    {"message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms", assign_timestamp_before_ms_max},
    {"message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms", assign_timestamp_after_ms_max},
    {"message.timestamp.type", "log.message.timestamp.type", assign_timestamp_type},
    {"cleanup.policy", "log.cleanup.policy", assign_cleanup_policy},
    {"durability", "log.durability", assign_durability},
    {"compression.validation", "log.compression.validation", assign_compression_validation},
};

/* The value that holds: the topic's, this broker's dynamic one, the cluster's dynamic default, the node's option. */
static bool setting_text(const struct image *image, struct span topic_name, const struct setting_row *row,
                         const struct broker_options *defaults, char *ret_text)
{
    struct span value = image_topic_config_value(image, topic_name, row->topic_name);
    if (span_is_null(value)) {
        char id[16];
        (void)snprintf(id, sizeof(id), "%d", defaults->node_id);
        const struct image_config *own = image_find_config(image, IMAGE_CONFIG_BROKER, span_text(id));
        value = own == NULL ? SPAN_NULL : image_config_value(own, row->option_name);
    }
    if (span_is_null(value)) {
        const struct image_config *common = image_find_config(image, IMAGE_CONFIG_BROKER, span_text(""));
        value = common == NULL ? SPAN_NULL : image_config_value(common, row->option_name);
    }
    if (!span_is_null(value)) {
        CHECK(value.bytes < SETTING_TEXT_BYTES_MAX);
        memcpy(ret_text, value.data, value.bytes);
        ret_text[value.bytes] = '\0';
        return true;
    }
    const struct option_row *option = option_find(broker_options_table(), span_text(row->option_name));
    if (option == NULL) {
        return false;
    }
    struct bytebuf text;
    bool is_null = false;
    bytebuf_init(&text, SETTING_TEXT_BYTES_MAX - 1);
    enum err err = option_format(option, defaults, &text, &is_null);
    CHECK(err == ERR_OK);
    if (!is_null && text.bytes > 0) {
        memcpy(ret_text, text.data, text.bytes);
    }
    ret_text[is_null ? 0 : text.bytes] = '\0';
    bytebuf_done(&text);
    return !is_null;
}

void topic_settings_resolve(const struct image *image, struct span topic_name, const struct broker_options *defaults,
                            struct topic_settings *ret_settings)
{
    *ret_settings = (struct topic_settings){
        .log = LOG_SETTINGS_DEFAULT,
        .policy = {.timestamp_before_ms_max = INT64_MAX, .timestamp_after_ms_max = INT64_MAX},
    };
    ret_settings->log.producer_expiration_ms = defaults->producer_id_expiration_ms;
    char text[SETTING_TEXT_BYTES_MAX];
    for (size_t i = 0; i < ARRAY_COUNT(setting_rows); i++) {
        if (setting_text(image, topic_name, &setting_rows[i], defaults, text)) {
            setting_rows[i].assign(ret_settings, text);
        }
    }
}
