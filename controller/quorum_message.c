/* Header, all numbers big-endian:
 *   pos  bytes
 *     0      1  format: 1
 *     1      1  type (enum quorum_message_type)
 *     2      1  version (libraft's)
 *     3      1  flags: 1 disrupts the leader, 2 pre-vote, 4 granted
 *     4      8  from (raft id)
 *    12      8  to (raft id)
 *    20      8  term
 *    28      2  bytes of the sender's address, terminator included
 *    30         the address, then by type:
 *
 *  APPEND        prev index (8), prev term (8), commit index (8), entry count (4); per entry: term (8), type (1), bytes (4)
 *  APPEND_RESULT rejected index (8), last index (8), features (2), capacity (2)
 *  VOTE          candidate (8), last index (8), last term (8)
 *  VOTE_RESULT   features (2), capacity (2)
 *  CHUNK         index (8), its term (8), configuration index (8), total bytes (8), SHA-256 (32), position (8), sequence (4),
 *                bytes of the configuration (4), configuration
 *  TIMEOUT_NOW   last index (8), last term (8)
 *  CHUNK_RESULT  index (8), received bytes (8), sequence (4)
 *
 * Nothing follows. The body is empty but for APPEND (the entries' data, one behind the other) and CHUNK. */
#include "controller/quorum_message.h"

#include "common/big_endian.h"
#include "common/mem.h"

#define FORMAT 1
#define FIXED_BYTES 30
#define APPEND_BYTES 28
#define FLAG_DISRUPTS 1u
#define FLAG_PRE_VOTE 2u
#define FLAG_GRANTED 4u

/* ---- encoding ---- */

static void put_bytes(struct bytebuf *buf, const void *data, size_t bytes)
{
    enum err err = bytebuf_append(buf, span_make(data, bytes));
    CHECK(err == ERR_OK);
}

static void put8(struct bytebuf *buf, uint8_t value)
{
    put_bytes(buf, &value, 1);
}

static void put16(struct bytebuf *buf, uint16_t value)
{
    uint8_t bytes[2];
    be16_put(bytes, value);
    put_bytes(buf, bytes, sizeof(bytes));
}

static void put32(struct bytebuf *buf, uint32_t value)
{
    uint8_t bytes[4];
    be32_put(bytes, value);
    put_bytes(buf, bytes, sizeof(bytes));
}

static void put64(struct bytebuf *buf, uint64_t value)
{
    uint8_t bytes[8];
    be64_put(bytes, value);
    put_bytes(buf, bytes, sizeof(bytes));
}

static uint8_t flags_of(const struct quorum_message *message)
{
    unsigned flags = 0;
    if (message->type == QUORUM_VOTE) {
        flags |= message->vote.disrupts_leader ? FLAG_DISRUPTS : 0;
        flags |= message->vote.is_pre_vote ? FLAG_PRE_VOTE : 0;
    } else if (message->type == QUORUM_VOTE_RESULT) {
        flags |= message->vote_result.is_granted ? FLAG_GRANTED : 0;
        flags |= message->vote_result.is_pre_vote ? FLAG_PRE_VOTE : 0;
    }
    return (uint8_t)flags;
}

static void put_append(const struct quorum_message *message, struct bytebuf *header, struct bytebuf *body)
{
    put64(header, message->append.prev_index);
    put64(header, message->append.prev_term);
    put64(header, message->append.commit_index);
    put32(header, message->append.entry_count);
    for (uint32_t i = 0; i < message->append.entry_count; i++) {
        const struct quorum_message_entry *entry = &message->append.entries[i];
        put64(header, entry->term);
        put8(header, (uint8_t)entry->type);
        put32(header, (uint32_t)entry->data.bytes);
        put_bytes(body, entry->data.data, entry->data.bytes);
    }
}

