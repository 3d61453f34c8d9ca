/* call_codec: requests to the controller and their answers, between controller/controller.h's structs and the frames of CALL links.
 *
 * Shape:     request: CallRequest as header; body: ADMIN: the request as the client sent it, ALTER_ISR: CallIsrChanges.
 *            answer: CallAnswer as header; body: ADMIN: the encoded response.
 * Limits:    CALL_HEADER_BYTES_MAX before a header is unpacked, CALL_BODY_BYTES_MAX for a body, CALL_UNPACK_BYTES_MAX for the memory of both;
 *            those of controller.h and image.h for every count and text.
 * Errors:    pack: ERR_LIMIT, too large for a frame. unpack: ERR_MALFORMED (no such message, a count or a text that can't be), ERR_LIMIT,
 *            ERR_UNSUPPORTED (a request that this version does not know); what was given is untouched then.
 * Ownership: unpack puts everything into the arena, but for an ADMIN body, which is referenced in the frame's buffer.
 * Threads:   pure.
 * Source:    proto/node/call.proto; design.md 13 (sizes are capped before protobuf-c unpacks), correctness.md S2.
 */
#ifndef CONTROLLER_CALL_CODEC_H
#define CONTROLLER_CALL_CODEC_H

#include "common/arena.h"
#include "common/bytebuf.h"
#include "common/rpc/rpc_link.h"
#include "controller/controller.h"

enum call_frame_type {
    CALL_FRAME_REQUEST = 1,
    CALL_FRAME_ANSWER = 2,
    CALL_FRAME_LEADER = 3,
    CALL_FRAME_PING = 4,
    CALL_FRAME_PONG = 5,
};

#define CALL_HEADER_BYTES_MAX (1u << 20)
#define CALL_BODY_BYTES_MAX (8u << 20)
#define CALL_UNPACK_BYTES_MAX (32u << 20)
#define CALL_TEXT_BYTES_MAX 1024u /* of a host, a principal, a client id, ... */

/* Appends the header, and for ALTER_ISR the body (an ADMIN body is sent as it is). */
enum err call_codec_pack_request(const struct controller_request *request, uint64_t id, uint64_t timeout_us,
                                 struct bytebuf *header, struct bytebuf *body) MUST_USE;
/* Fills kind, timeout and the kind's fields; for requests with results in arrays of the caller, these are in the arena. The buffer of an ADMIN
 * body is not referenced here. */
enum err call_codec_unpack_request(const struct rpc_frame *frame, struct arena *arena, uint64_t *ret_id,
                                   struct controller_request *ret_request) MUST_USE;
/* Appends the header; the body is request->admin.response. */
enum err call_codec_pack_answer(const struct controller_request *request, uint64_t id, struct bytebuf *header) MUST_USE;
/* The id of an answer: which request it is for. */
enum err call_codec_answer_id(const struct rpc_frame *frame, uint64_t *ret_id) MUST_USE;
/* Fills the results of the request that was sent. An ADMIN response comes with one reference. */
enum err call_codec_unpack_answer(const struct rpc_frame *frame, struct controller_request *request) MUST_USE;

enum err call_codec_pack_leader(const struct controller_view *view, struct bytebuf *header) MUST_USE;
enum err call_codec_unpack_leader(const struct rpc_frame *frame, struct controller_view *ret_view) MUST_USE;

#endif
