/* The words of `moldau consume`, and where it begins and ends. */
#include "cli/consume.h"

#include "cli/consume_fetch.h"
#include "cli/record_print.h"
#include "cli/units.h"
#include "common/mem.h"
#include "common/posix/terminal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TEXT_BYTES_MAX (512u << 20) /* of one record: \xNN and base64 make it longer than it was */

static const struct flag consume_flags[] = {
    {"partition", "N", "only this partition", true},
    {"from", "WHERE",
     "earliest, latest, an offset, -N for the last N records of each partition, or a time: 2026-11-23T16:00:00 (UTC; "
     "default earliest)",
     false},
    {"max-messages", "N", "end after so many records", false},
    {"format", "FORMAT",
     "%t topic %p partition %o offset %T timestamp %k key %v value %h headers %K %V sizes, \\n \\t \\xNN (default "
     "'" RECORD_PRINT_FORMAT_DEFAULT "')",
     false},
    {"isolation", "LEVEL", "read_uncommitted or read_committed (default read_uncommitted)", false},
    {"follow", NULL, "wait for new records (default: end where the topic ends now)", false},
};

static const struct command consume_command = {
    .name = "consume",
    .words = "TOPIC",
    .summary = "Print the records of a topic.",
    .examples = "  moldau consume orders --from -10 --format '%p:%o %k = %v\\n'\n"
                "  moldau consume orders --follow --output json | jq .value\n",
    .flags = consume_flags,
    .flag_count = ARRAY_COUNT(consume_flags),
    .word_count_min = 1,
    .word_count_max = 1,
};

enum from_kind { FROM_EARLIEST, FROM_LATEST, FROM_OFFSET, FROM_LAST, FROM_TIME };

struct consume_run {
    const struct arguments *arguments;
    struct session *session;
    enum from_kind from;
    int64_t from_value; /* offset, count or ms */
    int64_t count_max;
    enum isolation isolation;
    struct record_print print;
    struct topic_map map;
    struct consume_partition *partitions;
    size_t partition_count;
    struct bytebuf text;
    int64_t record_count;
    int output_errno; /* standard output takes no more */
    enum err print_err;
};

/* ---- what was asked for ---- */

