/* controller_private: the controller's state, shared by controller.c (life), controller_request.c (requests), controller_events.c (what the quorum
 * tells), controller_form.c (opening and forming), controller_round.c (decisions), controller_publish.c (subscriptions), controller_watch.c (who
 * watches which one is active), controller_voters.c (members of the quorum, and their changes), and the links.
 *
 * Threads:   the controller's loop, but for what is marked.
 */
#ifndef CONTROLLER_CONTROLLER_PRIVATE_H
#define CONTROLLER_CONTROLLER_PRIVATE_H

#include "controller/broker_sessions.h"
#include "controller/controller.h"
#include "controller/controller_client.h"
#include "controller/controller_directory.h"
#include "controller/controller_links.h"
#include "controller/controller_serve.h"
#include "controller/decision.h"
#include "controller/meta_codec.h"
#include "controller/quorum.h"
#include "controller/quorum_view.h"

#define CONTROLLER_TIMEOUT_US_DEFAULT 30000000u
#define CONTROLLER_TIMEOUT_US_MAX 3600000000u /* what a peer asks for beyond that is cut */
#define CONTROLLER_SWEEP_US 500000u
#define CONTROLLER_METADATA_LEVEL 1u
#define CONTROLLER_IMBALANCE_PERCENT 10u    /* of a broker's preferred partitions: Kafka's default */
#define CONTROLLER_BALANCE_MOVES_MAX 1000u  /* per decision */
#define CONTROLLER_BALANCE_SOON_US 3000000u /* after a broker came back */
#define CONTROLLER_BALANCE_SOON_COUNT 5u    /* checks in that distance, while its replicas catch up */

/* Requests that are decided together and become one entry. */
struct controller_round {
    uint64_t index; /* of the entry; 0: none under way */
    struct controller_request *requests;
};

/* A member of the quorum, from its address text. */
struct controller_place {
    struct link_address address; /* port 0: nobody needs to reach it */
    struct uuid directory_id;    /* zero: not known */
    bool is_voter;
};

/* What another voter said of itself while this one is not formed. */
struct form_peer {
    uint64_t heard_us; /* 0: never */
    struct uuid directory_id;
    bool is_formed;
    bool has_same_voters;
    bool lists_us;
    bool has_our_node;
    char cluster_id[UUID_TEXT_BYTES];
    struct bytebuf configuration;
};

/* Formation: the loop's, but for what the job has. */
struct controller_formation {
    struct loop_timer timer;
    uint64_t told_us;                              /* when people were told last what is waited for */
    bool is_admission_told;                        /* at once, for people have to act */
    struct form_peer peers[CONTROLLER_VOTERS_MAX]; /* in the order of controller.voters */
    struct loop_job job;
    bool is_running; /* the job */
    struct quorum_identity identity;
    struct bytebuf configuration;
    bool has_configuration;
    enum err err;
    struct option_problem problem;
};

struct controller {
    struct env *env;
    struct controller_options options;
    struct decision_defaults defaults;
    struct controller_voter
        voters[CONTROLLER_VOTERS_MAX]; /* controller.quorum.voters, sorted by id; this node among them */
    uint32_t voter_count;              /* 0: a lone voter that nobody needs to reach */
    struct controller_directory directory;
    struct quorum_identity identity; /* once there is a log */
    struct loop *loop;
    struct quorum *quorum; /* NULL: not formed yet */

    /* Any thread. */
    atomic_bool is_cluster_known;
    char cluster_id[UUID_TEXT_BYTES]; /* constant once is_cluster_known */

    /* The loop's own from here on. */
    struct controller_formation form;
    const struct image *image;          /* what is committed and applied */
    bool is_leader;                     /* of the quorum */
    bool is_active;                     /* and its activation is applied */
    uint64_t active_term;               /* of its last activation; 0: none */
    uint64_t leader_raft_id;            /* 0: none known */
    uint64_t activation_index;          /* proposed; 0: none */
    struct controller_request *waiting; /* not decided yet, in order of arrival */
    struct controller_round round;
    struct loop_task round_task;    /* decides what waits */
    struct loop_task activate_task; /* proposes an activation */
    struct loop_timer activate_timer;
    struct loop_timer sweep_timer; /* ends requests that are late */
    struct controller_publisher publisher;
    struct controller_watch *watches;
    struct controller_view view; /* as it was shown last */

    struct controller_place members[QUORUM_MEMBERS_MAX]; /* of the configuration that is committed */
    uint32_t member_count;
    struct loop_task members_task; /* dials them */
    struct controller_links links;
    struct controller_serve serve;
    struct broker_sessions *sessions; /* NULL without a server */
    struct loop_timer balance_timer;
    unsigned balance_soon_count;
    bool is_balance_unfinished; /* as many were moved as one decision may */
    uint32_t alive_count;       /* brokers */

    struct metric_set *metrics;
    bool is_started; /* the quorum */
    bool is_failed;
    bool is_stopping;

