/* controller_private: the controller's state, shared by controller.c (life, requests), controller_form.c (opening the directory),
 * controller_round.c (decisions), controller_publish.c (subscriptions), controller_watch.c (who watches which one is active).
 *
 * Threads:   the controller's loop, but for what is marked.
 */
#ifndef CONTROLLER_CONTROLLER_PRIVATE_H
#define CONTROLLER_CONTROLLER_PRIVATE_H

#include "controller/controller.h"
#include "controller/decision.h"
#include "controller/meta_codec.h"
#include "controller/quorum.h"

#define CONTROLLER_DIRECTORY_NAME "moldau-metadata"
#define CONTROLLER_TIMEOUT_US_DEFAULT 30000000u
#define CONTROLLER_SWEEP_US 500000u
#define CONTROLLER_METADATA_LEVEL 1u

/* Requests that are decided together and become one entry. */
struct controller_round {
    uint64_t index; /* of the entry; 0: none under way */
    struct controller_request *requests;
};

struct controller {
    struct env *env;
    struct controller_options options;
    struct decision_defaults defaults;
    struct quorum_identity identity;
    struct file *lock;
    struct loop *loop;
    struct quorum *quorum;

    /* The loop's own from here on. */
    const struct image *image;          /* what is committed and applied */
    bool is_leader;                     /* of the quorum */
    bool is_active;                     /* and its activation is applied */
    uint64_t activation_index;          /* proposed; 0: none */
    struct controller_request *waiting; /* not decided yet, in order of arrival */
    struct controller_round round;
    struct loop_task round_task;    /* decides what waits */
    struct loop_task activate_task; /* proposes an activation */
    struct loop_timer sweep_timer;  /* ends requests that are late */
    struct controller_publisher publisher;
    struct controller_watch *watches;
    struct controller_view view; /* as it was shown last */
    struct metric_set *metrics;
    bool is_failed;
    bool is_stopping;

    /* Stopping: see controller_stop. */
    struct loop_task stop_task;
    unsigned stop_turns;
    atomic_bool is_closed;        /* requests are refused from now on */
    atomic_uint submitting_count; /* threads between the test of is_closed and the end of their post */
};

/* Locks, checks or forms the metadata directory; fills identity and the log's directory (mem_free). */
enum err controller_form(struct controller *controller, char **ret_log_directory, char **ret_address,
                         struct option_problem *ret_problem);

/* Decides what waits, if nothing is under way. */
void controller_round_run(struct loop_task *task);
/* The entry of the round under way is committed; `is_applied` says whether its batch took effect. */
void controller_round_committed(struct controller *controller, uint64_t index, bool is_applied);
/* Ends every request: what is proposed with ERR_CLOSED (its outcome is unknown), the others with `err`. */
void controller_round_abort(struct controller *controller, enum err err);
/* Sends the request back; it is in no list any more. */
void controller_complete(struct controller_request *request, enum err err, int64_t metadata_offset);

/* On the publisher's loop: shows the image to all subscribers. The image must be newer than the one before, and stay. */
void controller_publish(struct controller_publisher *publisher, const struct image *image);
void controller_publish_subscribe(struct controller_publisher *publisher, struct controller_subscription *subscription);

/* Tells all watchers what `view` says now. */
void controller_watch_show(struct controller *controller);
/* Compares with what was shown, and shows what is different. */
void controller_view_update(struct controller *controller);

void controller_get_status(struct controller *controller, struct controller_status *ret_status);

#endif
