/* The order of the checks is Kafka's, so that a batch with several faults gets the same error code from both: what the
 * request as a whole may hold, then the base offset, the size and the CRC, then the meaning of the header's fields,
 * then the records. Nothing is believed before the CRC has been checked except the lengths needed to check it. */
#include "proto/record/validate.h"

#include "common/big_endian.h"
#include "proto/record/record_walk.h"

/* For the one case in which the header can't be parsed (batch.h has the table). */
#define CRC_POS 17u

/* The header parses, but for its counts or offsets, as batch_header_parse found: which of them? The base offset lies
 * outside of the CRC; a bad count with a bad CRC is damage on the way, and the client may send again. */
static enum batch_problem judge_unparsed(struct span bytes, size_t batch_bytes)
{
    struct batch batch = {.header = {.crc = be32_get(bytes.data + CRC_POS)}};

    if (be64_get(bytes.data) != 0) {
        return BATCH_BASE_OFFSET_WRONG;
    }
    if (bytes.bytes < batch_bytes) {
        return BATCH_CUT_SHORT;
    }
    batch.bytes = span_sub(bytes, 0, batch_bytes);
    return batch_check_crc(&batch) == ERR_OK ? BATCH_COUNT_WRONG : BATCH_CRC_WRONG;
}

static enum batch_problem parse_alone(struct span bytes, struct batch *ret_batch)
{
    size_t batch_bytes;
    enum err err = batch_peek(bytes, &batch_bytes);

    if (err == ERR_END) {
        return BATCH_MISSING;
    }
    if (err == ERR_INCOMPLETE) {
        return BATCH_CUT_SHORT;
    }
    if (err == ERR_UNSUPPORTED) {
        return BATCH_MAGIC_OLD;
    }
    if (err != ERR_OK) {
        return BATCH_LENGTH_IMPOSSIBLE;
    }
    err = batch_parse(bytes, ret_batch);
    if (err == ERR_INCOMPLETE) {
        return BATCH_CUT_SHORT;
    }
    if (err != ERR_OK) {
        return judge_unparsed(bytes, batch_bytes);
    }
    return bytes.bytes == batch_bytes ? BATCH_GOOD : BATCH_NOT_ALONE;
}

/* The rules of KIP-98 on the shape of an idempotent or transactional batch; whether the sequence is the next one is for
 * the partition's producer state. */
static enum batch_problem judge_producer(const struct batch_header *header)
{
    if (!batch_has_producer_id(header)) {
        return batch_is_transactional(header) ? BATCH_TRANSACTION_WRONG : BATCH_GOOD;
    }
    return header->producer_epoch >= 0 && header->base_sequence >= 0 ? BATCH_GOOD : BATCH_PRODUCER_WRONG;
}

static enum batch_problem judge_header(const struct batch *batch, const struct batch_policy *policy)
{
    const struct batch_header *header = &batch->header;

    if (batch_codec_bits(header) == BATCH_CODEC_ZSTD && !policy->is_zstd_allowed) {
        return BATCH_CODEC_TOO_NEW;
    }
    if (header->base_offset != 0) {
        return BATCH_BASE_OFFSET_WRONG;
    }
    if (header->batch_bytes > policy->batch_bytes_max) {
        return BATCH_TOO_LARGE;
    }
    if (batch_check_crc(batch) != ERR_OK) {
        return BATCH_CRC_WRONG;
    }
    if (header->record_count <= 0 || header->last_offset_delta != header->record_count - 1) {
        return BATCH_COUNT_WRONG;
    }
    if (batch_is_control(header)) {
        return BATCH_IS_CONTROL;
    }
    enum batch_problem problem = judge_producer(header);
    if (problem != BATCH_GOOD) {
        return problem;
    }
    if (batch_codec_bits(header) >= BATCH_CODEC_COUNT) {
        return BATCH_CODEC_UNKNOWN;
    }
    /* Its base timestamp would mean something else (KIP-534); only our own cleaner writes it. */
    if (batch_has_delete_horizon(header)) {
        return BATCH_HAS_DELETE_HORIZON;
    }
    return batch_has_append_time(header) ? BATCH_TIMESTAMP_TYPE_WRONG : BATCH_GOOD;
}

