#include "controller/topic_config.h"

#include "common/near_name.h"

#define ROW(row_name, row_synonym, row_type, row_unit, row_min, row_max, row_default, row_accepted, row_acted,         \
            row_doc)                                                                                                   \
    {                                                                                                                  \
        .synonym = (row_synonym), .row = {                                                                             \
            .name = (row_name),                                                                                        \
            .type = (row_type),                                                                                        \
            .unit = (row_unit),                                                                                        \
            .min = (row_min),                                                                                          \
            .max = (row_max),                                                                                          \
            .default_text = (row_default),                                                                             \
            .accepted = (row_accepted),                                                                                \
            .change = OPTION_PER_TOPIC,                                                                                \
            .is_acted_on = (row_acted),                                                                                \
            .doc = (row_doc),                                                                                          \
        }                                                                                                              \
    }

static const struct topic_config_row rows[] = {
    ROW("cleanup.policy", "log.cleanup.policy", OPTION_LIST, "", 0, 0, "delete", "compact,delete", true,
        "What happens to old records: removed by age and size (delete), or all but the last of each key "
        "(compact: accepted, not acted on yet)."),
    ROW("compression.gzip.level", "compression.gzip.level", OPTION_INT, "", -1, 9, "-1", NULL, false,
        "Level of gzip where the broker compresses."),
    ROW("compression.lz4.level", "compression.lz4.level", OPTION_INT, "", 1, 17, "9", NULL, false,
        "Level of lz4 where the broker compresses."),
    ROW("compression.type", "compression.type", OPTION_ENUM, "", 0, 0, "producer",
        "uncompressed,zstd,lz4,snappy,gzip,producer", false, "How batches are kept; producer: as they were sent."),
    ROW("compression.validation", "log.compression.validation", OPTION_ENUM, "", 0, 0, "records", "records,header",
        true,
        "How far compressed batches are checked: every record, or only the batch's header and checksum (ADR-0006)."),
    ROW("compression.zstd.level", "compression.zstd.level", OPTION_INT, "", -131072, 22, "3", NULL, false,
        "Level of zstd where the broker compresses."),
    ROW("delete.retention.ms", "log.cleaner.delete.retention.ms", OPTION_LONG, "ms", 0, INT64_MAX, "86400000", NULL,
        false, "How long compaction keeps records without a value."),
    ROW("durability", "log.durability", OPTION_ENUM, "", 0, 0, "synced", "synced,cached", true,
        "What acks=all promises: records on the disks of all in-sync replicas (synced), or in their memory (cached)."),
    ROW("file.delete.delay.ms", "log.segment.delete.delay.ms", OPTION_LONG, "ms", 0, INT64_MAX, "60000", NULL, true,
        "How long a removed segment's file stays."),
    ROW("flush.messages", "log.flush.interval.messages", OPTION_LONG, "records", 1, INT64_MAX, "9223372036854775807",
        NULL, false, "Kafka's forced syncs; durability=synced takes their place."),
    ROW("flush.ms", "log.flush.interval.ms", OPTION_LONG, "ms", 0, INT64_MAX, "9223372036854775807", NULL, false,
        "Kafka's forced syncs; durability=synced takes their place."),
    ROW("follower.replication.throttled.replicas", "", OPTION_LIST, "", 0, 0, "", NULL, false,
        "Replicas whose catching up is slowed down at the follower."),
    ROW("index.interval.bytes", "log.index.interval.bytes", OPTION_INT, "bytes", 0, INT32_MAX, "4096", NULL, true,
        "Bytes of log for each entry of the offset index."),
    ROW("leader.replication.throttled.replicas", "", OPTION_LIST, "", 0, 0, "", NULL, false,
        "Replicas whose catching up is slowed down at the leader."),
    ROW("local.retention.bytes", "log.local.retention.bytes", OPTION_LONG, "bytes", -2, INT64_MAX, "-2", NULL, false,
        "Local bytes of a partition with remote storage."),
    ROW("local.retention.ms", "log.local.retention.ms", OPTION_LONG, "ms", -2, INT64_MAX, "-2", NULL, false,
        "Local age of a partition with remote storage."),
    ROW("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms", OPTION_LONG, "ms", 1, INT64_MAX,
        "9223372036854775807", NULL, false, "The longest that a record may escape compaction."),
    ROW("max.message.bytes", "message.max.bytes", OPTION_INT, "bytes", 0, INT32_MAX, "1048588", NULL, true,
        "The largest record batch."),
    ROW("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms", OPTION_LONG, "ms", 0, INT64_MAX,
        "3600000", NULL, true, "How far a record's timestamp may lie in the future."),
    ROW("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms", OPTION_LONG, "ms", 0, INT64_MAX,
        "9223372036854775807", NULL, true, "How far a record's timestamp may lie in the past."),
    ROW("message.timestamp.type", "log.message.timestamp.type", OPTION_ENUM, "", 0, 0, "CreateTime",
        "CreateTime,LogAppendTime", true, "Whose clock records carry: the producer's or the broker's."),
    ROW("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio", OPTION_DOUBLE, "", 0, 1, "0.5", NULL, false,
        "The share of a log that may be uncompacted."),
    ROW("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms", OPTION_LONG, "ms", 0, INT64_MAX, "0", NULL, false,
        "The shortest that a record stays uncompacted."),
    ROW("min.insync.replicas", "min.insync.replicas", OPTION_INT, "", 1, INT32_MAX, "1", NULL, true,
        "How many replicas must have a record before acks=all is answered."),
    ROW("preallocate", "log.preallocate", OPTION_BOOL, "", 0, 0, "false", NULL, false,
        "Whether a segment's file gets its full size at once."),
    ROW("remote.log.copy.disable", "", OPTION_BOOL, "", 0, 0, "false", NULL, false, "Stops copying to remote storage."),
    ROW("remote.log.delete.on.disable", "", OPTION_BOOL, "", 0, 0, "false", NULL, false,
        "Removes remote data when remote storage is switched off."),
    ROW("remote.storage.enable", "", OPTION_BOOL, "", 0, 0, "false", NULL, false, "Remote storage."),
    ROW("retention.bytes", "log.retention.bytes", OPTION_LONG, "bytes", -1, INT64_MAX, "-1", NULL, true,
        "How large a partition may grow before old segments are removed; -1: any size."),
    ROW("retention.ms", "log.retention.ms", OPTION_LONG, "ms", -1, INT64_MAX, "604800000", NULL, true,
        "How old records may grow before their segments are removed; -1: any age."),
    ROW("segment.bytes", "log.segment.bytes", OPTION_INT, "bytes", 1048576, INT32_MAX, "1073741824", NULL, true,
        "The size at which a new segment begins."),
    ROW("segment.index.bytes", "log.index.size.max.bytes", OPTION_INT, "bytes", 4, INT32_MAX, "10485760", NULL, true,
        "The largest index of a segment."),
    ROW("segment.jitter.ms", "log.roll.jitter.ms", OPTION_LONG, "ms", 0, INT64_MAX, "0", NULL, true,
        "The largest random part taken off segment.ms, so that segments do not all end at once."),
    ROW("segment.ms", "log.roll.ms", OPTION_LONG, "ms", 1, INT64_MAX, "604800000", NULL, true,
        "The age at which a new segment begins."),
    ROW("unclean.leader.election.enable", "unclean.leader.election.enable", OPTION_BOOL, "", 0, 0, "false", NULL, true,
        "Whether a replica that may lack acknowledged records becomes leader when no other can: it loses them."),
};

size_t topic_config_count(void)
{
    return ARRAY_COUNT(rows);
}

const struct topic_config_row *topic_config_at(size_t index)
{
    CHECK(index < ARRAY_COUNT(rows));
    return &rows[index];
}

const struct topic_config_row *topic_config_find(struct span name)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (span_equal_text(name, rows[i].row.name)) {
            return &rows[i];
        }
    }
    return NULL;
}

const struct topic_config_row *topic_config_near(struct span name)
{
    const struct topic_config_row *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        size_t distance = near_name_distance(name, span_text(rows[i].row.name));
        if (distance < nearest_distance && near_name_is_near(name, distance)) {
            nearest = &rows[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}

int8_t topic_config_kafka_type(const struct option_row *row)
{
    switch (row->type) {
    case OPTION_BOOL:
        return 1;
    case OPTION_TEXT:
    case OPTION_ENUM:
        return 2;
    case OPTION_INT:
        return 3;
    case OPTION_LONG:
        return 5;
    case OPTION_DOUBLE:
        return 6;
    case OPTION_LIST:
        return 7;
    }
    UNREACHABLE();
}
