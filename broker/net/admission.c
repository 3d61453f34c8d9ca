/* Counts live on the home loop, where connections are accepted. A worker gives a ticket back by posting it there, so
 * that nothing is locked. */
#include "broker/net/admission.h"

#include "common/check.h"
#include "common/mem.h"

#define uthash_fatal(text) CHECK(!(text))
#include <uthash.h>

struct address_count {
    UT_hash_handle hh;
    size_t connection_count;
    char host[NET_HOST_TEXT_BYTES];
};

struct admission_ticket {
    struct loop_task task;
    struct admission *admission;
    struct address_count *address;
    unsigned worker_index;
};

struct admission {
    struct loop *home;
    size_t connection_count;
    size_t connection_count_max;
    size_t per_address_max;
    struct address_count *addresses;
    size_t *worker_loads;
    unsigned worker_count;
    unsigned next_worker; /* equal loads: in turn */
};

struct admission *admission_new(struct loop *home, unsigned worker_count, size_t connection_count_max,
                                size_t per_address_max)
{
    CHECK(worker_count > 0);
    struct admission *admission = MEM_NEW(struct admission);
    admission->home = home;
    admission->connection_count_max = connection_count_max;
    admission->per_address_max = per_address_max;
    admission->worker_loads = mem_array(worker_count, sizeof(admission->worker_loads[0]));
    admission->worker_count = worker_count;
    return admission;
}

void admission_free(struct admission *admission)
{
    if (admission == NULL) {
        return;
    }
    CHECK(admission->connection_count == 0);
    mem_free(admission->worker_loads);
    mem_free(admission);
}

static void ticket_is_back(struct loop_task *task)
{
    struct admission_ticket *ticket = CONTAINER_OF(task, struct admission_ticket, task);
    struct admission *admission = ticket->admission;
    struct address_count *address = ticket->address;
    CHECK(admission->connection_count > 0 && address->connection_count > 0);
    admission->connection_count--;
    admission->worker_loads[ticket->worker_index]--;
    address->connection_count--;
    if (address->connection_count == 0) {
        HASH_DEL(admission->addresses, address);
        mem_free(address);
    }
    mem_free(ticket);
}

static unsigned choose_worker(struct admission *admission)
{
    unsigned chosen = admission->next_worker;
    for (unsigned i = 1; i < admission->worker_count; i++) {
        unsigned candidate = (admission->next_worker + i) % admission->worker_count;
        if (admission->worker_loads[candidate] < admission->worker_loads[chosen]) {
            chosen = candidate;
        }
    }
    admission->next_worker = (chosen + 1) % admission->worker_count;
    return chosen;
}

static struct address_count *count_address(struct admission *admission, const char *host)
{
    struct address_count *address = NULL;
    HASH_FIND_STR(admission->addresses, host, address);
    if (address == NULL) {
        address = MEM_NEW(struct address_count);
        strncpy(address->host, host, sizeof(address->host) - 1);
        HASH_ADD_STR(admission->addresses, host, address);
    }
    return address;
}

enum err admission_take(struct admission *admission, const char *host, struct admission_ticket **ret_ticket,
                        unsigned *ret_worker_index, const char **ret_why)
{
    if (admission->connection_count >= admission->connection_count_max) {
        *ret_why = "max.connections is reached";
        return ERR_LIMIT;
    }
    struct address_count *address = count_address(admission, host);
    if (address->connection_count >= admission->per_address_max) {
        if (address->connection_count == 0) {
            HASH_DEL(admission->addresses, address);
            mem_free(address);
        }
        *ret_why = "max.connections.per.ip is reached";
        return ERR_LIMIT;
    }
    struct admission_ticket *ticket = MEM_NEW(struct admission_ticket);
    ticket->task.run = ticket_is_back;
    ticket->admission = admission;
    ticket->address = address;
    ticket->worker_index = choose_worker(admission);
    address->connection_count++;
    admission->connection_count++;
    admission->worker_loads[ticket->worker_index]++;
    *ret_ticket = ticket;
    *ret_worker_index = ticket->worker_index;
    return ERR_OK;
}

void admission_ticket_return(struct admission_ticket *ticket)
{
    loop_post(ticket->admission->home, &ticket->task);
}

size_t admission_count(const struct admission *admission)
{
    return admission->connection_count;
}