/* now - before and now + after, as far as the type reaches. */
static struct walk_rules rules_of(const struct batch_policy *policy)
{
    struct walk_rules rules = WALK_RULES_NONE;

    rules.is_key_required = policy->is_key_required;
    if (policy->is_append_time) {
        return rules;
    }
    if (__builtin_sub_overflow(policy->now_ms, policy->timestamp_before_ms_max, &rules.timestamp_ms_min)) {
        rules.timestamp_ms_min = INT64_MIN;
    }
    if (__builtin_add_overflow(policy->now_ms, policy->timestamp_after_ms_max, &rules.timestamp_ms_max)) {
        rules.timestamp_ms_max = INT64_MAX;
    }
    return rules;
}

/* All that can be said of compressed records without looking at them. */
static void judge_unwalked(const struct batch_header *header, const struct walk_rules *rules,
                           struct batch_report *ret_report)
{
    bool is_in_range = header->base_timestamp_ms >= rules->timestamp_ms_min &&
                       header->max_timestamp_ms >= header->base_timestamp_ms &&
                       header->max_timestamp_ms <= rules->timestamp_ms_max;

    if (header->base_timestamp_ms == BATCH_NO_TIMESTAMP_MS && header->max_timestamp_ms == BATCH_NO_TIMESTAMP_MS) {
        is_in_range = true;
    }
    *ret_report = (struct batch_report){
        .problem = is_in_range ? BATCH_GOOD : RECORD_TIMESTAMP_OUT_OF_RANGE,
        .record_index = -1,
        .max_timestamp_ms = header->max_timestamp_ms,
        .max_timestamp_offset_delta = header->last_offset_delta,
    };
}

void batch_validate(struct span bytes, const struct batch_policy *policy, struct decompressor *decompressor,
                    struct batch *ret_batch, struct batch_report *ret_report)
{
    struct batch batch;
    enum batch_problem problem = parse_alone(bytes, &batch);

    if (problem == BATCH_GOOD) {
        problem = judge_header(&batch, policy);
    }
    if (problem != BATCH_GOOD) {
        *ret_report = (struct batch_report){.problem = problem, .record_index = -1};
        return;
    }
    struct walk_rules rules = rules_of(policy);
    bool is_walked = !batch_is_compressed(&batch.header) || policy->is_key_required ||
                     policy->compressed_validation == COMPRESSED_VALIDATE_RECORDS;
    if (is_walked) {
        records_walk(&batch, &rules, decompressor, ret_report);
    } else {
        judge_unwalked(&batch.header, &rules, ret_report);
    }
    if (ret_report->problem == BATCH_GOOD) {
        *ret_batch = batch;
    }
}

void records_validate(const struct batch *batch, struct decompressor *decompressor, struct batch_report *ret_report)
{
    struct walk_rules rules = WALK_RULES_NONE;

    records_walk(batch, &rules, decompressor, ret_report);
}

static const struct {
    enum error_code error_code;
    const char *name;
    const char *text;
} problems[] = {
#define X(name, error_code, text) [name] = {error_code, #name, text},
    BATCH_PROBLEM_TABLE(X)
#undef X
};

const char *batch_problem_text(enum batch_problem problem)
{
    return (size_t)problem < ARRAY_COUNT(problems) ? problems[problem].text : "unknown problem";
}

const char *batch_problem_name(enum batch_problem problem)
{
    return (size_t)problem < ARRAY_COUNT(problems) ? problems[problem].name : "BATCH_UNKNOWN";
}

enum error_code batch_problem_kafka_code(enum batch_problem problem)
{
    CHECK((size_t)problem < ARRAY_COUNT(problems));
    return problems[problem].error_code;
}
