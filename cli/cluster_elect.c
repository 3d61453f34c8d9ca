/* cluster elect-leaders. */
#include "cli/cluster.h"
#include "cli/cluster_words.h"
#include "cli/metadata_ask.h"
#include "cli/output.h"
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/elect_leaders.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdio.h>

#define ELECTION_PREFERRED 0
#define ELECTION_UNCLEAN 1
#define WHAT_BYTES 320

/* The wish as the request has it, one entry for each word. */
struct election {
    struct elect_leaders_request_topic_partitions topics[ARGUMENTS_VALUES_MAX];
    int32_t *partitions[ARGUMENTS_VALUES_MAX]; /* owned */
    size_t count;
};

static void election_done(struct election *election)
{
    for (size_t i = 0; i < election->count; i++) {
        mem_free(election->partitions[i]);
    }
}

static const struct metadata_response_topic *find_topic(const struct metadata_response *metadata, struct span name)
{
    for (size_t i = 0; i < metadata->topics_count; i++) {
        if (span_equal(metadata->topics[i].name, name)) {
            return &metadata->topics[i];
        }
    }
    return NULL;
}

/* Each word with its partitions; a topic alone means all that Metadata told of it. */
static int fill_election(const struct session *session, const struct metadata_response *metadata,
                         struct election *ret_election)
{
    const struct flag_values *words = &session->arguments->words;
    for (size_t i = 0; i < words->count; i++) {
        struct partition_word word;
        if (cluster_words_partition(words->values[i], &word) != ERR_OK) {
            arguments_complain(session->arguments->command, "'%s' is not TOPIC or TOPIC:PARTITION", words->values[i]);
            return VERB_USAGE;
        }
        const struct metadata_response_topic *topic = find_topic(metadata, word.topic);
        if (topic == NULL) {
            arguments_complain(session->arguments->command, "there is no topic %.*s", (int)word.topic.bytes,
                               (const char *)word.topic.data);
            return VERB_FAILED;
        }
        bool is_one = word.partition != CLUSTER_WORDS_ALL_PARTITIONS;
        size_t count = is_one ? 1 : topic->partitions_count;
        int32_t *partitions = mem_array(count, sizeof(*partitions));
        for (size_t p = 0; p < count; p++) {
            partitions[p] = is_one ? word.partition : topic->partitions[p].partition_index;
        }
        ret_election->partitions[ret_election->count] = partitions;
        ret_election->topics[ret_election->count++] = (struct elect_leaders_request_topic_partitions){
            .topic = word.topic, .partitions = partitions, .partitions_count = count};
    }
    return VERB_OK;
}

static int report(struct session *session, const struct elect_leaders_response *response)
{
    int status = VERB_OK;
    int64_t elected = 0;
    bool is_json = arguments_wants_json(session->arguments);
    struct output output;
    output_init(&output, is_json, "elected");
    output_columns(&output, (const char *const[]){"topic", "partition"}, 2);
    for (size_t t = 0; t < response->replica_election_results_count; t++) {
        const struct elect_leaders_response_replica_election_result *topic = &response->replica_election_results[t];
        for (size_t p = 0; p < topic->partition_result_count; p++) {
            const struct elect_leaders_response_partition_result *result = &topic->partition_result[p];
            if (result->error_code == ERROR_NONE) {
                output_text(&output, topic->topic);
                output_number(&output, result->partition_id);
                elected++;
            } else if (result->error_code != ERROR_ELECTION_NOT_NEEDED) {
                char what[WHAT_BYTES];
                (void)snprintf(what, sizeof(what), "%.*s, partition %" PRId32, (int)topic->topic.bytes,
                               (const char *)topic->topic.data, result->partition_id);
                status = session_fail_code(session, what, result->error_code, result->error_message);
            }
        }
    }
    if (is_json || elected > 0) {
        output_end(&output);
    } else if (status == VERB_OK) {
        (void)printf("every partition is led by the replica that should lead it\n");
    }
    return status;
}

static int ask_election(struct session *session, struct election *election)
{
    struct elect_leaders_request request;
    codec_set_defaults(&elect_leaders_request_codec, &request);
    request.election_type = arguments_has(session->arguments, "unclean") ? ELECTION_UNCLEAN : ELECTION_PREFERRED;
    request.topic_partitions = election->count == 0 ? NULL : election->topics; /* NULL: of all topics */
    request.topic_partitions_count = election->count;
    request.timeout_ms = (int32_t)session->client->config.timeout_ms;
    struct client_reply reply;
    if (client_call(session->client, CLIENT_NODE_ANY, API_KEY_ELECT_LEADERS, &request, &reply) != ERR_OK) {
        return session_fail(session);
    }
    const struct elect_leaders_response *response = reply.message;
    int status = response->error_code == ERROR_NONE
                     ? report(session, response)
                     : session_fail_code(session, "the election", response->error_code, SPAN_NULL);
    client_reply_done(&reply);
    return status;
}

int cluster_elect_leaders(struct session *session)
{
    struct election election = {.count = 0};
    struct client_reply reply;
    if (session->arguments->words.count == 0) {
        return ask_election(session, &election);
    }
    if (metadata_ask(session, NULL, 0, false, &reply) != ERR_OK) {
        return session_fail(session);
    }
    int status = fill_election(session, reply.message, &election);
    status = status == VERB_OK ? ask_election(session, &election) : status;
    election_done(&election);
    client_reply_done(&reply);
    return status;
}
