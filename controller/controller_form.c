/* Opening the metadata, and forming it where there is none. A voter alone forms at once. One of several asks all the others first:
 *
 *   empty --one is formed and lists this directory--------> formed: with the same first configuration, or without one when it was admitted later
 *   empty --one is formed and does not list it------------> empty: waits to be admitted, and says by which command
 *   empty --all others are empty, with the same voters----> formed: the first configuration, the same bytes on every node; the cluster's id
 *                                                           is made of their SHA-256
 *   empty --somebody does not answer----------------------> empty: asks on
 *
 * The directory id is durable before anybody is told of it, so whoever is listed can only be this directory; a wiped one has another id and
 * is never taken for a first boot (design.md 8). Two voters that form from different answers make different clusters, which don't talk: at most one
 * of them finds a majority. */
#include "common/bytebuf.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/rng.h"
#include "controller/controller_private.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define FORM_ASK_US 200000u
#define FORM_FRESH_US 1000000u
#define FORM_TELL_US 10000000u

/* ---- controller.quorum.voters ---- */

static int order_voters(const void *left, const void *right)
{
    int32_t a = ((const struct controller_voter *)left)->node_id;
    int32_t b = ((const struct controller_voter *)right)->node_id;
    return (a > b) - (a < b);
}

static enum err parse_voters(struct controller *controller, struct option_problem *problem)
{
    struct span list = span_text(controller->options.quorum_voters);
    if (list.bytes == 0) {
        return ERR_OK;
    }
    enum err err = controller_voters_parse(list, controller->voters, &controller->voter_count, problem);
    if (err != ERR_OK) {
        return err;
    }
    qsort(controller->voters, controller->voter_count, sizeof(controller->voters[0]), order_voters);
    for (uint32_t i = 0; i < controller->voter_count; i++) {
        if (controller->voters[i].node_id == controller->options.node_id) {
            return ERR_OK;
        }
    }
    (void)snprintf(problem->text, sizeof(problem->text),
                   "controller.quorum.voters is %s, but this is node %" PRId32
                   " and its process.roles has controller: name it as %" PRId32 "@host:port too",
                   controller->options.quorum_voters, controller->options.node_id, controller->options.node_id);
    return ERR_INVALID;
}

static bool is_self(const struct controller *controller, uint32_t i)
{
    return controller->voters[i].node_id == controller->options.node_id;
}

/* ---- the first configuration ---- */

static char *address_text(const struct controller_voter *voter, struct uuid directory_id)
{
    char id[UUID_TEXT_BYTES];
    uuid_format(directory_id, id);
    return mem_format("%" PRId32 "@%s:%u/%s", voter->node_id, voter->host, (unsigned)voter->port, id);
}

/* A uuid made of the bytes, whose text can stand anywhere. */
static void make_cluster_id(struct span configuration, char ret_text[UUID_TEXT_BYTES])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct uuid id;
    SHA256(configuration.data, configuration.bytes, digest);
    do {
        memcpy(id.bytes, digest, UUID_BYTES);
        id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
        id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
        uuid_format(id, ret_text);
        SHA256(digest, sizeof(digest), digest);
    } while (ret_text[0] == '-');
}

/* Of all configured voters, whose directories are known. */
static enum err encode_first(const struct controller *controller, struct bytebuf *ret_bytes)
{
    struct quorum_member members[CONTROLLER_VOTERS_MAX];
    char *texts[CONTROLLER_VOTERS_MAX];
    for (uint32_t i = 0; i < controller->voter_count; i++) {
        struct uuid id = is_self(controller, i) ? controller->directory.id : controller->form.peers[i].directory_id;
        texts[i] = address_text(&controller->voters[i], id);
        members[i] =
            (struct quorum_member){.raft_id = quorum_raft_id_of(id), .address = texts[i], .role = QUORUM_VOTER};
    }
    enum err err = quorum_configuration_encode(members, controller->voter_count, ret_bytes);
    for (uint32_t i = 0; i < controller->voter_count; i++) {
        mem_free(texts[i]);
    }
    return err;
}

