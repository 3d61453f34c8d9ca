#include "common/logger.h"

#include "common/seam/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define CUT_MARK " cut=true\n"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void logger_init(struct logger *logger, struct clock *clock, enum log_level level, logger_sink_fn sink, void *sink_ctx)
{
    logger->clock = clock;
    logger->sink = sink;
    logger->sink_ctx = sink_ctx;
    atomic_init(&logger->level, (int)level);
}

enum log_level logger_level(const struct logger *logger)
{
    return (enum log_level)atomic_load_explicit(&logger->level, memory_order_relaxed);
}

void logger_set_level(struct logger *logger, enum log_level level)
{
    atomic_store_explicit(&logger->level, (int)level, memory_order_relaxed);
}

/* Bytes of the valid UTF-8 character at `text` (`bytes` > 0 remain), 0 for what is none or is a control character. */
static size_t printable_bytes(const uint8_t *text, size_t bytes)
{
    uint8_t first = text[0];
    if (first < 0x80) {
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    }
    size_t count = first >= 0xc2 && first <= 0xdf   ? 2
                   : first >= 0xe0 && first <= 0xef ? 3
                   : first >= 0xf0 && first <= 0xf4 ? 4
                                                    : 0;
    if (count == 0 || count > bytes) {
        return 0;
    }
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* U+0080..U+009F are control characters too: U+009B begins a terminal's escape sequence. Overlong forms could
       hide them. */
    if ((first == 0xc2 && text[1] < 0xa0) || (first == 0xe0 && text[1] < 0xa0) || (first == 0xf0 && text[1] < 0x90)) {
        return 0;
    }
    return count;
}

/* Copies `text` with everything that is not printable as \n, \t or \xNN; with `is_quoted` quotes and backslashes are
 * escaped too. Stops before an item that doesn't fit into `ret_bytes`. Returns the bytes written; *ret_is_cut tells. */
static size_t escape(const uint8_t *text, size_t bytes, bool is_quoted, char *ret_text, size_t ret_bytes,
                     bool *ret_is_cut)
{
    size_t written = 0;
    for (size_t i = 0; i < bytes;) {
        char item[8];
        size_t taken = printable_bytes(text + i, bytes - i);
        int item_bytes = 0;
        if (taken == 0) {
            taken = 1;
            item_bytes = text[i] == '\n'   ? snprintf(item, sizeof(item), "\\n")
                         : text[i] == '\t' ? snprintf(item, sizeof(item), "\\t")
                                           : snprintf(item, sizeof(item), "\\x%02x", (unsigned)text[i]);
        } else if (is_quoted && (text[i] == '"' || text[i] == '\\')) {
            item_bytes = snprintf(item, sizeof(item), "\\%c", text[i]);
        } else {
            memcpy(item, text + i, taken);
            item_bytes = (int)taken;
        }
        if ((size_t)item_bytes > ret_bytes - written) {
            *ret_is_cut = true;
            return written;
        }
        memcpy(ret_text + written, item, (size_t)item_bytes);
        written += (size_t)item_bytes;
        i += taken;
    }
    *ret_is_cut = false;
    return written;
}

static size_t format_head(struct logger *logger, enum log_level level, const char *subsystem, const char *event,
                          char *ret_text, size_t ret_bytes)
{
    int64_t wall_ms = clock_wall_ms(logger->clock);
    time_t seconds = (time_t)(wall_ms / 1000);
    int ms = (int)(wall_ms % 1000);
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    struct tm utc = {0};
    (void)gmtime_r(&seconds, &utc);
    int count = snprintf(ret_text, ret_bytes, "time=%04d-%02d-%02dT%02d:%02d:%02d.%03dZ level=%s subsystem=%s event=%s",
                         utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, ms,
                         level_names[level], subsystem, event);
    CHECK(count > 0 && (size_t)count < ret_bytes);
    return (size_t)count;
}

