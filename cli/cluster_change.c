/* cluster add-controller, remove-controller, remove-broker. */
#include "cli/cluster.h"
#include "cli/cluster_words.h"
#include "cli/output.h"
#include "cli/quorum_ask.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/add_raft_voter.h"
#include "proto/kmsg/remove_raft_voter.h"
#include "proto/kmsg/unregister_broker.h"
#include "proto/wire/error_code.h"

#include <inttypes.h>
#include <stdio.h>

#define INTERNAL_LISTENER "INTERNAL"
#define WHAT_BYTES 64
#define REMOVE_ATTEMPTS_MAX 3

static void report(const struct session *session, const char *kind, int32_t id, struct uuid directory_id,
                   const char *sentence)
{
    char directory[UUID_TEXT_BYTES];
    uuid_format(directory_id, directory);
    if (!arguments_wants_json(session->arguments)) {
        (void)printf("controller %" PRId32 ", directory %s, %s\n", id, directory, sentence);
        return;
    }
    struct output output;
    output_init(&output, true, kind);
    output_columns(&output, (const char *const[]){"id", "directory"}, 2);
    output_number(&output, id);
    output_text(&output, span_text(directory));
    output_end(&output);
}

/* Is there a voter with this id, and of which directory? (Zero where voters are fixed: Kafka without KIP-853.) */
static int find_voter(struct session *session, int32_t id, bool *ret_is_voter, struct uuid *ret_directory)
{
    struct client_reply reply;
    const struct describe_quorum_response_partition_data *quorum = NULL;
    if (quorum_ask(session, &reply, &quorum) != ERR_OK) {
        return session_fail(session);
    }
    const struct describe_quorum_response_replica_state *voter = quorum_ask_voter(quorum, id);
    *ret_is_voter = voter != NULL;
    *ret_directory = voter == NULL ? UUID_ZERO : voter->replica_directory_id;
    client_reply_done(&reply);
    return VERB_OK;
}

/* The active controller hands over before it is taken out, and the broker, which can't know whether that was done, closes
 * the connection: then it is looked up, and asked of the successor. */
static int remove_voter(struct session *session, int32_t id, struct uuid directory)
{
    struct remove_raft_voter_request request;
    codec_set_defaults(&remove_raft_voter_request_codec, &request);
    request.cluster_id = span_text(arguments_get(session->arguments, "cluster-id"));
    request.voter_id = id;
    request.voter_directory_id = directory;
    struct client_reply reply;
    enum err err = ERR_RESET;
    for (int attempt = 0; err == ERR_RESET && attempt < REMOVE_ATTEMPTS_MAX; attempt++) {
        bool is_voter = true;
        struct uuid known = directory;
        int status = attempt == 0 ? VERB_OK : find_voter(session, id, &is_voter, &known);
        if (status != VERB_OK) {
            return status;
        }
        if (!is_voter || !uuid_equal(known, directory)) {
            report(session, "controller_removed", id, directory, "is no voter any more");
            return VERB_OK;
        }
        err = client_call(session->client, CLIENT_NODE_ANY, API_KEY_REMOVE_RAFT_VOTER, &request, &reply);
    }
    if (err != ERR_OK) {
        return session_fail(session);
    }
    const struct remove_raft_voter_response *response = reply.message;
    char what[WHAT_BYTES];
    (void)snprintf(what, sizeof(what), "controller %" PRId32, id);
    int status = response->error_code == ERROR_NONE
                     ? VERB_OK
                     : session_fail_code(session, what, response->error_code, response->error_message);
    if (status == VERB_OK) {
        report(session, "controller_removed", id, directory, "is no voter any more");
    }
    client_reply_done(&reply);
    return status;
}

static int add_voter(struct session *session, const struct voter_word *voter)
{
    struct add_raft_voter_request_listener listener = {
        .name = span_text(INTERNAL_LISTENER), .host = voter->host, .port = voter->port};
    struct add_raft_voter_request request;
    codec_set_defaults(&add_raft_voter_request_codec, &request);
    request.cluster_id = span_text(arguments_get(session->arguments, "cluster-id"));
    request.timeout_ms = (int32_t)session->client->config.timeout_ms;
    request.voter_id = voter->id;
    request.voter_directory_id = voter->directory;
    request.listeners = &listener;
    request.listeners_count = 1;
    struct client_reply reply;
    if (client_call(session->client, CLIENT_NODE_ANY, API_KEY_ADD_RAFT_VOTER, &request, &reply) != ERR_OK) {
        return session_fail(session);
    }
    const struct add_raft_voter_response *response = reply.message;
    char what[WHAT_BYTES];
    (void)snprintf(what, sizeof(what), "controller %" PRId32, voter->id);
    int status = response->error_code == ERROR_NONE
                     ? VERB_OK
                     : session_fail_code(session, what, response->error_code, response->error_message);
    if (status == VERB_OK) {
        report(session, "controller_added", voter->id, voter->directory, "is a voter");
    }
    client_reply_done(&reply);
    return status;
}

