/* controller.quorum.voters: "id@host:port,...". */
#include "controller/controller_client.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static enum err refuse(struct option_problem *problem, const char *format, ...) __attribute__((format(printf, 2, 3)));

static enum err refuse(struct option_problem *problem, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(problem->text, sizeof(problem->text), format, arguments);
    va_end(arguments);
    return ERR_INVALID;
}

/* Digits only, at most `max`. */
static bool parse_number(struct span text, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
        if (value > max) {
            return false;
        }
    }
    *ret_value = value;
    return text.bytes > 0;
}

/* A name or a number, printable. */
static bool is_host(struct span host)
{
    for (size_t i = 0; i < host.bytes; i++) {
        if (host.data[i] <= ' ' || host.data[i] > '~' || host.data[i] == '/' || host.data[i] == '@') {
            return false;
        }
    }
    return host.bytes > 0 && host.bytes < CONTROLLER_HOST_BYTES;
}

enum err controller_address_parse(struct span text, char ret_host[CONTROLLER_HOST_BYTES], uint16_t *ret_port)
{
    const uint8_t *colon = text.bytes == 0 ? NULL : (const uint8_t *)memrchr(text.data, ':', text.bytes);
    if (colon == NULL) {
        return ERR_INVALID;
    }
    size_t host_bytes = (size_t)(colon - text.data);
    uint64_t port = 0;
    bool is_port = parse_number(span_sub(text, host_bytes + 1, text.bytes - host_bytes - 1), UINT16_MAX, &port);
    struct span host = span_sub(text, 0, host_bytes);
    if (host.bytes > 2 && host.data[0] == '[' && host.data[host.bytes - 1] == ']') {
        host = span_sub(host, 1, host.bytes - 2); /* an IPv6 address */
    }
    if (!is_port || port == 0 || !is_host(host)) {
        return ERR_INVALID;
    }
    memcpy(ret_host, host.data, host.bytes);
    ret_host[host.bytes] = '\0';
    *ret_port = (uint16_t)port;
    return ERR_OK;
}

static enum err parse_voter(struct span text, struct controller_voter *ret_voter)
{
    const uint8_t *at = text.bytes == 0 ? NULL : (const uint8_t *)memchr(text.data, '@', text.bytes);
    uint64_t id = 0;
    if (at == NULL || !parse_number(span_sub(text, 0, (size_t)(at - text.data)), INT32_MAX, &id)) {
        return ERR_INVALID;
    }
    size_t start = (size_t)(at - text.data) + 1;
    ret_voter->node_id = (int32_t)id;
    return controller_address_parse(span_sub(text, start, text.bytes - start), ret_voter->host, &ret_voter->port);
}

/* The next item of the list without blanks around it; moves *list behind it. *ret_has_more: a comma follows. */
static struct span next_item(struct span *list, bool *ret_has_more)
{
    const uint8_t *comma = list->bytes == 0 ? NULL : (const uint8_t *)memchr(list->data, ',', list->bytes);
    size_t bytes = comma == NULL ? list->bytes : (size_t)(comma - list->data);
    struct span item = span_sub(*list, 0, bytes);
    size_t used = comma == NULL ? bytes : bytes + 1;
    *ret_has_more = comma != NULL;
    *list = span_sub(*list, used, list->bytes - used);
    while (item.bytes > 0 && item.data[0] == ' ') {
        item = span_sub(item, 1, item.bytes - 1);
    }
    while (item.bytes > 0 && item.data[item.bytes - 1] == ' ') {
        item.bytes--;
    }
    return item;
}

enum err controller_voters_parse(struct span text, struct controller_voter *ret_voters, uint32_t *ret_count,
                                 struct option_problem *ret_problem)
{
    struct controller_voter voters[CONTROLLER_VOTERS_MAX];
    uint32_t count = 0;
    struct span list = text;
    bool has_more = false;
    if (text.bytes == 0) {
        return refuse(ret_problem, "controller.quorum.voters is empty; it must be id@host:port,...");
    }
    do {
        struct span item = next_item(&list, &has_more);
        if (count == CONTROLLER_VOTERS_MAX) {
            return refuse(ret_problem, "controller.quorum.voters names more than %d voters", CONTROLLER_VOTERS_MAX);
        }
        struct controller_voter *voter = &voters[count];
        *voter = (struct controller_voter){0};
        if (parse_voter(item, voter) != ERR_OK) {
            return refuse(ret_problem, "controller.quorum.voters has \"%.*s\"; each voter must be id@host:port",
                          (int)(item.bytes < 300 ? item.bytes : 300), (const char *)item.data);
        }
        for (uint32_t i = 0; i < count; i++) {
            if (voters[i].node_id == voter->node_id) {
                return refuse(ret_problem, "controller.quorum.voters names node %" PRId32 " twice", voter->node_id);
            }
            if (voters[i].port == voter->port && strcmp(voters[i].host, voter->host) == 0) {
                return refuse(ret_problem, "controller.quorum.voters names the address %s:%u twice", voter->host,
                              (unsigned)voter->port);
            }
        }
        count++;
    } while (has_more);
    memcpy(ret_voters, voters, count * sizeof(voters[0]));
    *ret_count = count;
    return ERR_OK;
}
