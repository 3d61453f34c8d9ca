/* fuzz_quorum_message: bytes that claim to be a message of the consensus, or a configuration.
 *
 * Input:     bytes 0-1: how many of the rest are the header (big-endian); what follows it is the body. 0xffff: the rest is a configuration.
 * Asserts:   what decodes encodes to the same bytes (but for flags that its type does not have); what a message holds keeps the rules that
 *            libraft, without its assertions, relies on; a configuration that decodes encodes, and decodes again to the same
 *            members, in the order of their ids.
 */
#include "common/big_endian.h"
#include "common/mem.h"
#include "controller/quorum_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define FLAGS_POS 3
#define CONFIGURATION_MARK 0xffff

static bool holds(const struct quorum_member *members, uint32_t count, const struct quorum_member *wanted)
{
    for (uint32_t i = 0; i < count; i++) {
        if (members[i].raft_id == wanted->raft_id) {
            return members[i].role == wanted->role && strcmp(members[i].address, wanted->address) == 0;
        }
    }
    return false;
}

static void check_configuration(struct span bytes)
{
    struct quorum_member first[QUORUM_MEMBERS_MAX];
    struct quorum_member second[QUORUM_MEMBERS_MAX];
    struct bytebuf again;
    uint32_t count = 0;
    uint32_t again_count = 0;
    if (quorum_configuration_decode(bytes, first, &count) != ERR_OK) {
        return;
    }
    CHECK(count > 0 && count <= QUORUM_MEMBERS_MAX);
    bytebuf_init(&again, QUORUM_ENTRY_BYTES_MAX);
    CHECK(quorum_configuration_encode(first, count, &again) == ERR_OK);
    CHECK(quorum_configuration_decode(bytebuf_span(&again), second, &again_count) == ERR_OK && again_count == count);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(first[i].raft_id != 0 && first[i].address[0] != '\0');
        CHECK(holds(second, count, &first[i]) && (i == 0 || second[i - 1].raft_id < second[i].raft_id));
    }
    bytebuf_done(&again);
}

static void check_rules(const struct quorum_message *message)
{
    CHECK(message->from_raft_id != 0 && message->to_raft_id != 0 && message->term <= QUORUM_INDEX_MAX);
    if (message->type == QUORUM_APPEND) {
        CHECK(message->term > 0 && (message->append.prev_index == 0) == (message->append.prev_term == 0));
        uint64_t term = message->append.prev_term;
        for (uint32_t i = 0; i < message->append.entry_count; i++) {
            const struct quorum_message_entry *entry = &message->append.entries[i];
            CHECK(entry->term > 0 && entry->term >= term && entry->term <= message->term);
            CHECK(entry->data.bytes <= QUORUM_ENTRY_BYTES_MAX);
            term = entry->term;
        }
    } else if (message->type == QUORUM_CHUNK) {
        CHECK(message->chunk.index > 0 && message->chunk.index_term > 0);
        CHECK(message->chunk.pos + message->chunk.data.bytes <= message->chunk.total_bytes);
    }
}

static void check_message(struct span header, struct span body)
{
    struct quorum_message message;
    struct bytebuf header_again;
    struct bytebuf body_again;
    if (quorum_message_decode(header, body, &message) != ERR_OK) {
        return;
    }
    check_rules(&message);
    bytebuf_init(&header_again, QUORUM_FRAME_BYTES_MAX);
    bytebuf_init(&body_again, QUORUM_FRAME_BYTES_MAX);
    quorum_message_encode(&message, &header_again, &body_again);
    CHECK(header_again.bytes == header.bytes && memcmp(header_again.data, header.data, FLAGS_POS) == 0);
    CHECK(memcmp(header_again.data + FLAGS_POS + 1, header.data + FLAGS_POS + 1, header.bytes - FLAGS_POS - 1) == 0);
    CHECK(span_equal(bytebuf_span(&body_again), body));
    bytebuf_done(&header_again);
    bytebuf_done(&body_again);
    quorum_message_done(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2) {
        return 0;
    }
    size_t header_bytes = be16_get(data);
    struct span rest = span_make(data + 2, bytes - 2);
    if (header_bytes == CONFIGURATION_MARK) {
        check_configuration(rest);
    } else if (header_bytes <= rest.bytes) {
        check_message(span_sub(rest, 0, header_bytes), span_sub(rest, header_bytes, rest.bytes - header_bytes));
    }
    return 0;
}
