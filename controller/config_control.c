#include "controller/config_control.h"

#include "controller/topic_config.h"

#include <inttypes.h>
#include <stdlib.h>

/* Kafka's ConfigResource types beyond ours (enum image_config_type). */
#define RESOURCE_BROKER_LOGGER 8
#define RESOURCE_CLIENT_METRICS 16
#define RESOURCE_GROUP 32

#define CHANGES_MAX 1000 /* of one resource in one request */
#define VALUE_BYTES_MAX 32767

/* The changes of one resource, being put together. */
struct edit {
    struct decision *decision;
    struct decision_result *result;
    enum image_config_type type;
    struct span name;
    bool is_creation; /* of a topic: the last of equal names counts, as in a map */
    const struct image_config *before;
    struct image_config_entry *set;
    size_t set_count;
    struct span *removed;
    size_t removed_count;
};

static bool edit_init(struct edit *edit, struct decision *decision, enum image_config_type type, struct span name,
                      size_t change_count, struct decision_result *result)
{
    *edit = (struct edit){.decision = decision, .result = result, .type = type, .name = name};
    if (change_count > CHANGES_MAX) {
        return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                               "%zu settings of one resource in one request; at most %d are possible.", change_count,
                               CHANGES_MAX);
    }
    edit->before = image_find_config(decision->image, type, name);
    size_t before_count = edit->before == NULL ? 0 : edit->before->entry_count;
    edit->set = (struct image_config_entry *)arena_array(decision->arena, change_count + 1, sizeof(edit->set[0]));
    edit->removed =
        (struct span *)arena_array(decision->arena, change_count + before_count + 1, sizeof(edit->removed[0]));
    CHECK(edit->set != NULL && edit->removed != NULL);
    return true;
}

/* What elections and ELRs follow must be the same for whoever leads (KIP-966 has the same rule for min.insync.replicas). */
static bool is_decided_upon(struct span key)
{
    return span_equal_text(key, "min.insync.replicas") || span_equal_text(key, "log.durability") ||
           span_equal_text(key, "unclean.leader.election.enable");
}

/* The row of a setting that may be changed, or NULL with the result set. */
static const struct option_row *find_row(struct edit *edit, struct span key)
{
    if (edit->type == IMAGE_CONFIG_TOPIC) {
        const struct topic_config_row *row = topic_config_find(key);
        if (row == NULL) {
            const struct topic_config_row *near = topic_config_near(key);
            (void)decision_refuse(edit->decision, edit->result, ERROR_INVALID_CONFIG,
                                  near == NULL ? "Unknown topic config name: %.*s. `moldau server --help` lists them%s."
                                               : "Unknown topic config name: %.*s; did you mean %s?",
                                  DECISION_TEXT(key), near == NULL ? "" : near->row.name);
            return NULL;
        }
        return &row->row;
    }
    if (edit->name.bytes > 0 && is_decided_upon(key)) {
        (void)decision_refuse(
            edit->decision, edit->result, ERROR_INVALID_CONFIG,
            "Broker config %.*s can't be set for a single broker, because the controller decides by it: set it "
            "for all brokers (no name), or for a topic.",
            DECISION_TEXT(key));
        return NULL;
    }
    const struct option_table *table = edit->decision->defaults->broker_options;
    const struct option_row *row = table == NULL ? NULL : option_find(table, key);
    if (row == NULL || row->change == OPTION_AT_START || (row->change == OPTION_PER_BROKER && edit->name.bytes == 0)) {
        (void)decision_refuse(edit->decision, edit->result, row == NULL ? ERROR_INVALID_CONFIG : ERROR_INVALID_REQUEST,
                              "Broker config %.*s %s.", DECISION_TEXT(key),
                              row == NULL ? "does not exist"
                              : row->change == OPTION_AT_START
                                  ? "can't be changed while the broker runs: set it in the "
                                    "server's properties and restart"
                                  : "can only be set for a single broker");
        return NULL;
    }
    return row;
}

