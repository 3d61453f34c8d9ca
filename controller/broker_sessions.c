/* One list of sessions (brokers are few), one list of links, one timer for the nearest deadline. */
#include "controller/broker_sessions.h"

#include "common/logger.h"
#include "common/mem.h"
#include "common/rpc/rpc_dial.h"
#include "controller/controller_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

struct session_link {
    int32_t broker_id;
    struct uuid incarnation_id;
    unsigned count;
    struct session_link *prev, *next;
};

struct session {
    struct broker_sessions *sessions;
    int32_t broker_id;
    int64_t epoch;
    struct uuid incarnation_id;
    bool is_fenced;
    char host[CONTROLLER_HOST_BYTES]; /* of its INTERNAL listener; "": it has none */
    uint16_t port;
    uint64_t deadline_us;
    bool is_seen; /* in the image, while it is compared */
    struct rpc_dial *probe;
    struct loop_timer probe_timer;
    unsigned probe_count; /* since its link was lost */
    struct session *prev, *next;
};

struct broker_sessions {
    struct broker_sessions_config config;
    bool is_active;
    uint64_t active_since_us;
    struct session *list;
    struct session_link *links;
    struct loop_timer deadline_timer;
    uint64_t armed_us; /* when it is to fire */
};

static uint64_t now(const struct broker_sessions *sessions)
{
    return loop_now_us(sessions->config.loop);
}

static bool has_link(const struct broker_sessions *sessions, const struct session *session)
{
    const struct session_link *link;
    DL_FOREACH (sessions->links, link) {
        if (link->broker_id == session->broker_id && uuid_equal(link->incarnation_id, session->incarnation_id)) {
            return true;
        }
    }
    return false;
}

static struct session *find(const struct broker_sessions *sessions, int32_t broker_id)
{
    struct session *session;
    DL_FOREACH (sessions->list, session) {
        if (session->broker_id == broker_id) {
            return session;
        }
    }
    return NULL;
}

/* ---- ends of sessions ---- */

static void arm(struct broker_sessions *sessions)
{
    const struct session *session;
    uint64_t nearest_us = UINT64_MAX;
    DL_FOREACH (sessions->list, session) {
        if (!session->is_fenced && session->deadline_us < nearest_us) {
            nearest_us = session->deadline_us;
        }
    }
    if (nearest_us == UINT64_MAX) {
        loop_timer_cancel(sessions->config.loop, &sessions->deadline_timer);
    } else {
        sessions->armed_us = nearest_us;
        loop_timer_set(sessions->config.loop, &sessions->deadline_timer, nearest_us);
    }
}

static void stop_probe(struct session *session)
{
    rpc_dial_free(session->probe);
    session->probe = NULL;
    loop_timer_cancel(session->sessions->config.loop, &session->probe_timer);
}

static void fence(struct session *session, const char *why)
{
    struct broker_sessions *sessions = session->sessions;
    stop_probe(session);
    session->deadline_us = now(sessions) + SESSIONS_REFENCE_US;
    arm(sessions);
    log_warn(sessions->config.env->logger, "broker_sessions", "broker_lost",
             "broker_id=%" PRId32 " broker_epoch=%" PRId64 " why=%s", session->broker_id, session->epoch, why);
    sessions->config.fence(sessions->config.ctx, session->broker_id, session->epoch, why);
}

static void deadline(struct loop_timer *timer)
{
    struct broker_sessions *sessions = CONTAINER_OF(timer, struct broker_sessions, deadline_timer);
    struct session *session;
    uint64_t now_us = now(sessions);
    uint64_t late_us = now_us - sessions->armed_us; /* this process stood still, or had too much to do */
    uint64_t more_us = late_us < sessions->config.timeout_us / 2 ? late_us : sessions->config.timeout_us / 2;
    DL_FOREACH (sessions->list, session) {
        if (session->is_fenced || session->deadline_us > now_us) {
            continue;
        }
        if (late_us >= SESSIONS_LATE_US) {
            log_warn(sessions->config.env->logger, "broker_sessions", "session_prolonged",
                     "broker_id=%" PRId32 " late_ms=%" PRIu64 " by_ms=%" PRIu64, session->broker_id, late_us / 1000,
                     more_us / 1000);
            session->deadline_us = now_us + more_us;
        } else {
            fence(session, "silence");
        }
    }
    arm(sessions);
}

/* ---- probes ---- */

