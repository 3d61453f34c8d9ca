/* quorum_view: what the decisions about the quorum itself look at, and what they ask for: DescribeQuorum, AddRaftVoter, RemoveRaftVoter.
 *
 * Shape:     the active controller fills a view of its members when such a request is decided; the handlers are pure given it. A
 *            change of voters is not a record: the handler names it (voter_change), the controller has the quorum make it, and
 *            the request is answered by what became of that (controller_api_answer_voter).
 * Units:     wall clock milliseconds since 1970.
 * Ownership: borrowed for the decision.
 * Threads:   values.
 * Source:    KIP-595 (DescribeQuorum), KIP-836 (times), KIP-853 (voters by id and directory); correctness.md 6, ADR-0011.
 */
#ifndef CONTROLLER_QUORUM_VIEW_H
#define CONTROLLER_QUORUM_VIEW_H

#include "controller/controller.h"

#define QUORUM_VIEW_VOTERS_MAX 5        /* that the cluster settles at: 1, 3 or 5 */
#define QUORUM_VIEW_CONTACT_MS_MAX 5000 /* a voter that was not heard of for longer does not count as alive */
#define QUORUM_VIEW_ADDRESS_BYTES 512   /* "id@host:port/DIRECTORYID" with its terminator */
#define QUORUM_VIEW_LISTENER "INTERNAL"

struct quorum_view {
    int32_t leader_node_id; /* this controller */
    uint64_t leader_raft_id;
    uint64_t term;
    uint64_t commit_index;
    int64_t now_ms;
    uint32_t level_max; /* the highest metadata level that all controllers understand */
    /* Voters, stand-bys, and (is_voter false) brokers that follow the metadata, if the controller tells of them. */
    const struct controller_member *members;
    uint32_t member_count;
};

enum voter_change_kind { VOTER_CHANGE_NONE, VOTER_CHANGE_ADD, VOTER_CHANGE_REMOVE };

struct voter_change {
    enum voter_change_kind kind;
    int32_t node_id;
    struct uuid directory_id;
    uint64_t raft_id;                        /* REMOVE: of the member; ADD: 0, it is made of directory_id */
    char address[QUORUM_VIEW_ADDRESS_BYTES]; /* ADD: as it stands in the configuration */
};

#endif
