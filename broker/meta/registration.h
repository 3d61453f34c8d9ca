/* registration: makes this node a member of the cluster: registers a new incarnation, and is unfenced once the metadata with
 * the registration is applied here.
 *
 * Shape:     registration_start -> REGISTER (broker epoch) -> subscribe (metadata_follow) -> applied up to the broker epoch ->
 *            HEARTBEAT (unfenced) -> applied up to that -> on_registered.
 * Errors:    a refusal ends in on_failed with the controller's sentence.
 * Threads:   home.
 * Source:    design.md 8; correctness.md 5 (a broker serves as leader only behind its own registration); KIP-631.
 */
#ifndef BROKER_META_REGISTRATION_H
#define BROKER_META_REGISTRATION_H

#include "common/err.h"
#include "common/seam/loop.h"
#include "controller/image.h"

struct broker;
struct metadata_follow;
struct registration;

struct registration_facts {
    int64_t previous_epoch;                 /* of the clean-shutdown mark; -1: none */
    const struct image_endpoint *endpoints; /* borrowed until on_registered */
    uint32_t endpoint_count;
};

struct registration_events {
    void (*on_registered)(void *ctx);
    void (*on_failed)(void *ctx, enum err err, const char *message);
    void *ctx;
};

struct registration *registration_new(struct broker *broker, struct metadata_follow *follow);
void registration_start(struct registration *registration, const struct registration_facts *facts,
                        const struct registration_events *events);
/* -1 before the registration is committed. */
int64_t registration_broker_epoch(const struct registration *registration);
/* No request may be under way: after on_registered or on_failed. */
void registration_free(struct registration *registration);

#endif