static struct quorum_identity make_identity(const struct controller *controller, const char *cluster_id)
{
    struct quorum_identity identity = {.node_id = controller->options.node_id,
                                       .raft_id = quorum_raft_id_of(controller->directory.id),
                                       .directory_id = controller->directory.id};
    (void)snprintf(identity.cluster_id, sizeof(identity.cluster_id), "%s", cluster_id);
    return identity;
}

/* ---- a voter alone ---- */

static enum err form_alone(struct controller *controller, struct option_problem *problem)
{
    char cluster_id[UUID_TEXT_BYTES];
    uuid_format(uuid_random(controller->env->rng), cluster_id);
    struct quorum_identity identity = make_identity(controller, cluster_id);
    struct bytebuf configuration;
    char *address = controller_place_own(controller);
    bytebuf_init(&configuration, CONTROLLER_CONFIGURATION_BYTES_MAX);
    enum err err = quorum_first_configuration(identity.raft_id, address, &configuration);
    CHECK(err == ERR_OK);
    err = controller_directory_form(controller->env->fs, &controller->directory, &identity,
                                    bytebuf_span(&configuration), problem);
    bytebuf_done(&configuration);
    mem_free(address);
    controller->identity = identity;
    return err;
}

enum err controller_form_open(struct controller *controller, struct option_problem *ret_problem)
{
    enum err err = parse_voters(controller, ret_problem);
    if (err != ERR_OK) {
        return err;
    }
    if (controller->voter_count > 1 && controller->options.server == NULL) {
        (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                       "controller.quorum.voters names several nodes, but this one has no INTERNAL listener: add "
                       "INTERNAL://host:port to listeners");
        return ERR_INVALID;
    }
    bool is_alone = controller->voter_count <= 1;
    err = controller_directory_open(controller->env, &controller->options, is_alone, &controller->directory,
                                    &controller->identity, ret_problem);
    if (err == ERR_OK && is_alone && !controller->directory.is_formed) {
        err = form_alone(controller, ret_problem);
    }
    return err;
}

enum err controller_form_open_quorum(struct controller *controller, struct option_problem *ret_problem)
{
    struct quorum_options options = {
        .directory = controller->directory.log_directory,
        .election_timeout_ms = controller->options.election_timeout_ms,
        .heartbeat_timeout_ms = controller->options.heartbeat_timeout_ms,
        .snapshot_entries = controller->options.snapshot_entries,
        .trailing_entries = controller->options.trailing_entries,
        .segment_bytes = controller->options.segment_bytes,
    };
    struct quorum_events events = controller_quorum_events;
    events.ctx = controller;
    char *address = controller_place_own(controller);
    enum err err = quorum_open(controller->env, &options, &controller->identity, address, &events, &controller->quorum,
                               ret_problem);
    mem_free(address);
    return err;
}

/* ---- forming with others: the job ---- */

static void form_work(struct loop_job *job)
{
    struct controller_formation *form = CONTAINER_OF(job, struct controller_formation, job);
    struct controller *controller = CONTAINER_OF(form, struct controller, form);
    struct span configuration = form->has_configuration ? bytebuf_span(&form->configuration) : SPAN_NULL;
    form->err = controller_directory_form(controller->env->fs, &controller->directory, &form->identity, configuration,
                                          &form->problem);
}

static void form_done(struct loop_job *job)
{
    struct controller_formation *form = CONTAINER_OF(job, struct controller_formation, job);
    struct controller *controller = CONTAINER_OF(form, struct controller, form);
    form->is_running = false;
    bytebuf_done(&form->configuration);
    if (controller->is_stopping) {
        return;
    }
    enum err err = form->err;
    controller->identity = form->identity;
    /* Its log has one entry or none: reading it does not hold the loop up. */
    err = err == ERR_OK ? controller_form_open_quorum(controller, &form->problem) : err;
    err = err == ERR_OK ? controller_start_quorum(controller, &form->problem) : err;
    if (err != ERR_OK) {
        controller_fail(controller, form->problem.text);
        return;
    }
    log_info(controller->env->logger, "controller", form->has_configuration ? "formed" : "admitted",
             "cluster_id=%s node_id=%" PRId32 " voters=%u", form->identity.cluster_id, form->identity.node_id,
             (unsigned)controller->member_count);
    controller_form_stop(controller);
    controller_links_greet(&controller->links);
    if (controller->options.on_cluster_id != NULL) {
        controller->options.on_cluster_id(controller->options.on_cluster_id_ctx, controller->cluster_id);
    }
}