static enum err parse_from(struct consume_run *run)
{
    const char *from = arguments_get(run->arguments, "from");
    int64_t value = 0;
    run->from = FROM_EARLIEST;
    if (from == NULL || strcmp(from, "earliest") == 0) {
        return ERR_OK;
    }
    if (strcmp(from, "latest") == 0) {
        run->from = FROM_LATEST;
    } else if (units_parse_number(span_text(from), &value) == ERR_OK) {
        run->from = from[0] == '-' ? FROM_LAST : FROM_OFFSET;
        run->from_value = from[0] == '-' ? -value : value;
    } else if (units_parse_time(span_text(from), &run->from_value) == ERR_OK) {
        run->from = FROM_TIME;
    } else {
        arguments_complain(run->arguments->command,
                           "--from is earliest, latest, an offset, -N, or a time like 2026-11-23T16:00:00, not '%s'",
                           from);
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err parse_format(struct consume_run *run)
{
    const char *format = arguments_get(run->arguments, "format");
    size_t pos = 0;
    run->print.topic = run->arguments->words.values[0];
    run->print.hides_controls = terminal_is_output();
    if (arguments_wants_json(run->arguments)) {
        if (format != NULL) {
            arguments_complain(run->arguments->command, "--format and --output json exclude each other");
            return ERR_INVALID;
        }
        return ERR_OK;
    }
    run->print.format = format == NULL ? RECORD_PRINT_FORMAT_DEFAULT : format;
    if (record_print_check(run->print.format, &pos) != ERR_OK) {
        arguments_complain(run->arguments->command,
                           "--format: '%.2s' at character %zu is none of those that --help lists",
                           run->print.format + pos, pos + 1);
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err parse_isolation(struct consume_run *run)
{
    const char *isolation = arguments_get(run->arguments, "isolation");
    if (isolation == NULL || strcmp(isolation, "read_uncommitted") == 0) {
        run->isolation = ISOLATION_READ_UNCOMMITTED;
    } else if (strcmp(isolation, "read_committed") == 0) {
        run->isolation = ISOLATION_READ_COMMITTED;
    } else {
        arguments_complain(run->arguments->command, "--isolation is read_uncommitted or read_committed, not '%s'",
                           isolation);
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err parse_wishes(struct consume_run *run)
{
    enum err err = parse_from(run);
    if (err == ERR_OK) {
        err = parse_format(run);
    }
    if (err == ERR_OK) {
        err = parse_isolation(run);
    }
    return err != ERR_OK ? err
                         : arguments_number(run->arguments, "max-messages", 1, INT64_MAX, INT64_MAX, &run->count_max);
}

/* ---- partitions ---- */

static bool is_chosen(const struct consume_run *run, int32_t index)
{
    for (size_t i = 0; i < run->partition_count; i++) {
        if (run->partitions[i].index == index) {
            return true;
        }
    }
    return false;
}

static int choose_partitions(struct consume_run *run)
{
    const struct flag_values *given = arguments_all(run->arguments, "partition");
    size_t count_max = given->count == 0 ? run->map.partition_count : given->count;
    run->partitions = mem_array(count_max, sizeof(*run->partitions));
    for (size_t i = 0; i < count_max; i++) {
        int64_t index = (int64_t)i;
        if (given->count > 0 && (units_parse_number(span_text(given->values[i]), &index) != ERR_OK || index < 0 ||
                                 index >= (int64_t)run->map.partition_count)) {
            arguments_complain(run->arguments->command, "topic %s has no partition %s: it has 0 to %zu", run->map.name,
                               given->values[i], run->map.partition_count - 1);
            return VERB_USAGE;
        }
        if (!is_chosen(run, (int32_t)index)) {
            run->partitions[run->partition_count++].index = (int32_t)index;
        }
    }
    return VERB_OK;
}

static struct offset_wish *new_wishes(const struct consume_run *run, int64_t timestamp)
{
    struct offset_wish *wishes = mem_array(run->partition_count, sizeof(*wishes));
    for (size_t i = 0; i < run->partition_count; i++) {
        wishes[i].partition = run->partitions[i].index;
        wishes[i].timestamp = timestamp;
    }
    return wishes;
}

static int64_t begin_offset(const struct consume_run *run, int64_t first_offset, int64_t end_offset)
{
    switch (run->from) {
    case FROM_LATEST:
        return end_offset;
    case FROM_OFFSET:
        return run->from_value;
    case FROM_LAST:
        return end_offset - first_offset < run->from_value ? first_offset : end_offset - run->from_value;
    case FROM_TIME:
        return first_offset == OFFSET_LIST_NONE ? end_offset : first_offset;
    case FROM_EARLIEST:
    default:
        return first_offset;
    }
}

/* Where each partition begins and ends for us. */
static int find_offsets(struct consume_run *run)
{
    bool does_follow = arguments_has(run->arguments, "follow");
    struct offset_wish *first = new_wishes(run, run->from == FROM_TIME ? run->from_value : OFFSET_LIST_EARLIEST);
    struct offset_wish *end = new_wishes(run, OFFSET_LIST_LATEST);
    int status = offset_list_ask(run->session, &run->map, run->isolation, end, run->partition_count);
    if (status == VERB_OK) {
        status = offset_list_ask(run->session, &run->map, run->isolation, first, run->partition_count);
    }
    for (size_t i = 0; i < run->partition_count && status == VERB_OK; i++) {
        struct consume_partition *partition = &run->partitions[i];
        partition->next_offset = begin_offset(run, first[i].offset, end[i].offset);
        partition->end_offset = does_follow ? CONSUME_END_NEVER : end[i].offset;
        /* With read_committed the end is the last stable offset: what lies behind it exists too. */
        bool is_behind_end = run->isolation == ISOLATION_READ_UNCOMMITTED && run->from_value > end[i].offset;
        if (run->from == FROM_OFFSET && (run->from_value < first[i].offset || is_behind_end)) {
            arguments_complain(run->arguments->command,
                               "partition %" PRId32 " has no offset %" PRId64 ": it begins at %" PRId64
                               ", the next record gets %" PRId64,
                               partition->index, run->from_value, first[i].offset, end[i].offset);
            status = VERB_FAILED;
        }
    }
    mem_free(first);
    mem_free(end);
    return status;
}

/* ---- records ---- */

static bool on_record(void *ctx, int32_t partition, const struct record *record)
{
    struct consume_run *run = ctx;
    bytebuf_clear(&run->text);
    run->print_err = record_print_append(&run->print, partition, record, &run->text);
    if (run->print_err != ERR_OK) {
        return false;
    }
    if (run->text.bytes > 0 && fwrite(run->text.data, 1, run->text.bytes, stdout) != run->text.bytes) {
        run->output_errno = errno;
        return false;
    }
    return ++run->record_count < run->count_max;
}

static void on_round(void *ctx)
{
    struct consume_run *run = ctx;
    if (run->output_errno == 0 && fflush(stdout) != 0) {
        run->output_errno = errno;
    }
}

static int read_records(struct consume_run *run)
{
    struct consume_fetch fetch = {
        .session = run->session,
        .map = &run->map,
        .isolation = run->isolation,
        .partitions = run->partitions,
        .partition_count = run->partition_count,
        .on_record = on_record,
        .on_round = on_round,
        .ctx = run,
        .patience_ms = run->session->patience_ms,
    };
    const struct command *command = run->arguments->command;
    bytebuf_init(&run->text, TEXT_BYTES_MAX);
    bool is_well = consume_fetch_run(&fetch);
    bytebuf_done(&run->text);
    if (run->output_errno == EPIPE) {
        return VERB_OK; /* whoever read has seen enough */
    }
    if (run->output_errno != 0) {
        arguments_complain(command, "can't write the output: %s", err_text(err_from_errno(run->output_errno)));
        return VERB_FAILED;
    }
    if (run->print_err != ERR_OK) {
        arguments_complain(command, "a record can't be shown: %s", err_text(run->print_err));
        return VERB_FAILED;
    }
    if (!is_well) {
        arguments_complain(command, "%s", fetch.problem);
        return VERB_FAILED;
    }
    return VERB_OK;
}

static int consume(struct consume_run *run)
{
    int status = topic_map_open(run->session, &run->map, run->arguments->words.values[0], false);
    if (status == VERB_OK) {
        status = choose_partitions(run);
    }
    if (status == VERB_OK) {
        status = find_offsets(run);
    }
    if (status == VERB_OK) {
        status = read_records(run);
    }
    mem_free(run->partitions);
    topic_map_done(&run->map);
    return run->session->is_interrupted ? VERB_OK : status;
}

int consume_run(const struct verb_call *call)
{
    struct arguments arguments;
    struct consume_run run = {.arguments = &arguments};
    if (arguments_parse(&arguments, &consume_command, call, 0) != ERR_OK) {
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
    session_shorten_calls(&session);
    status = consume(&run);
    session_close(&session);
    return status;
}
