#include "common/posix/posix_net.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

static void addresses_add(struct posix_addresses *addresses, const struct addrinfo *list, int family)
{
    for (const struct addrinfo *info = list; info != NULL; info = info->ai_next) {
        if (info->ai_family == family && addresses->count < CONNECT_ADDRESSES_MAX &&
            info->ai_addrlen <= sizeof(struct sockaddr_storage)) {
            struct posix_address *address = &addresses->items[addresses->count++];
            *address = (struct posix_address){.bytes = info->ai_addrlen};
            memcpy(&address->storage, info->ai_addr, info->ai_addrlen);
        }
    }
}

enum err posix_address_resolve(const char *host, uint16_t port, bool is_numeric, bool is_passive,
                               struct posix_addresses *ret_addresses)
{
    char port_text[8];
    (void)snprintf(port_text, sizeof(port_text), "%u", (unsigned)port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV | (is_numeric ? AI_NUMERICHOST : 0) | (is_passive ? AI_PASSIVE : 0),
    };
    struct addrinfo *list = NULL;
    if (getaddrinfo(host, port_text, &hints, &list) != 0) {
        return ERR_ADDRESS_UNKNOWN;
    }
    struct posix_addresses addresses = {.count = 0};
    addresses_add(&addresses, list, AF_INET);
    addresses_add(&addresses, list, AF_INET6);
    freeaddrinfo(list);
    if (addresses.count == 0) {
        return ERR_ADDRESS_UNKNOWN;
    }
    *ret_addresses = addresses;
    return ERR_OK;
}

void posix_address_text(const struct posix_address *address, struct net_address *ret_address)
{
    *ret_address = (struct net_address){.host = "", .port = 0};
    if (address->storage.ss_family == AF_INET) {
        struct sockaddr_in ipv4;
        memcpy(&ipv4, &address->storage, sizeof(ipv4));
        (void)inet_ntop(AF_INET, &ipv4.sin_addr, ret_address->host, sizeof(ret_address->host));
        ret_address->port = ntohs(ipv4.sin_port);
    } else if (address->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 ipv6;
        memcpy(&ipv6, &address->storage, sizeof(ipv6));
        if (IN6_IS_ADDR_V4MAPPED(&ipv6.sin6_addr)) {
            (void)inet_ntop(AF_INET, &ipv6.sin6_addr.s6_addr[12], ret_address->host, sizeof(ret_address->host));
        } else {
            (void)inet_ntop(AF_INET6, &ipv6.sin6_addr, ret_address->host, sizeof(ret_address->host));
        }
        ret_address->port = ntohs(ipv6.sin6_port);
    }
}