/* Takes the configuration over; the null buffer: joins without one. */
static void begin_forming(struct controller *controller, const char *cluster_id, const struct bytebuf *configuration)
{
    struct controller_formation *form = &controller->form;
    form->is_running = true;
    form->has_configuration = configuration != NULL;
    bytebuf_init(&form->configuration, CONTROLLER_CONFIGURATION_BYTES_MAX);
    if (configuration != NULL) {
        enum err err = bytebuf_append(&form->configuration, bytebuf_span(configuration));
        CHECK(err == ERR_OK); /* was bounded when it came */
    }
    form->identity = make_identity(controller, cluster_id);
    form->identity.is_joining = configuration == NULL;
    form->job = (struct loop_job){.work = form_work, .done = form_done};
    loop_submit(controller->loop, &form->job);
}

/* ---- judging what the others said ---- */

/* Whether the bytes are a configuration in which this directory votes under this node's id. */
static bool names_us(const struct controller *controller, struct span configuration)
{
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = 0;
    if (configuration.bytes == 0 || quorum_configuration_decode(configuration, members, &count) != ERR_OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct controller_place place;
        controller_place_parse(members[i].address, members[i].raft_id, &place);
        if (place.address.raft_id == quorum_raft_id_of(controller->directory.id) &&
            uuid_equal(place.directory_id, controller->directory.id) &&
            place.address.node_id == controller->options.node_id) {
            return true;
        }
    }
    return false;
}

static bool tell_now(struct controller *controller)
{
    struct controller_formation *form = &controller->form;
    uint64_t now_us = loop_now_us(controller->loop);
    if (form->told_us != 0 && now_us - form->told_us < FORM_TELL_US) {
        return false;
    }
    form->told_us = now_us;
    return true;
}

static void join_formed(struct controller *controller, const struct form_peer *peer)
{
    const char *known = controller->options.known_cluster_id;
    if (known != NULL && strcmp(known, peer->cluster_id) != 0) {
        char sentence[OPTION_PROBLEM_BYTES];
        (void)snprintf(sentence, sizeof(sentence),
                       "the other controllers are of cluster %s, but the log directory %s is of cluster %s: give this "
                       "node the directories of one cluster, or check controller.quorum.voters",
                       peer->cluster_id, controller->options.known_cluster_dir, known);
        controller_fail(controller, sentence);
        return;
    }
    if (names_us(controller, bytebuf_span(&peer->configuration))) {
        begin_forming(controller, peer->cluster_id, &peer->configuration);
    } else if (peer->lists_us) {
        begin_forming(controller, peer->cluster_id, NULL);
    } else if (tell_now(controller) || !controller->form.is_admission_told) {
        char *place = controller_place_own(controller);
        controller->form.is_admission_told = true;
        log_warn(
            controller->env->logger, "controller", "waits_for_admission",
            "cluster_id=%s why=\"this metadata directory is new, and the cluster is not\" command=\"moldau cluster "
            "add-controller %s%s\"",
            peer->cluster_id, place, peer->has_our_node ? " --replace" : "");
        mem_free(place);
    }
}

/* Everybody is empty: a new cluster. */
static void form_first(struct controller *controller)
{
    struct bytebuf configuration;
    char cluster_id[UUID_TEXT_BYTES];
    if (controller->options.known_cluster_id != NULL) {
        if (tell_now(controller)) {
            log_warn(controller->env->logger, "controller", "metadata_lost",
                     "cluster_id=%s dir=%s why=\"the log directory belongs to a cluster, but no controller has its "
                     "metadata: no new one is formed; restore the metadata directories\"",
                     controller->options.known_cluster_id, controller->options.known_cluster_dir);
        }
        return;
    }
    bytebuf_init(&configuration, CONTROLLER_CONFIGURATION_BYTES_MAX);
    if (encode_first(controller, &configuration) == ERR_OK) {
        make_cluster_id(bytebuf_span(&configuration), cluster_id);
        begin_forming(controller, cluster_id, &configuration);
    } else if (tell_now(controller)) {
        log_warn(controller->env->logger, "controller", "voters_conflict",
                 "why=\"two voters have the same directory id: was a directory copied?\"%s", "");
    }
    bytebuf_done(&configuration);
}

