#include "broker/storage/offset_checkpoint.h"

#include "broker/storage/side_file.h"
#include "common/mem.h"

#include <inttypes.h>
#include <stdlib.h>

void offset_checkpoint_init(struct offset_checkpoint *checkpoint)
{
    *checkpoint = (struct offset_checkpoint){NULL, 0, 0};
}

void offset_checkpoint_done(struct offset_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->count; i++) {
        mem_free(checkpoint->rows[i].topic);
    }
    mem_free(checkpoint->rows);
    offset_checkpoint_init(checkpoint);
}

static void add_row(struct offset_checkpoint *checkpoint, struct offset_row row)
{
    if (checkpoint->count == checkpoint->capacity) {
        checkpoint->capacity = checkpoint->capacity == 0 ? 16 : checkpoint->capacity * 2;
        checkpoint->rows = mem_grow(checkpoint->rows, checkpoint->capacity, sizeof(*checkpoint->rows));
    }
    checkpoint->rows[checkpoint->count++] = row;
}

void offset_checkpoint_add(struct offset_checkpoint *checkpoint, const char *topic, int32_t partition_index,
                           int64_t offset)
{
    add_row(checkpoint, (struct offset_row){mem_strdup(topic), partition_index, offset});
}

static int compare_rows(const void *a, const void *b)
{
    const struct offset_row *left = a;
    const struct offset_row *right = b;
    int order = strcmp(left->topic, right->topic);
    if (order != 0) {
        return order;
    }
    return (left->partition_index > right->partition_index) - (left->partition_index < right->partition_index);
}

void offset_checkpoint_sort(struct offset_checkpoint *checkpoint)
{
    if (checkpoint->count > 0) {
        qsort(checkpoint->rows, checkpoint->count, sizeof(*checkpoint->rows), compare_rows);
    }
}

int64_t offset_checkpoint_find(const struct offset_checkpoint *checkpoint, const char *topic, int32_t partition_index)
{
    size_t low = 0;
    size_t high = checkpoint->count;
    struct offset_row wanted = {(char *)(uintptr_t)topic, partition_index, 0};
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_rows(&checkpoint->rows[middle], &wanted);
        if (order == 0) {
            return checkpoint->rows[middle].offset;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return -1;
}

enum err offset_checkpoint_encode(const struct offset_checkpoint *checkpoint, uint64_t generation, struct bytebuf *text)
{
    enum err err = bytebuf_append_format(text, "0\n%zu\n", checkpoint->count);
    for (size_t i = 0; i < checkpoint->count && err == ERR_OK; i++) {
        const struct offset_row *row = &checkpoint->rows[i];
        err =
            bytebuf_append_format(text, "%s %" PRId32 " %" PRId64 "\n", row->topic, row->partition_index, row->offset);
    }
    return err == ERR_OK ? side_text_seal(text, generation) : err;
}

static enum err decode_row(struct span line, struct offset_checkpoint *checkpoint)
{
    const uint8_t *blank = memchr(line.data, ' ', line.bytes);
    int64_t partition_index = 0;
    int64_t offset = 0;
    if (blank == NULL || blank == line.data || memchr(line.data, '\0', (size_t)(blank - line.data)) != NULL) {
        return ERR_CORRUPT;
    }
    size_t topic_bytes = (size_t)(blank - line.data);
    struct span rest = span_sub(line, topic_bytes, line.bytes - topic_bytes);
    if (!side_text_number(&rest, &partition_index) || !side_text_number(&rest, &offset) || rest.bytes != 0 ||
        partition_index < 0 || partition_index > INT32_MAX || offset < 0) {
        return ERR_CORRUPT;
    }
    char *topic = mem_alloc(topic_bytes + 1);
    memcpy(topic, line.data, topic_bytes);
    topic[topic_bytes] = '\0';
    add_row(checkpoint, (struct offset_row){topic, (int32_t)partition_index, offset});
    return ERR_OK;
}

enum err offset_checkpoint_decode(struct span text, struct offset_checkpoint *checkpoint, uint64_t *ret_generation)
{
    struct span body;
    struct span line;
    int64_t version = -1;
    int64_t count = -1;
    enum err err = side_text_open(text, &body, ret_generation);
    if (err != ERR_OK) {
        return err;
    }
    if (!side_text_line(&body, &line) || !side_text_number(&line, &version) || version != 0 ||
        !side_text_line(&body, &line) || !side_text_number(&line, &count) || count < 0 ||
        count > (int64_t)OFFSET_CHECKPOINT_ROWS_MAX) {
        return ERR_CORRUPT;
    }
    while (err == ERR_OK && side_text_line(&body, &line)) {
        err = line.bytes == 0 ? ERR_CORRUPT : decode_row(line, checkpoint);
    }
    if (err == ERR_OK && checkpoint->count != (size_t)count) {
        err = ERR_CORRUPT;
    }
    offset_checkpoint_sort(checkpoint);
    return err;
}
