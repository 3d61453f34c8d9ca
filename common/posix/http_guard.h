/* http_guard: under which names the HTTP server lets itself be called. A browser tells the name in Host; a page of an
 * attacker whose name was made to point to this machine (DNS rebinding) shows up with the attacker's name.
 *
 * Ownership: copies the names.
 * Threads:   a value.
 * Source:    RFC 9110 7.2 (Host), RFC 6454 (Origin).
 */
#ifndef COMMON_POSIX_HTTP_GUARD_H
#define COMMON_POSIX_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>

struct http_guard {
    char **hosts;
    size_t host_count;
};

void http_guard_init(struct http_guard *guard, const char *const *hosts, size_t host_count);
void http_guard_done(struct http_guard *guard);
/* `host`: "name", "name:port", "1.2.3.4:80", "[::1]:80"; NULL (no header) is refused. */
bool http_guard_allows_host(const struct http_guard *guard, const char *host);
/* Whether "http://host:port" or "https://host:port" names exactly `host`. */
bool http_guard_is_same_origin(const char *host, const char *origin);

#endif
