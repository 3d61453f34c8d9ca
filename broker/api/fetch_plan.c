/* What a fetch asks for: the request's own list, or what its session remembers, brought up to date by the request. */
#include "broker/api/authorise.h"
#include "broker/api/fetch.h"
#include "broker/worker.h"
#include "common/check.h"
#include "controller/image.h"

#include <utlist.h>

static bool fetch_uses_topic_ids(const struct fetch *fetch)
{
    return fetch->request->api_version >= FETCH_VERSION_TOPIC_IDS;
}

/* Names on the wire that the version does not carry must not count as part of a partition's name. */
static struct fetch_partition_name fetch_name(const struct fetch *fetch, struct uuid topic_id, struct span topic_name,
                                              int32_t partition_index)
{
    struct fetch_partition_name name = {.partition_index = partition_index};
    if (fetch_uses_topic_ids(fetch)) {
        name.topic_id = topic_id;
    } else {
        name.topic_name = topic_name;
    }
    return name;
}

static struct fetch_wish fetch_wish_of(const struct fetch *fetch, const struct fetch_request_topic *topic,
                                       const struct fetch_request_partition *partition)
{
    return (struct fetch_wish){
        .name = fetch_name(fetch, topic->topic_id, topic->topic, partition->partition),
        .current_leader_epoch = partition->current_leader_epoch,
        .last_fetched_epoch = partition->last_fetched_epoch,
        .fetch_offset = partition->fetch_offset,
        .bytes_max = partition->partition_max_bytes,
    };
}

