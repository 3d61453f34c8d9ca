/* uuid: Kafka's 16-byte ids (topic id, directory id, incarnation id) and their text form.
 *
 * Shape:     16 bytes, most significant first; text is URL-safe base64 without padding, 22 characters.
 * Source:    KIP-516; org.apache.kafka.common.Uuid.
 */
#ifndef COMMON_UUID_H
#define COMMON_UUID_H

#include "common/err.h"
#include "common/span.h"

#define UUID_BYTES 16
#define UUID_TEXT_BYTES 23 /* with the terminator */

struct uuid {
    uint8_t bytes[UUID_BYTES];
};

#define UUID_ZERO ((struct uuid){{0}})

struct rng;

/* A random (version 4) id whose text does not begin with '-', and which is none of Kafka's reserved ids. */
struct uuid uuid_random(struct rng *rng);
bool uuid_equal(struct uuid a, struct uuid b);
bool uuid_is_zero(struct uuid uuid);
void uuid_format(struct uuid uuid, char ret_text[UUID_TEXT_BYTES]);
enum err uuid_parse(struct span text, struct uuid *ret_uuid) MUST_USE;

#endif
