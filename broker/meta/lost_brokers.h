/* lost_brokers: the brokers that a link of this node was cut off from a moment ago: most likely they are dead, and the controller is about to move
 * their partitions. A client that lost its leader asks for metadata at once, once: told the dead leader again, it tries that one for a second or two
 * (librdkafka). So Metadata waits for the move, LOST_BROKER_WAIT_US at most, and then says LEADER_NOT_AVAILABLE.
 *
 * Shape:     a note lives LOST_BROKER_US, or until a link to the broker stands again. It is a hint for answers to clients, nothing else is decided by
 *            it: a broker that lives on, cut off from this one alone, is told again when the note is over. Two brokers may share a place; the later
 *            note stays. A wait ends when the worker's metadata shows the broker fenced or started anew, or with its time.
 * Units:     microseconds of the loop's clock, which is one for all loops of a node.
 * Errors:    none.
 * Ownership: struct lost_brokers is a value in struct broker, struct lost_broker_waits one in struct worker; zeroes mean that nobody is lost, nobody
 *            waits. A wait is borrowed from begin until its `done`.
 * Threads:   notes: any thread, relaxed atomics. Waits: the worker's.
 * Source:    Metadata v0-v13 (LEADER_NOT_AVAILABLE); correctness.md 2, L2.
 */
#ifndef BROKER_META_LOST_BROKERS_H
#define BROKER_META_LOST_BROKERS_H

#include "common/seam/loop.h"

#include <stdatomic.h>

struct image;

#define LOST_BROKER_US 1000000u
/* Answers on one connection leave in the order of its requests, so this holds up others; an election takes a tenth of a second, or up to a
 * second with one of the controllers. */
#define LOST_BROKER_WAIT_US 500000u
#define LOST_BROKER_PLACES 64u

struct lost_brokers {
    _Atomic uint64_t places[LOST_BROKER_PLACES]; /* by broker: its process, and the end of the note; 0: none */
};

/* The process that was lost, not the one that comes after it: that has another epoch. Brokers that registered together share an epoch. */
void lost_brokers_note(struct lost_brokers *lost, int32_t broker_id, int64_t broker_epoch, uint64_t now_us);
void lost_brokers_forget(struct lost_brokers *lost, int32_t broker_id, int64_t broker_epoch);
bool lost_brokers_contain(struct lost_brokers *lost, int32_t broker_id, int64_t broker_epoch, uint64_t now_us);

struct lost_broker_wait {
    void (*done)(struct lost_broker_wait *wait); /* set it, and the next two */
    int32_t broker_id;
    int64_t broker_epoch; /* as the metadata has it that still names the broker */
    struct lost_broker_waits *waits;
    struct lost_broker_wait *prev, *next;
    struct loop_timer timer;
};

struct lost_broker_waits {
    struct loop *loop;
    struct lost_broker_wait *first;
};

void lost_broker_wait_begin(struct lost_broker_waits *waits, struct lost_broker_wait *wait);
/* With each delivery of metadata to the worker, once it is applied there. */
void lost_broker_waits_metadata(struct lost_broker_waits *waits, const struct image *image);

#endif
