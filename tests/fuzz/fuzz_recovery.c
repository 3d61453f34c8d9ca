/* Recovery of a partition directory from arbitrary bytes: the segment, its indexes and every side file. Whatever they hold, the log
 * opens or is refused with a sentence; what opens can be read to its end, batch by batch, and be appended to; what was appended is
 * read back, also when the log was closed and opened again.
 *
 * Input: one byte of switches, then sections, each a 2-byte length and the bytes of one file, in the order of `names`; the last
 * takes what is left. Switch 1 corrects the CRCs of batches, so that mutations get behind them; switch 2 leaves the marks out.
 */
#include "broker/storage/log_state.h"
#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "common/seam/fs.h"
#include "tests/unit/storage/log_harness.h"

#define PARTITION_PATH HARNESS_DIR "/" HARNESS_TOPIC "-0/"
#define SWITCH_CORRECT_CRCS 1
#define SWITCH_NO_MARKS 2

static const char *const names[] = {
    "moldau-marks",
    "leader-epoch-checkpoint",
    "00000000000000000000.snapshot",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.txnindex",
    "00000000000000000000.log",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void put_file(struct fs *fs, const char *name, struct span bytes)
{
    char path[256];
    struct file *file = NULL;
    (void)snprintf(path, sizeof(path), PARTITION_PATH "%s", name);
    (void)fs_unlink(fs, path);
    CHECK(fs_open(fs, path, FS_OPEN_WRITE | FS_OPEN_CREATE, &file) == ERR_OK);
    CHECK(bytes.bytes == 0 || file_pwritev(file, &bytes, 1, 0) == ERR_OK);
    file_unref(file);
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

static void put_files(struct fs *fs, unsigned switches, struct span input)
{
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        size_t bytes = input.bytes;
        bool is_last = i + 1 == ARRAY_COUNT(names);
        if (!is_last && input.bytes >= 2) {
            bytes = be16_get(input.data);
            input = span_sub(input, 2, input.bytes - 2);
            bytes = bytes > input.bytes ? input.bytes : bytes;
        }
        uint8_t *copy = mem_alloc(bytes + 1);
        memcpy(copy, input.data, bytes);
        if (is_last && (switches & SWITCH_CORRECT_CRCS) != 0) {
            correct_crcs(copy, bytes);
        }
        bool is_left_out = i == 0 && (switches & SWITCH_NO_MARKS) != 0;
        if (bytes > 0 && !is_left_out) {
            put_file(fs, names[i], span_make(copy, bytes));
        }
        mem_free(copy);
        input = span_sub(input, bytes, input.bytes - bytes);
    }
}

/* Whole batches, in order, from the one that was asked for on; when all was scanned, with their checksums. */
static void check_slice(const struct log_slice *slice, bool is_scanned)
{
    uint8_t *bytes = mem_alloc(slice->bytes + 1);
    size_t read_bytes = 0;
    CHECK(file_pread(slice->file, bytes, slice->bytes, slice->pos, &read_bytes) == ERR_OK);
    CHECK(read_bytes == slice->bytes);
    struct span rest = span_make(bytes, read_bytes);
    struct batch batch;
    int64_t next_offset = slice->first_offset;
    while (rest.bytes > 0) {
        enum err err = batch_next(&rest, &batch);
        if (err != ERR_OK) {
            CHECK(!is_scanned);
            break;
        }
        CHECK(!is_scanned || (batch.header.base_offset >= next_offset && batch_check_crc(&batch) == ERR_OK));
        next_offset = batch_next_offset(&batch.header);
    }
    CHECK(!is_scanned || next_offset == slice->next_offset);
    mem_free(bytes);
}

/* A damaged .txnindex is refused, not served, and keeps nobody from the records. When everything was scanned (`is_scanned`: nothing was
 * believed because of the marks), all of them can be read. */
static void read_all(struct harness *harness, bool is_scanned)
{
    int64_t offset = partition_log_start_offset(harness->log);
    int64_t end_offset = partition_log_end_offset(harness->log);
    bool wants_aborted = true;
    while (offset < end_offset) {
        struct log_read_request request = {.offset = offset,
                                           .end_offset = end_offset,
                                           .max_bytes = 4096,
                                           .wants_one = true,
                                           .wants_aborted = wants_aborted};
        struct log_read read;
        CHECK(log_read_plan(harness->log, &request, &read) == ERR_OK);
        enum err err = log_read_run(&read);
        int64_t next_offset = read.slice.next_offset;
        if (err == ERR_OK) {
            check_slice(&read.slice, is_scanned);
        }
        log_read_done(&read);
        if (err == ERR_OK) {
            CHECK(next_offset > offset);
            offset = next_offset;
            wants_aborted = true;
        } else if (wants_aborted) {
            wants_aborted = false;
        } else {
            CHECK(err == ERR_CORRUPT && !is_scanned);
            return;
        }
    }
}

static void read_one(struct harness *harness, int64_t offset)
{
    struct log_read_request request = {
        .offset = offset, .end_offset = offset + 1, .max_bytes = 4096, .wants_one = true};
    struct log_read read;
    CHECK(log_read_plan(harness->log, &request, &read) == ERR_OK);
    CHECK(log_read_run(&read) == ERR_OK && read.slice.bytes > 0);
    CHECK(read.slice.first_offset == offset && read.slice.next_offset == offset + 1);
    check_slice(&read.slice, true);
    log_read_done(&read);
}

static void go_on(struct harness *harness, int32_t epoch)
{
    int64_t offset = partition_log_end_offset(harness->log);
    CHECK(harness_begin_epoch(harness, epoch) == ERR_OK);
    CHECK(harness_append_plain(harness, epoch, 1, 1) == ERR_OK);
    harness_pump(harness);
    read_one(harness, offset);
    CHECK(harness_close_log(harness) == ERR_OK);
    CHECK(harness_open(harness) == ERR_OK);
    CHECK(partition_log_end_offset(harness->log) == offset + 1);
    CHECK(partition_log_last_epoch(harness->log) == epoch);
    read_one(harness, offset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct harness harness;
    if (bytes < 1) {
        return 0;
    }
    struct fs_sim *sim = fs_sim_new(NULL);
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    CHECK(harness_start(&harness) == ERR_OK);
    CHECK(harness_create(&harness) == ERR_OK);
    CHECK(harness_close_log(&harness) == ERR_OK);
    put_files(harness.fs, data[0], span_make(data + 1, bytes - 1));
    enum err err = harness_open(&harness);
    if (err == ERR_OK) {
        read_all(&harness, (data[0] & SWITCH_NO_MARKS) != 0);
        int32_t epoch = partition_log_last_epoch(harness.log);
        if (epoch < INT32_MAX && partition_log_end_offset(harness.log) < BATCH_BASE_OFFSET_MAX - 10) {
            go_on(&harness, epoch + 1);
        }
    } else {
        CHECK(harness.problem.text[0] != '\0');
    }
    harness_done(&harness);
    CHECK(fs_sim_open_files(sim) == 0);
    fs_sim_free(sim);
    return 0;
}
