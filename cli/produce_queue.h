/* produce_queue: records on their way to the partitions of one topic: gathered in batches, sent to the leaders, sent
 * again with the same bytes and sequences until they are acknowledged or the deadline has passed.
 *
 * Shape:     each partition has one batch that is filled and at most one sealed batch that is being sent; a round is
 *            one Produce request to each leader with the sealed batches of its partitions.
 * Limits:    PRODUCE_BATCH_BYTES_MAX per batch (a single longer record has a batch of its own),
 *            PRODUCE_QUEUED_BYTES_MAX together.
 * Errors:    the first failure stays: `problem` says why, and every later call returns ERR_CLOSED.
 * Ownership: keys, values and headers are copied by produce_queue_add. The session and the headers array are
 *            borrowed.
 * Threads:   the main thread.
 * Source:    KIP-98 (idempotence); correctness.md (the same batch may be sent again only unchanged).
 */
#ifndef CLI_PRODUCE_QUEUE_H
#define CLI_PRODUCE_QUEUE_H

#include "cli/topic_map.h"
#include "proto/record/build.h"

#define PRODUCE_BATCH_BYTES_MAX (900u << 10)
#define PRODUCE_QUEUED_BYTES_MAX (8u << 20)
#define PRODUCE_ACKS_ALL (-1)
#define PRODUCE_PARTITION_ANY (-1)

struct produce_options {
    int16_t acks;
    enum batch_codec codec;
    const struct record_header *headers; /* of every record */
    size_t header_count;
    uint32_t delivery_timeout_ms; /* from sealing a batch to its acknowledgement */
};

struct produce_partition {
    struct batch_builder builder;
    struct bytebuf sealed; /* the batch that is being sent; empty: none */
    int32_t sealed_count;  /* its records */
    int32_t next_sequence;
    int64_t first_offset; /* of what was acknowledged here; -1: nothing, or unknown (acks=0) */
    int64_t last_offset;
    uint64_t acknowledged_count;
};

struct produce_queue {
    struct session *session;
    struct topic_map map;
    struct produce_options options;
    struct produce_partition *partitions; /* as many as the map had at the start: keys keep their partitions */
    size_t partition_count;
    int64_t producer_id; /* -1: not idempotent */
    int16_t producer_epoch;
    size_t sticky_index; /* where records without key go for now */
    size_t queued_bytes; /* in builders, roughly */
    uint64_t record_count;
    uint64_t acknowledged_count;
    uint64_t acknowledged_bytes; /* of batches as sent */
    bool has_failed;
    char problem[CLIENT_PROBLEM_BYTES];
};

/* Finds the topic and gets a producer id. Returns an exit status, after having said why. */
int produce_queue_open(struct produce_queue *queue, struct session *session, const char *topic,
                       const struct produce_options *options);
void produce_queue_done(struct produce_queue *queue);

/* A null key goes to any partition unless one is given (PRODUCE_PARTITION_ANY otherwise). May send. */
enum err produce_queue_add(struct produce_queue *queue, int32_t partition, struct span key, struct span value) MUST_USE;
/* Sends everything and waits until it is acknowledged. */
enum err produce_queue_flush(struct produce_queue *queue) MUST_USE;

/* Sends the sealed batches (produce_send.c). */
enum err produce_queue_send(struct produce_queue *queue) MUST_USE;
/* Notes the first failure; returns ERR_CLOSED. */
enum err produce_queue_fail(struct produce_queue *queue, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
