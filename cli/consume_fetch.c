#include "cli/consume_fetch.h"

#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/fetch.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define FETCH_PARTITION_BYTES_MAX (1 << 20)
#define FETCH_BYTES_MAX (32 << 20)
/* How long an idle leader keeps its answer. With several leaders the others wait for it meanwhile. */
#define FETCH_WAIT_MS_ALONE 500
#define FETCH_WAIT_MS_AMONG_OTHERS 50
#define FETCH_PAUSE_MS 100
#define FETCH_TOPIC_ID_VERSION 13

struct fetch_round {
    struct consume_fetch *fetch;
    int32_t *leaders; /* that have a request under way */
    size_t leader_count;
    bool needs_refresh;
    char reason[CLIENT_PROBLEM_BYTES];
};

void consume_fetch_fail(struct consume_fetch *fetch, const char *format, ...)
{
    if (!fetch->has_failed) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(fetch->problem, sizeof(fetch->problem), format, args);
        va_end(args);
    }
    fetch->has_failed = true;
}

static bool is_wanted(const struct consume_partition *partition)
{
    return partition->next_offset < partition->end_offset;
}

static bool is_anything_wanted(const struct consume_fetch *fetch)
{
    for (size_t i = 0; i < fetch->partition_count; i++) {
        if (is_wanted(&fetch->partitions[i])) {
            return true;
        }
    }
    return false;
}

static int32_t leader_of(const struct consume_fetch *fetch, const struct consume_partition *partition)
{
    size_t index = (size_t)partition->index;
    return index < fetch->map->partition_count ? fetch->map->partitions[index].leader_id : -1;
}

static void try_later(struct fetch_round *round, const char *reason)
{
    round->needs_refresh = true;
    (void)snprintf(round->reason, sizeof(round->reason), "%s", reason);
}

/* ---- asking ---- */

static void find_leaders(struct fetch_round *round)
{
    struct consume_fetch *fetch = round->fetch;
    round->leaders = mem_array(fetch->partition_count, sizeof(*round->leaders));
    for (size_t i = 0; i < fetch->partition_count; i++) {
        int32_t leader_id = leader_of(fetch, &fetch->partitions[i]);
        size_t at = 0;
        if (!is_wanted(&fetch->partitions[i])) {
            continue;
        }
        if (leader_id < 0) {
            char reason[64];
            (void)snprintf(reason, sizeof(reason), "partition %" PRId32 " has no leader", fetch->partitions[i].index);
            try_later(round, reason);
            continue;
        }
        while (at < round->leader_count && round->leaders[at] != leader_id) {
            at++;
        }
        if (at == round->leader_count) {
            round->leaders[round->leader_count++] = leader_id;
        }
    }
}

static enum err send_to(struct fetch_round *round, int32_t leader_id)
{
    struct consume_fetch *fetch = round->fetch;
    struct client *client = fetch->session->client;
    int16_t api_version = 0;
    enum err err = client_version(client, leader_id, API_KEY_FETCH, &api_version);
    if (err != ERR_OK) {
        return err;
    }
    struct fetch_request_partition *partitions = mem_array(fetch->partition_count, sizeof(*partitions));
    struct fetch_request_topic topic = {.partitions = partitions};
    for (size_t i = 0; i < fetch->partition_count; i++) {
        if (is_wanted(&fetch->partitions[i]) && leader_of(fetch, &fetch->partitions[i]) == leader_id) {
            struct fetch_request_partition *partition = &partitions[topic.partitions_count++];
            codec_struct_set_defaults(&fetch_request_partition_layout, partition);
            partition->partition = fetch->partitions[i].index;
            partition->fetch_offset = fetch->partitions[i].next_offset;
            partition->partition_max_bytes = FETCH_PARTITION_BYTES_MAX;
        }
    }
    if (api_version >= FETCH_TOPIC_ID_VERSION) {
        topic.topic_id = fetch->map->topic_id;
    } else {
        topic.topic = span_text(fetch->map->name);
    }
    struct fetch_request request;
    codec_set_defaults(&fetch_request_codec, &request); /* session 0, epoch -1: no session */
    request.max_wait_ms = round->leader_count == 1 ? FETCH_WAIT_MS_ALONE : FETCH_WAIT_MS_AMONG_OTHERS;
    request.min_bytes = 1;
    request.max_bytes = FETCH_BYTES_MAX;
    request.isolation_level = (int8_t)fetch->isolation;
    request.topics = &topic;
    request.topics_count = 1;
    err = client_send(client, leader_id, API_KEY_FETCH, &request);
    mem_free(partitions);
    return err;
}

/* Keeps the leaders that were asked. */
static void send_requests(struct fetch_round *round)
{
    size_t sent_count = 0;
    for (size_t i = 0; i < round->leader_count; i++) {
        if (send_to(round, round->leaders[i]) == ERR_OK) {
            round->leaders[sent_count++] = round->leaders[i];
        } else {
            try_later(round, round->fetch->session->client->problem);
        }
    }
    round->leader_count = sent_count;
}

/* ---- answers ---- */

/* Says what there is: the number alone helps nobody. */
static void fail_out_of_range(struct consume_fetch *fetch, const struct consume_partition *partition)
{
    struct offset_wish earliest = {.partition = partition->index, .timestamp = OFFSET_LIST_EARLIEST};
    struct offset_wish latest = {.partition = partition->index, .timestamp = OFFSET_LIST_LATEST};
    offset_list_try(fetch->session, fetch->map, ISOLATION_READ_UNCOMMITTED, &earliest, 1);
    offset_list_try(fetch->session, fetch->map, ISOLATION_READ_UNCOMMITTED, &latest, 1);
    consume_fetch_fail(fetch,
                       "partition %" PRId32 " has no offset %" PRId64 " any more or yet: it begins at %" PRId64
                       ", the next record gets %" PRId64,
                       partition->index, partition->next_offset, earliest.offset, latest.offset);
}

