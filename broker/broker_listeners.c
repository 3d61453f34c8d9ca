/* A listener is NAME://host:port; an IPv6 host stands in brackets. */
#include "broker/broker_listeners.h"

#include <stdarg.h>
#include <stdio.h>

static enum err refuse(struct option_problem *ret_problem, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static enum err refuse(struct option_problem *ret_problem, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(ret_problem->text, sizeof(ret_problem->text), format, args);
    va_end(args);
    return ERR_INVALID;
}

static struct span trim(struct span text)
{
    while (text.bytes > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text = span_sub(text, 1, text.bytes - 1);
    }
    while (text.bytes > 0 && (text.data[text.bytes - 1] == ' ' || text.data[text.bytes - 1] == '\t')) {
        text = span_sub(text, 0, text.bytes - 1);
    }
    return text;
}

/* Takes the next comma-separated word off the front; false at the end. */
static bool next_word(struct span *rest, struct span *ret_word)
{
    while (rest->bytes > 0) {
        const uint8_t *comma = memchr(rest->data, ',', rest->bytes);
        size_t word_bytes = comma == NULL ? rest->bytes : (size_t)(comma - rest->data);
        *ret_word = trim(span_sub(*rest, 0, word_bytes));
        size_t used_bytes = comma == NULL ? word_bytes : word_bytes + 1;
        *rest = span_sub(*rest, used_bytes, rest->bytes - used_bytes);
        if (ret_word->bytes > 0) {
            return true;
        }
    }
    return false;
}

static bool copy_text(struct span text, char *ret_text, size_t ret_bytes)
{
    if (text.bytes >= ret_bytes) {
        return false;
    }
    memcpy(ret_text, text.data, text.bytes);
    ret_text[text.bytes] = '\0';
    return true;
}

static bool parse_port(struct span text, uint16_t *ret_port)
{
    unsigned port = 0;
    if (text.bytes == 0 || text.bytes > 5) {
        return false;
    }
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        port = port * 10 + (unsigned)(text.data[i] - '0');
    }
    *ret_port = (uint16_t)port;
    return port <= UINT16_MAX;
}