static void on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    const struct session *session = (const struct session *)ctx;
    enum rpc_kind kind = ret_hello->kind;
    *ret_hello = session->sessions->config.hello;
    ret_hello->kind = kind;
}

static void probe_later(struct session *session)
{
    struct broker_sessions *sessions = session->sessions;
    rpc_dial_free(session->probe);
    session->probe = NULL;
    if (session->probe_count >= SESSIONS_PROBES_MAX) {
        return; /* the session decides */
    }
    unsigned doublings = session->probe_count > 6 ? 6 : session->probe_count;
    uint64_t gap_us = (uint64_t)SESSIONS_PROBE_GAP_US << doublings >> 1;
    gap_us = gap_us > SESSIONS_PROBE_GAP_US_MAX ? SESSIONS_PROBE_GAP_US_MAX : gap_us;
    loop_timer_set(sessions->config.loop, &session->probe_timer, now(sessions) + gap_us);
}

static void on_probe_up(void *ctx, struct rpc_link *link)
{
    struct session *session = (struct session *)ctx;
    const struct rpc_hello *peer = rpc_link_peer(link);
    if (peer->node_id == session->broker_id && !uuid_is_zero(peer->incarnation_id) &&
        !uuid_equal(peer->incarnation_id, session->incarnation_id)) {
        fence(session, "another_incarnation");
    } else {
        probe_later(session); /* it lives, and will be back */
    }
}

static void on_probe_frame(void *ctx, const struct rpc_frame *frame)
{
    (void)ctx;
    (void)frame; /* a probe's answer is the hello */
}

static void on_probe_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct session *session = (struct session *)ctx;
    (void)text;
    if (err == ERR_REFUSED && !was_up) {
        fence(session, "refused");
    } else {
        probe_later(session);
    }
}

static void probe(struct loop_timer *timer)
{
    struct session *session = CONTAINER_OF(timer, struct session, probe_timer);
    struct broker_sessions *sessions = session->sessions;
    if (session->is_fenced || session->host[0] == '\0' || has_link(sessions, session)) {
        return;
    }
    session->probe_count++;
    struct rpc_dial_config config = {.env = sessions->config.env,
                                     .loop = sessions->config.loop,
                                     .kind = RPC_KIND_PROBE,
                                     .is_once = true,
                                     .connect_timeout_us = SESSIONS_PROBE_CONNECT_US};
    struct rpc_dial_events events = {.ctx = session,
                                     .on_hello = on_hello,
                                     .on_up = on_probe_up,
                                     .on_frame = on_probe_frame,
                                     .on_down = on_probe_down};
    session->probe = rpc_dial_new(&config, session->host, session->port, &events);
}

/* Begins to ask, unless that goes on already. */
static void doubt(struct session *session, uint64_t at_us)
{
    if (session->probe != NULL || session->probe_timer.heap_slot != 0 || session->is_fenced ||
        session->broker_id == session->sessions->config.local_broker_id) {
        return;
    }
    session->probe_count = 0;
    loop_timer_set(session->sessions->config.loop, &session->probe_timer, at_us);
}

/* ---- sessions ---- */

static void free_session(struct session *session)
{
    stop_probe(session);
    DL_DELETE(session->sessions->list, session);
    mem_free(session);
}

static void take_address(struct session *session, const struct image_broker *broker)
{
    const struct image_endpoint *endpoint = image_find_endpoint(broker, span_text(SESSIONS_LISTENER));
    session->host[0] = '\0';
    if (endpoint != NULL && endpoint->host.bytes < sizeof(session->host)) {
        (void)snprintf(session->host, sizeof(session->host), "%.*s", (int)endpoint->host.bytes,
                       (const char *)endpoint->host.data);
        session->port = endpoint->port;
    }
}

static void begin(struct broker_sessions *sessions, const struct image_broker *broker)
{
    struct session *session = MEM_NEW(struct session);
    session->sessions = sessions;
    session->broker_id = broker->id;
    session->epoch = broker->epoch;
    session->incarnation_id = broker->incarnation_id;
    session->is_fenced = broker->is_fenced;
    session->is_seen = true;
    session->deadline_us = now(sessions) + sessions->config.timeout_us;
    session->probe_timer.fire = probe;
    take_address(session, broker);
    DL_APPEND(sessions->list, session);
    if (!session->is_fenced && !has_link(sessions, session)) {
        doubt(session, now(sessions) + SESSIONS_GRACE_US);
    }
}

