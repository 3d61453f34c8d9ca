/* Questions and answers of voters that form: what another one says of itself, and what this one says. */
#include "common/bytebuf.h"
#include "common/mem.h"
#include "controller.pb-c.h"
#include "controller/controller_private.h"

#include <inttypes.h>
#include <stdio.h>

/* controller.quorum.voters in one way of writing it. */
static char *voters_text(const struct controller *controller)
{
    char *text = mem_strdup("");
    for (uint32_t i = 0; i < controller->voter_count; i++) {
        const struct controller_voter *voter = &controller->voters[i];
        char *longer = mem_format("%s%s%" PRId32 "@%s:%u", text, i == 0 ? "" : ",", voter->node_id, voter->host,
                                  (unsigned)voter->port);
        mem_free(text);
        text = longer;
    }
    return text;
}

void controller_form_state(struct controller *controller, const struct link_address *from, struct uuid directory_id,
                           struct span header)
{
    struct form_peer *peer = NULL;
    for (uint32_t i = 0; i < controller->voter_count && controller->form.timer.fire != NULL; i++) {
        if (controller->voters[i].node_id == from->node_id) {
            peer = &controller->form.peers[i];
        }
    }
    if (peer == NULL || header.bytes > 4 * CONTROLLER_CONFIGURATION_BYTES_MAX) {
        return;
    }
    Node__ControllerState *state = node__controller_state__unpack(NULL, header.bytes, header.data);
    struct span configuration =
        state == NULL ? SPAN_NULL : span_make(state->configuration.data, state->configuration.len);
    if (state != NULL && strlen(state->cluster_id) < sizeof(peer->cluster_id) &&
        configuration.bytes <= CONTROLLER_CONFIGURATION_BYTES_MAX &&
        (!state->is_formed || state->cluster_id[0] != '\0')) {
        char *own_voters = voters_text(controller);
        peer->heard_us = loop_now_us(controller->loop);
        peer->directory_id = directory_id;
        peer->is_formed = state->is_formed != 0;
        peer->has_same_voters = strcmp(state->voters, own_voters) == 0;
        peer->lists_us = state->lists_you != 0;
        peer->has_our_node = state->has_your_node != 0;
        (void)snprintf(peer->cluster_id, sizeof(peer->cluster_id), "%s", state->cluster_id);
        bytebuf_clear(&peer->configuration);
        if (configuration.bytes > 0) {
            CHECK(bytebuf_append(&peer->configuration, configuration) == ERR_OK);
        }
        mem_free(own_voters);
        controller_form_judge(controller);
    }
    node__controller_state__free_unpacked(state, NULL);
}

static bool lists(const struct controller *controller, struct span configuration, struct uuid asker)
{
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < controller->member_count; i++) {
        if (uuid_equal(controller->members[i].directory_id, asker)) {
            return true;
        }
    }
    if (configuration.bytes == 0 || quorum_configuration_decode(configuration, members, &count) != ERR_OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct controller_place place;
        controller_place_parse(members[i].address, members[i].raft_id, &place);
        if (uuid_equal(place.directory_id, asker)) {
            return true;
        }
    }
    return false;
}

void controller_form_describe(struct controller *controller, struct uuid asker, int32_t asker_node_id,
                              struct bytebuf *header)
{
    Node__ControllerState state = NODE__CONTROLLER_STATE__INIT;
    struct bytebuf empty = {0};
    bool is_formed = controller->quorum != NULL;
    /* While a job forms the directory, it is the job's. */
    struct span configuration = bytebuf_span(is_formed ? &controller->directory.configuration : &empty);
    char *voters = voters_text(controller);
    uint8_t *room = NULL;
    state.is_formed = is_formed;
    state.voters = voters;
    if (is_formed) {
        state.cluster_id = controller->cluster_id;
        state.configuration.data = (uint8_t *)(uintptr_t)configuration.data;
        state.configuration.len = configuration.bytes;
        state.lists_you = lists(controller, configuration, asker);
        for (uint32_t i = 0; i < controller->member_count; i++) {
            state.has_your_node = state.has_your_node || controller->members[i].address.node_id == asker_node_id;
        }
    }
    enum err err = bytebuf_reserve(header, node__controller_state__get_packed_size(&state), &room);
    CHECK(err == ERR_OK);
    bytebuf_added(header, node__controller_state__pack(&state, room));
    mem_free(voters);
}
