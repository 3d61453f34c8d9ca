#include "broker/storage/log_marks.h"

#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"

#include <inttypes.h>

#define MARKS_BYTES_MAX 4096u

static const char *const producers_words[] = {"none", "snapshot", "unknown"};

enum err log_marks_encode(const struct log_marks *marks, struct bytebuf *text)
{
    enum err err = bytebuf_append_format(
        text,
        "recovery_offset=%" PRId64 "\nrecovery_segment=%" PRId64 "\nrecovery_pos=%" PRId64 "\nlog_start=%" PRId64
        "\nproducers=%s\nsynced_rule=%d\ndiscard=%d\ncap_offset=%" PRId64 "\ncap_generation=%" PRIu64 "\n",
        marks->recovery_offset, marks->recovery_segment, marks->recovery_pos, marks->log_start_offset,
        producers_words[marks->producers], marks->counts_high_watermark ? 1 : 0, marks->is_discarded ? 1 : 0,
        marks->cap_offset, marks->cap_generation);
    return err == ERR_OK ? side_text_seal(text, 0) : err;
}

/* The value of `name` in the next line. */
static bool next_value(struct span *body, const char *name, struct span *ret_value)
{
    struct span line;
    size_t name_bytes = strlen(name);
    if (!side_text_line(body, &line) || line.bytes <= name_bytes || memcmp(line.data, name, name_bytes) != 0 ||
        line.data[name_bytes] != '=') {
        return false;
    }
    *ret_value = span_sub(line, name_bytes + 1, line.bytes - name_bytes - 1);
    return true;
}

static bool next_number(struct span *body, const char *name, int64_t *ret_value)
{
    struct span value;
    return next_value(body, name, &value) && side_text_number(&value, ret_value) && value.bytes == 0 && *ret_value >= 0;
}

static bool next_producers(struct span *body, enum marks_producers *ret_producers)
{
    struct span value;
    if (!next_value(body, "producers", &value)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_COUNT(producers_words); i++) {
        if (span_equal_text(value, producers_words[i])) {
            *ret_producers = (enum marks_producers)i;
            return true;
        }
    }
    return false;
}

enum err log_marks_decode(struct span text, struct log_marks *ret_marks)
{
    struct span body;
    struct log_marks marks;
    int64_t synced_rule = 0;
    int64_t discard = 0;
    int64_t cap_generation = 0;
    enum err err = side_text_open(text, &body, NULL);
    if (err != ERR_OK) {
        return err;
    }
    if (!next_number(&body, "recovery_offset", &marks.recovery_offset) ||
        !next_number(&body, "recovery_segment", &marks.recovery_segment) ||
        !next_number(&body, "recovery_pos", &marks.recovery_pos) ||
        !next_number(&body, "log_start", &marks.log_start_offset) || !next_producers(&body, &marks.producers) ||
        !next_number(&body, "synced_rule", &synced_rule) || !next_number(&body, "discard", &discard) ||
        !next_number(&body, "cap_offset", &marks.cap_offset) ||
        !next_number(&body, "cap_generation", &cap_generation) || body.bytes != 0) {
        return ERR_CORRUPT;
    }
    marks.counts_high_watermark = synced_rule == 1;
    marks.is_discarded = discard == 1;
    marks.cap_generation = (uint64_t)cap_generation;
    *ret_marks = marks;
    return ERR_OK;
}

enum err log_marks_read(struct fs *fs, const char *log_path, struct log_marks *ret_marks)
{
    struct store_path path = store_path_join(log_path, LOG_MARKS_FILE);
    struct bytebuf text;
    bytebuf_init(&text, MARKS_BYTES_MAX);
    enum err err = side_file_read(fs, path.text, &text);
    if (err == ERR_OK) {
        err = log_marks_decode(bytebuf_span(&text), ret_marks);
    }
    bytebuf_done(&text);
    return err;
}

static enum err write_marks(struct fs *fs, const char *log_path, const struct log_marks *marks, bool is_new)
{
    struct store_path path = store_path_join(log_path, LOG_MARKS_FILE);
    struct bytebuf text;
    bytebuf_init(&text, MARKS_BYTES_MAX);
    enum err err = log_marks_encode(marks, &text);
    if (err == ERR_OK) {
        err = is_new ? side_file_make(fs, path.text, bytebuf_span(&text))
                     : side_file_replace(fs, log_path, path.text, bytebuf_span(&text));
    }
    bytebuf_done(&text);
    return err;
}

enum err log_marks_write(struct fs *fs, const char *log_path, const struct log_marks *marks)
{
    return write_marks(fs, log_path, marks, false);
}

enum err log_marks_make(struct fs *fs, const char *log_path, const struct log_marks *marks)
{
    return write_marks(fs, log_path, marks, true);
}

int64_t log_marks_cap(const struct log_marks *marks, int64_t offset, uint64_t row_generation)
{
    bool is_capped = row_generation <= marks->cap_generation && offset > marks->cap_offset;
    return is_capped ? marks->cap_offset : offset;
}

int64_t log_marks_floor(const struct log_marks *marks, const struct log_checkpoint_row *row, uint64_t row_generation)
{
    int64_t floor = marks->recovery_offset;
    int64_t recovery_point = log_marks_cap(marks, row->recovery_point_offset, row_generation);
    int64_t high_watermark = log_marks_cap(marks, row->high_watermark, row_generation);
    if (recovery_point > floor) {
        floor = recovery_point;
    }
    /* With durability=cached the high watermark may pass what was synced: then a shorter log after a power loss is what was
     * promised, and the controller's rule for unclean restarts deals with it (trap 2). */
    if (marks->counts_high_watermark && high_watermark > floor) {
        floor = high_watermark;
    }
    return floor;
}
