/* place_claims: who may use a partition's place on disk, the directory TOPIC-N of a log directory. A topic that is deleted and made
 * again is another topic with the same place: its log is opened only when the older one's directory is gone, whichever worker
 * that belonged to.
 *
 * Shape:     claim -> (home) free? granted : behind the holder -> granted on the claimer's loop ... given back -> the next one.
 * Limits:    one claim per partition of this node.
 * Ownership: owned by the broker. Claims are borrowed from their partitions, from place_claim_take until `released` has run.
 * Threads:   home grants and takes back; take and give: the claimer's loop, on which `granted` and `released` run.
 *            new and free: home's thread, while nothing is claimed.
 * Source:    correctness.md 4 trap 16 (identity after re-creation).
 */
#ifndef BROKER_REPLICA_PLACE_CLAIMS_H
#define BROKER_REPLICA_PLACE_CLAIMS_H

#include "common/seam/loop.h"

struct place_claims;
struct place;

struct place_claim {
    struct loop_task task; /* on its way between the two loops */
    struct place_claims *claims;
    struct loop *loop;
    char *path; /* its own copy */
    struct place *place;
    struct place_claim *next; /* behind it */
    void (*granted)(struct place_claim *claim);
    void (*released)(struct place_claim *claim);
};

struct place_claims *place_claims_new(struct loop *home);
void place_claims_free(struct place_claims *claims);

/* `granted` runs once, later, in the order of the claims for one path. */
void place_claim_take(struct place_claims *claims, struct place_claim *claim, struct loop *loop, const char *path,
                      void (*granted)(struct place_claim *claim));
/* A granted claim ends; the claim belongs to its owner again when `released` runs. */
void place_claim_give(struct place_claim *claim, void (*released)(struct place_claim *claim));

#endif
