/* Members of the quorum: where they are, what the active controller knows of them, and changes of who votes. */
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "controller/controller_api.h"
#include "controller/controller_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ADDRESS_ALONE "none" /* of a voter that nobody needs to reach */

/* ---- address texts ---- */

void controller_place_parse(const char *text, uint64_t raft_id, struct controller_place *ret_place)
{
    *ret_place = (struct controller_place){.address = {.node_id = -1, .raft_id = raft_id}};
    const char *at = strchr(text, '@');
    const char *slash = strrchr(text, '/');
    if (at == NULL || slash == NULL || slash < at) {
        return;
    }
    char *end = NULL;
    long node_id = strtol(text, &end, 10);
    struct uuid id;
    if (end != at || node_id < 0 || node_id > INT32_MAX || uuid_parse(span_text(slash + 1), &id) != ERR_OK) {
        return;
    }
    ret_place->address.node_id = (int32_t)node_id;
    ret_place->directory_id = id;
    /* "none" has no port: it stays unknown. */
    (void)!controller_address_parse(span_make(at + 1, (size_t)(slash - at - 1)), ret_place->address.host,
                                    &ret_place->address.port);
}

char *controller_place_own(const struct controller *controller)
{
    char id[UUID_TEXT_BYTES];
    uuid_format(controller->directory.id, id);
    for (uint32_t i = 0; i < controller->voter_count; i++) {
        const struct controller_voter *voter = &controller->voters[i];
        if (voter->node_id == controller->options.node_id) {
            return mem_format("%" PRId32 "@%s:%u/%s", voter->node_id, voter->host, (unsigned)voter->port, id);
        }
    }
    return mem_format("%" PRId32 "@" ADDRESS_ALONE "/%s", controller->options.node_id, id);
}

static void format_address(const struct link_address *address, char ret_text[CONTROLLER_ADDRESS_BYTES])
{
    bool is_v6 = strchr(address->host, ':') != NULL;
    ret_text[0] = '\0';
    if (address->port != 0) {
        (void)snprintf(ret_text, CONTROLLER_ADDRESS_BYTES, is_v6 ? "[%s]:%u" : "%s:%u", address->host,
                       (unsigned)address->port);
    }
}

/* ---- the configuration ---- */

void controller_voters_changed(void *ctx, const struct quorum_member *members, uint32_t count, uint64_t index)
{
    struct controller *controller = (struct controller *)ctx;
    CHECK(count <= QUORUM_MEMBERS_MAX);
    controller->member_count = count;
    for (uint32_t i = 0; i < count; i++) {
        controller_place_parse(members[i].address, members[i].raft_id, &controller->members[i]);
        controller->members[i].is_voter = members[i].role == QUORUM_VOTER;
    }
    log_info(controller->env->logger, "controller", "members", "index=%" PRIu64 " count=%" PRIu32, index, count);
    /* Not from inside the quorum. */
    loop_defer(controller->loop, &controller->members_task);
}

void controller_voters_dial(struct loop_task *task)
{
    struct controller *controller = CONTAINER_OF(task, struct controller, members_task);
    struct link_address addresses[QUORUM_MEMBERS_MAX];
    uint32_t count = 0;
    if (controller->is_stopping) {
        return;
    }
    for (uint32_t i = 0; i < controller->member_count; i++) {
        const struct link_address *address = &controller->members[i].address;
        if (address->raft_id != controller->identity.raft_id && address->port != 0) {
            addresses[count++] = *address;
        }
    }
    if (controller->options.server != NULL) {
        controller_links_set(&controller->links, addresses, count);
    }
    controller_view_update(controller);
}

void controller_voters_send(void *ctx, uint64_t to_raft_id, const char *to_address, struct span header,
                            struct span body)
{
    struct controller *controller = (struct controller *)ctx;
    struct controller_place place;
    if (controller->options.server == NULL || controller->is_stopping) {
        return;
    }
    controller_place_parse(to_address == NULL ? "" : to_address, to_raft_id, &place);
    controller_links_send(&controller->links, to_raft_id, &place.address, header, body);
}

void controller_hint(const struct controller *controller, struct controller_hint *ret_hint)
{
    *ret_hint = (struct controller_hint){.node_id = -1};
    for (uint32_t i = 0; i < controller->member_count && controller->leader_raft_id != 0; i++) {
        const struct link_address *address = &controller->members[i].address;
        if (address->raft_id == controller->leader_raft_id) {
            ret_hint->node_id = address->node_id;
            format_address(address, ret_hint->address);
        }
    }
}

/* ---- what is known of the members ---- */