static bool check_value(struct edit *edit, const struct option_row *row, struct span value)
{
    struct option_problem problem;
    if (value.bytes > VALUE_BYTES_MAX || memchr(value.data, 0, value.bytes) != NULL) {
        return decision_refuse(edit->decision, edit->result, ERROR_INVALID_CONFIG,
                               "The value of %s is longer than %d bytes or has a NUL in it.", row->name,
                               VALUE_BYTES_MAX);
    }
    if (option_check(row, value, &problem) != ERR_OK) {
        return decision_refuse(edit->decision, edit->result, ERROR_INVALID_CONFIG, "%s", problem.text);
    }
    return true;
}

static bool is_word_in(struct span list, struct span word)
{
    size_t start = 0;
    for (size_t i = 0; i <= list.bytes; i++) {
        if (i == list.bytes || list.data[i] == ',') {
            if (span_equal(span_sub(list, start, i - start), word)) {
                return true;
            }
            start = i + 1;
        }
    }
    return false;
}

/* The list with the words of `value` added, or without them; each word once. */
static struct span edit_list(struct edit *edit, struct span list, struct span value, bool is_added)
{
    uint8_t *text = (uint8_t *)arena_alloc(edit->decision->arena, list.bytes + value.bytes + 2);
    CHECK(text != NULL);
    size_t bytes = 0;
    struct span sources[2] = {list, value};
    for (int s = 0; s < (is_added ? 2 : 1); s++) {
        size_t start = 0;
        for (size_t i = 0; i <= sources[s].bytes; i++) {
            if (i < sources[s].bytes && sources[s].data[i] != ',') {
                continue;
            }
            struct span word = span_sub(sources[s], start, i - start);
            start = i + 1;
            bool is_left_out =
                is_added ? bytes > 0 && is_word_in(span_make(text, bytes), word) : is_word_in(value, word);
            if (word.bytes == 0 || is_left_out) {
                continue;
            }
            if (bytes > 0) {
                text[bytes++] = ',';
            }
            memcpy(text + bytes, word.data, word.bytes);
            bytes += word.bytes;
        }
    }
    return span_make(text, bytes);
}

static bool add_set(struct edit *edit, const struct option_row *row, struct span key, struct span value)
{
    if (!check_value(edit, row, value)) {
        return false;
    }
    edit->set[edit->set_count++] = (struct image_config_entry){key, value};
    return true;
}

/* Append and subtract work on the value that is set, else on the default. */
static bool apply_list_operation(struct edit *edit, const struct option_row *row, const struct config_change *change)
{
    if (row->type != OPTION_LIST) {
        return decision_refuse(edit->decision, edit->result, ERROR_INVALID_CONFIG,
                               "Can't %s to %s: it is not a list. Set the whole value instead.",
                               change->operation == CONFIG_APPEND ? "append" : "subtract", row->name);
    }
    struct span current = image_config_value(edit->before, row->name);
    if (span_is_null(current)) {
        current = span_text(row->default_text == NULL ? "" : row->default_text);
    }
    struct span value = edit_list(edit, current, change->value, change->operation == CONFIG_APPEND);
    return add_set(edit, row, change->name, value);
}

/* Takes out what was set under the name before: at a topic's creation the last one counts. */
static void forget_set(struct edit *edit, struct span name)
{
    for (size_t i = 0; i < edit->set_count; i++) {
        if (span_equal(edit->set[i].key, name)) {
            memmove(&edit->set[i], &edit->set[i + 1], (edit->set_count - i - 1) * sizeof(edit->set[0]));
            edit->set_count--;
            return;
        }
    }
}

static bool is_named_already(const struct edit *edit, struct span name)
{
    for (size_t i = 0; i < edit->set_count; i++) {
        if (span_equal(edit->set[i].key, name)) {
            return true;
        }
    }
    for (size_t i = 0; i < edit->removed_count; i++) {
        if (span_equal(edit->removed[i], name)) {
            return true;
        }
    }
    return false;
}

