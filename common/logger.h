/* logger: log lines as key=value, one line an event:
 *     time=2026-11-23T15:20:00.123Z level=warn subsystem=net event=connection_refused reason=no_descriptor_left
 *
 * Shape:     a line is at most LOGGER_LINE_BYTES_MAX, longer ones are cut and say so. Control characters of the
 *            finished line are escaped, so text from outside can't forge lines; values with blanks are quoted by the
 *            caller (key="%s") or made by logger_quote.
 * Limits:    logger_limited lets `burst` lines of one kind through per interval and then says how many were left out.
 * Ownership: borrowed by everybody; the sink is handed in at creation (standard error in production).
 * Threads:   any; one line is written by one call of the sink.
 */
#ifndef COMMON_LOGGER_H
#define COMMON_LOGGER_H

#include "common/span.h"

#include <stdatomic.h>

#define LOGGER_LINE_BYTES_MAX 4096

struct clock;

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Receives one whole line with its newline. */
typedef void (*logger_sink_fn)(void *ctx, enum log_level level, const char *line, size_t bytes);

struct logger {
    struct clock *clock;
    logger_sink_fn sink;
    void *sink_ctx;
    atomic_int level; /* enum log_level: lines above it are not made */
};

/* A rate limit of one kind of line; zeroed memory is ready. */
struct log_limit {
    atomic_uint_fast64_t window_start_us;
    atomic_uint_fast32_t count;
};

void logger_init(struct logger *logger, struct clock *clock, enum log_level level, logger_sink_fn sink, void *sink_ctx);
enum log_level logger_level(const struct logger *logger);
void logger_set_level(struct logger *logger, enum log_level level);

/* `subsystem` and `event` are lower_snake words; `format` makes "key=value key=value" or is "". */
void logger_write(struct logger *logger, enum log_level level, const char *subsystem, const char *event,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The same, at most LOG_LIMIT_BURST lines per LOG_LIMIT_WINDOW_US for this limit. */
void logger_limited(struct logger *logger, struct log_limit *limit, enum log_level level, const char *subsystem,
                    const char *event, const char *format, ...) __attribute__((format(printf, 6, 7)));
#define LOG_LIMIT_BURST 10
#define LOG_LIMIT_WINDOW_US 10000000u

/* Writes `text` with quotes, quotes inside escaped, cut to fit; returns `ret_quoted`. */
const char *logger_quote(struct span text, char *ret_quoted, size_t ret_bytes);

#define log_error(logger, subsystem, event, ...) logger_write(logger, LOG_ERROR, subsystem, event, __VA_ARGS__)
#define log_warn(logger, subsystem, event, ...) logger_write(logger, LOG_WARN, subsystem, event, __VA_ARGS__)
#define log_info(logger, subsystem, event, ...) logger_write(logger, LOG_INFO, subsystem, event, __VA_ARGS__)
#define log_debug(logger, subsystem, event, ...) logger_write(logger, LOG_DEBUG, subsystem, event, __VA_ARGS__)

#endif