static void put_chunk(const struct quorum_message *message, struct bytebuf *header, struct bytebuf *body)
{
    put64(header, message->chunk.index);
    put64(header, message->chunk.index_term);
    put64(header, message->chunk.configuration_index);
    put64(header, message->chunk.total_bytes);
    put_bytes(header, message->chunk.hash, QUORUM_HASH_BYTES);
    put64(header, message->chunk.pos);
    put32(header, message->chunk.sequence);
    put32(header, (uint32_t)message->chunk.configuration.bytes);
    put_bytes(header, message->chunk.configuration.data, message->chunk.configuration.bytes);
    put_bytes(body, message->chunk.data.data, message->chunk.data.bytes);
}

size_t quorum_message_append_bytes(size_t address_bytes)
{
    return FIXED_BYTES + address_bytes + APPEND_BYTES;
}

void quorum_message_encode(const struct quorum_message *message, struct bytebuf *header, struct bytebuf *body)
{
    put8(header, FORMAT);
    put8(header, (uint8_t)message->type);
    put8(header, message->version);
    put8(header, flags_of(message));
    put64(header, message->from_raft_id);
    put64(header, message->to_raft_id);
    put64(header, message->term);
    put16(header, (uint16_t)message->from_address.bytes);
    put_bytes(header, message->from_address.data, message->from_address.bytes);
    switch (message->type) {
    case QUORUM_APPEND:
        put_append(message, header, body);
        return;
    case QUORUM_APPEND_RESULT:
        put64(header, message->append_result.rejected_index);
        put64(header, message->append_result.last_index);
        put16(header, message->append_result.features);
        put16(header, message->append_result.capacity);
        return;
    case QUORUM_VOTE:
        put64(header, message->vote.candidate_raft_id);
        put64(header, message->vote.last_index);
        put64(header, message->vote.last_term);
        return;
    case QUORUM_VOTE_RESULT:
        put16(header, message->vote_result.features);
        put16(header, message->vote_result.capacity);
        return;
    case QUORUM_CHUNK:
        put_chunk(message, header, body);
        return;
    case QUORUM_TIMEOUT_NOW:
        put64(header, message->timeout_now.last_index);
        put64(header, message->timeout_now.last_term);
        return;
    case QUORUM_CHUNK_RESULT:
        put64(header, message->chunk_result.index);
        put64(header, message->chunk_result.received_bytes);
        put32(header, message->chunk_result.sequence);
        return;
    }
    UNREACHABLE();
}

/* ---- decoding: a cursor whose first error sticks ---- */

struct cursor {
    struct span rest;
    bool is_bad;
};

static const uint8_t *take(struct cursor *cursor, size_t bytes)
{
    if (cursor->is_bad || cursor->rest.bytes < bytes) {
        cursor->is_bad = true;
        return NULL;
    }
    const uint8_t *data = cursor->rest.data;
    cursor->rest.data += bytes;
    cursor->rest.bytes -= bytes;
    return data;
}

static uint8_t take8(struct cursor *cursor)
{
    const uint8_t *data = take(cursor, 1);
    return data == NULL ? 0 : data[0];
}

static uint16_t take16(struct cursor *cursor)
{
    const uint8_t *data = take(cursor, 2);
    return data == NULL ? 0 : be16_get(data);
}

static uint32_t take32(struct cursor *cursor)
{
    const uint8_t *data = take(cursor, 4);
    return data == NULL ? 0 : be32_get(data);
}

static uint64_t take64(struct cursor *cursor)
{
    const uint8_t *data = take(cursor, 8);
    return data == NULL ? 0 : be64_get(data);
}

static void need(struct cursor *cursor, bool condition)
{
    cursor->is_bad = cursor->is_bad || !condition;
}

/* An index and the term of the entry there: both or neither, and the term not above the message's. */
static void need_place(struct cursor *cursor, uint64_t index, uint64_t index_term, uint64_t term)
{
    need(cursor, index <= QUORUM_INDEX_MAX && (index == 0) == (index_term == 0) && index_term <= term);
}

