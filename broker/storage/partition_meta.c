#include "broker/storage/partition_meta.h"

#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"

#define META_BYTES_MAX 4096u
#define TOPIC_ID_START "topic_id: "

enum err partition_meta_write(struct fs *fs, const char *partition_path, struct uuid topic_id)
{
    struct store_path path = store_path_join(partition_path, PARTITION_META_FILE);
    struct bytebuf text;
    char id_text[UUID_TEXT_BYTES];
    uuid_format(topic_id, id_text);
    bytebuf_init(&text, META_BYTES_MAX);
    enum err err = bytebuf_append_format(&text, "version: 0\n" TOPIC_ID_START "%s\n", id_text);
    if (err == ERR_OK) {
        err = side_text_seal(&text, 0);
    }
    if (err == ERR_OK) {
        err = side_file_make(fs, path.text, bytebuf_span(&text));
    }
    bytebuf_done(&text);
    return err;
}

static enum err decode(struct span text, struct uuid *ret_topic_id)
{
    struct span body;
    struct span line;
    size_t start_bytes = strlen(TOPIC_ID_START);
    enum err err = side_text_open(text, &body, NULL);
    if (err != ERR_OK) {
        return err;
    }
    if (!side_text_line(&body, &line) || !span_equal_text(line, "version: 0") || !side_text_line(&body, &line) ||
        line.bytes <= start_bytes || memcmp(line.data, TOPIC_ID_START, start_bytes) != 0) {
        return ERR_CORRUPT;
    }
    err = uuid_parse(span_sub(line, start_bytes, line.bytes - start_bytes), ret_topic_id);
    return err == ERR_OK ? ERR_OK : ERR_CORRUPT;
}

enum err partition_meta_read(struct fs *fs, const char *partition_path, struct uuid *ret_topic_id)
{
    struct store_path path = store_path_join(partition_path, PARTITION_META_FILE);
    struct bytebuf text;
    bytebuf_init(&text, META_BYTES_MAX);
    enum err err = side_file_read(fs, path.text, &text);
    if (err == ERR_OK) {
        err = decode(bytebuf_span(&text), ret_topic_id);
    }
    bytebuf_done(&text);
    return err;
}
