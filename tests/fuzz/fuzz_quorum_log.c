/* fuzz_quorum_log: the directory of the quorum's log from arbitrary bytes: identity, term, segments, snapshot. It opens or is refused
 * with a sentence; what opens is a log that can be gone on with.
 *
 * Input:     byte 0: bit 0: checksums are put right first (or else no mutation gets past them); bit 1: no snapshot; bit 2: no second
 *            segment; bit 3: a side file that was not finished lies beside; byte 1: indexes in the names of the files: the second
 *            segment's, in bits 0-3, the snapshot's in bits 4-7; then sections, each a 2-byte length (big-endian) and the
 *            bytes of one file, in the order of `names`; the last takes what is left.
 * Asserts:   entries are without a gap, of known kinds and bounded, they join the snapshot; a log that opened opens again as the same, also
 *            after a loss of power; a refusal names its reason; appending, truncating, snapshots and installations work on it.
 */
#include "common/big_endian.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "controller/quorum_log_private.h"
#include "tests/support/fs_sim.h"

#include <stdio.h>

#define DIRECTORY "/sim/quorum"
#define FUZZ_SEGMENT_BYTES 300
#define COMMAND "a command"
#define SWITCH_CORRECT_CRCS 1u
#define SWITCH_NO_SNAPSHOT 2u
#define SWITCH_NO_SECOND 4u
#define SWITCH_ASIDE 8u
/* Behind it nothing more is appended: indexes end. */
#define FUZZ_INDEX_MAX (UINT64_C(1) << 62)

enum file_place { PLACE_IDENTITY, PLACE_TERM, PLACE_FIRST, PLACE_SECOND, PLACE_SNAPSHOT, PLACE_COUNT };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* ---- input ---- */

static void put_file(struct fs *fs, const char *name, struct span bytes)
{
    char path[128];
    struct file *file = NULL;
    (void)snprintf(path, sizeof(path), DIRECTORY "/%s", name);
    CHECK(fs_open(fs, path, FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_TRUNCATE, &file) == ERR_OK);
    CHECK(bytes.bytes == 0 || file_pwritev(file, &bytes, 1, 0) == ERR_OK);
    CHECK(file_sync(file) == ERR_OK);
    file_unref(file);
}

static void correct_segment(uint8_t *file, size_t bytes)
{
    if (bytes < SEGMENT_HEADER_BYTES) {
        return;
    }
    be32_put(file + 16, crc32c(0, span_make(file, 16)));
    for (size_t slot = 0; slot < 2; slot++) {
        uint8_t *mark = file + SEGMENT_MARK_POS + slot * SEGMENT_MARK_BYTES;
        if (be64_get(mark) != 0) {
            be32_put(mark + 12, crc32c(0, span_make(mark, 12)));
        }
    }
    size_t pos = SEGMENT_HEADER_BYTES;
    while (bytes - pos >= ENTRY_HEADER_BYTES) {
        uint32_t data_bytes = be32_get(file + pos + 4);
        if (data_bytes > bytes - pos - ENTRY_HEADER_BYTES) {
            return;
        }
        be32_put(file + pos, crc32c(0, span_make(file + pos + 4, ENTRY_HEADER_BYTES - 4 + data_bytes)));
        pos += ENTRY_HEADER_BYTES + data_bytes;
    }
}

/* The CRC line of an identity: eight digits behind the last "crc=". */
static void correct_identity(uint8_t *file, size_t bytes)
{
    static const char mark[] = "crc=";
    for (size_t pos = 0; bytes >= 13 && pos <= bytes - 13; pos++) {
        if (memcmp(file + pos, mark, 4) == 0) {
            char digits[9];
            (void)snprintf(digits, sizeof(digits), "%08x", crc32c(0, span_make(file, pos)));
            memcpy(file + pos + 4, digits, 8);
            return;
        }
    }
}

static void correct(enum file_place place, uint8_t *file, size_t bytes)
{
    switch (place) {
    case PLACE_IDENTITY:
        correct_identity(file, bytes);
        return;
    case PLACE_TERM:
    case PLACE_SNAPSHOT:
        if (bytes >= 4) {
            be32_put(file + bytes - 4, crc32c(0, span_make(file, bytes - 4)));
        }
        return;
    case PLACE_FIRST:
    case PLACE_SECOND:
        correct_segment(file, bytes);
        return;
    case PLACE_COUNT:
        break;
    }
    UNREACHABLE();
}