static void take_entry(struct cursor *cursor, struct cursor *body, struct quorum_message_entry *entry)
{
    entry->term = take64(cursor);
    uint8_t type = take8(cursor);
    uint32_t bytes = take32(cursor);
    need(cursor, type >= QUORUM_COMMAND && type <= QUORUM_CHANGE && bytes <= QUORUM_ENTRY_BYTES_MAX);
    entry->type = (enum quorum_entry_type)type;
    const uint8_t *data = cursor->is_bad ? NULL : take(body, bytes);
    entry->data = span_make(data, bytes);
    need(cursor, !body->is_bad);
    if (!cursor->is_bad && entry->type == QUORUM_CHANGE) {
        struct quorum_member members[QUORUM_MEMBERS_MAX];
        uint32_t count = 0;
        need(cursor, quorum_configuration_decode(entry->data, members, &count) == ERR_OK);
    }
}

static void take_append(struct cursor *cursor, struct cursor *body, struct quorum_message *message)
{
    message->append.prev_index = take64(cursor);
    message->append.prev_term = take64(cursor);
    message->append.commit_index = take64(cursor);
    uint32_t count = take32(cursor);
    need_place(cursor, message->append.prev_index, message->append.prev_term, message->term);
    need(cursor, count <= QUORUM_MESSAGE_ENTRIES_MAX && message->append.commit_index <= QUORUM_INDEX_MAX);
    need(cursor, cursor->rest.bytes == (size_t)count * QUORUM_MESSAGE_ENTRY_BYTES);
    if (cursor->is_bad || count == 0) {
        return;
    }
    message->append.entries = (struct quorum_message_entry *)mem_array(count, sizeof(message->append.entries[0]));
    message->append.entry_count = count;
    uint64_t term = message->append.prev_term == 0 ? 1 : message->append.prev_term;
    for (uint32_t i = 0; i < count && !cursor->is_bad; i++) {
        struct quorum_message_entry *entry = &message->append.entries[i];
        take_entry(cursor, body, entry);
        need(cursor, entry->term >= term && entry->term <= message->term);
        term = entry->term;
    }
    /* The first entry of every log is the first configuration. */
    need(cursor, message->append.prev_index != 0 || message->append.entries[0].type == QUORUM_CHANGE);
}

static void take_chunk(struct cursor *cursor, struct cursor *body, struct quorum_message *message)
{
    message->chunk.index = take64(cursor);
    message->chunk.index_term = take64(cursor);
    message->chunk.configuration_index = take64(cursor);
    message->chunk.total_bytes = take64(cursor);
    const uint8_t *hash = take(cursor, QUORUM_HASH_BYTES);
    message->chunk.pos = take64(cursor);
    message->chunk.sequence = take32(cursor);
    uint32_t configuration_bytes = take32(cursor);
    const uint8_t *configuration = take(cursor, configuration_bytes);
    need_place(cursor, message->chunk.index, message->chunk.index_term, message->term);
    need(cursor, message->chunk.index > 0 && message->chunk.configuration_index > 0 &&
                     message->chunk.configuration_index <= message->chunk.index);
    message->chunk.data = body->rest;
    uint64_t total_bytes = message->chunk.total_bytes;
    need(cursor, total_bytes <= QUORUM_SNAPSHOT_BYTES_MAX && body->rest.bytes <= QUORUM_CHUNK_BYTES_MAX &&
                     message->chunk.pos <= total_bytes && body->rest.bytes <= total_bytes - message->chunk.pos);
    need(cursor, body->rest.bytes > 0 || total_bytes == 0);
    (void)take(body, body->rest.bytes);
    if (cursor->is_bad) {
        return;
    }
    memcpy(message->chunk.hash, hash, QUORUM_HASH_BYTES);
    message->chunk.configuration = span_make(configuration, configuration_bytes);
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = 0;
    need(cursor, quorum_configuration_decode(message->chunk.configuration, members, &count) == ERR_OK);
}