    struct loop_task begin_task;
    /* Stopping: see controller_stop. */
    struct loop_task stop_task;
    struct loop_timer stop_timer;
    unsigned stop_turns;
    atomic_bool is_closed;        /* requests are refused from now on */
    atomic_uint submitting_count; /* threads between the test of is_closed and the end of their post */
};

/* ---- controller_form.c ---- */

/* Before the loop runs: parses the voters, opens the directory; a lone voter's new one is formed. */
enum err controller_form_open(struct controller *controller, struct option_problem *ret_problem) MUST_USE;
/* Opens the quorum of a formed directory. Blocks. */
enum err controller_form_open_quorum(struct controller *controller, struct option_problem *ret_problem) MUST_USE;
/* On the loop, when there is no quorum yet: asks the other voters. */
void controller_form_start(struct controller *controller);
void controller_form_stop(struct controller *controller);
/* A voter can be asked now. */
void controller_form_look(struct controller *controller);
/* Looks at what the others said; may begin to form. */
void controller_form_judge(struct controller *controller);
/* controller_form_answer.c: a voter answered. */
void controller_form_state(struct controller *controller, const struct link_address *from, struct uuid directory_id,
                           struct span header);
/* The answer to one that asks. */
void controller_form_describe(struct controller *controller, struct uuid asker, int32_t asker_node_id,
                              struct bytebuf *header);

/* ---- controller_events.c ---- */

extern const struct quorum_events controller_quorum_events; /* ctx: the controller */
/* What quorum_start is followed by: on the loop, or before it runs. */
enum err controller_start_quorum(struct controller *controller, struct option_problem *ret_problem) MUST_USE;
/* The process must end. */
void controller_fail(struct controller *controller, const char *reason);
/* Proposes an activation, if one is due. */
void controller_activate(struct loop_task *task);
void controller_activate_again(struct loop_timer *timer);
void controller_balance(struct loop_timer *timer);
/* A broker's session has ended. */
void controller_fence(void *ctx, int32_t broker_id, int64_t broker_epoch, const char *why);
enum err controller_receive(struct controller *controller, uint64_t from_raft_id, struct span header,
                            struct span body) MUST_USE;
/* Compares with what was shown, and shows what is different. */
void controller_view_update(struct controller *controller);
void controller_count(struct controller *controller, unsigned metric, int64_t delta);

/* ---- controller_voters.c ---- */

/* "id@host:port/DIRECTORYID" of the configuration; what can't be read is left unknown. */
void controller_place_parse(const char *text, uint64_t raft_id, struct controller_place *ret_place);
/* The text of this node. */
char *controller_place_own(const struct controller *controller);
void controller_voters_changed(void *ctx, const struct quorum_member *members, uint32_t count, uint64_t index);
void controller_voters_dial(struct loop_task *task);
void controller_voters_send(void *ctx, uint64_t to_raft_id, const char *to_address, struct span header,
                            struct span body);
void controller_get_status(struct controller *controller, struct controller_status *status);
/* Fills the view, whose members lie in ret_members (QUORUM_MEMBERS_MAX). */
void controller_voters_view(struct controller *controller, struct controller_member *ret_members,
                            struct quorum_view *ret_view);
/* Has the quorum make the change; the request, in no list, is completed when that has ended. */
void controller_voters_change(struct controller *controller, struct controller_request *request,
                              const struct voter_change *change);
void controller_hint(const struct controller *controller, struct controller_hint *ret_hint);

/* ---- the others ---- */

/* True unless both know their cluster and it is not the same. */
bool controller_is_own_cluster(const struct controller *controller, const char *cluster_id);
/* What this node says on links that it dials, but for the kind. */
void controller_fill_hello(const struct controller *controller, struct rpc_hello *ret_hello);

/* controller_request.c: on the loop, a request that controller_submit posted. */
void controller_sweep(struct loop_timer *timer);

/* controller_round.c: decides what waits, if nothing is under way. */
void controller_round_run(struct loop_task *task);
/* The entry of the round under way is committed; `is_applied` says whether its batch took effect. */
void controller_round_committed(struct controller *controller, uint64_t index, bool is_applied);
/* Ends every request: what is proposed with ERR_CLOSED (its outcome is unknown), the others with `err`. */
void controller_round_abort(struct controller *controller, enum err err);
/* Sends the request back; it is in no list any more. */
void controller_complete(struct controller_request *request, enum err err, int64_t metadata_offset);

/* controller_publish.c: on the publisher's loop: shows the image to all subscribers. The image must be newer than the one before, and stay. */
void controller_publish(struct controller_publisher *publisher, const struct image *image);
void controller_publish_subscribe(struct controller_publisher *publisher, struct controller_subscription *subscription);

/* controller_watch.c: tells all watchers what `view` says now. */
void controller_watch_show(struct controller *controller);

void controller_serve_stop_calls(struct controller_serve *serve);
/* A link has come: silent ones are looked for while there are any. */
void controller_serve_watch(struct controller_serve *serve);
void controller_serve_sweep_calls(struct controller_serve *serve);

#endif
