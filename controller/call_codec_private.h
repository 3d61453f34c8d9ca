/* call_codec_private: what call_codec.c (requests) and call_codec_answer.c share.
 *
 * Threads:   pure.
 */
#ifndef CONTROLLER_CALL_CODEC_PRIVATE_H
#define CONTROLLER_CALL_CODEC_PRIVATE_H

#include "call.pb-c.h"
#include "controller/call_codec.h"

/* Appends the packed message. ERR_LIMIT: more than bytes_max. */
enum err call_codec_pack_message(const ProtobufCMessage *message, size_t bytes_max, struct bytebuf *buf) MUST_USE;
/* NULL: no such message, or more memory than the arena has. */
ProtobufCMessage *call_codec_unpack_message(const ProtobufCMessageDescriptor *descriptor, struct span bytes,
                                            struct arena *arena);
bool call_codec_take_uuid(ProtobufCBinaryData data, struct uuid *ret_uuid);

#endif
