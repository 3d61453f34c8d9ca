/* The words of `moldau produce`, and the loop from lines to records. */
#include "cli/produce.h"

#include "cli/line_reader.h"
#include "cli/output.h"
#include "cli/produce_queue.h"
#include "cli/units.h"
#include "common/posix/terminal.h"
#include "proto/record/compress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PROGRESS_INTERVAL_MS 200u

static const struct flag produce_flags[] = {
    {"file", "FILE", "read the lines of a file (default: standard input)", false},
    {"key-separator", "TEXT", "what stands before it in a line is the key; a line without it has no key", false},
    {"partition", "N", "write to this partition (default: by the key, else any)", false},
    {"header", "NAME=VALUE", "a header of every record", true},
    {"acks", "all|1|0", "which replicas must have a record before it counts (default all: all in sync)", false},
    {"compression", "CODEC", "none, gzip, snappy, lz4 or zstd (default none)", false},
};

static const struct command produce_command = {
    .name = "produce",
    .words = "TOPIC",
    .summary = "Write lines to a topic, one record each.",
    .examples = "  echo 'user-1:hello' | moldau produce greetings --key-separator :\n"
                "  moldau produce events --file events.jsonl --compression zstd\n",
    .flags = produce_flags,
    .flag_count = ARRAY_COUNT(produce_flags),
    .word_count_min = 1,
    .word_count_max = 1,
};

struct produce_run {
    const struct arguments *arguments;
    struct session *session;
    struct produce_options options;
    struct record_header headers[ARGUMENTS_VALUES_MAX];
    struct span key_separator; /* null: no keys */
    int32_t partition;
    struct line_reader reader;
    struct produce_queue queue;
    uint64_t begin_ms;
    uint64_t progress_ms; /* when it was shown last */
    bool shows_progress;
};

/* ---- what was asked for ---- */

static enum err parse_acks(struct produce_run *run)
{
    const char *acks = arguments_get(run->arguments, "acks");
    run->options.acks = PRODUCE_ACKS_ALL;
    if (acks == NULL || strcmp(acks, "all") == 0 || strcmp(acks, "-1") == 0) {
        return ERR_OK;
    }
    if (strcmp(acks, "0") != 0 && strcmp(acks, "1") != 0) {
        arguments_complain(run->arguments->command, "--acks is all, 1 or 0, not '%s'", acks);
        return ERR_INVALID;
    }
    run->options.acks = (int16_t)(acks[0] - '0');
    return ERR_OK;
}

static enum err parse_headers(struct produce_run *run)
{
    const struct flag_values *given = arguments_all(run->arguments, "header");
    for (size_t i = 0; i < given->count; i++) {
        const char *equals = strchr(given->values[i], '=');
        if (equals == NULL) {
            arguments_complain(run->arguments->command, "--header is NAME=VALUE, not '%s'", given->values[i]);
            return ERR_INVALID;
        }
        run->headers[i].key = span_make(given->values[i], (size_t)(equals - given->values[i]));
        run->headers[i].value = span_text(equals + 1);
    }
    run->options.headers = run->headers;
    run->options.header_count = given->count;
    return ERR_OK;
}

static enum err parse_wishes(struct produce_run *run)
{
    const struct arguments *arguments = run->arguments;
    const char *codec = arguments_get(arguments, "compression");
    const char *separator = arguments_get(arguments, "key-separator");
    int64_t partition = 0;
    if (codec != NULL && compress_codec_find(span_text(codec), &run->options.codec) != ERR_OK) {
        arguments_complain(arguments->command, "--compression is none, gzip, snappy, lz4 or zstd, not '%s'", codec);
        return ERR_INVALID;
    }
    if (separator != NULL && separator[0] == '\0') {
        arguments_complain(arguments->command, "--key-separator needs at least one character");
        return ERR_INVALID;
    }
    run->key_separator = span_text(separator);
    if (arguments_number(arguments, "partition", 0, INT32_MAX, PRODUCE_PARTITION_ANY, &partition) != ERR_OK) {
        return ERR_INVALID;
    }
    run->partition = (int32_t)partition;
    enum err err = parse_acks(run);
    return err != ERR_OK ? err : parse_headers(run);
}

/* ---- lines ---- */

static enum err add_line(struct produce_run *run, struct span line)
{
    struct span separator = run->key_separator;
    const uint8_t *at = NULL;
    if (!span_is_null(separator) && line.bytes > 0) {
        at = memmem(line.data, line.bytes, separator.data, separator.bytes);
    }
    if (at == NULL) {
        return produce_queue_add(&run->queue, run->partition, SPAN_NULL, line);
    }
    size_t key_bytes = (size_t)(at - line.data);
    size_t value_pos = key_bytes + separator.bytes;
    return produce_queue_add(&run->queue, run->partition, span_sub(line, 0, key_bytes),
                             span_sub(line, value_pos, line.bytes - value_pos));
}

