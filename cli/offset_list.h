/* offset_list: offsets of partitions by time or end, from their leaders.
 *
 * Shape:     wishes are answered in place; one call per leader.
 * Errors:    offset_list_try fills error_code of each wish; offset_list_ask tries again until all are answered, else
 *            says why.
 * Ownership: wishes are the caller's.
 * Threads:   the main thread.
 * Source:    KIP-79 (search by time), KIP-98 (isolation).
 */
#ifndef CLI_OFFSET_LIST_H
#define CLI_OFFSET_LIST_H

#include "cli/topic_map.h"

#define OFFSET_LIST_LATEST (-1)
#define OFFSET_LIST_EARLIEST (-2)
#define OFFSET_LIST_NONE (-1) /* no record is as late as the time asked for */

enum isolation { ISOLATION_READ_UNCOMMITTED = 0, ISOLATION_READ_COMMITTED = 1 };

struct offset_wish {
    int32_t partition;
    int64_t timestamp; /* ms, or one of the two above */
    int64_t offset;
    int16_t error_code;
};

/* Asks every leader once. */
void offset_list_try(struct session *session, const struct topic_map *map, enum isolation isolation,
                     struct offset_wish *wishes, size_t count);
/* An exit status; everything is answered when it is VERB_OK. */
int offset_list_ask(struct session *session, struct topic_map *map, enum isolation isolation,
                    struct offset_wish *wishes, size_t count);

#endif
