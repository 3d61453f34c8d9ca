/* frame_link: one connection of a client that sends any bytes and knows what must come back: it reads what it sends as the broker
 * has to read it, and judges every answer.
 *
 * Shape:     bytes sent -> frames -> what is asked, in order. An answer must carry the correlation id of the oldest that is asked, and
 *            decode as the answer of that API and version, to its last byte. What is not served, can't be decoded or is no frame
 *            must close the connection; nothing behind it is answered. A connection that closes while something is asked needs a
 *            reason among what was sent.
 * Errors:    lone_node_problem.
 * Ownership: a link belongs to its maker until frame_link_free; its memory is the client machine's.
 * Threads:   one.
 */
#ifndef TESTS_FUZZ_FRAME_LINK_H
#define TESTS_FUZZ_FRAME_LINK_H

#include "common/bytebuf.h"
#include "proto/wire/codec.h"
#include "tests/fuzz/lone_node.h"

struct api_row;

/* One request under way. */
struct frame_asked {
    const struct api_row *api; /* NULL: there is no such API */
    int16_t api_version;       /* of the answer */
    int32_t correlation_id;
    bool is_refused;  /* no answer: the connection is closed */
    bool is_silent;   /* Produce with acks=0: no answer, or the connection is closed */
    uint64_t wait_us; /* so long it may be held by what it asks for */
    struct frame_asked *prev;
    struct frame_asked *next;
};

/* What the links of one node have heard, for later requests. */
struct frame_notes {
    int32_t fetch_session_id; /* 0: none yet */
    uint64_t answer_count;
};

struct frame_link {
    struct lone_node *node;
    struct frame_notes *notes;
    uint16_t port;
    bool is_judged; /* Kafka's protocol is spoken at the port */
    bool is_connecting;
    bool is_closed;        /* by the broker */
    struct socket *socket; /* NULL while connecting and once closed */
    struct bytebuf in;
    struct bytebuf out;
    struct bytebuf unframed;   /* sent, not a whole frame yet */
    bool is_broken;            /* the broker must close: nothing more of what is sent counts */
    struct frame_asked *asked; /* utlist DL */
    struct bytebuf last_body;  /* of the last answer */
};

struct frame_link *frame_link_new(struct lone_node *node, struct frame_notes *notes, uint16_t port);
/* Closes. NULL is fine. */
void frame_link_free(struct frame_link *link);
void frame_link_send(struct frame_link *link, struct span bytes);
/* Everything that was asked is answered, or the connection is closed. */
bool frame_link_is_settled(const struct frame_link *link);
/* How long what is asked may be held, all together. */
uint64_t frame_link_wait_us(const struct frame_link *link);
/* For people: the oldest that is asked. */
void frame_link_describe(const struct frame_link *link, char *ret_text, size_t bytes_max);

/* Asks and waits: the answer's body is decoded into `ret_response`, which borrows from the link until the next answer. */
void frame_link_call(struct frame_link *link, int16_t api_key, int16_t api_version, const void *request,
                     struct arena *arena, void *ret_response);

#endif
