/* partition_meta: the file partition.metadata, which ties a partition directory to its topic's id (trap 16).
 *
 * Shape:     Kafka's text: "version: 0", "topic_id: BASE64", then our last line (side_file.h), which Kafka does not read.
 * Errors:    ERR_NOT_FOUND, ERR_CORRUPT, errors of fs.
 * Threads:   block.
 * Source:    KIP-516; Kafka 4.3 PartitionMetadataFile.
 */
#ifndef BROKER_STORAGE_PARTITION_META_H
#define BROKER_STORAGE_PARTITION_META_H

#include "common/uuid.h"

#define PARTITION_META_FILE "partition.metadata"

struct fs;

/* Into a new directory, which the caller syncs. */
enum err partition_meta_write(struct fs *fs, const char *partition_path, struct uuid topic_id) MUST_USE;
enum err partition_meta_read(struct fs *fs, const char *partition_path, struct uuid *ret_topic_id) MUST_USE;

#endif