/* `left_out_count`: lines of this kind that a limit kept back before this one. */
__attribute__((format(printf, 6, 0))) static void logger_vwrite(struct logger *logger, enum log_level level,
                                                                const char *subsystem, const char *event,
                                                                uint_fast32_t left_out_count, const char *format,
                                                                va_list args)
{
    char text[LOGGER_LINE_BYTES_MAX];
    size_t bytes = format_head(logger, level, subsystem, event, text, sizeof(text));
    if (left_out_count > 0) {
        int count = snprintf(text + bytes, sizeof(text) - bytes, " left_out=%lu", (unsigned long)left_out_count);
        CHECK(count > 0 && (size_t)count < sizeof(text) - bytes);
        bytes += (size_t)count;
    }
    bool is_cut = false;
    if (format[0] != '\0') {
        text[bytes++] = ' ';
        int count = vsnprintf(text + bytes, sizeof(text) - bytes, format, args);
        CHECK(count >= 0);
        is_cut = (size_t)count >= sizeof(text) - bytes;
        bytes = is_cut ? sizeof(text) - 1 : bytes + (size_t)count;
    }
    char line[LOGGER_LINE_BYTES_MAX];
    bool is_escape_cut = false;
    size_t line_bytes =
        escape((const uint8_t *)text, bytes, false, line, sizeof(line) - strlen(CUT_MARK), &is_escape_cut);
    const char *end = is_cut || is_escape_cut ? CUT_MARK : "\n";
    memcpy(line + line_bytes, end, strlen(end));
    logger->sink(logger->sink_ctx, level, line, line_bytes + strlen(end));
}

void logger_write(struct logger *logger, enum log_level level, const char *subsystem, const char *event,
                  const char *format, ...)
{
    if (level > logger_level(logger)) {
        return;
    }
    va_list args;
    va_start(args, format);
    logger_vwrite(logger, level, subsystem, event, 0, format, args);
    va_end(args);
}

/* Whether a line may be written now; the first of a window learns how many its predecessor kept back. */
static bool limit_try(struct log_limit *limit, uint64_t now_us, uint_fast32_t *ret_left_out_count)
{
    uint_fast64_t start_us = atomic_load_explicit(&limit->window_start_us, memory_order_relaxed);
    *ret_left_out_count = 0;
    if (now_us - start_us >= LOG_LIMIT_WINDOW_US &&
        atomic_compare_exchange_strong_explicit(&limit->window_start_us, &start_us, now_us, memory_order_relaxed,
                                                memory_order_relaxed)) {
        uint_fast32_t count = atomic_exchange_explicit(&limit->count, 1, memory_order_relaxed);
        *ret_left_out_count = count > LOG_LIMIT_BURST ? count - LOG_LIMIT_BURST : 0;
        return true;
    }
    return atomic_fetch_add_explicit(&limit->count, 1, memory_order_relaxed) < LOG_LIMIT_BURST;
}

void logger_limited(struct logger *logger, struct log_limit *limit, enum log_level level, const char *subsystem,
                    const char *event, const char *format, ...)
{
    uint_fast32_t left_out_count = 0;
    if (level > logger_level(logger) || !limit_try(limit, clock_mono_us(logger->clock), &left_out_count)) {
        return;
    }
    va_list args;
    va_start(args, format);
    logger_vwrite(logger, level, subsystem, event, left_out_count, format, args);
    va_end(args);
}

const char *logger_quote(struct span text, char *ret_quoted, size_t ret_bytes)
{
    static const char cut_end[] = "...\"";
    CHECK(ret_bytes > sizeof(cut_end) + 1);
    bool is_cut = false;
    ret_quoted[0] = '"';
    size_t bytes = 1 + escape(text.data, text.bytes, true, ret_quoted + 1, ret_bytes - 1 - sizeof(cut_end), &is_cut);
    memcpy(ret_quoted + bytes, is_cut ? cut_end : "\"", is_cut ? sizeof(cut_end) : 2);
    return ret_quoted;
}
