/* random_message: fills any message with seeded values through its tables, for property tests of the codec.
 *
 * Shape:     every member that the version carries gets a value, nulls and defaults among them; the others keep their
 *            defaults, so that the message can be encoded in that version.
 * Ownership: arrays and strings lie in the arena.
 * Threads:   one at a time.
 */
#ifndef TESTS_UNIT_PROTO_RANDOM_MESSAGE_H
#define TESTS_UNIT_PROTO_RANDOM_MESSAGE_H

#include "proto/wire/codec.h"
#include "tests/support/prop.h"

void random_message_fill(struct prop *prop, const struct codec_message *message, int16_t version, struct arena *arena,
                         void *body);

#endif
