/* fuzz_client_answer: what a client of ours makes of a broker's answers: fetched batches, records on the terminal, the map of a topic.
 *
 * Input:     byte 0: bit 0: a Metadata answer (the rest is its body, byte 1 the version), else the records of one partition; bit 1: the
 *            batches' checksums are put right first; bit 2: read_committed; bits 3-5: how many aborted transactions are told;
 *            byte 1: first offset wanted; then per aborted transaction its producer and first offset, a byte each; the rest are
 *            the batches.
 * Asserts:   records come in the order of offsets, each wanted and none twice; the place never goes back; what ends early says why; a record
 *            is printed as one line of JSON, whatever is in it; a map of partitions has no gaps.
 */
#include "cli/consume_fetch.h"
#include "cli/record_print.h"
#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/fetch.h"
#include "proto/kmsg/metadata.h"

#include <jansson.h>

#define FUZZ_BYTES_MAX (4u << 20)
#define FUZZ_RECORDS_MAX 1000u
#define FUZZ_END_OFFSET 1000000
#define FUZZ_ABORTED_MAX 7u
#define FUZZ_PARTITION 5
#define SWITCH_METADATA 1u
#define SWITCH_CORRECT_CRCS 2u
#define SWITCH_COMMITTED 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct seen {
    int64_t next_offset;
    unsigned count;
    struct bytebuf text;
};

static void print_record(struct seen *seen, const struct record *record)
{
    const struct record_print as_json = {.topic = "topic"};
    const struct record_print as_text = {.topic = "topic", .format = "%t %p %o %T %k|%v|%s %K %V %S %h%%\\n"};
    const struct record_print hidden = {
        .topic = "topic", .format = RECORD_PRINT_FORMAT_DEFAULT, .hides_controls = true};
    bytebuf_clear(&seen->text);
    CHECK(record_print_append(&as_text, FUZZ_PARTITION, record, &seen->text) == ERR_OK);
    CHECK(record_print_append(&hidden, FUZZ_PARTITION, record, &seen->text) == ERR_OK);
    bytebuf_clear(&seen->text);
    CHECK(record_print_append(&as_json, FUZZ_PARTITION, record, &seen->text) == ERR_OK);
    CHECK(seen->text.bytes > 0 &&
          memchr(seen->text.data, '\n', seen->text.bytes) == seen->text.data + seen->text.bytes - 1);
    json_t *json = json_loadb((const char *)seen->text.data, seen->text.bytes, JSON_ALLOW_NUL, NULL);
    CHECK(json != NULL && json_integer_value(json_object_get(json, "offset")) == record->offset);
    json_decref(json);
}

static bool on_record(void *ctx, int32_t partition, const struct record *record)
{
    struct seen *seen = ctx;
    CHECK(partition == FUZZ_PARTITION);
    CHECK(record->offset >= seen->next_offset && record->offset < FUZZ_END_OFFSET);
    seen->next_offset = record->offset + 1;
    print_record(seen, record);
    return ++seen->count < FUZZ_RECORDS_MAX;
}

static void correct_crcs(uint8_t *bytes, size_t byte_count)
{
    size_t pos = 0;
    struct batch batch;
    while (batch_parse(span_make(bytes + pos, byte_count - pos), &batch) == ERR_OK) {
        struct span covered = span_sub(batch.bytes, BATCH_CRC_START_POS, batch.bytes.bytes - BATCH_CRC_START_POS);
        be32_put(bytes + pos + BATCH_CRC_START_POS - sizeof(uint32_t), crc32c(0, covered));
        pos += batch.bytes.bytes;
    }
}

static void take_batches(uint8_t switches, uint8_t first_offset, const struct fetch_response_partition_data *answer)
{
    struct seen seen = {.next_offset = first_offset};
    struct consume_partition partition = {
        .index = FUZZ_PARTITION, .next_offset = first_offset, .end_offset = FUZZ_END_OFFSET};
    struct consume_fetch fetch = {.on_record = on_record,
                                  .ctx = &seen,
                                  .isolation = (switches & SWITCH_COMMITTED) != 0 ? ISOLATION_READ_COMMITTED
                                                                                  : ISOLATION_READ_UNCOMMITTED,
                                  .decompressor = decompressor_new()};
    bytebuf_init(&fetch.plain, FUZZ_BYTES_MAX);
    bytebuf_init(&seen.text, 8 * FUZZ_BYTES_MAX);
    consume_records_take(&fetch, &partition, answer);
    CHECK(partition.next_offset >= seen.next_offset);
    CHECK(fetch.has_failed == (fetch.problem[0] != '\0'));
    CHECK(!fetch.is_enough || seen.count == FUZZ_RECORDS_MAX);
    bytebuf_done(&seen.text);
    bytebuf_done(&fetch.plain);
    decompressor_free(fetch.decompressor);
}

static void try_records(uint8_t switches, struct span rest)
{
    struct fetch_response_aborted_transaction aborted[FUZZ_ABORTED_MAX];
    struct fetch_response_partition_data answer = {.partition_index = FUZZ_PARTITION, .aborted_transactions = aborted};
    if (rest.bytes < 1) {
        return;
    }
    uint8_t first_offset = rest.data[0];
    rest = span_sub(rest, 1, rest.bytes - 1);
    size_t wanted_count = (switches >> 3) & FUZZ_ABORTED_MAX;
    while (answer.aborted_transactions_count < wanted_count && rest.bytes >= 2) {
        struct fetch_response_aborted_transaction *txn = &aborted[answer.aborted_transactions_count++];
        *txn = (struct fetch_response_aborted_transaction){.producer_id = rest.data[0], .first_offset = rest.data[1]};
        rest = span_sub(rest, 2, rest.bytes - 2);
    }
    uint8_t *copy = mem_alloc(rest.bytes + 1);
    memcpy(copy, rest.data, rest.bytes);
    if ((switches & SWITCH_CORRECT_CRCS) != 0) {
        correct_crcs(copy, rest.bytes);
    }
    answer.records.bytes = span_make(copy, rest.bytes);
    take_batches(switches, first_offset, &answer);
    mem_free(copy);
}

static void try_metadata(struct span rest)
{
    struct arena arena;
    struct reader reader;
    struct metadata_response response;
    if (rest.bytes < 1) {
        return;
    }
    arena_init(&arena, FUZZ_BYTES_MAX);
    reader_init(&reader, span_sub(rest, 1, rest.bytes - 1));
    if (codec_decode(api_table_find(API_KEY_METADATA)->response, rest.data[0], &reader, &arena, &response) == ERR_OK) {
        for (size_t i = 0; i < response.topics_count; i++) {
            struct topic_map map = {.name = "topic"};
            if (topic_map_take(&map, &response.topics[i]) == ERR_OK) {
                CHECK(map.partition_count == response.topics[i].partitions_count);
                for (size_t j = 0; j < map.partition_count; j++) {
                    CHECK(map.partitions[j].index == (int32_t)j);
                }
            }
            topic_map_done(&map);
        }
    }
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    struct span rest = span_make(data + 1, bytes - 1);
    if ((data[0] & SWITCH_METADATA) != 0) {
        try_metadata(rest);
    } else {
        try_records(data[0], rest);
    }
    return 0;
}
