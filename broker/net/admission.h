/* admission: how many client connections the broker takes, in all and per address, and which worker gets the next one.
 *
 * Shape:     one ticket per accepted connection; the ticket comes back when its socket is closed, whatever is still at work.
 * Limits:    connection_count_max, per_address_max (INT32_MAX: no limit, as in Kafka).
 * Errors:    admission_take refuses with ERR_LIMIT and a sentence.
 * Ownership: a ticket belongs to its connection; admission_ticket_return ends it.
 * Threads:   the home loop, except admission_ticket_return: any thread.
 * Source:    Kafka's max.connections and max.connections.per.ip; correctness.md 9.
 */
#ifndef BROKER_NET_ADMISSION_H
#define BROKER_NET_ADMISSION_H

#include "common/seam/loop.h"
#include "common/seam/net.h"

struct admission;
struct admission_ticket;

struct admission *admission_new(struct loop *home, unsigned worker_count, size_t connection_count_max,
                                size_t per_address_max);
/* Every ticket is back (or its way back never runs: the loop has ended). */
void admission_free(struct admission *admission);

/* The least loaded worker gets it. */
enum err admission_take(struct admission *admission, const char *host, struct admission_ticket **ret_ticket,
                        unsigned *ret_worker_index, const char **ret_why) MUST_USE;
void admission_ticket_return(struct admission_ticket *ticket);
size_t admission_count(const struct admission *admission);

#endif
