/* registration: makes this node a member of the cluster and keeps it one: registers a new incarnation, is unfenced once the metadata
 * with the registration is applied here, reports to the active controller from then on, and takes leave at an orderly end.
 *
 * Shape:     registration_start -> REGISTER (broker epoch) -> subscribe (metadata_follow) -> applied up to the broker epoch ->
 *            HEARTBEAT (unfenced) -> applied up to that -> on_registered -> a heartbeat every broker.heartbeat.interval.ms.
 *            Fenced meanwhile (it was silent too long): the next heartbeat asks to be unfenced again.
 *            registration_leave -> HEARTBEAT (wants to shut down) until leaderships have moved, or a deadline -> done.
 * Errors:    a refusal, or another process that has taken over the node id, ends in on_failed with the controller's sentence; a controller
 *            that can't be reached is asked again for as long as the node lives.
 * Threads:   home.
 * Source:    design.md 8; correctness.md 2 (L3), 5 (a broker serves as leader only behind its own registration); KIP-631.
 */
#ifndef BROKER_META_REGISTRATION_H
#define BROKER_META_REGISTRATION_H

#include "common/err.h"
#include "common/seam/loop.h"
#include "controller/image.h"

/* How long an orderly end waits for its leaderships to move. */
#define REGISTRATION_LEAVE_US 10000000u

struct broker;
struct metadata_follow;
struct registration;

struct registration_facts {
    int64_t previous_epoch;                 /* of the clean-shutdown mark; -1: none */
    const struct image_endpoint *endpoints; /* borrowed */
    uint32_t endpoint_count;
    struct uuid incarnation_id;
};

struct registration_events {
    void (*on_epoch)(void *ctx, int64_t broker_epoch); /* registered: the epoch is known */
    void (*on_registered)(void *ctx);                  /* once: unfenced, and the metadata that says so is applied */
    void (*on_failed)(void *ctx, enum err err, const char *message);
    void *ctx;
};

struct registration *registration_new(struct broker *broker, struct metadata_follow *follow);
void registration_start(struct registration *registration, const struct registration_facts *facts,
                        const struct registration_events *events);
/* -1 before the registration is committed. */
int64_t registration_broker_epoch(const struct registration *registration);
/* Takes leave; `done` comes once, at once when there is nobody to take leave of or no time (is_hurried: the node has failed). No
 * heartbeat follows it. */
void registration_leave(struct registration *registration, bool is_hurried, void (*done)(void *ctx), void *ctx);
/* No request may be under way: before registration_start, or when the way to the controllers is closed. NULL is accepted. */
void registration_free(struct registration *registration);

#endif
