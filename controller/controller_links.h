/* controller_links: links of kind QUORUM between the controllers: messages of the consensus, questions at formation, hashes of what was applied.
 *
 * Shape:     one dialled link to every other controller (of the configuration; while forming, of controller.quorum.voters) and one accepted link
 *            from each. A message goes by the dialled one, or, when there is none (a leader that this node's configuration does not know yet),
 *            by the accepted one. Who is at the other end is said by its hello's directory id, which its raft id is made of.
 *            Messages of controllers that are not in the configuration are heard as well: a node that was away, or is being added, does not
 *            know the members of now. A member that was removed does no harm: pre-vote.
 *            What was applied is compared: (offset, hash of the chain) goes to all others each LINKS_HASH_US while something was applied. Who
 *            differs from more controllers than agree with it ends itself; at a tie that lasts whoever differs from the leader.
 *            A link whose other end has gone without a word (a cut, a lost machine) is found by pings, not by TCP, which would wait for minutes: the
 *            dialer asks each LINKS_PING_US and dials anew after LINKS_UNHEARD_MAX without any answer; an accepted link that says nothing for
 *            LINKS_ACCEPTED_UNHEARD_MAX such turns is closed.
 * Limits:    LINKS_QUEUED_BYTES_MAX on a link: more is dropped (the consensus sends again); LINKS_ACCEPTED_MAX accepted links.
 * Ownership: the controller's.
 * Threads:   the controller's loop; controller_links_check: the server's.
 * Source:    design.md 8; correctness.md 1 (R8), 5; proto/node/controller.proto.
 */
#ifndef CONTROLLER_CONTROLLER_LINKS_H
#define CONTROLLER_CONTROLLER_LINKS_H

#include "common/rpc/rpc_server.h"
#include "controller/controller_client.h"
#include "controller/image.h"

#define LINKS_QUEUED_BYTES_MAX (24u << 20)
#define LINKS_ACCEPTED_MAX 64u
#define LINKS_PEERS_MAX 32u
#define LINKS_HASH_US 1000000u
#define LINKS_DISPUTE_US 3000000u
#define LINKS_CONNECT_US 1000000u
#define LINKS_PING_US 500000u
#define LINKS_UNHEARD_MAX 4u
#define LINKS_ACCEPTED_UNHEARD_MAX 10u
#define LINKS_ANSWERS_BYTES_MAX (1u << 20) /* queued: no more questions are answered */

enum links_frame_type {
    LINKS_FRAME_RAFT = 1,
    LINKS_FRAME_PROBE = 2,
    LINKS_FRAME_STATE = 3,
    LINKS_FRAME_HASH = 4,
    LINKS_FRAME_PING = 5,
    LINKS_FRAME_PONG = 6,
};

struct controller;
struct link_peer;
struct link_accepted;

/* Where another controller is, and who it must be. */
struct link_address {
    int32_t node_id;  /* -1: not known */
    uint64_t raft_id; /* 0: whoever is there (formation) */
    char host[CONTROLLER_HOST_BYTES];
    uint16_t port;
};

/* What another controller said it has applied. */
struct link_hash {
    uint64_t raft_id;
    int64_t offset; /* 0: nothing yet */
    uint8_t hash[IMAGE_HASH_BYTES];
    bool is_compared;
    bool is_different;
};

struct controller_links {
    struct controller *controller;
    struct link_peer *peers;
    struct link_accepted *accepted;
    uint32_t peer_count;
    uint32_t accepted_count;
    struct link_hash hashes[CONTROLLER_VOTERS_MAX];
    struct loop_timer hash_timer;
    struct loop_timer ping_timer;
    uint64_t disputed_since_us; /* somebody differs; 0: nobody */
    int64_t told_offset;        /* that others were told of last */
};

void controller_links_init(struct controller_links *links, struct controller *controller);
/* On the loop. */
void controller_links_start(struct controller_links *links);
void controller_links_stop(struct controller_links *links);
/* Dials exactly these; links that fit go on. */
void controller_links_set(struct controller_links *links, const struct link_address *addresses, uint32_t count);
/* Says hello anew on all dialled links: the cluster is known now. */
void controller_links_greet(struct controller_links *links);
/* Sends to a controller, or loses it. `address`: where to dial when it is not known yet; port 0: nowhere. */
void controller_links_send(struct controller_links *links, uint64_t raft_id, const struct link_address *address,
                           struct span header, struct span body);
/* Asks everybody who is dialled and up for its state. */
void controller_links_probe(struct controller_links *links);
/* From the server. */
void controller_links_accept(void *ctx, struct rpc_link *link);

#endif
