/* controller_api: the Kafka admin requests that the controller decides: decode, decide item by item, encode.
 *
 * Shape:     each item (topic, resource) is decided upon what the items before it will have made of the image, so that one
 *            request can't contradict itself; a refused item leaves no records. With validateOnly all records are dropped
 *            at the end.
 * Errors:    ERR_MALFORMED, ERR_LIMIT, ERR_UNSUPPORTED: the body can't be decoded or is too large to be decided.
 * Ownership: a call borrows its decision's arena and records; *ret_response comes with one reference.
 * Threads:   pure but for the ids drawn from the rng.
 * Source:    KIP-590, KIP-339; protocol.md.
 */
#ifndef CONTROLLER_CONTROLLER_API_H
#define CONTROLLER_CONTROLLER_API_H

#include "common/shared_bytes.h"
#include "controller/config_control.h"
#include "controller/controller.h"
#include "controller/decision.h"
#include "controller/quorum_view.h"
#include "controller/topic_control.h"

struct codec_message;
struct rng;

/* Topics or resources of one request. Each one costs a draft of the image; the controller's loop must not stand still for as long as an
 * election timeout (400 ms). */
#define API_CALL_ITEMS_MAX 1000

/* A request being decided. */
struct api_call {
    struct decision decision;  /* its image moves on with every item */
    const struct image *draft; /* owned: what decision.image points to once an item has made records; NULL before */
    int64_t index;             /* of the entry to come */
    size_t packed_bytes;       /* of the records that its items have made so far, and a little more */
    struct rng *rng;
    const struct controller_admin *admin;
    const struct quorum_view
        *quorum; /* for DescribeQuorum, AddRaftVoter, RemoveRaftVoter (controller_api_needs_quorum) */
    struct shared_bytes *response;
    /* Not VOTER_CHANGE_NONE: there are no records and no response yet. The quorum makes the change, then controller_api_answer_voter. */
    struct voter_change voter_change;
};

bool controller_api_serves(int16_t api_key, int16_t api_version);
/* Whether call->quorum must be filled for this API. */
bool controller_api_needs_quorum(int16_t api_key);
/* Decides and fills call->response, or call->voter_change. */
enum err controller_api_handle(struct api_call *call) MUST_USE;
/* Fills admin->response with what became of the change of voters: what quorum_add_voter or quorum_remove_voter said. */
enum err controller_api_answer_voter(struct controller_admin *admin, enum err err) MUST_USE;
/* The topics that a client wanted to exist; codes in the order of names. */
void controller_api_auto_create(struct api_call *call, const struct controller_auto_create *request);
/* Drops what the call holds (not the response). */
void api_call_done(struct api_call *call);

/* ---- for the handlers, admin_<api>.c ---- */

enum err api_call_decode(struct api_call *call, const struct codec_message *message, void *ret_body) MUST_USE;
enum err api_call_encode(struct api_call *call, const struct codec_message *message, const void *body) MUST_USE;
/* Lets the records from `first_record` on count for the items that follow. When they do not fit together with what came before
 * (too many for an entry), they are dropped and the item is refused. */
void api_call_advance(struct api_call *call, size_t first_record, struct decision_result *result);
/* More than API_CALL_ITEMS_MAX: all of them are refused, with this outcome. */
bool api_call_is_too_much(struct api_call *call, size_t item_count, struct decision_result *result);
/* Drops the records from `first_record` on and returns to the image that was committed: validateOnly. */
void api_call_forget(struct api_call *call, const struct image *image, size_t first_record);
/* Goes back to `image`, whose reference it takes, and drops the records from `first_record` on: an item that failed half-way. */
void api_call_back(struct api_call *call, const struct image *image, size_t first_record);
/* A number for placement to begin with. */
void api_call_draw_seed(struct api_call *call);

enum err admin_create_topics(struct api_call *call) MUST_USE;
enum err admin_delete_topics(struct api_call *call) MUST_USE;
enum err admin_create_partitions(struct api_call *call) MUST_USE;
enum err admin_incremental_alter_configs(struct api_call *call) MUST_USE;
enum err admin_alter_configs(struct api_call *call) MUST_USE;
enum err admin_elect_leaders(struct api_call *call) MUST_USE;
enum err admin_unregister_broker(struct api_call *call) MUST_USE;
enum err admin_update_features(struct api_call *call) MUST_USE;
enum err admin_describe_quorum(struct api_call *call) MUST_USE;
enum err admin_add_raft_voter(struct api_call *call) MUST_USE;
enum err admin_remove_raft_voter(struct api_call *call) MUST_USE;

#endif