static bool apply_change(struct edit *edit, const struct config_change *change)
{
    if (edit->is_creation) {
        forget_set(edit, change->name);
    } else if (is_named_already(edit, change->name)) {
        return decision_refuse(edit->decision, edit->result, ERROR_INVALID_REQUEST, "Config %.*s is named twice.",
                               DECISION_TEXT(change->name));
    }
    if (change->operation == CONFIG_DELETE) {
        edit->removed[edit->removed_count++] = change->name; /* also of names that are not known, or not any more */
        return true;
    }
    const struct option_row *row = find_row(edit, change->name);
    if (row == NULL) {
        return false;
    }
    if (span_is_null(change->value)) {
        return decision_refuse(
            edit->decision, edit->result, edit->is_creation ? ERROR_INVALID_CONFIG : ERROR_INVALID_REQUEST,
            "No value for config %.*s: delete it to return to the default.", DECISION_TEXT(change->name));
    }
    switch (change->operation) {
    case CONFIG_SET:
        return add_set(edit, row, change->name, change->value);
    case CONFIG_APPEND:
    case CONFIG_SUBTRACT:
        return apply_list_operation(edit, row, change);
    default:
        return decision_refuse(edit->decision, edit->result, ERROR_INVALID_REQUEST,
                               "Operation %d is none of 0 (set), 1 (delete), 2 (append), 3 (subtract).",
                               change->operation);
    }
}

/* The value of `key` after the edit, else `fallback`. */
static struct span edited_value(const struct edit *edit, const char *key, const char *fallback)
{
    for (size_t i = 0; i < edit->set_count; i++) {
        if (span_equal_text(edit->set[i].key, key)) {
            return edit->set[i].value;
        }
    }
    for (size_t i = 0; i < edit->removed_count; i++) {
        if (span_equal_text(edit->removed[i], key)) {
            return span_text(fallback);
        }
    }
    struct span value = image_config_value(edit->before, key);
    return span_is_null(value) ? span_text(fallback) : value;
}

/* Rules over several settings of a topic. */
static bool check_together(struct edit *edit)
{
    if (edit->type != IMAGE_CONFIG_TOPIC) {
        return true;
    }
    if (span_equal_text(edited_value(edit, "remote.storage.enable", "false"), "true")) {
        return decision_refuse(edit->decision, edit->result, ERROR_INVALID_CONFIG,
                               "remote.storage.enable can't be true: this cluster has no remote storage.");
    }
    return true;
}

static bool check_resource(struct decision *decision, int8_t resource_type, struct span name,
                           struct decision_result *result)
{
    if (resource_type == IMAGE_CONFIG_TOPIC) {
        if (name.bytes == 0) {
            return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                                   "Configs that hold for all topics are set on the brokers: no topic was named.");
        }
        if (image_find_topic(decision->image, name) == NULL) {
            return decision_refuse(decision, result, ERROR_UNKNOWN_TOPIC_OR_PARTITION, "Topic %.*s does not exist.",
                                   DECISION_TEXT(name));
        }
        return true;
    }
    if (resource_type == IMAGE_CONFIG_BROKER) {
        bool is_number = name.bytes <= 10;
        int64_t id = 0;
        for (size_t i = 0; i < name.bytes && is_number; i++) {
            is_number = name.data[i] >= '0' && name.data[i] <= '9';
            id = id * 10 + (name.data[i] - '0');
        }
        if (!is_number) {
            return decision_refuse(
                decision, result, ERROR_INVALID_REQUEST,
                "A broker resource is named by its node id, or by nothing for all brokers; got %.*s.",
                DECISION_TEXT(name));
        }
        if (name.bytes > 0 && (id > INT32_MAX || image_find_broker(decision->image, (int32_t)id) == NULL)) {
            return decision_refuse(decision, result, ERROR_INVALID_REQUEST, "No broker has the id %.*s.",
                                   DECISION_TEXT(name));
        }
        return true;
    }
    bool is_later = resource_type == RESOURCE_BROKER_LOGGER || resource_type == RESOURCE_CLIENT_METRICS ||
                    resource_type == RESOURCE_GROUP;
    return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                           is_later ? "Configs of resource type %d are not supported by this version."
                                    : "Resource type %d does not exist.",
                           resource_type);
}

