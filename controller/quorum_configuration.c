/* Configurations as bytes, in libraft's own encoding (src/configuration.c), which is what its entries and snapshots hold:
 *     version (1): 1, member count (8), then per member: raft id (8), address with its terminator, role (1); zeros up to a multiple of 8.
 * Numbers are little-endian. libraft's decoder trusts every length, so nothing reaches it that this one has not accepted. */
#include "common/mem.h"
#include "controller/quorum_private.h"

#include <stdlib.h>

#define CONFIGURATION_VERSION 1
#define CONFIGURATION_HEAD_BYTES 9
#define ROLE_MAX RAFT_SPARE

static uint64_t le64_get(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static enum quorum_role role_from_raft(int role)
{
    return role == RAFT_VOTER ? QUORUM_VOTER : role == RAFT_STANDBY ? QUORUM_STANDBY : QUORUM_SPARE;
}

static int role_to_raft(enum quorum_role role)
{
    switch (role) {
    case QUORUM_VOTER:
        return RAFT_VOTER;
    case QUORUM_STANDBY:
        return RAFT_STANDBY;
    case QUORUM_SPARE:
        return RAFT_SPARE;
    }
    UNREACHABLE();
}

/* No id and no address twice, nothing empty, nothing too long, somebody votes. */
static bool is_sound(const struct quorum_member *members, uint32_t count)
{
    bool has_voter = false;
    for (uint32_t i = 0; i < count; i++) {
        size_t address_bytes = strlen(members[i].address) + 1;
        if (members[i].raft_id == 0 || address_bytes == 1 || address_bytes > QUORUM_ADDRESS_BYTES_MAX) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (members[j].raft_id == members[i].raft_id || strcmp(members[j].address, members[i].address) == 0) {
                return false;
            }
        }
        has_voter = has_voter || members[i].role == QUORUM_VOTER;
    }
    return has_voter && count <= QUORUM_MEMBERS_MAX;
}

static int order_members(const void *left, const void *right)
{
    uint64_t a = ((const struct quorum_member *)left)->raft_id;
    uint64_t b = ((const struct quorum_member *)right)->raft_id;
    return (a > b) - (a < b);
}

enum err quorum_configuration_encode(const struct quorum_member *members, uint32_t count, struct bytebuf *ret_bytes)
{
    if (count == 0 || count > QUORUM_MEMBERS_MAX || !is_sound(members, count)) {
        return ERR_INVALID;
    }
    struct quorum_member sorted[QUORUM_MEMBERS_MAX];
    memcpy(sorted, members, count * sizeof(members[0]));
    qsort(sorted, count, sizeof(sorted[0]), order_members);
    quorum_use_own_heap();
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (uint32_t i = 0; i < count; i++) {
        int result =
            raft_configuration_add(&configuration, sorted[i].raft_id, sorted[i].address, role_to_raft(sorted[i].role));
        CHECK(result == 0);
    }
    struct raft_buffer encoded;
    CHECK(raft_configuration_encode(&configuration, &encoded) == 0);
    raft_configuration_close(&configuration);
    enum err err = bytebuf_append(ret_bytes, span_make(encoded.base, encoded.len));
    raft_free(encoded.base);
    return err;
}

enum err quorum_configuration_decode(struct span bytes, struct quorum_member *ret_members, uint32_t *ret_count)
{
    if (bytes.bytes < CONFIGURATION_HEAD_BYTES || bytes.data[0] != CONFIGURATION_VERSION) {
        return ERR_MALFORMED;
    }
    uint64_t count = le64_get(bytes.data + 1);
    if (count == 0 || count > QUORUM_MEMBERS_MAX) {
        return ERR_MALFORMED;
    }
    size_t pos = CONFIGURATION_HEAD_BYTES;
    for (uint64_t i = 0; i < count; i++) {
        if (bytes.bytes - pos < 8) {
            return ERR_MALFORMED;
        }
        ret_members[i].raft_id = le64_get(bytes.data + pos);
        pos += 8;
        const uint8_t *end = (const uint8_t *)memchr(bytes.data + pos, 0, bytes.bytes - pos);
        if (end == NULL || end + 1 == bytes.data + bytes.bytes || end[1] > ROLE_MAX) {
            return ERR_MALFORMED;
        }
        ret_members[i].address = (const char *)bytes.data + pos;
        ret_members[i].role = role_from_raft(end[1]);
        pos = (size_t)(end - bytes.data) + 2;
    }
    for (size_t i = pos; i < bytes.bytes; i++) {
        if (bytes.data[i] != 0) {
            return ERR_MALFORMED;
        }
    }
    if (bytes.bytes - pos >= 8 || !is_sound(ret_members, (uint32_t)count)) {
        return ERR_MALFORMED;
    }
    *ret_count = (uint32_t)count;
    return ERR_OK;
}

enum err quorum_first_configuration(uint64_t member_id, const char *address, struct bytebuf *ret_bytes)
{
    struct quorum_member member = {.raft_id = member_id, .address = address, .role = QUORUM_VOTER};
    return quorum_configuration_encode(&member, 1, ret_bytes);
}

enum err quorum_configuration_to_raft(struct span bytes, struct raft_configuration *ret_configuration)
{
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = 0;
    struct raft_buffer encoded = {(void *)(uintptr_t)bytes.data, bytes.bytes};
    enum err err = quorum_configuration_decode(bytes, members, &count);
    if (err == ERR_OK && raft_configuration_decode(&encoded, ret_configuration) != 0) {
        err = ERR_MALFORMED;
    }
    return err;
}

uint32_t quorum_configuration_members(const struct raft_configuration *configuration,
                                      struct quorum_member ret_members[QUORUM_MEMBERS_MAX])
{
    uint32_t count = 0;
    for (; count < configuration->n && count < QUORUM_MEMBERS_MAX; count++) {
        const struct raft_server *server = &configuration->servers[count];
        ret_members[count] = (struct quorum_member){
            .raft_id = server->id, .address = server->address, .role = role_from_raft(server->role)};
    }
    return count;
}

const struct raft_server *quorum_configuration_find(const struct raft_configuration *configuration, uint64_t member_id)
{
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == member_id) {
            return &configuration->servers[i];
        }
    }
    return NULL;
}

uint32_t quorum_configuration_voters(const struct raft_configuration *configuration)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < configuration->n; i++) {
        count += configuration->servers[i].role == RAFT_VOTER;
    }
    return count;
}