static void take_by_type(struct cursor *cursor, struct cursor *body, uint8_t flags, struct quorum_message *message)
{
    switch (message->type) {
    case QUORUM_APPEND:
        take_append(cursor, body, message);
        return;
    case QUORUM_APPEND_RESULT:
        message->append_result.rejected_index = take64(cursor);
        message->append_result.last_index = take64(cursor);
        message->append_result.features = take16(cursor);
        message->append_result.capacity = take16(cursor);
        need(cursor, message->append_result.rejected_index <= QUORUM_INDEX_MAX &&
                         message->append_result.last_index <= QUORUM_INDEX_MAX);
        return;
    case QUORUM_VOTE:
        message->vote.candidate_raft_id = take64(cursor);
        message->vote.last_index = take64(cursor);
        message->vote.last_term = take64(cursor);
        message->vote.disrupts_leader = (flags & FLAG_DISRUPTS) != 0;
        message->vote.is_pre_vote = (flags & FLAG_PRE_VOTE) != 0;
        need(cursor, message->vote.candidate_raft_id == message->from_raft_id);
        need_place(cursor, message->vote.last_index, message->vote.last_term, message->term);
        return;
    case QUORUM_VOTE_RESULT:
        message->vote_result.features = take16(cursor);
        message->vote_result.capacity = take16(cursor);
        message->vote_result.is_granted = (flags & FLAG_GRANTED) != 0;
        message->vote_result.is_pre_vote = (flags & FLAG_PRE_VOTE) != 0;
        return;
    case QUORUM_CHUNK:
        take_chunk(cursor, body, message);
        return;
    case QUORUM_TIMEOUT_NOW:
        message->timeout_now.last_index = take64(cursor);
        message->timeout_now.last_term = take64(cursor);
        need_place(cursor, message->timeout_now.last_index, message->timeout_now.last_term, message->term);
        return;
    case QUORUM_CHUNK_RESULT:
        message->chunk_result.index = take64(cursor);
        message->chunk_result.received_bytes = take64(cursor);
        message->chunk_result.sequence = take32(cursor);
        return;
    }
    cursor->is_bad = true;
}

enum err quorum_message_decode(struct span header, struct span body, struct quorum_message *ret_message)
{
    struct cursor cursor = {.rest = header};
    struct cursor body_cursor = {.rest = body};
    struct quorum_message message = {0};
    need(&cursor, body.bytes <= QUORUM_FRAME_BYTES_MAX && header.bytes <= QUORUM_FRAME_BYTES_MAX - body.bytes);
    need(&cursor, take8(&cursor) == FORMAT);
    message.type = (enum quorum_message_type)take8(&cursor);
    message.version = take8(&cursor);
    uint8_t flags = take8(&cursor);
    message.from_raft_id = take64(&cursor);
    message.to_raft_id = take64(&cursor);
    message.term = take64(&cursor);
    uint16_t address_bytes = take16(&cursor);
    const uint8_t *address = take(&cursor, address_bytes);
    /* Terms take part in sums too (a pre-vote asks for the next one). A peer that has never had a term answers with 0. */
    need(&cursor, message.from_raft_id != 0 && message.to_raft_id != 0 && message.term <= QUORUM_INDEX_MAX);
    need(&cursor, message.term > 0 || message.type == QUORUM_APPEND_RESULT || message.type == QUORUM_VOTE_RESULT ||
                      message.type == QUORUM_CHUNK_RESULT);
    need(&cursor, address_bytes > 0 && address_bytes <= QUORUM_ADDRESS_BYTES_MAX);
    need(&cursor, !cursor.is_bad && memchr(address, 0, address_bytes) == address + address_bytes - 1);
    if (cursor.is_bad) {
        return ERR_MALFORMED;
    }
    message.from_address = span_make(address, address_bytes);
    take_by_type(&cursor, &body_cursor, flags, &message);
    need(&cursor, cursor.rest.bytes == 0 && body_cursor.rest.bytes == 0 && !body_cursor.is_bad);
    if (cursor.is_bad) {
        quorum_message_done(&message);
        return ERR_MALFORMED;
    }
    *ret_message = message;
    return ERR_OK;
}

void quorum_message_done(struct quorum_message *message)
{
    if (message->type == QUORUM_APPEND) {
        mem_free(message->append.entries);
        message->append.entries = NULL;
    }
}
