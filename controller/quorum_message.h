/* quorum_message: the messages of the consensus as bytes: every field of libraft's messages, and our own chunking of snapshots. Knows
 * nothing of libraft's types, so that the decoder can be fuzzed alone.
 *
 * Shape:     header: byte table in quorum_message.c; body: the entries' bytes one behind the other, or one chunk of a snapshot.
 * Limits:    QUORUM_MESSAGE_ENTRIES_MAX entries, of QUORUM_ENTRY_BYTES_MAX; QUORUM_CHUNK_BYTES_MAX; QUORUM_FRAME_BYTES_MAX for both.
 * Errors:    decoding: ERR_MALFORMED. What it accepts holds what libraft asserts about a message by itself: terms above 0 and in order,
 *            ids above 0, lengths that fit, configurations that decode. Whether it fits this node's state is quorum_receive's care.
 * Ownership: a decoded message borrows header and body; its array of entries is its own (quorum_message_done).
 * Threads:   any.
 * Source:    libraft 0.22.1 include/raft.h (struct raft_message), src/uv_encoding.c (which fields travel); correctness.md 6.
 */
#ifndef CONTROLLER_QUORUM_MESSAGE_H
#define CONTROLLER_QUORUM_MESSAGE_H

#include "controller/quorum.h"

#define QUORUM_MESSAGE_ENTRIES_MAX 1024
#define QUORUM_MESSAGE_ENTRY_BYTES 13u
#define QUORUM_CHUNK_BYTES_MAX (1u << 20)
#define QUORUM_HASH_BYTES 32
#define QUORUM_INDEX_MAX (UINT64_MAX / 4) /* of indexes and terms: no sum of two overflows */

/* 1 to 6 as libraft's enum raft_message_type. */
enum quorum_message_type {
    QUORUM_APPEND = 1,
    QUORUM_APPEND_RESULT,
    QUORUM_VOTE,
    QUORUM_VOTE_RESULT,
    QUORUM_CHUNK, /* of a snapshot: what libraft calls InstallSnapshot */
    QUORUM_TIMEOUT_NOW,
    QUORUM_CHUNK_RESULT, /* ours */
};

struct quorum_message_entry {
    uint64_t term;
    enum quorum_entry_type type;
    struct span data;
};

struct quorum_message {
    enum quorum_message_type type;
    uint8_t version; /* libraft's, of this type of message */
    uint64_t from_raft_id;
    uint64_t to_raft_id;
    uint64_t term;
    struct span from_address; /* with its terminator */
    union {
        struct {
            uint64_t prev_index;
            uint64_t prev_term;
            uint64_t commit_index;
            struct quorum_message_entry *entries;
            uint32_t entry_count;
        } append;
        struct {
            uint64_t rejected_index; /* 0: accepted */
            uint64_t last_index;
            uint16_t features;
            uint16_t capacity;
        } append_result;
        struct {
            uint64_t candidate_raft_id;
            uint64_t last_index;
            uint64_t last_term;
            bool disrupts_leader;
            bool is_pre_vote;
        } vote;
        struct {
            bool is_granted;
            bool is_pre_vote;
            uint16_t features;
            uint16_t capacity;
        } vote_result;
        struct {
            uint64_t index; /* of the snapshot */
            uint64_t index_term;
            uint64_t configuration_index;
            struct span configuration;
            uint64_t total_bytes;
            uint8_t hash[QUORUM_HASH_BYTES]; /* SHA-256 of all data */
            uint64_t pos;                    /* of this chunk */
            uint32_t sequence;               /* of the sending; the result repeats it */
            struct span data;
        } chunk;
        struct {
            uint64_t last_index;
            uint64_t last_term;
        } timeout_now;
        struct {
            uint64_t index; /* of the snapshot */
            uint64_t received_bytes;
            uint32_t sequence;
        } chunk_result;
    };
};

/* The header of an append without entries, from an address of so many bytes; each entry adds QUORUM_MESSAGE_ENTRY_BYTES, and its data to
 * the body. */
size_t quorum_message_append_bytes(size_t address_bytes);
/* Appends header and body; the bounds are the caller's care (checked). */
void quorum_message_encode(const struct quorum_message *message, struct bytebuf *ret_header, struct bytebuf *ret_body);
enum err quorum_message_decode(struct span header, struct span body, struct quorum_message *ret_message) MUST_USE;
void quorum_message_done(struct quorum_message *message);

#endif