/* With --replace the lost one goes first: two voters of one node can't be told apart (KIP-853), and a voter that is
 * gone for ever counts against the majority. */
static int make_room(struct session *session, const struct voter_word *voter)
{
    bool is_voter = false;
    struct uuid known = UUID_ZERO;
    int status = find_voter(session, voter->id, &is_voter, &known);
    if (status != VERB_OK || !is_voter) {
        return status;
    }
    if (uuid_equal(known, voter->directory)) {
        return VERB_OK; /* the request itself says so */
    }
    if (!arguments_has(session->arguments, "replace")) {
        char directory[UUID_TEXT_BYTES];
        uuid_format(known, directory);
        arguments_complain(session->arguments->command,
                           "controller %" PRId32 " is a voter already, with directory %s; if that directory is lost "
                           "for ever, add --replace",
                           voter->id, directory);
        return VERB_FAILED;
    }
    return remove_voter(session, voter->id, known);
}

int cluster_add_controller(struct session *session)
{
    struct voter_word voter;
    const char *word = session->arguments->words.values[0];
    if (cluster_words_voter(word, &voter) != ERR_OK || span_is_null(voter.host) || uuid_is_zero(voter.directory)) {
        arguments_complain(session->arguments->command,
                           "'%s' is not ID@HOST:PORT/DIRECTORY, as the waiting controller prints it", word);
        return VERB_USAGE;
    }
    int status = make_room(session, &voter);
    return status == VERB_OK ? add_voter(session, &voter) : status;
}

int cluster_remove_controller(struct session *session)
{
    struct voter_word voter;
    const char *word = session->arguments->words.values[0];
    if (cluster_words_voter(word, &voter) != ERR_OK) {
        arguments_complain(session->arguments->command, "'%s' is not ID or ID/DIRECTORY", word);
        return VERB_USAGE;
    }
    if (uuid_is_zero(voter.directory)) {
        bool is_voter = false;
        int status = find_voter(session, voter.id, &is_voter, &voter.directory);
        if (status != VERB_OK) {
            return status;
        }
        if (!is_voter) {
            arguments_complain(session->arguments->command,
                               "the quorum has no voter %" PRId32 "; moldau cluster status shows them", voter.id);
            return VERB_FAILED;
        }
    }
    return remove_voter(session, voter.id, voter.directory);
}

int cluster_remove_broker(struct session *session)
{
    int64_t id = 0;
    const char *word = session->arguments->words.values[0];
    if (cluster_words_number(span_text(word), INT32_MAX, &id) != ERR_OK) {
        arguments_complain(session->arguments->command, "'%s' is no broker's id", word);
        return VERB_USAGE;
    }
    struct unregister_broker_request request;
    codec_set_defaults(&unregister_broker_request_codec, &request);
    request.broker_id = (int32_t)id;
    struct client_reply reply;
    if (client_call(session->client, CLIENT_NODE_ANY, API_KEY_UNREGISTER_BROKER, &request, &reply) != ERR_OK) {
        return session_fail(session);
    }
    const struct unregister_broker_response *response = reply.message;
    char what[WHAT_BYTES];
    (void)snprintf(what, sizeof(what), "broker %s", word);
    int status = response->error_code == ERROR_NONE
                     ? VERB_OK
                     : session_fail_code(session, what, response->error_code, response->error_message);
    if (status == VERB_OK && arguments_wants_json(session->arguments)) {
        struct output output;
        output_init(&output, true, "broker_removed");
        output_columns(&output, (const char *const[]){"id"}, 1);
        output_number(&output, id);
        output_end(&output);
    } else if (status == VERB_OK) {
        (void)printf("broker %s is forgotten\n", word);
    }
    client_reply_done(&reply);
    return status;
}