static void put_files(struct fs *fs, uint8_t switches, uint8_t indexes, struct span input)
{
    char names[PLACE_COUNT][64] = {NAME_IDENTITY, NAME_TERM, NAME_SEGMENT "00000000000000000001"};
    (void)snprintf(names[PLACE_SECOND], sizeof(names[0]), NAME_SEGMENT "%020u", indexes & 15u);
    (void)snprintf(names[PLACE_SNAPSHOT], sizeof(names[0]), NAME_SNAPSHOT "%020u", (unsigned)indexes >> 4);
    for (int i = 0; i < PLACE_COUNT; i++) {
        size_t bytes = input.bytes;
        if (i + 1 < PLACE_COUNT && input.bytes >= 2) {
            bytes = be16_get(input.data);
            input = span_sub(input, 2, input.bytes - 2);
            bytes = bytes > input.bytes ? input.bytes : bytes;
        }
        uint8_t *copy = mem_alloc(bytes + 1);
        memcpy(copy, input.data, bytes);
        if ((switches & SWITCH_CORRECT_CRCS) != 0) {
            correct((enum file_place)i, copy, bytes);
        }
        bool is_left_out = (i == PLACE_SNAPSHOT && (switches & SWITCH_NO_SNAPSHOT) != 0) ||
                           (i == PLACE_SECOND && (switches & SWITCH_NO_SECOND) != 0);
        if (!is_left_out) {
            put_file(fs, names[i], span_make(copy, bytes));
        }
        mem_free(copy);
        input = span_sub(input, bytes, input.bytes - bytes);
    }
    if ((switches & SWITCH_ASIDE) != 0) {
        put_file(fs, NAME_TERM NAME_TMP, span_text("half"));
    }
    CHECK(fs_sync_dir(fs, DIRECTORY) == ERR_OK && fs_sync_dir(fs, "/sim") == ERR_OK);
}

/* ---- what opened ---- */

static void check_loaded(const struct quorum_log *log, const struct quorum_loaded *loaded)
{
    uint64_t first_index = quorum_log_first_index(log);
    CHECK(loaded->first_index == first_index);
    CHECK(quorum_log_last_index(log) + 1 == first_index + loaded->entry_count);
    CHECK(quorum_log_last_index(log) >= loaded->snapshot.index);
    CHECK(first_index <= loaded->snapshot.index + 1);
    for (size_t i = 0; i < loaded->entry_count; i++) {
        const struct quorum_entry *entry = loaded->entries[i];
        CHECK(entry->index == first_index + i && entry->bytes <= QUORUM_ENTRY_BYTES_MAX);
        CHECK(entry->type >= QUORUM_COMMAND && entry->type <= QUORUM_CHANGE);
        CHECK(entry->index != loaded->snapshot.index || entry->term == loaded->snapshot.term);
    }
}

/* The sum of all that was loaded: two openings of one log give the same. */
static uint32_t digest(const struct quorum_loaded *loaded)
{
    uint8_t numbers[24];
    be64_put(numbers, loaded->snapshot.term);
    be64_put(numbers + 8, loaded->snapshot.configuration_index);
    be64_put(numbers + 16, loaded->entry_count);
    uint32_t crc_of_counts = crc32c(0, span_make(numbers, sizeof(numbers)));
    be64_put(numbers, loaded->term);
    be64_put(numbers + 8, loaded->voted_for);
    be64_put(numbers + 16, loaded->snapshot.index);
    uint32_t crc = crc32c(crc_of_counts, span_make(numbers, sizeof(numbers)));
    crc = crc32c(crc, loaded->snapshot.data);
    crc = crc32c(crc, loaded->snapshot.configuration);
    for (size_t i = 0; i < loaded->entry_count; i++) {
        const struct quorum_entry *entry = loaded->entries[i];
        be64_put(numbers, entry->index);
        be64_put(numbers + 8, entry->term);
        be64_put(numbers + 16, (uint64_t)entry->type);
        crc = crc32c(crc, span_make(numbers, sizeof(numbers)));
        crc = crc32c(crc, span_make(entry->data, entry->bytes));
    }
    return crc;
}

/* Must succeed, and give what is expected. */
static struct quorum_log *open_again(struct fs *fs, uint32_t expected, uint64_t *ret_last_term)
{
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded;
    struct option_problem problem = {0};
    CHECK(quorum_log_open(fs, DIRECTORY, FUZZ_SEGMENT_BYTES, &log, &loaded, &problem) == ERR_OK);
    check_loaded(log, &loaded);
    CHECK(loaded.cut_bytes == 0 && digest(&loaded) == expected);
    *ret_last_term = loaded.entry_count == 0 ? loaded.snapshot.term : loaded.entries[loaded.entry_count - 1]->term;
    quorum_loaded_done(&loaded);
    return log;
}

static void append_one(struct quorum_log *log, uint64_t term)
{
    uint64_t index = quorum_log_last_index(log) + 1;
    /* A log begins with a configuration. */
    struct quorum_entry *entry =
        quorum_entry_new(index, term, index == 1 ? QUORUM_CHANGE : QUORUM_COMMAND, span_text(COMMAND));
    const struct quorum_entry *entries[1] = {entry};
    CHECK(quorum_log_append(log, entries, 1) == ERR_OK);
    quorum_entry_unref(entry);
}

