/* fuzz_node: requests of clients to a whole node (broker and controller) in the simulator: the handlers behind the codec.
 *
 * Input:     a script (request_script.h): frames over up to three connections and one to the INTERNAL listener, pipelined, cut,
 *            with pauses, ends of connections and restarts between them. Topics with records are there.
 * Asserts:   the node never aborts, gives up or leaks; each request is answered once, in order, by an answer of its API and version,
 *            or its connection is closed for a reason (frame_link.h), within the time that it may be held; who leaves takes no place
 *            among max.connections, and what was asked ends in its time, also when nobody waits for it; then another
 *            client still writes with acks=all and reads it back, offsets are in order, and without the topics of the script the node
 *            holds the memory and the files of one that was asked nothing.
 * MOLDAU_TEST_LOG=1 prints the event log of the simulation.
 */
#include "broker/meta/metadata_follow.h"
#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/big_endian.h"
#include "common/mem.h"
#include "controller/controller.h"
#include "proto/api/api_table.h"
#include "proto/wire/frame.h"
#include "tests/fuzz/frame_link.h"
#include "tests/fuzz/node_control.h"
#include "tests/fuzz/request_script.h"
#include "tests/fuzz/request_words.h"

#define FUZZ_INPUT_BYTES_MAX (64u << 10)
#define FUZZ_RESTARTS_MAX 2u
#define FUZZ_SETTLE_US (10u * SIM_SECOND_US)
/* What asks to be held for longer is not waited for. */
#define FUZZ_HOLD_US_MAX (2000u * (uint64_t)SIM_SECOND_US)
#define FUZZ_CLOSE_US (5u * SIM_SECOND_US)
/* Of a request that nobody waits for: the deadline of whoever asks the controllers, and the sweep behind it. A voter that does not come
 * is given up after 5 s, whatever timeoutMs says. */
#define FUZZ_ORPHAN_US (35u * SIM_SECOND_US)
#define CORRELATION_POS 4u
#define CORRELATION_FIRST 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct session {
    struct lone_node node;
    struct frame_notes notes;
    struct frame_link *links[SCRIPT_LINK_COUNT]; /* NULL: not connected */
    int32_t next_correlation_id;
    unsigned restart_count;
    uint64_t orphan_us; /* what closed connections still asked for may be held so long */
};

/* ---- what the scripts' words stand for ---- */

static struct uuid topic_id(const struct image *image, const char *name)
{
    const struct image_topic *topic = image_find_topic(image, span_text(name));
    return topic == NULL ? (struct uuid){0} : topic->id;
}

static void learn_words(const struct session *session, struct words_known *ret_known)
{
    const struct broker *broker = session->node.broker;
    const struct image *image = metadata_follow_image(broker->metadata_follow);
    const struct image_broker *self = image_find_broker(image, LONE_NODE_ID);
    *ret_known = (struct words_known){.cluster_id = image_cluster_id(image),
                                      .fetch_session_id = session->notes.fetch_session_id};
    ret_known->ids[WORDS_ID_TOPIC] = topic_id(image, WORDS_TOPIC);
    ret_known->ids[WORDS_ID_TOPIC_CACHED] = topic_id(image, WORDS_TOPIC_CACHED);
    ret_known->ids[WORDS_ID_TOPIC_NEW] = topic_id(image, WORDS_TOPIC_NEW);
    ret_known->ids[WORDS_ID_METADATA_DIRECTORY] = controller_directory_id(broker->controller);
    if (self != NULL && self->directory_count > 0) {
        ret_known->ids[WORDS_ID_LOG_DIRECTORY] = self->directories[0];
    }
}

/* ---- steps ---- */

static bool is_settled(void *ctx)
{
    const struct session *session = (const struct session *)ctx;
    for (unsigned i = 0; i < SCRIPT_LINK_COUNT; i++) {
        if (session->links[i] != NULL && !frame_link_is_settled(session->links[i])) {
            return false;
        }
    }
    return true;
}

/* Everything is answered, unless it may be held for longer than anybody waits. */
static void settle(struct session *session)
{
    uint64_t hold_us = 0;
    for (unsigned i = 0; i < SCRIPT_LINK_COUNT; i++) {
        hold_us += session->links[i] == NULL ? 0 : frame_link_wait_us(session->links[i]);
    }
    uint64_t wait_us = FUZZ_SETTLE_US + (hold_us < FUZZ_HOLD_US_MAX ? hold_us : FUZZ_HOLD_US_MAX);
    if (lone_node_run_until(&session->node, wait_us, is_settled, session) || hold_us > FUZZ_HOLD_US_MAX) {
        return;
    }
    for (unsigned i = 0; i < SCRIPT_LINK_COUNT; i++) {
        if (session->links[i] != NULL && !frame_link_is_settled(session->links[i])) {
            char text[128];
            frame_link_describe(session->links[i], text, sizeof(text));
            lone_node_problem(&session->node, "no answer and no end of the connection after %" PRIu64 " us: %s",
                              wait_us, text);
        }
    }
}

static void close_link(struct session *session, unsigned link)
{
    if (session->links[link] != NULL) {
        session->orphan_us += frame_link_wait_us(session->links[link]);
    }
    frame_link_free(session->links[link]);
    session->links[link] = NULL;
}

static void close_links(struct session *session)
{
    for (unsigned i = 0; i < SCRIPT_LINK_COUNT; i++) {
        close_link(session, i);
    }
}

