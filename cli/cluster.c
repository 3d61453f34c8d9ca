/* cluster status: what Metadata and DescribeCluster tell, counted. */
#include "cli/cluster.h"

#include "cli/metadata_ask.h"
#include "cli/output.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/describe_cluster.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define INCLUDE_FENCED_VERSION 2

static const struct command status_command = {
    .name = "cluster status",
    .words = "",
    .summary = "Show the cluster's id, controller and brokers, and how its partitions are.",
};

struct partition_counts {
    int64_t topics;
    int64_t partitions;
    int64_t leaderless;
    int64_t under_replicated;
};

static struct partition_counts count_partitions(const struct metadata_response *metadata)
{
    struct partition_counts counts = {.topics = (int64_t)metadata->topics_count};
    for (size_t t = 0; t < metadata->topics_count; t++) {
        const struct metadata_response_topic *topic = &metadata->topics[t];
        for (size_t p = 0; p < topic->partitions_count; p++) {
            const struct metadata_response_partition *partition = &topic->partitions[p];
            counts.partitions++;
            counts.leaderless += partition->leader_id < 0 ? 1 : 0;
            counts.under_replicated += partition->isr_nodes_count < partition->replica_nodes_count ? 1 : 0;
        }
    }
    return counts;
}

static void show_cluster(const struct session *session, const struct describe_cluster_response *cluster,
                         const struct partition_counts *counts)
{
    struct output output;
    output_init(&output, arguments_wants_json(session->arguments), "cluster");
    output_columns(&output,
                   (const char *const[]){"cluster_id", "controller", "brokers", "topics", "partitions", "leaderless",
                                         "under_replicated"},
                   7);
    output_text(&output, cluster->cluster_id);
    output_number(&output, cluster->controller_id);
    output_number(&output, (int64_t)cluster->brokers_count);
    output_number(&output, counts->topics);
    output_number(&output, counts->partitions);
    output_number(&output, counts->leaderless);
    output_number(&output, counts->under_replicated);
    output_end(&output);
}

/* How many partitions the broker leads: where the work is. */
static int64_t count_led(const struct metadata_response *metadata, int32_t broker_id)
{
    int64_t count = 0;
    for (size_t t = 0; t < metadata->topics_count; t++) {
        for (size_t p = 0; p < metadata->topics[t].partitions_count; p++) {
            count += metadata->topics[t].partitions[p].leader_id == broker_id ? 1 : 0;
        }
    }
    return count;
}

static void show_brokers(const struct session *session, const struct describe_cluster_response *cluster,
                         const struct metadata_response *metadata)
{
    struct output output;
    output_init(&output, arguments_wants_json(session->arguments), "brokers");
    output_columns(&output, (const char *const[]){"id", "host", "port", "rack", "state", "leads"}, 6);
    for (size_t i = 0; i < cluster->brokers_count; i++) {
        const struct describe_cluster_response_broker *broker = &cluster->brokers[i];
        output_number(&output, broker->broker_id);
        output_text(&output, broker->host);
        output_number(&output, broker->port);
        output_text(&output, broker->rack);
        output_text(&output, span_text(broker->is_fenced ? "fenced" : "active"));
        output_number(&output, count_led(metadata, broker->broker_id));
    }
    output_end(&output);
}

static enum err ask_cluster(struct session *session, struct client_reply *ret_reply)
{
    int16_t api_version = 0;
    enum err err = client_version(session->client, CLIENT_NODE_ANY, API_KEY_DESCRIBE_CLUSTER, &api_version);
    if (err != ERR_OK) {
        return err;
    }
    struct describe_cluster_request request;
    codec_set_defaults(&describe_cluster_request_codec, &request);
    request.include_fenced_brokers = api_version >= INCLUDE_FENCED_VERSION;
    return client_call(session->client, CLIENT_NODE_ANY, API_KEY_DESCRIBE_CLUSTER, &request, ret_reply);
}

static int show_status(struct session *session)
{
    struct client_reply metadata_reply;
    struct client_reply cluster_reply;
    if (metadata_ask(session, NULL, 0, false, &metadata_reply) != ERR_OK) {
        return session_fail(session);
    }
    if (ask_cluster(session, &cluster_reply) != ERR_OK) {
        client_reply_done(&metadata_reply);
        return session_fail(session);
    }
    const struct describe_cluster_response *cluster = cluster_reply.message;
    int status = VERB_OK;
    if (cluster->error_code != ERROR_NONE) {
        status = session_fail_code(session, "the cluster", cluster->error_code, cluster->error_message);
    } else {
        struct partition_counts counts = count_partitions(metadata_reply.message);
        show_cluster(session, cluster, &counts);
        show_brokers(session, cluster, metadata_reply.message);
    }
    client_reply_done(&cluster_reply);
    client_reply_done(&metadata_reply);
    return status;
}

int cluster_run(const struct verb_call *call)
{
    const char *word = call->argument_count == 0 ? "" : call->arguments[0];
    bool wants_help = strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
    if (wants_help || strcmp(word, "status") != 0) {
        (void)fprintf(wants_help ? stdout : stderr, "usage: moldau cluster status [FLAG...]\n\n  status  %s\n",
                      status_command.summary);
        return wants_help ? VERB_OK : VERB_USAGE;
    }
    struct arguments arguments;
    if (arguments_parse(&arguments, &status_command, call, 1) != ERR_OK) {
        return VERB_USAGE;
    }
    if (arguments.wants_help) {
        return VERB_OK;
    }
    struct session session;
    int status = session_open(&session, &arguments);
    if (status != VERB_OK) {
        return status;
    }
    status = show_status(&session);
    session_close(&session);
    return status;
}
