/* The walk has a window [at, end) and asks for more when a varint might not be whole in it; keys and values are skipped
 * over as many windows as they take. `record_left_bytes` is what the record's own length still allows: every field is
 * bounded by it, and it must come out at 0.
 *
 * The two-byte forms of a varint are spelled out because they are nearly all there are. */
#include "proto/record/record_walk.h"

#include "common/varint.h"

struct walk {
    const uint8_t *at;
    const uint8_t *end;
    struct decompressor *source; /* NULL: the window is all there is */
    size_t record_left_bytes;
    enum err source_err;
};

/* The fields of a record that the rules look at. */
struct walked {
    int64_t timestamp_delta_ms;
    int32_t offset_delta;
    bool has_key;
};

static size_t walk_here(const struct walk *walk)
{
    return (size_t)(walk->end - walk->at);
}

/* More bytes behind the unread ones, or false at the end or on an error, which is kept. */
static bool walk_fill(struct walk *walk)
{
    struct span unread = span_make(walk->at, walk_here(walk));

    if (walk->source == NULL || walk->source_err != ERR_OK) {
        return false;
    }
    walk->source_err = decompressor_more(walk->source, &unread);
    walk->at = unread.data;
    walk->end = unread.data + unread.bytes;
    return walk->source_err == ERR_OK;
}

static bool walk_long_varint(struct walk *walk, bool is_64, uint64_t *ret_value)
{
    const uint8_t *limit = walk->end;
    uint32_t value32 = 0;

    if (walk_here(walk) > walk->record_left_bytes) {
        limit = walk->at + walk->record_left_bytes;
    }
    size_t bytes = is_64 ? uvarint64_get(walk->at, limit, ret_value) : uvarint32_get(walk->at, limit, &value32);
    if (bytes > 0 && !is_64) {
        *ret_value = value32;
    }
    walk->at += bytes;
    walk->record_left_bytes -= bytes;
    return bytes > 0;
}

static inline bool walk_varint(struct walk *walk, bool is_64, uint64_t *ret_value)
{
    while (__builtin_expect(walk_here(walk) < VARINT64_BYTES_MAX, 0) && walk_fill(walk)) {
    }
    if (__builtin_expect(walk_here(walk) < 2 || walk->record_left_bytes < 2, 0)) {
        return walk_long_varint(walk, is_64, ret_value);
    }
    uint64_t first = walk->at[0];
    uint64_t second = walk->at[1];
    size_t bytes = first < 0x80 ? 1 : 2;
    if (first >= 0x80 && second >= 0x80) {
        return walk_long_varint(walk, is_64, ret_value);
    }
    *ret_value = bytes == 1 ? first : (first & 0x7fu) | second << 7;
    walk->at += bytes;
    walk->record_left_bytes -= bytes;
    return true;
}

static inline bool walk_varint32(struct walk *walk, int32_t *ret_value)
{
    uint64_t value;

    if (!walk_varint(walk, false, &value)) {
        return false;
    }
    *ret_value = unzigzag32((uint32_t)value);
    return true;
}

static inline bool walk_skip(struct walk *walk, size_t bytes)
{
    if (bytes > walk->record_left_bytes) {
        return false;
    }
    walk->record_left_bytes -= bytes;
    while (bytes > walk_here(walk)) {
        bytes -= walk_here(walk);
        walk->at = walk->end;
        if (!walk_fill(walk)) {
            return false;
        }
    }
    walk->at += bytes;
    return true;
}

/* A length and that many bytes */
static inline bool walk_bytes(struct walk *walk, bool can_be_null, bool *ret_has_value)
{
    int32_t bytes;

    if (!walk_varint32(walk, &bytes)) {
        return false;
    }
    *ret_has_value = bytes >= 0;
    if (bytes < 0) {
        return bytes == -1 && can_be_null;
    }
    return walk_skip(walk, (size_t)bytes);
}

static enum batch_problem walk_headers(struct walk *walk)
{
    int32_t header_count;
    bool has_value;

    if (!walk_varint32(walk, &header_count) || header_count < 0) {
        return RECORD_MALFORMED;
    }
    if (header_count > RECORD_HEADER_COUNT_MAX) {
        return RECORD_HEADERS_TOO_MANY;
    }
    for (int32_t i = 0; i < header_count; i++) {
        if (!walk_bytes(walk, false, &has_value) || !walk_bytes(walk, true, &has_value)) {
            return RECORD_MALFORMED;
        }
    }
    return BATCH_GOOD;
}

