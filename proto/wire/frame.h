/* frame: Kafka's framing: four bytes of size, then as many bytes.
 *
 * Errors:    frame_peek tells bytes that are missing (ERR_INCOMPLETE) from a size that can't be (ERR_MALFORMED) and from one
 *            that is not allowed (ERR_LIMIT).
 * Threads:   pure functions.
 * Source:    kafka.apache.org/protocol "Common Request and Response Structure".
 */
#ifndef PROTO_WIRE_FRAME_H
#define PROTO_WIRE_FRAME_H

#include "common/err.h"
#include "common/span.h"
#include "proto/wire/writer.h"

#define FRAME_SIZE_BYTES 4
/* The smallest request: api key, version, correlation id. */
#define FRAME_BODY_BYTES_MIN 8

/* Bodies of requests; correctness.md 9. */
#define FRAME_BODY_BYTES_MAX (100u << 20)
#define FRAME_BODY_BYTES_MAX_BEFORE_AUTH (512u << 10)

/* The size of the frame at the beginning of `bytes`, without the four bytes of the size itself. Needs only those four:
 * *ret_body_bytes may be more than what is there yet. */
enum err frame_peek(struct span bytes, size_t body_bytes_max, size_t *ret_body_bytes) MUST_USE;

/* What a peer seems to speak whose first four bytes are no frame size. */
enum frame_guess { FRAME_GUESS_UNKNOWN, FRAME_GUESS_TLS, FRAME_GUESS_HTTP };
/* For one clear log sentence. Ask only after frame_peek has failed, and with at least four bytes. */
enum frame_guess frame_guess(struct span bytes);

/* Leaves room for the size; give what it returns to frame_end, which fills it in, external records included. */
size_t frame_begin(struct writer *writer);
enum err frame_end(struct writer *writer, size_t begin_pos) MUST_USE;

#endif
