/* stream_wire: frames of REPLICA links: their types, and protobuf-c headers to and from bytes. The messages are those of
 * proto/node/replica.proto.
 *
 * Limits:    what an unpacked header may take is bounded by the arena that is given.
 * Errors:    unpack: NULL for what is no such message; nobody is told why: the link ends.
 * Ownership: unpacked messages live in the arena; their bytes are copies.
 * Threads:   one at a time for each arena.
 * Source:    proto/node/replica.proto.
 */
#ifndef BROKER_STREAM_STREAM_WIRE_H
#define BROKER_STREAM_STREAM_WIRE_H

#include "common/arena.h"
#include "common/rpc/rpc_link.h"
#include "replica.pb-c.h"

enum stream_frame_type {
    STREAM_SUBSCRIBE = 1,
    STREAM_UNSUBSCRIBE = 2,
    STREAM_ACKS = 3,
    STREAM_PING = 4,
    STREAM_ANSWERS = 11,
    STREAM_DATA = 12,
    STREAM_ENDS = 13,
    STREAM_PONG = 14,
};

void stream_wire_send(struct rpc_link *link, enum stream_frame_type type, const ProtobufCMessage *message,
                      const struct rpc_piece *body, size_t piece_count);
void stream_wire_send_ping(struct rpc_link *link, enum stream_frame_type type, uint64_t id);

Node__ReplicaSubscribe *stream_wire_subscribe(struct arena *arena, struct span header);
Node__ReplicaUnsubscribe *stream_wire_unsubscribe(struct arena *arena, struct span header);
Node__ReplicaAcks *stream_wire_acks(struct arena *arena, struct span header);
Node__ReplicaPing *stream_wire_ping(struct arena *arena, struct span header);
Node__ReplicaAnswers *stream_wire_answers(struct arena *arena, struct span header);
Node__ReplicaData *stream_wire_data(struct arena *arena, struct span header);
Node__ReplicaEnds *stream_wire_ends(struct arena *arena, struct span header);

#endif