static void take_partition(struct fetch_round *round, const struct fetch_response_partition_data *answer)
{
    struct consume_fetch *fetch = round->fetch;
    struct consume_partition *partition = NULL;
    for (size_t i = 0; i < fetch->partition_count && partition == NULL; i++) {
        partition = fetch->partitions[i].index == answer->partition_index ? &fetch->partitions[i] : NULL;
    }
    if (partition == NULL || fetch->is_enough || fetch->has_failed) {
        return;
    }
    if (answer->error_code == ERROR_NONE) {
        int64_t begin_offset = partition->next_offset;
        consume_records_take(fetch, partition, answer);
        if (partition->next_offset > begin_offset || partition->end_offset == CONSUME_END_NEVER) {
            fetch->progress_ms = session_now_ms(fetch->session);
        }
    } else if (error_code_is_retriable(answer->error_code) || answer->error_code == ERROR_FENCED_LEADER_EPOCH) {
        char reason[CLIENT_PROBLEM_BYTES];
        (void)snprintf(reason, sizeof(reason), "partition %" PRId32 ": %s (%s)", partition->index,
                       error_code_text(answer->error_code), error_code_name(answer->error_code));
        try_later(round, reason);
    } else if (answer->error_code != ERROR_OFFSET_OUT_OF_RANGE) { /* that one asks again: after this round */
        consume_fetch_fail(fetch, "partition %" PRId32 ": %s (%s)", partition->index,
                           error_code_text(answer->error_code), error_code_name(answer->error_code));
    }
}

static const struct consume_partition *find_out_of_range(struct consume_fetch *fetch,
                                                         const struct fetch_response *response)
{
    for (size_t t = 0; t < response->responses_count; t++) {
        for (size_t p = 0; p < response->responses[t].partitions_count; p++) {
            const struct fetch_response_partition_data *answer = &response->responses[t].partitions[p];
            for (size_t i = 0; i < fetch->partition_count && answer->error_code == ERROR_OFFSET_OUT_OF_RANGE; i++) {
                if (fetch->partitions[i].index == answer->partition_index) {
                    return &fetch->partitions[i];
                }
            }
        }
    }
    return NULL;
}

static void take_response(struct fetch_round *round, const struct fetch_response *response)
{
    if (response->error_code != ERROR_NONE) {
        try_later(round, error_code_text(response->error_code));
    }
    for (size_t t = 0; t < response->responses_count; t++) {
        for (size_t p = 0; p < response->responses[t].partitions_count; p++) {
            take_partition(round, &response->responses[t].partitions[p]);
        }
    }
}

static void take_answers(struct fetch_round *round)
{
    struct consume_fetch *fetch = round->fetch;
    const struct consume_partition *out_of_range = NULL;
    for (size_t i = 0; i < round->leader_count; i++) {
        struct client_reply reply;
        if (client_receive(fetch->session->client, round->leaders[i], API_KEY_FETCH, &reply) != ERR_OK) {
            try_later(round, fetch->session->client->problem);
            continue;
        }
        take_response(round, reply.message);
        const struct consume_partition *found = find_out_of_range(fetch, reply.message);
        out_of_range = found != NULL ? found : out_of_range;
        client_reply_done(&reply);
    }
    if (out_of_range != NULL && !fetch->is_enough && !fetch->has_failed) {
        fail_out_of_range(fetch, out_of_range);
    }
}

/* ---- rounds ---- */

/* The topic may have gone, or have been made anew under its name: then our offsets mean nothing there. */
static void refresh(struct consume_fetch *fetch)
{
    struct uuid topic_id = fetch->map->topic_id;
    int16_t error_code = ERROR_NONE;
    session_pause(fetch->session, FETCH_PAUSE_MS);
    if (topic_map_load(fetch->session, fetch->map, false, &error_code) == ERR_OK && error_code == ERROR_NONE &&
        !uuid_equal(topic_id, fetch->map->topic_id)) {
        consume_fetch_fail(fetch, "topic %s was deleted and created again meanwhile", fetch->map->name);
    }
}

static void run_round(struct consume_fetch *fetch)
{
    struct fetch_round round = {.fetch = fetch, .reason = "no records come"};
    find_leaders(&round);
    send_requests(&round);
    take_answers(&round);
    mem_free(round.leaders);
    if (fetch->is_enough || fetch->has_failed || fetch->session->is_interrupted) {
        return;
    }
    if (session_now_ms(fetch->session) - fetch->progress_ms >= fetch->patience_ms) {
        consume_fetch_fail(fetch, "nothing for %" PRIu32 " ms: %s", fetch->patience_ms, round.reason);
    } else if (round.needs_refresh) {
        refresh(fetch);
    }
}

bool consume_fetch_run(struct consume_fetch *fetch)
{
    fetch->decompressor = decompressor_new();
    bytebuf_init(&fetch->plain, DECOMPRESS_BYTES_MAX);
    fetch->progress_ms = session_now_ms(fetch->session);
    while (!fetch->is_enough && !fetch->has_failed && !fetch->session->is_interrupted && is_anything_wanted(fetch)) {
        run_round(fetch);
        fetch->on_round(fetch->ctx);
    }
    bytebuf_done(&fetch->plain);
    decompressor_free(fetch->decompressor);
    return !fetch->has_failed;
}
