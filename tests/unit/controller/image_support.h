/* image_support: building records and images in tests. */
#ifndef TESTS_UNIT_CONTROLLER_IMAGE_SUPPORT_H
#define TESTS_UNIT_CONTROLLER_IMAGE_SUPPORT_H

#include "common/mem.h"
#include "controller/decision.h"
#include "controller/image_apply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* A state that decisions move: each commit is packed and applied as the real one is. */
struct state {
    const struct image *image;
    struct arena arena;
    struct meta_records records;
    int64_t index;
    bool is_applied; /* the last commit */
};

static inline void state_init(struct state *state)
{
    *state = (struct state){.image = image_new_empty(), .index = 1};
    arena_init(&state->arena, 0);
    meta_records_init(&state->records, &state->arena);
}

static inline void state_done(struct state *state)
{
    image_unref(state->image);
    arena_done(&state->arena);
}

/* Commits what was added to state->records. */
static inline void state_commit(struct state *state)
{
    struct bytebuf bytes;
    struct image *after = NULL;
    bytebuf_init(&bytes, META_BATCH_BYTES_MAX);
    assert_int_equal(meta_pack(&state->records, 0, state->records.count, image_controller_epoch(state->image), &bytes),
                     ERR_OK);
    state->index++;
    assert_int_equal(image_apply(state->image, state->index, 1, bytebuf_span(&bytes), &after, &state->is_applied),
                     ERR_OK);
    image_unref(state->image);
    state->image = after;
    bytebuf_done(&bytes);
    arena_reset(&state->arena);
    meta_records_init(&state->records, &state->arena);
}

static inline struct uuid id_of(uint32_t number)
{
    struct uuid id = {{0}};
    id.bytes[0] = (uint8_t)(number * 37); /* not in the order of names */
    id.bytes[14] = (uint8_t)(number >> 8);
    id.bytes[15] = (uint8_t)number;
    return id;
}

/* Adds a broker with `directory_count` directories, alive. */
static inline void state_add_broker(struct state *state, int32_t id, const char *rack, uint32_t directory_count)
{
    struct uuid directories[8] = {{{0}}};
    for (uint32_t i = 0; i < directory_count; i++) {
        directories[i] = id_of((uint32_t)id * 16 + i + 1);
    }
    struct image_endpoint endpoint = {
        .listener_name = span_text("PLAINTEXT"), .host = span_text("127.0.0.1"), .port = 9092};
    struct image_broker broker = {.id = id,
                                  .incarnation_id = id_of((uint32_t)id + 1000),
                                  .rack = span_text(rack),
                                  .boot_id = span_text("boot"),
                                  .endpoint_count = 1,
                                  .directory_count = directory_count,
                                  .endpoints = &endpoint,
                                  .directories = directories};
    meta_add_broker(&state->records, &broker, 0);
    state_commit(state);
    assert_true(state->is_applied);
}

static const struct decision_defaults state_defaults = {
    .num_partitions = 2, .default_replication_factor = 1, .min_insync_replicas = 1};

static inline struct decision state_decision(struct state *state, uint64_t seed)
{
    return (struct decision){.image = state->image,
                             .defaults = &state_defaults,
                             .records = &state->records,
                             .arena = &state->arena,
                             .seed = seed};
}

#endif
