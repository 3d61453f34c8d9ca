/* cluster_verdict: what the checkers of the cluster's simulation have found: the first violation as a sentence, and a count.
 *
 * Threads:   one.
 */
#ifndef TESTS_SIM_CLUSTER_VERDICT_H
#define TESTS_SIM_CLUSTER_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#define CLUSTER_SENTENCE_BYTES 512

struct cluster_verdict {
    uint64_t violation_count;
    char sentence[CLUSTER_SENTENCE_BYTES]; /* of the first violation */
};

void cluster_verdict_violation(struct cluster_verdict *verdict, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline bool cluster_verdict_is_ok(const struct cluster_verdict *verdict)
{
    return verdict->violation_count == 0;
}

#endif
