/* controller_client: a broker's way to the controllers, wherever they are: requests go to the active one, committed metadata comes from any.
 *
 * Shape:     local (this node carries a controller): its images are shown; requests go to it while it is the active one. While it is not fed (taken
 *            out of the quorum, not admitted yet, cut off) some other controller is followed, as if there were none here.
 *            remote: one CALL link to the active controller (found by asking the configured ones; an ERR_NOT_LEADER answer names it), and
 *            without a local controller one METADATA link to some controller, whose entries are applied here (image_apply) and checked
 *            against the hash chain; never backwards. A controller of another cluster is refused.
 *            The CALL link is kept open while the broker lives: its loss is what the active controller detects a dead process by.
 *            A broker without a controller keeps no metadata on its disk: after a start it waits for some controller.
 * Limits:    CLIENT_SILENCE_US without a word on a link: another controller is tried.
 * Errors:    as controller.h says. The client itself tries again, until the request's timeout, what certainly was not done (ERR_NOT_LEADER,
 *            no link) and what may be done twice (all kinds but ADMIN); an ADMIN request that was sent over a link that was lost ends with
 *            ERR_CLOSED: its outcome is unknown.
 * Ownership: requests and subscriptions are the caller's, as with the controller.
 * Threads:   new, start, stop, free, subscribe: home. submit: any thread. Links, timers and applying: home. on_cluster_id and on_fatal come
 *            from tasks and links, never from inside of a call.
 * Source:    design.md 8; correctness.md 5; KIP-590, KIP-631.
 */
#ifndef CONTROLLER_CONTROLLER_CLIENT_H
#define CONTROLLER_CONTROLLER_CLIENT_H

#include "common/rpc/rpc_hello.h"
#include "controller/controller.h"

#define CONTROLLER_HOST_BYTES 256

/* One of controller.quorum.voters. */
struct controller_voter {
    int32_t node_id;
    char host[CONTROLLER_HOST_BYTES];
    uint16_t port;
};

/* "host:port" or "[host]:port". ERR_INVALID. */
enum err controller_address_parse(struct span text, char ret_host[CONTROLLER_HOST_BYTES], uint16_t *ret_port) MUST_USE;
/* Parses "id@host:port,...": at least one, no id and no address twice. */
enum err controller_voters_parse(struct span text, struct controller_voter *ret_voters, uint32_t *ret_count,
                                 struct option_problem *ret_problem) MUST_USE;

struct controller_client_config {
    struct env *env;
    struct loop *home;
    struct controller *local;              /* or NULL */
    const struct controller_voter *voters; /* copied; none with a lone local controller */
    uint32_t voter_count;
    struct rpc_hello hello; /* what the node says of itself; kind and broker_epoch are filled in */
    void *ctx;
    /* Home, once: the cluster is known, by the local controller or a remote one (after formation). */
    void (*on_cluster_id)(void *ctx, const char *cluster_id);
    /* Home, once: it can never work (another cluster, a hash chain that differs); a sentence. The node must end. */
    void (*on_fatal)(void *ctx, const char *sentence);
};

struct controller_client;

struct controller_client *controller_client_new(const struct controller_client_config *config);
void controller_client_start(struct controller_client *client);
/* Like controller_submit and controller_subscribe/unsubscribe. */
void controller_client_submit(struct controller_client *client, struct controller_request *request);
void controller_client_subscribe(struct controller_client *client, struct controller_subscription *subscription);
void controller_client_unsubscribe(struct controller_client *client, struct controller_subscription *subscription);
/* For the hellos of new links: the registration that the node holds. Home. */
void controller_client_set_broker_epoch(struct controller_client *client, int64_t broker_epoch);
/* Ends requests under way with ERR_CLOSED, closes the links; then on_stopped, on home. Unsubscribe first. */
void controller_client_stop(struct controller_client *client, void (*on_stopped)(void *ctx), void *ctx);
/* After on_stopped, or never started. NULL is accepted. */
void controller_client_free(struct controller_client *client);

#endif
