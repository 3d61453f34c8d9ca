/* connection_internal: what the files connection*.c share; nobody else includes it.
 *
 * Shape:     slots are the requests in the order of arrival; a slot is popped when it is the first and its reply is wholly
 *            sent. in_flight counts slots, at_work those whose handler has not answered.
 * Threads:   the worker's loop.
 */
#ifndef BROKER_NET_CONNECTION_INTERNAL_H
#define BROKER_NET_CONNECTION_INTERNAL_H

#include "broker/net/connection.h"
#include "broker/net/connection_set.h"
#include "broker/net/frame_reader.h"
#include "common/logger.h"

#define CONNECTION_SOFTWARE_BYTES 128 /* name and version of the client's library, each */
/* Kept for the next request: handlers of small requests need no allocation beyond their frame. */
#define CONNECTION_SLOTS_KEPT 64

enum connection_state { CONNECTION_OPEN, CONNECTION_CLOSING };

struct connection_slot {
    struct request request;
    struct connection *owner;
    struct connection_slot *next;
    struct reply_output output;
    size_t memory_bytes; /* taken from the budget: the frame and what it decodes to, then the encoded reply */
    bool is_done;        /* answered: the output (maybe empty) is final */
};

struct connection {
    struct connection_set *set;
    struct connection *prev, *next;             /* all of the set */
    struct connection *prev_dirty, *next_dirty; /* those with something to write in the next step */
    bool is_dirty;
    bool is_write_blocked; /* the socket takes no more: wait until it is writable */
    enum connection_state state;
    struct socket *socket;           /* NULL when CLOSING */
    struct admission_ticket *ticket; /* NULL when CLOSING */
    const char *listener_name;
    struct net_address client;
    char principal[REQUEST_PRINCIPAL_BYTES];
    char software_name[CONNECTION_SOFTWARE_BYTES];
    char software_version[CONNECTION_SOFTWARE_BYTES];
    bool is_authenticated;

    struct frame_reader reader;
    struct memory_waiter memory_waiter; /* for the frame whose size is known */
    size_t frame_memory_bytes;          /* taken for the frame being filled */
    size_t last_frame_bytes;
    uint8_t *held; /* bytes read but not parsed while reading must pause */
    size_t held_bytes;
    size_t held_pos;

    struct connection_slot *first_slot, *last_slot;
    unsigned in_flight;
    unsigned at_work;
    uint64_t next_sequence;

    struct loop_timer timer;  /* idle, stalls, handshake: looked at when it fires, never moved on the hot path */
    struct loop_timer unmute; /* end of throttling */
    bool is_muted;
    struct loop_task later; /* goes on reading, or frees: nothing is freed inside a callback that may still use it */
    uint64_t accepted_us;
    uint64_t last_read_us;
    uint64_t last_write_us;
};

struct connection_set {
    struct connection_set_config config;
    struct connection *connections;
    size_t connection_count;
    struct connection *dirty;
    struct connection_slot *free_slots;
    unsigned free_slot_count;
    uint8_t *scratch;
    struct log_limit refusal_limit; /* bad input */
    bool is_stopping;
    struct loop_timer drain_timer;
    void (*on_stopped)(void *ctx);
    void *on_stopped_ctx;
    struct loop_task stopped_task;
};

/* connection.c */
void connection_start(struct connection_set *set, struct connection_offer *offer);
void connection_close(struct connection *connection);
/* Closes with a rate-limited log line: cause and remedy. */
void connection_refuse(struct connection *connection, const char *event, const char *why);
/* The peer or the network ended it. */
void connection_lost(struct connection *connection, enum err err);
bool connection_may_read(const struct connection *connection);
/* Tells the loop which events matter now. */
void connection_update_watch(struct connection *connection);
/* Has `later` run: reading goes on if it may, a closed connection without work is freed. */
void connection_continue_later(struct connection *connection);

/* connection_deadline.c */
void connection_start_deadlines(struct connection *connection);
/* A stall may begin now: see that the timer looks in time. */
void connection_look_within(struct connection *connection, uint64_t wait_us);

/* connection_read.c */
void connection_start_reading(struct connection *connection);
void connection_read(struct connection *connection);
/* Parses what was read before reading had to pause. */
void connection_read_held(struct connection *connection);
void connection_stop_reading(struct connection *connection);

/* connection_slot.c */
struct connection_slot *connection_slot_open(struct connection *connection, struct shared_bytes *frame,
                                             size_t memory_bytes);
/* Behind the handler: a request that goes on working holds its decoded message, too. */
void connection_slot_count_arena(struct connection_slot *slot);
/* The first slot, answered and sent or dropped. */
void connection_slot_pop(struct connection *connection);
/* The socket is gone: replies are dropped, handlers at work keep their requests. */
void connection_abandon_slots(struct connection *connection);
void connection_free_slots(struct connection *connection);

/* connection_write.c */
void connection_write(struct connection *connection);
void connection_mark_dirty(struct connection *connection);
void connection_unmark_dirty(struct connection *connection);

#endif
