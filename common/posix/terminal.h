/* terminal: what the command line reads: standard input or a file, without blocking its loop, and whether people
 * look on.
 *
 * Shape:     a terminal, a pipe or a socket is watched and read when it has something; a regular file (or a device
 *            that can't be watched) always has.
 * Errors:    ERR_END behind the last byte; others as the system says.
 * Ownership: terminal_input_close closes a file that was opened, never standard input.
 * Threads:   the loop's own.
 */
#ifndef COMMON_POSIX_TERMINAL_H
#define COMMON_POSIX_TERMINAL_H

#include "common/err.h"
#include "common/seam/loop.h"

struct terminal_input;

/* `path` NULL: standard input. */
enum err terminal_input_open(struct loop *loop, const char *path, struct terminal_input **ret_input) MUST_USE;
void terminal_input_close(struct terminal_input *input);
/* Would a read return at once? */
bool terminal_input_is_ready(const struct terminal_input *input);
/* Reads what is there, at most `bytes`; waits when nothing is. */
enum err terminal_input_read(struct terminal_input *input, void *ret_bytes, size_t bytes,
                             size_t *ret_read_bytes) MUST_USE;
/* Sets *is_done, once, when a read would return at once. Calling it again before that moves it. NULL: never mind. */
void terminal_input_wait(struct terminal_input *input, bool *is_done);

/* Does a person type, does a person read? */
bool terminal_is_input(void);
bool terminal_is_output(void);
bool terminal_is_error(void);

#endif
