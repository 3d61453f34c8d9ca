/* strays: partition directories that the metadata does not place on this node (any more): a topic was deleted while the node was
 * down, or the node died between the decision and the removal. They are renamed aside, and removed a week later.
 *
 * Shape:     strays_find (start: what is on disk) -> strays_set_aside (the metadata is known, clients are not served yet).
 * Errors:    what can't be renamed or removed is logged and stays: it is in nobody's way.
 * Ownership: the caller frees with strays_free.
 * Threads:   home, blocking: before clients are served.
 * Source:    correctness.md 4 trap 16; Kafka's stray directories (KIP-866's predecessor, KAFKA-14190).
 */
#ifndef BROKER_REPLICA_STRAYS_H
#define BROKER_REPLICA_STRAYS_H

#include "broker/replica/log_dirs.h"
#include "controller/image.h"

/* How long a stray stays, for whoever finds out that it should not have been one. */
#define STRAYS_KEPT_MS INT64_C(604800000) /* 7 days */

struct strays;

/* Lists every directory, removes what an earlier process left half made or half deleted, and strays of more than STRAYS_KEPT_MS. */
struct strays *strays_find(struct log_dirs *dirs, struct env *env);
/* Renames aside what the image places nowhere on this broker. A place that another topic of the same name has now is left to
 * the opening of that one's log, which sets it aside. Returns how many were. */
size_t strays_set_aside(struct strays *strays, const struct image *image, int32_t broker_id);
void strays_free(struct strays *strays);

#endif