static void send_on(struct session *session, unsigned link, struct span bytes)
{
    if (session->links[link] != NULL && session->links[link]->is_closed) {
        close_link(session, link);
    }
    if (session->links[link] == NULL) {
        session->links[link] = frame_link_new(&session->node, &session->notes,
                                              link == SCRIPT_LINK_INTERNAL ? LONE_NODE_INTERNAL_PORT : LONE_NODE_PORT);
    }
    frame_link_send(session->links[link], bytes);
}

static void send_frame(struct session *session, const struct script_step *step)
{
    struct words_known known;
    size_t bytes = step->bytes.bytes;
    uint8_t *frame = (uint8_t *)mem_alloc(FRAME_SIZE_BYTES + bytes);
    be32_put(frame, (uint32_t)bytes);
    if (bytes > 0) {
        memcpy(frame + FRAME_SIZE_BYTES, step->bytes.data, bytes);
        learn_words(session, &known);
        request_words_resolve(&known, frame + FRAME_SIZE_BYTES, bytes);
    }
    if (bytes >= FRAME_BODY_BYTES_MIN) {
        be32_put(frame + FRAME_SIZE_BYTES + CORRELATION_POS, (uint32_t)session->next_correlation_id++);
    }
    send_on(session, step->link, span_make(frame, FRAME_SIZE_BYTES + bytes));
    mem_free(frame);
}

static void restart(struct session *session)
{
    if (session->restart_count < FUZZ_RESTARTS_MAX) {
        session->restart_count++;
        settle(session);
        close_links(session);
        lone_node_stop(&session->node);
        session->notes.fetch_session_id = 0;
        lone_node_start(&session->node);
    }
}

static void play_step(struct session *session, const struct script_step *step)
{
    switch (step->kind) {
    case SCRIPT_FRAME:
        send_frame(session, step);
        return;
    case SCRIPT_BYTES:
        send_on(session, step->link, step->bytes);
        return;
    case SCRIPT_WAIT:
        settle(session);
        return;
    case SCRIPT_PAUSE:
        lone_node_run_for(&session->node, (uint64_t)step->pause_ms * 1000);
        return;
    case SCRIPT_CLOSE:
        close_link(session, step->link);
        return;
    case SCRIPT_RESTART:
        restart(session);
        return;
    case SCRIPT_KIND_COUNT:
        break;
    }
}

/* ---- afterwards ---- */

static bool has_no_places(void *ctx)
{
    const struct session *session = (const struct session *)ctx;
    return sim_host_socket_count(session->node.client->host) == 0 && node_control_places(&session->node) == 0;
}

static bool has_no_connections(void *ctx)
{
    return node_control_connections(&((const struct session *)ctx)->node) == 0;
}

/* Places come back at once; the rest when the last request has ended. */
static void check_connections(struct session *session)
{
    close_links(session);
    if (!lone_node_run_until(&session->node, FUZZ_CLOSE_US, has_no_places, session)) {
        lone_node_problem(&session->node, "clients that have left take %zu places among max.connections",
                          node_control_places(&session->node));
    }
    uint64_t orphan_us = session->orphan_us < FUZZ_HOLD_US_MAX ? session->orphan_us : FUZZ_HOLD_US_MAX;
    if (!lone_node_run_until(&session->node, FUZZ_ORPHAN_US + orphan_us, has_no_connections, session) &&
        session->orphan_us <= FUZZ_HOLD_US_MAX) {
        lone_node_problem(&session->node, "the node keeps %zu connections whose clients have left",
                          node_control_connections(&session->node));
    }
}

static void check_offsets(const struct session *session)
{
    const struct broker *broker = session->node.broker;
    for (unsigned i = 0; i < broker->worker_count; i++) {
        const struct partition *partition = NULL;
        for (partition = broker->workers[i]->partitions->by_key; partition != NULL;
             partition = (const struct partition *)partition->hh.next) {
            if (partition->state != PARTITION_LEADER) {
                continue;
            }
            int64_t start = partition_log_start_offset(partition->log);
            int64_t end = partition_log_end_offset(partition->log);
            if (start < 0 || start > partition->high_watermark || partition->high_watermark > end) {
                lone_node_problem(&session->node, "%s-%d: start %" PRId64 ", high watermark %" PRId64 ", end %" PRId64,
                                  partition->topic_name, partition->key.partition_index, start,
                                  partition->high_watermark, end);
            }
        }
    }
}

static void run_script(struct session *session, struct span script)
{
    struct script_step step;
    while (script_next(&script, &step)) {
        play_step(session, &step);
    }
    settle(session);
    check_offsets(session);
    check_connections(session);
}

/* Returns what the node holds at the end. */
static struct node_holdings run_session(uint64_t seed, struct span script)
{
    struct session session = {.next_correlation_id = CORRELATION_FIRST};
    lone_node_init(&session.node, seed);
    lone_node_start(&session.node);
    node_control_prepare(&session.node);
    run_script(&session, script);
    struct node_holdings holdings = node_control_finish(&session.node);
    lone_node_stop(&session.node);
    lone_node_done(&session.node);
    return holdings;
}

/* The same on a node that was asked nothing. */
static const struct node_holdings *holdings_of_rest(void)
{
    static struct node_holdings rest;
    if (rest.bytes == 0) {
        rest = run_session(0, SPAN_NULL);
    }
    return &rest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2 || bytes > FUZZ_INPUT_BYTES_MAX) {
        return 0;
    }
    const struct node_holdings *rest = holdings_of_rest();
    struct node_holdings after = run_session(data[0], span_make(data + 1, bytes - 1));
    node_control_compare(rest, &after, bytes);
    return 0;
}
