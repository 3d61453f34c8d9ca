/* cluster_words: the words that name voters and partitions on the command line. Pure.
 *
 * Shape:     voter: ID, ID/DIRECTORY, ID@HOST:PORT/DIRECTORY, DIRECTORY a uuid in Kafka's 22 characters.
 *            partition: TOPIC, TOPIC:PARTITION.
 * Errors:    ERR_INVALID, nothing is set.
 * Ownership: hosts and topics are borrowed from the word.
 * Threads:   any.
 */
#ifndef CLI_CLUSTER_WORDS_H
#define CLI_CLUSTER_WORDS_H

#include "common/err.h"
#include "common/span.h"
#include "common/uuid.h"

struct voter_word {
    int32_t id;
    struct span host; /* null: not given */
    uint16_t port;
    struct uuid directory; /* zero: not given */
};

enum err cluster_words_voter(const char *word, struct voter_word *ret_voter) MUST_USE;

#define CLUSTER_WORDS_ALL_PARTITIONS (-1)

struct partition_word {
    struct span topic;
    int32_t partition; /* or CLUSTER_WORDS_ALL_PARTITIONS */
};

enum err cluster_words_partition(const char *word, struct partition_word *ret_partition) MUST_USE;
/* A whole number of 0 or more. */
enum err cluster_words_number(struct span text, int64_t max, int64_t *ret_number) MUST_USE;

#endif
