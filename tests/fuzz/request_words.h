/* request_words: values that mean something to the node of fuzz_node: names of its topics, partitions that exist, epochs that are, so
 * that drawn requests come behind the first look-up. Some are only known when the node runs: the scripts hold place holders for
 * them, of the same size, which are replaced when a frame is sent.
 *
 * Threads:   pure functions.
 */
#ifndef TESTS_FUZZ_REQUEST_WORDS_H
#define TESTS_FUZZ_REQUEST_WORDS_H

#include "common/uuid.h"
#include "proto/wire/codec.h"
#include "tests/support/prop.h"

/* Topics of the node: WORDS_TOPIC_PARTITIONS partitions with records in partition 0; one partition, durability=cached; not there at the
 * beginning. The control client's own never comes up in a script. */
#define WORDS_TOPIC "flights"
#define WORDS_TOPIC_PARTITIONS 3
#define WORDS_TOPIC_CACHED "orders"
#define WORDS_TOPIC_NEW "made"
#define WORDS_TOPIC_CONTROL "control"
/* Place holder of the fetch session that the broker has given last. */
#define WORDS_FETCH_SESSION 0x5e551d01

enum words_id {
    WORDS_ID_TOPIC,
    WORDS_ID_TOPIC_CACHED,
    WORDS_ID_TOPIC_NEW,
    WORDS_ID_METADATA_DIRECTORY,
    WORDS_ID_LOG_DIRECTORY,
    WORDS_ID_COUNT
};

/* What the place holders stand for now. */
struct words_known {
    struct uuid ids[WORDS_ID_COUNT]; /* zero: not known; its place holder stays */
    const char *cluster_id;          /* 22 characters */
    int32_t fetch_session_id;
};

/* The place holder. */
struct uuid request_words_id(enum words_id id);
/* In a copy of the frame. */
void request_words_resolve(const struct words_known *known, uint8_t *frame, size_t bytes);

/* A value for this field of `parent`, of the kinds that have words; false when there is none. */
bool request_words_draw(struct prop *prop, struct arena *arena, const struct codec_struct *parent,
                        const struct codec_field *field, void *value);
/* A record batch that is valid but for small things. */
struct span request_words_batch(struct prop *prop, struct arena *arena);
/* A whole message: any value (random_message), most of them then replaced by words. */
void request_words_fill(struct prop *prop, const struct codec_message *message, int16_t version, struct arena *arena,
                        void *body);

#endif