static void show_progress(struct produce_run *run)
{
    uint64_t now_ms = session_now_ms(run->session);
    if (run->shows_progress && now_ms - run->progress_ms >= PROGRESS_INTERVAL_MS) {
        (void)fprintf(stderr, "\r%" PRIu64 " records written", run->queue.acknowledged_count);
        run->progress_ms = now_ms;
    }
}

/* Until the end, an interrupt or a failure. What is wrong with the input itself is the queue's failure too: the
 * records behind it were not written. */
static enum err take_lines(struct produce_run *run)
{
    for (;;) {
        struct span line;
        enum err err = run->session->is_interrupted ? ERR_END : line_reader_next(&run->reader, &line);
        if (err == ERR_OK) {
            err = add_line(run, line);
        } else if (err == ERR_WOULD_BLOCK) {
            err = produce_queue_flush(&run->queue);
            line_reader_wait(&run->reader);
        } else if (err == ERR_END) {
            return produce_queue_flush(&run->queue);
        } else {
            const char *what = err == ERR_LIMIT ? "a line is longer than 64 MiB" : err_text(err);
            enum err flush_err = produce_queue_flush(&run->queue);
            return flush_err != ERR_OK
                       ? flush_err
                       : produce_queue_fail(&run->queue, "the input behind record %" PRIu64 " can't be read: %s",
                                            run->queue.record_count, what);
        }
        if (err != ERR_OK) {
            return err;
        }
        show_progress(run);
    }
}

/* ---- the end ---- */

static void report_json(const struct produce_queue *queue)
{
    struct output output;
    output_init(&output, true, "produced");
    output_columns(&output, (const char *const[]){"topic", "partition", "records", "first_offset", "last_offset"}, 5);
    for (size_t i = 0; i < queue->partition_count; i++) {
        const struct produce_partition *partition = &queue->partitions[i];
        if (partition->acknowledged_count > 0) {
            output_text(&output, span_text(queue->map.name));
            output_number(&output, (int64_t)i);
            output_number(&output, (int64_t)partition->acknowledged_count);
            output_number(&output, partition->first_offset);
            output_number(&output, partition->last_offset);
        }
    }
    output_end(&output);
}

static int report(struct produce_run *run, enum err err)
{
    const struct produce_queue *queue = &run->queue;
    if (run->shows_progress) {
        (void)fputs("\r", stderr);
    }
    if (arguments_wants_json(run->arguments)) {
        report_json(queue);
    }
    if (err != ERR_OK) {
        arguments_complain(run->arguments->command, "%" PRIu64 " of %" PRIu64 " records not acknowledged: %s",
                           queue->record_count - queue->acknowledged_count, queue->record_count, queue->problem);
        return VERB_FAILED;
    }
    char bytes_text[UNITS_TEXT_BYTES];
    (void)fprintf(stderr, "%s %" PRIu64 " record%s to %s (%s in batches) in %.2f s\n",
                  queue->options.acks == 0 ? "sent, unacknowledged," : "wrote", queue->acknowledged_count,
                  queue->acknowledged_count == 1 ? "" : "s", queue->map.name,
                  units_format_bytes(queue->acknowledged_bytes, bytes_text),
                  (double)(session_now_ms(run->session) - run->begin_ms) / 1000);
    return VERB_OK;
}

static int write_lines(struct produce_run *run)
{
    const char *topic = run->arguments->words.values[0];
    const char *path = arguments_get(run->arguments, "file");
    enum err err = line_reader_open(&run->reader, run->session, path);
    if (err != ERR_OK) {
        arguments_complain(run->arguments->command, "%s: %s", path == NULL ? "standard input" : path, err_text(err));
        return VERB_FAILED;
    }
    int status = produce_queue_open(&run->queue, run->session, topic, &run->options);
    if (status == VERB_OK && run->partition >= (int64_t)run->queue.partition_count) {
        arguments_complain(run->arguments->command, "topic %s has no partition %" PRId32 ": it has 0 to %zu", topic,
                           run->partition, run->queue.partition_count - 1);
        status = VERB_USAGE;
    }
    if (status == VERB_OK) {
        run->begin_ms = session_now_ms(run->session);
        run->shows_progress = terminal_is_error() && !terminal_is_input();
        status = report(run, take_lines(run));
    }
    produce_queue_done(&run->queue);
    line_reader_close(&run->reader);
    return status;
}

int produce_run(const struct verb_call *call)
{
    struct arguments arguments;
    struct produce_run run = {.arguments = &arguments};
    if (arguments_parse(&arguments, &produce_command, call, 0) != ERR_OK) {
        return VERB_USAGE;
    }
    if (arguments.wants_help) {
        return VERB_OK;
    }
    if (parse_wishes(&run) != ERR_OK) {
        return VERB_USAGE;
    }
    struct session session;
    int status = session_open(&session, &arguments);
    if (status != VERB_OK) {
        return status;
    }
    run.session = &session;
    run.options.delivery_timeout_ms = session.patience_ms;
    session_shorten_calls(&session);
    status = write_lines(&run);
    session_close(&session);
    return status;
}
