/* fuzz_options: bytes that claim to be a configuration: a properties file, an environment, one assignment, a topic's setting.
 *
 * Input:     byte 0: which (enum option_kind); the rest is the text; of an environment, the variables lie behind one another, each
 *            ended by a NUL; of an assignment and a setting, name and value are parted by the first NUL.
 * Asserts:   what is refused is refused with a sentence; a value that is accepted is in its row's range, stands there whole, and its
 *            text is accepted again as the same; what the table of options as a whole accepts gives listeners that can be bound.
 */
#include "broker/broker_listeners.h"
#include "broker/broker_options.h"
#include "common/mem.h"
#include "controller/topic_config.h"

#include <math.h>

#define FUZZ_VARIABLES_MAX 64u
#define FUZZ_TEXT_BYTES_MAX (1u << 20)

enum option_kind { KIND_PROPERTIES, KIND_ENVIRONMENT, KIND_ASSIGNMENT, KIND_TOPIC_SETTING, KIND_COUNT };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* ---- values ---- */

static void check_range(const struct option_row *row, const void *values)
{
    const void *member = (const uint8_t *)values + row->offset;
    bool has_bounds = row->min != 0 || row->max != 0;
    if (row->type == OPTION_INT && has_bounds && *(const int32_t *)member != OPTION_INT_NULL) {
        CHECK(*(const int32_t *)member >= row->min && *(const int32_t *)member <= row->max);
    } else if (row->type == OPTION_LONG && has_bounds && *(const int64_t *)member != OPTION_LONG_NULL) {
        CHECK(*(const int64_t *)member >= row->min && *(const int64_t *)member <= row->max);
    } else if (row->type == OPTION_DOUBLE && has_bounds && !isnan(*(const double *)member)) {
        CHECK(*(const double *)member >= (double)row->min && *(const double *)member <= (double)row->max);
    }
}

/* The value, as text, is accepted again and is then the same text. */
static void check_value(const struct option_row *row, const struct broker_options *options, struct broker_options *copy)
{
    const struct option_table *table = broker_options_table();
    struct option_problem problem;
    struct bytebuf first;
    struct bytebuf second;
    bool is_null = false;
    bytebuf_init(&first, FUZZ_TEXT_BYTES_MAX);
    bytebuf_init(&second, FUZZ_TEXT_BYTES_MAX);
    CHECK(option_format(row, options, &first, &is_null) == ERR_OK);
    if (!is_null) {
        struct span text = span_make(first.bytes == 0 ? (const void *)"" : first.data, first.bytes);
        CHECK(option_check(row, text, &problem) == ERR_OK);
        CHECK(option_assign(table, copy, span_text(row->name), text, "again", &problem) == ERR_OK);
        CHECK(option_format(row, copy, &second, &is_null) == ERR_OK && !is_null);
        CHECK(span_equal(bytebuf_span(&first), bytebuf_span(&second)));
    }
    bytebuf_done(&second);
    bytebuf_done(&first);
}

static void check_values(const struct broker_options *options)
{
    const struct option_table *table = broker_options_table();
    struct broker_options copy;
    broker_options_init(&copy);
    for (size_t i = 0; i < table->row_count; i++) {
        check_range(&table->rows[i], options);
        if (!option_is_default(&table->rows[i], options)) {
            check_value(&table->rows[i], options, &copy);
        }
    }
    broker_options_done(&copy);
}

static void check_listeners(const struct broker_options *options)
{
    struct broker_listeners listeners;
    struct option_problem problem = {0};
    if (broker_listeners_parse(options, &listeners, &problem) != ERR_OK) {
        CHECK(problem.text[0] != '\0');
        return;
    }
    CHECK(listeners.count > 0 && listeners.count <= BROKER_LISTENERS_MAX);
    for (size_t i = 0; i < listeners.count; i++) {
        const struct broker_listener *listener = &listeners.items[i];
        CHECK(listener->name[0] != '\0' && strlen(listener->name) < BROKER_LISTENER_NAME_BYTES);
        CHECK(listener->host[0] != '\0' && strlen(listener->host) < BROKER_LISTENER_HOST_BYTES);
        CHECK(listener->advertised_host[0] != '\0' && strlen(listener->advertised_host) < BROKER_LISTENER_HOST_BYTES);
    }
}

