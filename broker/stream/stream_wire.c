#include "broker/stream/stream_wire.h"

#include "common/mem.h"

/* Headers of the steady state (a few parts, a few acknowledgements) are packed on the stack. */
#define STREAM_WIRE_STACK_BYTES 2048

void stream_wire_send(struct rpc_link *link, enum stream_frame_type type, const ProtobufCMessage *message,
                      const struct rpc_piece *body, size_t piece_count)
{
    uint8_t room[STREAM_WIRE_STACK_BYTES];
    size_t bytes = protobuf_c_message_get_packed_size(message);
    CHECK(bytes < RPC_HEADER_BYTES_MAX);
    uint8_t *data = bytes <= sizeof(room) ? room : mem_alloc(bytes);
    (void)protobuf_c_message_pack(message, data);
    rpc_link_send(link, (uint16_t)type, span_make(data, bytes), body, piece_count);
    if (data != room) {
        mem_free(data);
    }
}

void stream_wire_send_ping(struct rpc_link *link, enum stream_frame_type type, uint64_t id)
{
    Node__ReplicaPing ping = NODE__REPLICA_PING__INIT;
    ping.id = id;
    stream_wire_send(link, type, &ping.base, NULL, 0);
}

static void *unpack_alloc(void *ctx, size_t bytes)
{
    return arena_alloc((struct arena *)ctx, bytes);
}

static void unpack_free(void *ctx, void *memory)
{
    (void)ctx;
    (void)memory; /* the arena's */
}

static ProtobufCMessage *unpack(struct arena *arena, const ProtobufCMessageDescriptor *descriptor, struct span header)
{
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, arena};
    return protobuf_c_message_unpack(descriptor, &allocator, header.bytes, header.data);
}

Node__ReplicaSubscribe *stream_wire_subscribe(struct arena *arena, struct span header)
{
    return (Node__ReplicaSubscribe *)unpack(arena, &node__replica_subscribe__descriptor, header);
}

Node__ReplicaUnsubscribe *stream_wire_unsubscribe(struct arena *arena, struct span header)
{
    return (Node__ReplicaUnsubscribe *)unpack(arena, &node__replica_unsubscribe__descriptor, header);
}

Node__ReplicaAcks *stream_wire_acks(struct arena *arena, struct span header)
{
    return (Node__ReplicaAcks *)unpack(arena, &node__replica_acks__descriptor, header);
}

Node__ReplicaPing *stream_wire_ping(struct arena *arena, struct span header)
{
    return (Node__ReplicaPing *)unpack(arena, &node__replica_ping__descriptor, header);
}

Node__ReplicaAnswers *stream_wire_answers(struct arena *arena, struct span header)
{
    return (Node__ReplicaAnswers *)unpack(arena, &node__replica_answers__descriptor, header);
}

Node__ReplicaData *stream_wire_data(struct arena *arena, struct span header)
{
    return (Node__ReplicaData *)unpack(arena, &node__replica_data__descriptor, header);
}

Node__ReplicaEnds *stream_wire_ends(struct arena *arena, struct span header)
{
    return (Node__ReplicaEnds *)unpack(arena, &node__replica_ends__descriptor, header);
}
