#include "broker/storage/side_file.h"

#include "broker/storage/store_path.h"
#include "common/crc32c.h"
#include "common/mem.h"
#include "common/seam/fs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LAST_LINE_START "# moldau "
#define CRC_DIGITS 8u

static struct store_path aside_path(const char *path)
{
    struct store_path full;
    int bytes = snprintf(full.text, sizeof(full.text), "%s%s", path, STORE_SUFFIX_ASIDE);
    CHECK(bytes > 0 && (size_t)bytes < sizeof(full.text));
    return full;
}

static enum err write_whole(struct fs *fs, const char *path, struct span bytes, bool wants_sync)
{
    struct file *file = NULL;
    enum err err = fs_open(fs, path, FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_TRUNCATE, &file);
    if (err != ERR_OK) {
        return err;
    }
    err = bytes.bytes == 0 ? ERR_OK : file_pwritev(file, &bytes, 1, 0);
    if (err == ERR_OK && wants_sync) {
        err = file_sync(file);
    }
    file_unref(file);
    return err;
}

static enum err write_aside(struct fs *fs, const char *path, struct span bytes, bool wants_sync)
{
    struct store_path aside = aside_path(path);
    return write_whole(fs, aside.text, bytes, wants_sync);
}

enum err side_file_make(struct fs *fs, const char *path, struct span bytes)
{
    return write_whole(fs, path, bytes, true);
}

enum err side_file_write_aside(struct fs *fs, const char *path, struct span bytes)
{
    return write_aside(fs, path, bytes, true);
}

enum err side_file_write_aside_unsynced(struct fs *fs, const char *path, struct span bytes)
{
    return write_aside(fs, path, bytes, false);
}

enum err side_file_sync_aside(struct fs *fs, const char *path)
{
    struct store_path aside = aside_path(path);
    struct file *file = NULL;
    enum err err = fs_open(fs, aside.text, FS_OPEN_WRITE, &file);
    if (err == ERR_OK) {
        err = file_sync(file);
        file_unref(file);
    }
    return err;
}

enum err side_file_commit(struct fs *fs, const char *path)
{
    struct store_path aside = aside_path(path);
    return fs_rename(fs, aside.text, path);
}

enum err side_file_replace(struct fs *fs, const char *dir_path, const char *path, struct span bytes)
{
    enum err err = write_aside(fs, path, bytes, true);
    if (err == ERR_OK) {
        err = side_file_commit(fs, path);
    }
    if (err == ERR_OK) {
        err = fs_sync_dir(fs, dir_path);
    }
    return err;
}

enum err side_file_read(struct fs *fs, const char *path, struct bytebuf *ret_bytes)
{
    struct file *file = NULL;
    uint64_t file_bytes = 0;
    uint8_t *room = NULL;
    size_t read_bytes = 0;
    enum err err = fs_open(fs, path, FS_OPEN_READ, &file);
    if (err != ERR_OK) {
        return err;
    }
    err = file_size(file, &file_bytes);
    if (err == ERR_OK && file_bytes > SIDE_FILE_BYTES_MAX) {
        err = ERR_LIMIT;
    }
    if (err == ERR_OK && file_bytes > 0) {
        err = bytebuf_reserve(ret_bytes, (size_t)file_bytes, &room);
        if (err == ERR_OK) {
            err = file_pread(file, room, (size_t)file_bytes, 0, &read_bytes);
        }
        if (err == ERR_OK) {
            bytebuf_added(ret_bytes, read_bytes);
        }
    }
    file_unref(file);
    return err;
}

enum err side_text_seal(struct bytebuf *text, uint64_t generation)
{
    enum err err = bytebuf_append_format(text, LAST_LINE_START "%d %" PRIu64 " ", SIDE_TEXT_VERSION, generation);
    if (err != ERR_OK) {
        return err;
    }
    return bytebuf_append_format(text, "%08" PRIx32 "\n", crc32c(0, bytebuf_span(text)));
}

/* Where the last line begins, or text.bytes when it is not one of ours. */
static size_t last_line_start(struct span text)
{
    if (text.bytes == 0 || text.data[text.bytes - 1] != '\n') {
        return text.bytes;
    }
    size_t start = text.bytes - 1;
    while (start > 0 && text.data[start - 1] != '\n') {
        start--;
    }
    size_t mark_bytes = strlen(LAST_LINE_START);
    if (text.bytes - start < mark_bytes + CRC_DIGITS + 1 ||
        memcmp(text.data + start, LAST_LINE_START, mark_bytes) != 0) {
        return text.bytes;
    }
    return start;
}

enum err side_text_open(struct span text, struct span *ret_body, uint64_t *ret_generation)
{
    size_t start = last_line_start(text);
    if (start == text.bytes) {
        return ERR_CORRUPT;
    }
    size_t crc_start = text.bytes - 1 - CRC_DIGITS;
    char digits[CRC_DIGITS + 1];
    char expected[CRC_DIGITS + 1];
    memcpy(digits, text.data + crc_start, CRC_DIGITS);
    digits[CRC_DIGITS] = '\0';
    (void)snprintf(expected, sizeof(expected), "%08" PRIx32, crc32c(0, span_sub(text, 0, crc_start)));
    if (memcmp(digits, expected, CRC_DIGITS) != 0) {
        return ERR_CORRUPT;
    }
    size_t words_start = start + strlen(LAST_LINE_START);
    struct span words = span_sub(text, words_start, crc_start - words_start);
    int64_t version = 0;
    int64_t generation = 0;
    if (!side_text_number(&words, &version) || !side_text_number(&words, &generation) || generation < 0) {
        return ERR_CORRUPT;
    }
    if (version != SIDE_TEXT_VERSION) {
        return ERR_UNSUPPORTED;
    }
    *ret_body = span_sub(text, 0, start);
    if (ret_generation != NULL) {
        *ret_generation = (uint64_t)generation;
    }
    return ERR_OK;
}

bool side_text_line(struct span *rest, struct span *ret_line)
{
    if (rest->bytes == 0) {
        return false;
    }
    const uint8_t *end = memchr(rest->data, '\n', rest->bytes);
    size_t bytes = end == NULL ? rest->bytes : (size_t)(end - rest->data);
    *ret_line = span_sub(*rest, 0, bytes);
    size_t taken_bytes = end == NULL ? bytes : bytes + 1;
    *rest = span_sub(*rest, taken_bytes, rest->bytes - taken_bytes);
    return true;
}

bool side_text_number(struct span *rest, int64_t *ret_value)
{
    size_t pos = 0;
    while (pos < rest->bytes && rest->data[pos] == ' ') {
        pos++;
    }
    bool is_negative = pos < rest->bytes && rest->data[pos] == '-';
    pos += is_negative ? 1 : 0;
    size_t digits_start = pos;
    int64_t value = 0;
    while (pos < rest->bytes && rest->data[pos] >= '0' && rest->data[pos] <= '9') {
        int digit = rest->data[pos] - '0';
        if (value > (INT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
        pos++;
    }
    if (pos == digits_start || (pos < rest->bytes && rest->data[pos] != ' ')) {
        return false;
    }
    *rest = span_sub(*rest, pos, rest->bytes - pos);
    *ret_value = is_negative ? -value : value;
    return true;
}