static inline enum batch_problem walk_record(struct walk *walk, struct walked *ret_walked)
{
    int32_t record_bytes;
    uint64_t timestamp_delta;
    bool has_value;

    walk->record_left_bytes = VARINT32_BYTES_MAX;
    if (!walk_varint32(walk, &record_bytes) || record_bytes < 0) {
        return RECORD_MALFORMED;
    }
    walk->record_left_bytes = (size_t)record_bytes;
    if (!walk_skip(walk, 1) || !walk_varint(walk, true, &timestamp_delta) ||
        !walk_varint32(walk, &ret_walked->offset_delta) || !walk_bytes(walk, true, &ret_walked->has_key) ||
        !walk_bytes(walk, true, &has_value)) {
        return RECORD_MALFORMED;
    }
    ret_walked->timestamp_delta_ms = unzigzag64(timestamp_delta);
    enum batch_problem problem = walk_headers(walk);
    if (problem == BATCH_GOOD && walk->record_left_bytes != 0) {
        return RECORD_MALFORMED;
    }
    return problem;
}

/* The rules on one well-formed record; keeps the largest timestamp in the report. */
static inline enum batch_problem judge_record(const struct walked *walked, const struct batch_header *header,
                                              const struct walk_rules *rules, struct batch_report *report)
{
    int64_t timestamp_ms;

    if (walked->offset_delta != report->record_index) {
        return RECORD_OFFSET_WRONG;
    }
    if (__builtin_add_overflow(header->base_timestamp_ms, walked->timestamp_delta_ms, &timestamp_ms)) {
        return RECORD_MALFORMED;
    }
    if (rules->is_key_required && !walked->has_key) {
        return RECORD_KEY_MISSING;
    }
    if ((timestamp_ms < rules->timestamp_ms_min || timestamp_ms > rules->timestamp_ms_max) &&
        timestamp_ms != BATCH_NO_TIMESTAMP_MS) {
        return RECORD_TIMESTAMP_OUT_OF_RANGE;
    }
    if (walked->offset_delta == 0 || timestamp_ms > report->max_timestamp_ms) {
        report->max_timestamp_ms = timestamp_ms;
        report->max_timestamp_offset_delta = walked->offset_delta;
    }
    return BATCH_GOOD;
}

static enum batch_problem problem_from_source(enum err err)
{
    return err == ERR_LIMIT ? BATCH_DECOMPRESSED_TOO_LARGE : BATCH_DECOMPRESSION_FAILED;
}

static enum batch_problem walk_all(struct walk *walk, const struct batch_header *header, const struct walk_rules *rules,
                                   struct batch_report *report)
{
    struct walked walked;

    for (int32_t i = 0; i < header->record_count; i++) {
        report->record_index = i;
        enum batch_problem problem = walk_record(walk, &walked);
        if (problem == BATCH_GOOD) {
            problem = judge_record(&walked, header, rules, report);
        }
        if (problem != BATCH_GOOD) {
            return problem;
        }
    }
    report->record_index = -1;
    /* The last call also makes the decompressor look at the end of its input. */
    if (walk_here(walk) > 0 || walk_fill(walk)) {
        return RECORDS_LEFT_OVER;
    }
    return BATCH_GOOD;
}

void records_walk(const struct batch *batch, const struct walk_rules *rules, struct decompressor *decompressor,
                  struct batch_report *ret_report)
{
    const struct batch_header *header = &batch->header;
    struct span records = batch_records(batch);
    struct walk walk = {.at = records.data, .end = records.data + records.bytes};

    *ret_report = (struct batch_report){.record_index = -1,
                                        .is_walked = true,
                                        .max_timestamp_ms = header->max_timestamp_ms,
                                        .max_timestamp_offset_delta = header->last_offset_delta};
    if (batch_is_compressed(header)) {
        CHECK(decompressor != NULL);
        /* An empty window, but one with an address. */
        walk = (struct walk){.at = records.data, .end = records.data, .source = decompressor};
        walk.source_err = decompressor_open(decompressor, batch_codec_bits(header), records, DECOMPRESS_BYTES_MAX);
        if (walk.source_err == ERR_UNSUPPORTED) {
            ret_report->problem = BATCH_CODEC_UNKNOWN;
            return;
        }
    }
    enum batch_problem problem = walk_all(&walk, header, rules, ret_report);
    /* Bytes that never came explain whatever the walk stumbled over. */
    if (walk.source_err != ERR_OK && walk.source_err != ERR_END) {
        problem = problem_from_source(walk.source_err);
        ret_report->record_index = -1;
    }
    ret_report->problem = problem;
    if (batch_has_append_time(header)) {
        ret_report->max_timestamp_ms = header->max_timestamp_ms;
        ret_report->max_timestamp_offset_delta = header->last_offset_delta;
    }
}
