#include "common/posix/http_guard.h"

#include "common/mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HOST_BYTES_MAX 256 /* of a name; DNS allows 253 */

void http_guard_init(struct http_guard *guard, const char *const *hosts, size_t host_count)
{
    guard->hosts = mem_array(host_count, sizeof(*guard->hosts));
    guard->host_count = host_count;
    for (size_t i = 0; i < host_count; i++) {
        guard->hosts[i] = mem_strdup(hosts[i]);
    }
}

void http_guard_done(struct http_guard *guard)
{
    for (size_t i = 0; i < guard->host_count; i++) {
        mem_free(guard->hosts[i]);
    }
    mem_free(guard->hosts);
}

/* Cuts port and brackets off; false when that leaves nothing that could be a host. */
static bool host_name(const char *host, char ret_name[HOST_BYTES_MAX])
{
    const char *start = host;
    size_t bytes = strcspn(host, ":");
    const char *rest = host + bytes;
    if (host[0] == '[') {
        start = host + 1;
        bytes = strcspn(start, "]");
        if (start[bytes] != ']') {
            return false;
        }
        rest = start + bytes + 1;
    } else if (strchr(host, ':') != strrchr(host, ':')) {
        bytes = strlen(host); /* a bare IPv6 address, as evhttp gives it for absolute targets */
        rest = host + bytes;
    }
    bool is_port = rest[0] == '\0' || (rest[0] == ':' && strspn(rest + 1, "0123456789") == strlen(rest + 1));
    if (bytes == 0 || bytes >= HOST_BYTES_MAX || !is_port) {
        return false;
    }
    memcpy(ret_name, start, bytes);
    ret_name[bytes] = '\0';
    return true;
}

bool http_guard_allows_host(const struct http_guard *guard, const char *host)
{
    char name[HOST_BYTES_MAX];
    struct in6_addr address;
    if (host == NULL || !host_name(host, name)) {
        return false;
    }
    if (strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &address) == 1 ||
        inet_pton(AF_INET6, name, &address) == 1) {
        return true;
    }
    for (size_t i = 0; i < guard->host_count; i++) {
        if (strcasecmp(name, guard->hosts[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool http_guard_is_same_origin(const char *host, const char *origin)
{
    const char *authority = strncasecmp(origin, "http://", 7) == 0    ? origin + 7
                            : strncasecmp(origin, "https://", 8) == 0 ? origin + 8
                                                                      : NULL; /* "null" and others */
    return authority != NULL && host != NULL && strcasecmp(authority, host) == 0;
}
