/* broker_script: scripted Kafka clients for the simulation of brokers: idempotent producers and a reader of everything.
 *
 * Shape:     a producer keeps up to BROKER_SCRIPT_BATCHES_MAX batches per partition under way and sends them again, in order
 *            and with their sequences, until they are acknowledged. The reader fetches every partition from offset 0 on, in pieces.
 *            A record's value is "producer:number:" and padding.
 * Ownership: scripts live until their node's process dies.
 * Threads:   each on a loop of its own node.
 */
#ifndef TESTS_SIM_BROKER_SCRIPT_H
#define TESTS_SIM_BROKER_SCRIPT_H

#include "common/seam/env.h"
#include "tests/sim/broker_checker.h"

#define BROKER_SCRIPT_BATCHES_MAX 5 /* what a broker remembers of a producer */

struct broker_script_options {
    const char *host;
    uint16_t port;
    const char *topic;
    unsigned partition_count;
    bool is_cached; /* the topic's durability */
    struct broker_checker *checker;
};

struct script_producer;
struct script_reader;

/* Creates the topic, gets a producer id, and writes until script_producer_end. `index` < CHECKER_PRODUCERS_MAX. */
struct script_producer *script_producer_start(struct env *env, const struct broker_script_options *options,
                                              unsigned index);
/* No new records; what is under way is still brought home. */
void script_producer_end(struct script_producer *producer);
bool script_producer_is_through(const struct script_producer *producer);
uint64_t script_producer_acknowledged(const struct script_producer *producer);
uint64_t script_producer_retries(const struct script_producer *producer);

struct script_reader *script_reader_start(struct env *env, const struct broker_script_options *options);
/* It has read everything that is known to exist. */
bool script_reader_is_through(const struct script_reader *reader);
const struct checker_reader *script_reader_walk(const struct script_reader *reader);

#endif
