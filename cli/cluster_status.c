/* cluster status: what Metadata, DescribeCluster and DescribeQuorum tell, counted; lags asked at the replicas. */
#include "cli/cluster.h"
#include "cli/cluster_report.h"
#include "cli/metadata_ask.h"
#include "cli/output.h"
#include "cli/quorum_ask.h"
#include "cli/replica_lag.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/describe_cluster.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdio.h>

#define INCLUDE_FENCED_VERSION 2
#define TABLE_ROWS_MAX 100 /* of partitions that are not well; programs (JSON) get all */
#define UNKNOWN (-1)

static void show_cluster(const struct session *session, const struct describe_cluster_response *cluster,
                         const struct metadata_response *metadata)
{
    struct cluster_counts counts;
    struct output output;
    cluster_report_count(metadata, &counts);
    output_init(&output, arguments_wants_json(session->arguments), "cluster");
    output_columns(&output,
                   (const char *const[]){"cluster_id", "controller", "brokers", "topics", "partitions", "leaderless",
                                         "under_replicated"},
                   7);
    output_text(&output, cluster->cluster_id);
    output_number(&output, cluster->controller_id);
    output_number(&output, (int64_t)cluster->brokers_count);
    output_number(&output, counts.topics);
    output_number(&output, counts.partitions);
    output_number(&output, counts.leaderless);
    output_number(&output, counts.under_replicated);
    output_end(&output);
}

static void show_brokers(const struct session *session, const struct describe_cluster_response *cluster,
                         const struct metadata_response *metadata)
{
    struct output output;
    output_init(&output, arguments_wants_json(session->arguments), "brokers");
    output_columns(&output,
                   (const char *const[]){"id", "host", "port", "rack", "state", "leads", "replicas", "out_of_sync"}, 8);
    for (size_t i = 0; i < cluster->brokers_count; i++) {
        const struct describe_cluster_response_broker *broker = &cluster->brokers[i];
        struct broker_counts counts;
        cluster_report_broker(metadata, broker->broker_id, &counts);
        output_number(&output, broker->broker_id);
        output_text(&output, broker->host);
        output_number(&output, broker->port);
        output_text(&output, broker->rack);
        output_text(&output, span_text(broker->is_fenced ? "fenced" : "active"));
        output_number(&output, counts.leads);
        output_number(&output, counts.replicas);
        output_number(&output, counts.out_of_sync);
    }
    output_end(&output);
}

/* ---- the quorum ---- */

static void add_voter(struct output *output, const struct session *session,
                      const struct describe_quorum_response *response,
                      const struct describe_quorum_response_partition_data *quorum,
                      const struct describe_quorum_response_replica_state *state, const char *role)
{
    char directory[UUID_TEXT_BYTES] = "";
    const struct describe_quorum_response_listener *listener = quorum_ask_listener(response, state->replica_id);
    const struct describe_quorum_response_replica_state *leader = quorum_ask_voter(quorum, quorum->leader_id);
    if (!uuid_is_zero(state->replica_directory_id)) {
        uuid_format(state->replica_directory_id, directory);
    }
    int64_t silent_ms = state->last_caught_up_timestamp < 0
                            ? UNKNOWN
                            : clock_wall_ms(session->env->clock) - state->last_caught_up_timestamp;
    bool is_known = leader != NULL && leader->log_end_offset >= 0 && state->log_end_offset >= 0;
    output_number(output, state->replica_id);
    output_text(output, span_text(state->replica_id == quorum->leader_id ? "leader" : role));
    output_text(output, span_text(directory));
    output_text(output, listener == NULL ? span_text("") : listener->host);
    output_number(output, listener == NULL ? UNKNOWN : listener->port);
    output_number(output, state->log_end_offset);
    output_number(output, is_known ? leader->log_end_offset - state->log_end_offset : UNKNOWN);
    output_number(output, state->replica_id == quorum->leader_id ? 0 : silent_ms);
}

static void show_quorum(struct session *session)
{
    struct client_reply reply;
    const struct describe_quorum_response_partition_data *quorum = NULL;
    struct output output;
    if (quorum_ask(session, &reply, &quorum) != ERR_OK) {
        arguments_complain(session->arguments->command, "the quorum can't be shown: %s", session->client->problem);
        return;
    }
    output_init(&output, arguments_wants_json(session->arguments), "quorum");
    output_columns(&output, (const char *const[]){"leader", "term", "high_watermark", "voters", "observers"}, 5);
    output_number(&output, quorum->leader_id);
    output_number(&output, quorum->leader_epoch);
    output_number(&output, quorum->high_watermark);
    output_number(&output, (int64_t)quorum->current_voters_count);
    output_number(&output, (int64_t)quorum->observers_count);
    output_end(&output);
    output_init(&output, arguments_wants_json(session->arguments), "controllers");
    output_columns(
        &output, (const char *const[]){"id", "role", "directory", "host", "port", "end", "lag", "caught_up_ms_ago"}, 8);
    for (size_t i = 0; i < quorum->current_voters_count; i++) {
        add_voter(&output, session, reply.message, quorum, &quorum->current_voters[i], "voter");
    }
    for (size_t i = 0; i < quorum->observers_count; i++) {
        add_voter(&output, session, reply.message, quorum, &quorum->observers[i], "observer");
    }
    output_end(&output);
    client_reply_done(&reply);
}

/* ---- partitions that are not well ---- */

static void show_behind(struct session *session, const struct metadata_response *metadata)
{
    size_t count = 0;
    bool is_json = arguments_wants_json(session->arguments);
    struct replica_behind *rows = cluster_report_behind(metadata, &count);
    struct output output;
    if (count == 0) {
        return;
    }
    replica_lag_ask(session, rows, count);
    size_t shown = is_json || count < TABLE_ROWS_MAX ? count : TABLE_ROWS_MAX;
    output_init(&output, is_json, "behind");
    output_columns(
        &output, (const char *const[]){"topic", "partition", "leader", "epoch", "replicas", "isr", "broker", "lag"}, 8);
    for (size_t i = 0; i < shown; i++) {
        const struct metadata_response_partition *partition = rows[i].partition;
        output_text(&output, rows[i].topic->name);
        output_number(&output, partition->partition_index);
        output_number(&output, partition->leader_id);
        output_number(&output, partition->leader_epoch);
        output_ids(&output, partition->replica_nodes, partition->replica_nodes_count);
        output_ids(&output, partition->isr_nodes, partition->isr_nodes_count);
        output_number(&output, rows[i].broker_id);
        output_number(&output, rows[i].lag);
    }
    output_end(&output);
    if (shown < count) {
        (void)printf("... and %zu more; --output json shows all\n", count - shown);
    }
    mem_free(rows);
}

/* ---- asking ---- */

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

int cluster_status(struct session *session)
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
        show_cluster(session, cluster, metadata_reply.message);
        show_brokers(session, cluster, metadata_reply.message);
        session_shorten_calls(session); /* what is broken shall not keep the rest from being shown */
        show_behind(session, metadata_reply.message);
        show_quorum(session);
    }
    client_reply_done(&cluster_reply);
    client_reply_done(&metadata_reply);
    return status;
}