static void compare(struct broker_sessions *sessions, const struct image_broker *broker)
{
    struct session *session = find(sessions, broker->id);
    if (session != NULL && session->epoch != broker->epoch) {
        free_session(session); /* another incarnation */
        session = NULL;
    }
    if (session == NULL) {
        begin(sessions, broker);
        return;
    }
    session->is_seen = true;
    if (session->is_fenced && !broker->is_fenced) {
        session->deadline_us = now(sessions) + sessions->config.timeout_us;
        session->is_fenced = false;
        if (!has_link(sessions, session)) {
            doubt(session, now(sessions) + SESSIONS_GRACE_US);
        }
    } else if (!session->is_fenced && broker->is_fenced) {
        session->is_fenced = true;
        stop_probe(session);
    }
}

void broker_sessions_update(struct broker_sessions *sessions, const struct image *image)
{
    struct session *session, *next;
    if (!sessions->is_active) {
        return;
    }
    DL_FOREACH (sessions->list, session) {
        session->is_seen = false;
    }
    for (uint32_t i = 0; i < image_broker_count(image); i++) {
        compare(sessions, image_broker_at(image, i));
    }
    DL_FOREACH_SAFE (sessions->list, session, next) {
        if (!session->is_seen) {
            free_session(session);
        }
    }
    arm(sessions);
}

void broker_sessions_activate(struct broker_sessions *sessions, const struct image *image)
{
    CHECK(sessions->list == NULL);
    sessions->is_active = true;
    broker_sessions_update(sessions, image);
}

void broker_sessions_deactivate(struct broker_sessions *sessions)
{
    sessions->is_active = false;
    while (sessions->list != NULL) {
        free_session(sessions->list);
    }
    loop_timer_cancel(sessions->config.loop, &sessions->deadline_timer);
}

void broker_sessions_touch(struct broker_sessions *sessions, int32_t broker_id, int64_t broker_epoch)
{
    struct session *session = find(sessions, broker_id);
    if (session != NULL && session->epoch == broker_epoch && !session->is_fenced) {
        session->deadline_us = now(sessions) + sessions->config.timeout_us;
        /* The timer stays: it fires early, looks, and is armed anew. */
    }
}

/* ---- links ---- */

static struct session_link *find_link(const struct broker_sessions *sessions, int32_t broker_id,
                                      struct uuid incarnation_id)
{
    struct session_link *link;
    DL_FOREACH (sessions->links, link) {
        if (link->broker_id == broker_id && uuid_equal(link->incarnation_id, incarnation_id)) {
            return link;
        }
    }
    return NULL;
}

void broker_sessions_link_up(struct broker_sessions *sessions, int32_t broker_id, struct uuid incarnation_id)
{
    struct session_link *link = find_link(sessions, broker_id, incarnation_id);
    if (link == NULL) {
        link = MEM_NEW(struct session_link);
        link->broker_id = broker_id;
        link->incarnation_id = incarnation_id;
        DL_APPEND(sessions->links, link);
    }
    link->count++;
    struct session *session = find(sessions, broker_id);
    if (session != NULL && uuid_equal(session->incarnation_id, incarnation_id)) {
        stop_probe(session);
    }
}

void broker_sessions_link_down(struct broker_sessions *sessions, int32_t broker_id, struct uuid incarnation_id)
{
    struct session_link *link = find_link(sessions, broker_id, incarnation_id);
    CHECK(link != NULL && link->count > 0);
    if (--link->count > 0) {
        return;
    }
    DL_DELETE(sessions->links, link);
    mem_free(link);
    struct session *session = find(sessions, broker_id);
    if (session != NULL && uuid_equal(session->incarnation_id, incarnation_id)) {
        doubt(session, now(sessions));
    }
}

/* ---- life ---- */

struct broker_sessions *broker_sessions_new(const struct broker_sessions_config *config)
{
    struct broker_sessions *sessions = MEM_NEW(struct broker_sessions);
    sessions->config = *config;
    sessions->deadline_timer.fire = deadline;
    return sessions;
}

void broker_sessions_free(struct broker_sessions *sessions)
{
    if (sessions == NULL) {
        return;
    }
    broker_sessions_deactivate(sessions);
    while (sessions->links != NULL) {
        struct session_link *link = sessions->links;
        DL_DELETE(sessions->links, link);
        mem_free(link);
    }
    mem_free(sessions);
}