static void check_whole(const struct broker_options *options)
{
    struct option_problem problem = {0};
    check_values(options);
    CHECK(broker_options_check(options, &problem) == ERR_OK || problem.text[0] != '\0');
    check_listeners(options);
    char host[BROKER_LISTENER_HOST_BYTES];
    uint16_t port = 0;
    if (options->http_listener != NULL &&
        broker_listeners_parse_address(span_text(options->http_listener), host, &port) == ERR_OK) {
        CHECK(strlen(host) < sizeof(host));
    }
}

/* ---- texts ---- */

static void try_properties(struct broker_options *options, struct span text)
{
    struct option_problem problem;
    if (option_parse_properties(broker_options_table(), options, text, "fuzz.properties", &problem) == ERR_OK) {
        CHECK(problem.text[0] == '\0');
        check_whole(options);
    } else {
        CHECK(problem.text[0] != '\0');
        check_values(options); /* what came before it is assigned */
    }
}

static void try_environment(struct broker_options *options, struct span text)
{
    const char *environment[FUZZ_VARIABLES_MAX + 1] = {NULL};
    struct option_problem problem;
    char *copy = mem_alloc(text.bytes + 1);
    size_t count = 0;
    memcpy(copy, text.data, text.bytes);
    copy[text.bytes] = '\0';
    for (size_t pos = 0; pos < text.bytes && count < FUZZ_VARIABLES_MAX; pos += strlen(copy + pos) + 1) {
        environment[count++] = copy + pos;
    }
    enum err err = option_parse_environment(broker_options_table(), options, environment, "MOLDAU_", &problem);
    CHECK((err == ERR_OK) == (problem.text[0] == '\0'));
    if (err == ERR_OK) {
        check_whole(options);
    }
    mem_free(copy);
}

static void split(struct span text, struct span *ret_name, struct span *ret_value)
{
    const uint8_t *end = text.bytes == 0 ? NULL : memchr(text.data, '\0', text.bytes);
    size_t name_bytes = end == NULL ? text.bytes : (size_t)(end - text.data);
    size_t value_pos = end == NULL ? text.bytes : name_bytes + 1;
    *ret_name = span_sub(text, 0, name_bytes);
    *ret_value = span_sub(text, value_pos, text.bytes - value_pos);
}

static struct span without_blanks(struct span text)
{
    while (text.bytes > 0 && memchr(" \t\r\n\f\v", text.data[0], 6) != NULL) {
        text = span_sub(text, 1, text.bytes - 1);
    }
    while (text.bytes > 0 && memchr(" \t\r\n\f\v", text.data[text.bytes - 1], 6) != NULL) {
        text = span_sub(text, 0, text.bytes - 1);
    }
    return text;
}

static void try_assignment(struct broker_options *options, struct span text)
{
    struct span name;
    struct span value;
    struct option_problem problem;
    split(text, &name, &value);
    enum err err = option_assign(broker_options_table(), options, name, value, "--set", &problem);
    CHECK((err == ERR_OK) == (problem.text[0] == '\0'));
    const struct option_row *row = option_find(broker_options_table(), without_blanks(name));
    CHECK(err != ERR_OK || row != NULL);
    if (err == ERR_OK && row->type == OPTION_TEXT) {
        const void *member = (const uint8_t *)options + row->offset;
        const char *stored = *(char *const *)member;
        CHECK(stored != NULL && span_equal(without_blanks(span_text(stored)), without_blanks(value)));
    }
    if (err == ERR_OK) {
        check_range(row, options);
        check_value(row, options, options);
        check_listeners(options);
    }
}

static void try_topic_setting(struct span text)
{
    struct span name;
    struct span value;
    struct option_problem problem = {0};
    split(text, &name, &value);
    const struct topic_config_row *row = topic_config_find(name);
    if (row == NULL) {
        (void)topic_config_near(name);
        return;
    }
    enum err err = option_check(&row->row, value, &problem);
    CHECK(err == ERR_OK || problem.text[0] != '\0');
    CHECK(topic_config_kafka_type(&row->row) >= 1 && topic_config_kafka_type(&row->row) <= 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct broker_options options;
    if (bytes == 0) {
        return 0;
    }
    struct span text = span_make(data + 1, bytes - 1);
    broker_options_init(&options);
    switch ((enum option_kind)(data[0] % KIND_COUNT)) {
    case KIND_PROPERTIES:
        try_properties(&options, text);
        break;
    case KIND_ENVIRONMENT:
        try_environment(&options, text);
        break;
    case KIND_ASSIGNMENT:
        try_assignment(&options, text);
        break;
    case KIND_TOPIC_SETTING:
        try_topic_setting(text);
        break;
    case KIND_COUNT:
        UNREACHABLE();
    }
    broker_options_done(&options);
    return 0;
}