/* The entries that append_one has added are as it made them. */
static void check_appended(const struct quorum_loaded *loaded, uint64_t first_index, uint64_t term)
{
    for (size_t i = 0; i < loaded->entry_count; i++) {
        const struct quorum_entry *entry = loaded->entries[i];
        CHECK(entry->index < first_index || (entry->term == term && entry->bytes == strlen(COMMAND) &&
                                             memcmp(entry->data, COMMAND, entry->bytes) == 0));
    }
}

/* Opens once more, and expects the last index, and ours from `first_index` on. */
static struct quorum_log *close_and_open(struct fs *fs, struct quorum_log *log, uint64_t last_index,
                                         uint64_t first_index, uint64_t term)
{
    struct quorum_loaded loaded;
    struct option_problem problem = {0};
    CHECK(quorum_log_close(log) == ERR_OK);
    CHECK(quorum_log_open(fs, DIRECTORY, FUZZ_SEGMENT_BYTES, &log, &loaded, &problem) == ERR_OK);
    check_loaded(log, &loaded);
    CHECK(quorum_log_last_index(log) == last_index && loaded.cut_bytes == 0);
    check_appended(&loaded, first_index, term);
    quorum_loaded_done(&loaded);
    return log;
}

static void go_on(struct fs *fs, struct quorum_log *log, uint64_t snapshot_index, uint64_t last_term)
{
    uint64_t last_index = quorum_log_last_index(log);
    if (last_index > FUZZ_INDEX_MAX || last_term > FUZZ_INDEX_MAX) {
        quorum_log_abandon(log);
        return;
    }
    for (int i = 0; i < 9; i++) {
        append_one(log, last_term + 1);
    }
    log = close_and_open(fs, log, last_index + 9, last_index + 1, last_term + 1);
    CHECK(quorum_log_truncate(log, last_index + 4) == ERR_OK);
    log = close_and_open(fs, log, last_index + 3, last_index + 1, last_term + 1);
    struct quorum_snapshot snapshot = {.index = last_index + 2,
                                       .term = last_term + 1,
                                       .configuration_index = 1,
                                       .configuration = span_text("configuration"),
                                       .data = span_text("data")};
    CHECK(snapshot.index > snapshot_index);
    CHECK(quorum_log_put_snapshot(log, &snapshot, snapshot.index - 1) == ERR_OK);
    log = close_and_open(fs, log, last_index + 3, last_index + 1, last_term + 1);
    snapshot.index = last_index + 20;
    CHECK(quorum_log_install(log, &snapshot) == ERR_OK);
    append_one(log, last_term + 2);
    log = close_and_open(fs, log, last_index + 21, last_index + 21, last_term + 2);
    CHECK(quorum_log_first_index(log) == last_index + 21);
    quorum_log_abandon(log);
}

static void check_opened(struct fs_sim *sim, struct quorum_log *log, struct quorum_loaded *loaded)
{
    struct fs *fs = fs_sim_fs(sim);
    uint64_t snapshot_index = loaded->snapshot.index;
    uint32_t sum = digest(loaded);
    uint64_t last_term = 0;
    check_loaded(log, loaded);
    quorum_loaded_done(loaded);
    CHECK(quorum_log_close(log) == ERR_OK);
    quorum_log_abandon(open_again(fs, sum, &last_term));
    /* What a node reports as stored is on the disk. */
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 1);
    go_on(fs, open_again(fs, sum, &last_term), snapshot_index, last_term);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct quorum_identity identity;
    struct quorum_log *log = NULL;
    struct quorum_loaded loaded;
    struct option_problem problem = {0};
    if (bytes < 2) {
        return 0;
    }
    struct fs_sim *sim = fs_sim_new(NULL);
    struct fs *fs = fs_sim_fs(sim);
    CHECK(fs_mkdir(fs, DIRECTORY) == ERR_OK);
    put_files(fs, data[0], data[1], span_make(data + 2, bytes - 2));
    if (quorum_log_read_identity(fs, DIRECTORY, &identity, &problem) == ERR_OK) {
        CHECK(strlen(identity.cluster_id) < UUID_TEXT_BYTES && identity.raft_id != 0);
    } else {
        CHECK(problem.text[0] != '\0');
    }
    problem.text[0] = '\0';
    if (quorum_log_open(fs, DIRECTORY, FUZZ_SEGMENT_BYTES, &log, &loaded, &problem) == ERR_OK) {
        check_opened(sim, log, &loaded);
    } else {
        CHECK(problem.text[0] != '\0');
    }
    CHECK(fs_sim_open_files(sim) == 0);
    fs_sim_free(sim);
    return 0;
}