static void tell_waiting(struct controller *controller, const struct controller_voter *voter, const char *why)
{
    if (tell_now(controller)) {
        log_info(controller->env->logger, "controller", "waits_for_voters", "voter=%" PRId32 "@%s:%u why=\"%s\"",
                 voter->node_id, voter->host, (unsigned)voter->port, why);
    }
}

void controller_form_judge(struct controller *controller)
{
    struct controller_formation *form = &controller->form;
    uint64_t now_us = loop_now_us(controller->loop);
    const struct form_peer *formed = NULL;
    const struct controller_voter *silent = NULL;
    const struct controller_voter *different = NULL;
    if (form->is_running || controller->quorum != NULL || controller->is_stopping || controller->is_failed) {
        return;
    }
    for (uint32_t i = 0; i < controller->voter_count; i++) {
        const struct form_peer *peer = &form->peers[i];
        if (is_self(controller, i)) {
            continue;
        }
        if (peer->heard_us == 0 || now_us - peer->heard_us > FORM_FRESH_US) {
            silent = &controller->voters[i];
        } else if (peer->is_formed) {
            formed = formed == NULL || peer->lists_us ? peer : formed;
        } else if (!peer->has_same_voters) {
            different = &controller->voters[i];
        }
    }
    if (formed != NULL) {
        join_formed(controller, formed);
    } else if (different != NULL) {
        tell_waiting(controller, different, "it has another list in controller.quorum.voters");
    } else if (silent != NULL) {
        tell_waiting(controller, silent, "it does not answer yet");
    } else {
        form_first(controller);
    }
}

static void ask(struct loop_timer *timer)
{
    struct controller_formation *form = CONTAINER_OF(timer, struct controller_formation, timer);
    struct controller *controller = CONTAINER_OF(form, struct controller, form);
    controller_links_probe(&controller->links);
    controller_form_judge(controller);
    if (controller->quorum == NULL && !controller->is_stopping && !controller->is_failed) {
        loop_timer_set(controller->loop, timer, loop_now_us(controller->loop) + FORM_ASK_US);
    }
}

void controller_form_look(struct controller *controller)
{
    if (controller->quorum == NULL && controller->form.timer.fire != NULL) {
        loop_timer_set(controller->loop, &controller->form.timer, loop_now_us(controller->loop));
    }
}

void controller_form_start(struct controller *controller)
{
    struct link_address addresses[CONTROLLER_VOTERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < controller->voter_count; i++) {
        if (!is_self(controller, i)) {
            struct link_address *address = &addresses[count++];
            *address =
                (struct link_address){.node_id = controller->voters[i].node_id, .port = controller->voters[i].port};
            (void)snprintf(address->host, sizeof(address->host), "%s", controller->voters[i].host);
        }
    }
    for (uint32_t i = 0; i < controller->voter_count; i++) {
        bytebuf_init(&controller->form.peers[i].configuration, CONTROLLER_CONFIGURATION_BYTES_MAX);
    }
    controller->form.timer.fire = ask;
    controller->form.told_us = loop_now_us(controller->loop); /* nobody needs to read of the first seconds */
    controller_links_set(&controller->links, addresses, count);
    loop_timer_set(controller->loop, &controller->form.timer, loop_now_us(controller->loop) + FORM_ASK_US);
}

void controller_form_stop(struct controller *controller)
{
    if (controller->form.timer.fire != NULL) {
        loop_timer_cancel(controller->loop, &controller->form.timer);
        controller->form.timer.fire = NULL;
        for (uint32_t i = 0; i < controller->voter_count; i++) {
            bytebuf_done(&controller->form.peers[i].configuration);
        }
    }
}
