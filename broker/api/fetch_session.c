#include "broker/api/fetch_session.h"

#include "common/mem.h"

#include <utlist.h>

#define KEY_FIXED_BYTES (sizeof(int32_t) + UUID_BYTES)
/* Topic names have at most 249 bytes; a longer one names no topic and is not remembered. */
#define KEY_NAME_BYTES_MAX 249u

struct fetch_session_cache {
    struct rng *rng;
    unsigned worker_index;
    unsigned worker_count;
    uint32_t slots_max;
    struct fetch_session *by_id;
    struct fetch_session *by_use;
};

struct fetch_session_cache *fetch_session_cache_new(struct rng *rng, unsigned worker_index, unsigned worker_count,
                                                    uint32_t slots_max)
{
    CHECK(worker_index < worker_count);
    struct fetch_session_cache *cache = MEM_NEW(struct fetch_session_cache);
    cache->rng = rng;
    cache->worker_index = worker_index;
    cache->worker_count = worker_count;
    cache->slots_max = slots_max;
    return cache;
}

void fetch_session_cache_free(struct fetch_session_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    while (cache->by_use != NULL) {
        fetch_session_remove(cache, cache->by_use);
    }
    mem_free(cache);
}

uint32_t fetch_session_count(const struct fetch_session_cache *cache)
{
    return HASH_COUNT(cache->by_id);
}

struct fetch_session *fetch_session_find(struct fetch_session_cache *cache, int32_t id)
{
    struct fetch_session *session = NULL;
    HASH_FIND_INT(cache->by_id, &id, session);
    return session;
}

/* Positive, unused, and telling its home. */
static int32_t fetch_session_new_id(struct fetch_session_cache *cache)
{
    for (;;) {
        uint64_t id = rng_below(cache->rng, INT32_MAX);
        id -= id % cache->worker_count;
        id += cache->worker_index;
        if (id > 0 && id <= INT32_MAX && fetch_session_find(cache, (int32_t)id) == NULL) {
            return (int32_t)id;
        }
    }
}

struct fetch_session *fetch_session_add(struct fetch_session_cache *cache, bool uses_topic_ids, uint64_t now_us)
{
    if (fetch_session_count(cache) >= cache->slots_max) {
        struct fetch_session *oldest = cache->by_use;
        if (oldest == NULL || now_us - oldest->used_us < FETCH_SESSION_IDLE_US) {
            return NULL;
        }
        fetch_session_remove(cache, oldest);
    }
    struct fetch_session *session = MEM_NEW(struct fetch_session);
    session->id = fetch_session_new_id(cache);
    session->next_epoch = 1;
    session->uses_topic_ids = uses_topic_ids;
    session->used_us = now_us;
    HASH_ADD_INT(cache->by_id, id, session);
    DL_APPEND(cache->by_use, session);
    return session;
}

static void fetch_session_drop(struct fetch_session *session, struct fetch_session_partition *partition)
{
    HASH_DEL(session->by_key, partition);
    DL_DELETE(session->in_order, partition);
    session->partition_count--;
    mem_free(partition);
}

void fetch_session_remove(struct fetch_session_cache *cache, struct fetch_session *session)
{
    while (session->in_order != NULL) {
        fetch_session_drop(session, session->in_order);
    }
    HASH_DEL(cache->by_id, session);
    DL_DELETE(cache->by_use, session);
    mem_free(session);
}

enum error_code fetch_session_resume(struct fetch_session_cache *cache, int32_t id, int32_t epoch, bool uses_topic_ids,
                                     uint64_t now_us, struct fetch_session **ret_session)
{
    struct fetch_session *session = fetch_session_find(cache, id);
    if (session == NULL) {
        return ERROR_FETCH_SESSION_ID_NOT_FOUND;
    }
    if (session->next_epoch != epoch) {
        return ERROR_INVALID_FETCH_SESSION_EPOCH;
    }
    if (session->uses_topic_ids != uses_topic_ids) {
        return ERROR_FETCH_SESSION_TOPIC_ID_ERROR;
    }
    session->next_epoch = session->next_epoch == INT32_MAX ? 1 : session->next_epoch + 1;
    session->used_us = now_us;
    DL_DELETE(cache->by_use, session);
    DL_APPEND(cache->by_use, session);
    *ret_session = session;
    return ERROR_NONE;
}

static size_t fetch_key_make(const struct fetch_partition_name *name, uint8_t *ret_key)
{
    size_t name_bytes = name->topic_name.bytes;
    memcpy(ret_key, &name->partition_index, sizeof(name->partition_index));
    memcpy(ret_key + sizeof(name->partition_index), name->topic_id.bytes, UUID_BYTES);
    if (name_bytes > 0) {
        memcpy(ret_key + KEY_FIXED_BYTES, name->topic_name.data, name_bytes);
    }
    return KEY_FIXED_BYTES + name_bytes;
}

struct fetch_session_partition *fetch_session_partition_find(struct fetch_session *session,
                                                             const struct fetch_partition_name *name)
{
    uint8_t key[KEY_FIXED_BYTES + KEY_NAME_BYTES_MAX];
    if (name->topic_name.bytes > KEY_NAME_BYTES_MAX) {
        return NULL;
    }
    size_t key_bytes = fetch_key_make(name, key);
    struct fetch_session_partition *partition = NULL;
    HASH_FIND(hh, session->by_key, key, key_bytes, partition);
    return partition;
}

bool fetch_session_put(struct fetch_session *session, const struct fetch_wish *wish)
{
    if (wish->name.topic_name.bytes > KEY_NAME_BYTES_MAX) {
        return false;
    }
    struct fetch_session_partition *partition = fetch_session_partition_find(session, &wish->name);
    if (partition == NULL) {
        if (session->partition_count >= FETCH_SESSION_PARTITIONS_MAX) {
            return false;
        }
        partition = mem_zalloc(sizeof(*partition) + KEY_FIXED_BYTES + wish->name.topic_name.bytes);
        partition->key_bytes = fetch_key_make(&wish->name, partition->key);
        partition->sent_high_watermark = -1;
        partition->sent_log_start_offset = -1;
        HASH_ADD_KEYPTR(hh, session->by_key, partition->key, partition->key_bytes, partition);
        DL_APPEND(session->in_order, partition);
        session->partition_count++;
    }
    partition->wish = *wish;
    if (!span_is_null(wish->name.topic_name)) {
        partition->wish.name.topic_name = span_make(partition->key + KEY_FIXED_BYTES, wish->name.topic_name.bytes);
    }
    return true;
}

void fetch_session_forget(struct fetch_session *session, const struct fetch_partition_name *name)
{
    struct fetch_session_partition *partition = fetch_session_partition_find(session, name);
    if (partition != NULL) {
        fetch_session_drop(session, partition);
    }
}

void fetch_session_move_last(struct fetch_session *session, struct fetch_session_partition *partition)
{
    DL_DELETE(session->in_order, partition);
    DL_APPEND(session->in_order, partition);
}
