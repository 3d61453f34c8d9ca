/* micro_batch: what it costs to check a produced batch, one thread, bytes in cache: the CRC alone, header and CRC, and
 * the whole validation, for uncompressed records and for each codec. Not a test; prints one line per case.
 *
 * Rates are per byte of the batch as it came (what the network and the disk see), `s/GiB` likewise. */
#include "common/crc32c.h"
#include "common/mem.h"
#include "proto/record/build.h"
#include "proto/record/compress.h"
#include "proto/record/validate.h"
#include "tests/support/prop.h"

#define CASE_SECONDS 0.4
#define BATCH_BYTES (1u << 20)

static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* An order as a JSON text of about `bytes`: names repeat, numbers don't. */
static size_t make_order(struct prop *prop, char *to, size_t bytes)
{
    size_t used = (size_t)snprintf(to, bytes, "{\"ordertime\":%" PRIu64 ",\"orderid\":%u,\"itemid\":\"Item_%u\"",
                                   UINT64_C(1700000000000) + prop_below(prop, 1u << 30),
                                   (unsigned)prop_below(prop, 1u << 20), (unsigned)prop_below(prop, 1000));
    while (used + 60 < bytes) {
        used += (size_t)snprintf(to + used, bytes - used, ",\"orderunits_%u\":%.8f", (unsigned)prop_below(prop, 30),
                                 (double)prop_below(prop, 1u << 30) / 7.0);
    }
    return used + (size_t)snprintf(to + used, bytes - used, "}");
}

static void build_batch(size_t record_bytes, size_t batch_bytes, enum batch_codec codec, struct bytebuf *ret_bytes)
{
    struct batch_builder builder;
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    struct prop prop;
    char *text = mem_alloc(record_bytes + 64);
    char key[16];

    prop_init_seed(&prop, 7);
    options.codec = codec;
    bytebuf_init(ret_bytes, BATCH_BYTES_MAX);
    batch_builder_init(&builder, batch_bytes);
    batch_builder_begin(&builder, &options);
    for (int64_t i = 0;; i++) {
        size_t text_bytes = make_order(&prop, text, record_bytes);
        (void)snprintf(key, sizeof(key), "N%05u", (unsigned)prop_below(&prop, 5000));
        if (batch_builder_add(&builder, 1700000000000 + i, span_text(key), span_make(text, text_bytes), NULL, 0) !=
            ERR_OK) {
            break;
        }
    }
    CHECK(batch_builder_finish(&builder, ret_bytes) == ERR_OK);
    batch_builder_done(&builder);
    mem_free(text);
}

static void report(const char *name, size_t bytes, uint64_t rounds, double seconds, size_t plain_bytes)
{
    double total_bytes = (double)bytes * (double)rounds;

    printf("%-34s %9.0f MB/s %8.3f s/GiB", name, total_bytes / seconds / 1e6, seconds / total_bytes * 1073741824.0);
    if (plain_bytes != bytes) {
        printf("   %8.3f s/GiB of plain records, ratio %.2f",
               seconds / total_bytes * 1073741824.0 * (double)bytes / (double)plain_bytes,
               (double)plain_bytes / (double)bytes);
    }
    printf("\n");
}

static void run_validate(const char *name, struct span bytes, enum compressed_validation how, size_t plain_bytes,
                         struct decompressor *decompressor)
{
    const struct batch_policy policy = {
        .batch_bytes_max = BATCH_BYTES_MAX,
        .compressed_validation = how,
        .is_zstd_allowed = true,
        .now_ms = 1700000000000,
        .timestamp_before_ms_max = INT64_MAX,
        .timestamp_after_ms_max = 3600000,
    };
    struct batch batch;
    struct batch_report verdict;
    uint64_t rounds = 0;
    double start = now_seconds();

    do {
        batch_validate(bytes, &policy, decompressor, &batch, &verdict);
        CHECK(verdict.problem == BATCH_GOOD);
        rounds++;
    } while (now_seconds() - start < CASE_SECONDS);
    report(name, bytes.bytes, rounds, now_seconds() - start, plain_bytes);
}

static void run_crc(struct span bytes)
{
    uint64_t rounds = 0;
    uint32_t crc = 0;
    double start = now_seconds();

    do {
        crc = crc32c(crc, bytes);
        rounds++;
    } while (now_seconds() - start < CASE_SECONDS);
    report(crc == 1 ? "crc32c " : "crc32c", bytes.bytes, rounds, now_seconds() - start, bytes.bytes);
}

int main(void)
{
    static const struct {
        size_t record_bytes;
        size_t batch_bytes;
    } shapes[] = {{1024, BATCH_BYTES}, {1024, 16384}, {128, BATCH_BYTES}, {128, 16384}};
    struct decompressor *decompressor = decompressor_new();
    char name[64];

    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
        struct bytebuf plain;
        build_batch(shapes[i].record_bytes, shapes[i].batch_bytes, BATCH_CODEC_NONE, &plain);
        printf("records of %zu bytes, batches of %zu KiB\n", shapes[i].record_bytes, shapes[i].batch_bytes >> 10);
        run_crc(bytebuf_span(&plain));
        run_validate("none, crc and records", bytebuf_span(&plain), COMPRESSED_VALIDATE_RECORDS, plain.bytes,
                     decompressor);
        for (unsigned codec = BATCH_CODEC_GZIP; codec < BATCH_CODEC_COUNT; codec++) {
            struct bytebuf packed;
            build_batch(shapes[i].record_bytes, shapes[i].batch_bytes, (enum batch_codec)codec, &packed);
            (void)snprintf(name, sizeof(name), "%s, header", compress_codec_name(codec));
            run_validate(name, bytebuf_span(&packed), COMPRESSED_VALIDATE_HEADER, plain.bytes, decompressor);
            (void)snprintf(name, sizeof(name), "%s, records", compress_codec_name(codec));
            run_validate(name, bytebuf_span(&packed), COMPRESSED_VALIDATE_RECORDS, plain.bytes, decompressor);
            bytebuf_done(&packed);
        }
        bytebuf_done(&plain);
    }
    decompressor_free(decompressor);
    return 0;
}