static int64_t wall_ms_of(struct controller *controller, uint64_t then_us)
{
    uint64_t now_us = loop_now_us(controller->loop);
    int64_t now_ms = clock_wall_ms(controller->env->clock);
    return then_us == 0 || then_us > now_us ? (then_us == 0 ? -1 : now_ms)
                                            : now_ms - (int64_t)((now_us - then_us) / 1000);
}

static uint32_t describe_members(struct controller *controller, const struct quorum_facts *facts,
                                 struct controller_member *ret_members)
{
    struct quorum_progress progress[QUORUM_MEMBERS_MAX];
    uint32_t progress_count = 0;
    if (quorum_get_progress(controller->quorum, progress, &progress_count) != ERR_OK) {
        progress_count = 0;
    }
    for (uint32_t i = 0; i < controller->member_count; i++) {
        const struct controller_place *place = &controller->members[i];
        struct controller_member *member = &ret_members[i];
        *member = (struct controller_member){.raft_id = place->address.raft_id,
                                             .node_id = place->address.node_id,
                                             .directory_id = place->directory_id,
                                             .is_voter = place->is_voter,
                                             .last_fetch_ms = -1,
                                             .last_caught_up_ms = -1};
        format_address(&place->address, member->address);
        if (member->raft_id == controller->identity.raft_id) {
            member->log_end = facts->last_index + 1;
            if (facts->is_leader) {
                member->last_fetch_ms = member->last_caught_up_ms = clock_wall_ms(controller->env->clock);
            }
            continue;
        }
        for (uint32_t j = 0; j < progress_count; j++) {
            if (progress[j].raft_id == member->raft_id) {
                member->log_end = progress[j].match_index + 1;
                member->last_fetch_ms = wall_ms_of(controller, progress[j].last_contact_us);
                member->last_caught_up_ms = wall_ms_of(controller, progress[j].caught_up_us);
            }
        }
    }
    return controller->member_count;
}

void controller_get_status(struct controller *controller, struct controller_status *status)
{
    struct controller_member *members = status->ret_members;
    struct quorum_facts facts = {0};
    if (controller->quorum != NULL) {
        quorum_get_facts(controller->quorum, &facts);
    }
    *status = (struct controller_status){
        .is_active = controller->is_active,
        .raft_id = quorum_raft_id_of(controller->directory.id),
        .term = facts.term,
        .leader_raft_id = facts.leader_raft_id,
        .controller_id = image_controller_id(controller->image),
        .controller_epoch = image_controller_epoch(controller->image),
        .first_index = facts.first_index,
        .last_index = facts.last_index,
        .commit_index = facts.commit_index,
        .applied_index = facts.applied_index,
        .snapshot_index = facts.snapshot_index,
        .log_bytes = facts.log_bytes,
        .voter_count = facts.voter_count,
        .ret_members = members,
    };
    memcpy(status->hash, image_hash(controller->image), IMAGE_HASH_BYTES);
    if (members != NULL && controller->quorum != NULL) {
        status->member_count = describe_members(controller, &facts, members);
    }
}

void controller_voters_view(struct controller *controller, struct controller_member *ret_members,
                            struct quorum_view *ret_view)
{
    struct quorum_facts facts;
    quorum_get_facts(controller->quorum, &facts);
    *ret_view = (struct quorum_view){
        .leader_node_id = controller->options.node_id,
        .leader_raft_id = controller->identity.raft_id,
        .term = facts.term,
        .commit_index = facts.commit_index,
        .now_ms = clock_wall_ms(controller->env->clock),
        .members = ret_members,
        .member_count = describe_members(controller, &facts, ret_members),
        .level_max = IMAGE_LEVEL_MAX, /* controllers of other versions: with the release that has a second level */
    };
}

/* ---- changes ---- */

struct voters_job {
    struct controller *controller;
    struct controller_request *request;
};

static void on_changed(void *ctx, enum err err)
{
    struct voters_job *job = (struct voters_job *)ctx;
    struct controller_request *request = job->request;
    log_info(job->controller->env->logger, "controller", "voters_changed", "err=%s", err_name(err));
    if (err == ERR_NOT_LEADER || err == ERR_CLOSED) {
        controller_complete(request, ERR_CLOSED, 0); /* the next leader may still commit it */
    } else {
        err = controller_api_answer_voter(&request->admin, err);
        controller_complete(request, err, image_offset(job->controller->image));
    }
    mem_free(job);
}

void controller_voters_change(struct controller *controller, struct controller_request *request,
                              const struct voter_change *change)
{
    struct voters_job *job = MEM_NEW(struct voters_job);
    job->controller = controller;
    job->request = request;
    if (change->kind == VOTER_CHANGE_ADD) {
        quorum_add_voter(controller->quorum, quorum_raft_id_of(change->directory_id), change->address, on_changed, job);
    } else {
        quorum_remove_voter(controller->quorum, change->raft_id, on_changed, job);
    }
}