static void write_edit(const struct edit *edit)
{
    if (edit->set_count > 0 || edit->removed_count > 0) {
        meta_add_config_change(edit->decision->records, edit->type, edit->name, edit->set, edit->set_count,
                               edit->removed, edit->removed_count);
    }
}

bool config_control_create(struct decision *decision, struct span topic_name, const struct config_change *changes,
                           size_t change_count, struct decision_result *ret_result)
{
    struct edit edit;
    if (!edit_init(&edit, decision, IMAGE_CONFIG_TOPIC, topic_name, change_count, ret_result)) {
        return false;
    }
    edit.is_creation = true;
    for (size_t i = 0; i < change_count; i++) {
        if (!apply_change(&edit, &changes[i])) {
            return false;
        }
    }
    if (!check_together(&edit)) {
        return false;
    }
    write_edit(&edit);
    return true;
}

bool config_control_change(struct decision *decision, int8_t resource_type, struct span resource_name,
                           const struct config_change *changes, size_t change_count, struct decision_result *ret_result)
{
    struct edit edit;
    if (!check_resource(decision, resource_type, resource_name, ret_result) ||
        !edit_init(&edit, decision, (enum image_config_type)resource_type, resource_name, change_count, ret_result)) {
        return false;
    }
    for (size_t i = 0; i < change_count; i++) {
        if (!apply_change(&edit, &changes[i])) {
            return false;
        }
    }
    if (!check_together(&edit)) {
        return false;
    }
    write_edit(&edit);
    return true;
}

bool config_control_replace(struct decision *decision, int8_t resource_type, struct span resource_name,
                            const struct config_change *changes, size_t change_count,
                            struct decision_result *ret_result)
{
    struct edit edit;
    if (!check_resource(decision, resource_type, resource_name, ret_result) ||
        !edit_init(&edit, decision, (enum image_config_type)resource_type, resource_name, change_count, ret_result)) {
        return false;
    }
    for (size_t i = 0; i < change_count; i++) {
        if (!apply_change(&edit, &changes[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; edit.before != NULL && i < edit.before->entry_count; i++) {
        bool is_named = false;
        for (size_t j = 0; j < edit.set_count; j++) {
            is_named = is_named || span_equal(edit.set[j].key, edit.before->entries[i].key);
        }
        if (!is_named) {
            edit.removed[edit.removed_count++] = edit.before->entries[i].key;
        }
    }
    if (!check_together(&edit)) {
        return false;
    }
    write_edit(&edit);
    return true;
}

/* ---- what is in effect ---- */

static struct span effective_value(const struct image *image, struct span topic_name, const char *key)
{
    struct span value = image_topic_config_value(image, topic_name, key);
    const struct topic_config_row *row = topic_config_find(span_text(key));
    if (span_is_null(value) && row != NULL && row->synonym[0] != '\0') {
        value = image_config_value(image_find_config(image, IMAGE_CONFIG_BROKER, span_text("")), row->synonym);
    }
    return value;
}

int64_t config_control_topic_number(const struct image *image, struct span topic_name, const char *key,
                                    int64_t fallback)
{
    struct span value = effective_value(image, topic_name, key);
    return span_is_null(value) ? fallback : strtoll((const char *)value.data, NULL, 10);
}

bool config_control_topic_is(const struct image *image, struct span topic_name, const char *key, const char *value,
                             bool fallback)
{
    struct span text = effective_value(image, topic_name, key);
    return span_is_null(text) ? fallback : span_equal_text(text, value);
}
