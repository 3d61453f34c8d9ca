/* message_bend: the structure-aware part of the fuzzers' mutations: a message is decoded, one of its fields is bent (ends of its range,
 * null, empty, longer, doubled, dropped, or a word that means something), and it is encoded again. Linked only with fuzzers.
 *
 * Ownership: new bytes and elements lie in the arena.
 * Threads:   one.
 */
#ifndef TESTS_FUZZ_MESSAGE_BEND_H
#define TESTS_FUZZ_MESSAGE_BEND_H

#include "proto/wire/codec.h"
#include "tests/support/prop.h"

struct codec_field;

struct message_bend {
    struct prop *prop;
    struct arena *arena;
    int16_t version;
    /* Asked first, half of the time: true when it has set the value. May be NULL. */
    bool (*draw_word)(struct prop *prop, struct arena *arena, const struct codec_struct *parent,
                      const struct codec_field *field, void *value);
    /* the choice; each field seen is chosen with probability 1 / its number */
    uint64_t seen_count;
    const struct codec_struct *parent;
    const struct codec_field *field;
    void *base;
};

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max);

void message_bend(struct message_bend *bend, const struct codec_message *message, void *body);

#endif