/* What can be said without asking the partition; NONE when it has to be asked. */
static enum error_code fetch_part_refuse(const struct fetch *fetch, const struct fetch_part *part)
{
    if (part->topic == NULL) {
        return fetch_uses_topic_ids(fetch) ? ERROR_UNKNOWN_TOPIC_ID : ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (!authorise(fetch->request, AUTHORISE_READ, AUTHORISE_TOPIC, part->topic->name)) {
        return ERROR_TOPIC_AUTHORIZATION_FAILED;
    }
    if (image_find_partition(part->topic, part->wish.name.partition_index) == NULL) {
        return ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    return ERROR_NONE;
}

static void fetch_part_init(struct fetch *fetch, struct fetch_part *part, const struct fetch_wish *wish)
{
    const struct image *image = fetch->home->image;
    part->fetch = fetch;
    part->wish = *wish;
    part->topic = fetch_uses_topic_ids(fetch) ? image_find_topic_id(image, wish->name.topic_id)
                                              : image_find_topic(image, wish->name.topic_name);
    part->high_watermark = -1;
    part->last_stable_offset = -1;
    part->log_start_offset = -1;
    part->diverging_epoch = -1;
    part->error = fetch_part_refuse(fetch, part);
    if (part->error == ERROR_NONE) {
        part->part.topic_id = part->topic->id;
        part->part.partition_index = wish->name.partition_index;
        part->news = FETCH_NEWS_UNREAD; /* has to be read */
    }
}

static bool fetch_parts_alloc(struct fetch *fetch, size_t part_count)
{
    fetch->parts = arena_array(&fetch->request->arena, part_count, sizeof(*fetch->parts));
    return fetch->parts != NULL;
}

static bool fetch_parts_from_request(struct fetch *fetch)
{
    const struct fetch_request *message = fetch->message;
    size_t part_count = 0;
    for (size_t t = 0; t < message->topics_count; t++) {
        part_count += message->topics[t].partitions_count;
    }
    if (!fetch_parts_alloc(fetch, part_count)) {
        return false;
    }
    for (size_t t = 0; t < message->topics_count; t++) {
        const struct fetch_request_topic *topic = &message->topics[t];
        for (size_t p = 0; p < topic->partitions_count; p++) {
            struct fetch_wish wish = fetch_wish_of(fetch, topic, &topic->partitions[p]);
            fetch_part_init(fetch, &fetch->parts[fetch->part_count++], &wish);
        }
    }
    return true;
}

/* Names are copied: the session may be gone before the answer is made. */
static bool fetch_parts_from_session(struct fetch *fetch, const struct fetch_session *session)
{
    if (!fetch_parts_alloc(fetch, session->partition_count)) {
        return false;
    }
    const struct fetch_session_partition *partition = NULL;
    DL_FOREACH (session->in_order, partition) {
        struct fetch_wish wish = partition->wish;
        if (!span_is_null(wish.name.topic_name)) {
            wish.name.topic_name = arena_copy(&fetch->request->arena, wish.name.topic_name);
            if (span_is_null(wish.name.topic_name)) {
                return false;
            }
        }
        fetch_part_init(fetch, &fetch->parts[fetch->part_count++], &wish);
    }
    return true;
}

static bool fetch_session_take_wishes(struct fetch *fetch, struct fetch_session *session)
{
    const struct fetch_request *message = fetch->message;
    for (size_t t = 0; t < message->forgotten_topics_data_count; t++) {
        const struct fetch_request_forgotten_topic *topic = &message->forgotten_topics_data[t];
        for (size_t p = 0; p < topic->partitions_count; p++) {
            struct fetch_partition_name name = fetch_name(fetch, topic->topic_id, topic->topic, topic->partitions[p]);
            fetch_session_forget(session, &name);
        }
    }
    for (size_t t = 0; t < message->topics_count; t++) {
        const struct fetch_request_topic *topic = &message->topics[t];
        for (size_t p = 0; p < topic->partitions_count; p++) {
            struct fetch_wish wish = fetch_wish_of(fetch, topic, &topic->partitions[p]);
            if (!fetch_session_put(session, &wish)) {
                return false;
            }
        }
    }
    return true;
}

/* A full fetch that asks for a session; without room for one it goes on without. */
static void fetch_session_begin(struct fetch *fetch)
{
    if (fetch->message->topics_count == 0) {
        return;
    }
    struct fetch_session_cache *cache = fetch->home->fetch_sessions;
    struct fetch_session *session =
        fetch_session_add(cache, fetch_uses_topic_ids(fetch), loop_now_us(fetch->home->loop));
    if (session == NULL) {
        return;
    }
    if (!fetch_session_take_wishes(fetch, session)) {
        fetch_session_remove(cache, session);
        return;
    }
    fetch->session_id = session->id;
}

static bool fetch_plan_full(struct fetch *fetch)
{
    const struct fetch_request *message = fetch->message;
    struct fetch_session_cache *cache = fetch->home->fetch_sessions;
    if (message->session_id > FETCH_SESSION_NONE) {
        struct fetch_session *old = fetch_session_find(cache, message->session_id);
        if (old != NULL) {
            fetch_session_remove(cache, old);
        }
    }
    if (message->session_epoch == FETCH_EPOCH_INITIAL && fetch->request->api_version >= FETCH_VERSION_SESSIONS) {
        fetch_session_begin(fetch);
    }
    return fetch_parts_from_request(fetch);
}

static bool fetch_plan_incremental(struct fetch *fetch)
{
    const struct fetch_request *message = fetch->message;
    struct fetch_session_cache *cache = fetch->home->fetch_sessions;
    struct fetch_session *session = NULL;
    fetch->error = fetch_session_resume(cache, message->session_id, message->session_epoch, fetch_uses_topic_ids(fetch),
                                        loop_now_us(fetch->home->loop), &session);
    if (fetch->error != ERROR_NONE) {
        return true;
    }
    if (!fetch_session_take_wishes(fetch, session)) {
        fetch_session_remove(cache, session);
        fetch->error = ERROR_FETCH_SESSION_ID_NOT_FOUND; /* the client begins anew, without so much in one session */
        return true;
    }
    if (session->partition_count == 0) {
        /* Nothing is left to remember; the answer says that the session has ended. */
        fetch_session_remove(cache, session);
        return true;
    }
    fetch->session_id = session->id;
    fetch->is_incremental = true;
    return fetch_parts_from_session(fetch, session);
}

bool fetch_plan(struct fetch *fetch)
{
    const struct fetch_request *message = fetch->message;
    if (message->replica_id >= 0 || message->replica_state.replica_id >= 0) {
        /* Followers are fed by streams of our own; a client that poses as one would acknowledge records (CVE-2018-1288). */
        fetch->error = ERROR_CLUSTER_AUTHORIZATION_FAILED;
        return true;
    }
    bool is_full = message->session_epoch == FETCH_EPOCH_INITIAL || message->session_epoch == FETCH_EPOCH_FINAL;
    return is_full ? fetch_plan_full(fetch) : fetch_plan_incremental(fetch);
}
