/* line_reader: lines of standard input or of a file, as they come: it tells "nothing more at once" from "the end",
 * so that a typed line can be acted on before the next.
 *
 * Shape:     a line ends with \n, which is not part of it; the last one may lack it. Other bytes stay as they are.
 * Limits:    LINE_READER_BYTES_MAX per line.
 * Errors:    ERR_WOULD_BLOCK nothing at once, ERR_END, ERR_LIMIT a longer line, others of the file.
 * Ownership: a line is borrowed until the next call.
 * Threads:   the main thread.
 */
#ifndef CLI_LINE_READER_H
#define CLI_LINE_READER_H

#include "cli/session.h"
#include "common/bytebuf.h"

#define LINE_READER_BYTES_MAX (64u << 20)

struct terminal_input;

struct line_reader {
    struct session *session;
    struct terminal_input *input;
    struct bytebuf bytes;
    size_t begin_pos; /* of the next line */
    size_t seen_pos;  /* no \n in [begin_pos, seen_pos) */
    bool is_at_end;
    bool is_woken; /* something to read, or an interrupt */
};

/* `path` NULL: standard input. */
enum err line_reader_open(struct line_reader *reader, struct session *session, const char *path) MUST_USE;
void line_reader_close(struct line_reader *reader);
enum err line_reader_next(struct line_reader *reader, struct span *ret_line) MUST_USE;
/* Waits until line_reader_next may have more to say, or the session is interrupted. */
void line_reader_wait(struct line_reader *reader);

#endif