enum err broker_listeners_parse_address(struct span text, char ret_host[BROKER_LISTENER_HOST_BYTES], uint16_t *ret_port)
{
    size_t colon = text.bytes;
    while (colon > 0 && text.data[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0 || !parse_port(span_sub(text, colon, text.bytes - colon), ret_port)) {
        return ERR_INVALID;
    }
    struct span host = span_sub(text, 0, colon - 1);
    if (host.bytes >= 2 && host.data[0] == '[' && host.data[host.bytes - 1] == ']') {
        host = span_sub(host, 1, host.bytes - 2);
    } else if (host.bytes > 0 && memchr(host.data, ':', host.bytes) != NULL) {
        return ERR_INVALID; /* an IPv6 address without brackets: where its port begins is a guess */
    }
    return copy_text(host, ret_host, BROKER_LISTENER_HOST_BYTES) ? ERR_OK : ERR_INVALID;
}

static bool parse_item(struct span word, struct span *ret_name, char *ret_host, uint16_t *ret_port)
{
    for (size_t i = 0; i + 3 <= word.bytes; i++) {
        if (memcmp(word.data + i, "://", 3) == 0) {
            *ret_name = span_sub(word, 0, i);
            struct span address = span_sub(word, i + 3, word.bytes - i - 3);
            return i > 0 && broker_listeners_parse_address(address, ret_host, ret_port) == ERR_OK;
        }
    }
    return false;
}

static struct broker_listener *find_listener(struct broker_listeners *listeners, struct span name)
{
    for (size_t i = 0; i < listeners->count; i++) {
        if (span_equal_text(name, listeners->items[i].name)) {
            return &listeners->items[i];
        }
    }
    return NULL;
}

/* The security protocol that the map gives to the name; a null span when it has none. */
static struct span protocol_of(const struct broker_options *options, struct span name)
{
    struct span rest = span_text(options->listener_security_protocol_map);
    struct span word;
    while (next_word(&rest, &word)) {
        if (word.bytes > name.bytes && word.data[name.bytes] == ':' && memcmp(word.data, name.data, name.bytes) == 0) {
            return span_sub(word, name.bytes + 1, word.bytes - name.bytes - 1);
        }
    }
    return SPAN_NULL;
}

static enum err check_protocol(const struct broker_options *options, struct span name,
                               struct option_problem *ret_problem)
{
    struct span protocol = protocol_of(options, name);
    if (span_is_null(protocol)) {
        return refuse(ret_problem,
                      "listeners: the listener name %.*s has no security protocol; add %.*s:PLAINTEXT to "
                      "listener.security.protocol.map",
                      (int)name.bytes, (const char *)name.data, (int)name.bytes, (const char *)name.data);
    }
    if (!span_equal_text(protocol, "PLAINTEXT")) {
        return refuse(ret_problem,
                      "listeners: security protocol %.*s of listener %.*s does not exist yet; use PLAINTEXT",
                      (int)protocol.bytes, (const char *)protocol.data, (int)name.bytes, (const char *)name.data);
    }
    return ERR_OK;
}

static enum err add_listener(const struct broker_options *options, struct broker_listeners *listeners, struct span word,
                             struct option_problem *ret_problem)
{
    if (listeners->count == BROKER_LISTENERS_MAX) {
        return refuse(ret_problem, "listeners: more than %d addresses", BROKER_LISTENERS_MAX);
    }
    struct broker_listener *listener = &listeners->items[listeners->count];
    struct span name = SPAN_NULL;
    if (!parse_item(word, &name, listener->host, &listener->port) ||
        !copy_text(name, listener->name, sizeof(listener->name))) {
        return refuse(ret_problem, "listeners: \"%.*s\" is not NAME://host:port, as in PLAINTEXT://127.0.0.1:9092",
                      (int)word.bytes, (const char *)word.data);
    }
    if (find_listener(listeners, name) != NULL) {
        return refuse(ret_problem, "listeners: the name %s is used twice; give each listener its own", listener->name);
    }
    enum err err = check_protocol(options, name, ret_problem);
    if (err != ERR_OK) {
        return err;
    }
    if (listener->host[0] == '\0') {
        (void)snprintf(listener->host, sizeof(listener->host), "%s", BROKER_LISTENER_ANY_HOST);
    }
    memcpy(listener->advertised_host, listener->host, sizeof(listener->host));
    listener->advertised_port = listener->port;
    listener->is_internal = strcmp(listener->name, BROKER_LISTENER_INTERNAL) == 0;
    listeners->count++;
    return ERR_OK;
}

static enum err advertise(struct broker_listeners *listeners, struct span word, struct option_problem *ret_problem)
{
    struct span name = SPAN_NULL;
    char host[BROKER_LISTENER_HOST_BYTES];
    uint16_t port = 0;
    if (!parse_item(word, &name, host, &port) || host[0] == '\0') {
        return refuse(ret_problem,
                      "advertised.listeners: \"%.*s\" is not NAME://host:port, as in PLAINTEXT://broker1.example:9092",
                      (int)word.bytes, (const char *)word.data);
    }
    struct broker_listener *listener = find_listener(listeners, name);
    if (listener == NULL) {
        return refuse(ret_problem, "advertised.listeners: there is no listener %.*s; listeners must name it too",
                      (int)name.bytes, (const char *)name.data);
    }
    memcpy(listener->advertised_host, host, sizeof(host));
    listener->advertised_port = port;
    return ERR_OK;
}

static enum err check_listener(const struct broker_listener *listener, struct option_problem *ret_problem)
{
    bool is_any = strcmp(listener->advertised_host, BROKER_LISTENER_ANY_HOST) == 0 ||
                  strcmp(listener->advertised_host, "::") == 0;
    if (is_any && listener->is_internal) {
        return refuse(ret_problem, "listeners: INTERNAL needs an explicit address, as in INTERNAL://127.0.0.1:9093");
    }
    if (is_any) {
        return refuse(ret_problem,
                      "listeners: %s listens on every address, so clients must be told which to use: set "
                      "advertised.listeners=%s://HOST:%u",
                      listener->name, listener->name, (unsigned)listener->port);
    }
    return ERR_OK;
}

enum err broker_listeners_parse(const struct broker_options *options, struct broker_listeners *ret_listeners,
                                struct option_problem *ret_problem)
{
    struct broker_listeners listeners = {0};
    struct span rest = span_text(options->listeners);
    struct span word;
    enum err err = ERR_OK;
    while (err == ERR_OK && next_word(&rest, &word)) {
        err = add_listener(options, &listeners, word, ret_problem);
    }
    rest = span_text(options->advertised_listeners);
    while (err == ERR_OK && next_word(&rest, &word)) {
        err = advertise(&listeners, word, ret_problem);
    }
    size_t client_count = 0;
    for (size_t i = 0; err == ERR_OK && i < listeners.count; i++) {
        err = check_listener(&listeners.items[i], ret_problem);
        client_count += listeners.items[i].is_internal ? 0 : 1;
    }
    if (err == ERR_OK && client_count == 0 && broker_options_is_broker(options)) {
        err = refuse(ret_problem, "listeners: there is no address for clients, as in PLAINTEXT://127.0.0.1:9092");
    }
    if (err == ERR_OK) {
        *ret_listeners = listeners;
    }
    return err;
}

const struct broker_listener *broker_listeners_internal(const struct broker_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        if (listeners->items[i].is_internal) {
            return &listeners->items[i];
        }
    }
    return NULL;
}
