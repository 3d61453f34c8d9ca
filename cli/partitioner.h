/* partitioner: which partition a record goes to, as the Java client decides it: records of one key stay together
 * whichever client wrote them.
 *
 * Threads:   pure functions.
 * Source:    BuiltInPartitioner.partitionForKey and Utils.murmur2 of Kafka 4.3 (algorithm: MurmurHash2 by Austin
 *            Appleby, public domain, with the seed 0x9747b28c).
 */
#ifndef CLI_PARTITIONER_H
#define CLI_PARTITIONER_H

#include "common/span.h"

uint32_t partitioner_murmur2(struct span bytes);
/* partition_count > 0. */
int32_t partitioner_of_key(struct span key, size_t partition_count);

#endif
