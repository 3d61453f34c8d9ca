#include "cli/line_reader.h"

#include "common/posix/terminal.h"

#define LINE_READER_CHUNK_BYTES (64u << 10)

enum err line_reader_open(struct line_reader *reader, struct session *session, const char *path)
{
    *reader = (struct line_reader){.session = session};
    enum err err = terminal_input_open(session->loop, path, &reader->input);
    if (err != ERR_OK) {
        return err;
    }
    bytebuf_init(&reader->bytes, LINE_READER_BYTES_MAX + LINE_READER_CHUNK_BYTES);
    session->interrupt_wakes = &reader->is_woken;
    return ERR_OK;
}

void line_reader_close(struct line_reader *reader)
{
    if (reader->input == NULL) {
        return;
    }
    reader->session->interrupt_wakes = NULL;
    terminal_input_close(reader->input);
    bytebuf_done(&reader->bytes);
    *reader = (struct line_reader){0};
}

/* Reads once. What was taken as lines makes room first; at most one line's beginning moves. */
static enum err reader_fill(struct line_reader *reader)
{
    if (!terminal_input_is_ready(reader->input)) {
        return ERR_WOULD_BLOCK;
    }
    bytebuf_drop_front(&reader->bytes, reader->begin_pos);
    reader->seen_pos -= reader->begin_pos;
    reader->begin_pos = 0;
    uint8_t *room = NULL;
    size_t read_bytes = 0;
    enum err err = bytebuf_reserve(&reader->bytes, LINE_READER_CHUNK_BYTES, &room);
    if (err == ERR_OK) {
        err = terminal_input_read(reader->input, room, LINE_READER_CHUNK_BYTES, &read_bytes);
    }
    if (err == ERR_OK) {
        bytebuf_added(&reader->bytes, read_bytes);
    } else if (err == ERR_END) {
        reader->is_at_end = true;
        err = ERR_OK;
    }
    return err;
}

enum err line_reader_next(struct line_reader *reader, struct span *ret_line)
{
    for (;;) {
        struct span unseen =
            span_sub(bytebuf_span(&reader->bytes), reader->seen_pos, reader->bytes.bytes - reader->seen_pos);
        const uint8_t *end = unseen.bytes == 0 ? NULL : memchr(unseen.data, '\n', unseen.bytes);
        if (end != NULL || (reader->is_at_end && reader->bytes.bytes > reader->begin_pos)) {
            size_t end_pos = end == NULL ? reader->bytes.bytes : (size_t)(end - reader->bytes.data);
            *ret_line = span_sub(bytebuf_span(&reader->bytes), reader->begin_pos, end_pos - reader->begin_pos);
            reader->begin_pos = end == NULL ? end_pos : end_pos + 1;
            reader->seen_pos = reader->begin_pos;
            return ERR_OK;
        }
        reader->seen_pos = reader->bytes.bytes;
        if (reader->is_at_end) {
            return ERR_END;
        }
        enum err err = reader_fill(reader);
        if (err != ERR_OK) {
            return err;
        }
    }
}

void line_reader_wait(struct line_reader *reader)
{
    if (reader->session->is_interrupted) {
        return;
    }
    reader->is_woken = false;
    terminal_input_wait(reader->input, &reader->is_woken);
    session_wait(reader->session, &reader->is_woken);
    terminal_input_wait(reader->input, NULL);
}
