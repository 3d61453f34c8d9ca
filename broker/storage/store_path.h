/* store_path: names of files in a log directory, in fixed memory.
 *
 * Shape:     DIR/NAME, and for segments DIR/00000000000000000042.log: the base offset in 20 digits, as Kafka names them.
 * Limits:    STORE_PATH_BYTES with the terminator. Directories of log.dirs are at most STORE_DIR_BYTES_MAX (checked when they
 *            are opened), topic names 249 bytes, so every name fits.
 * Errors:    none; a name that does not fit is a broken limit and CHECKed.
 * Threads:   values.
 */
#ifndef BROKER_STORAGE_STORE_PATH_H
#define BROKER_STORAGE_STORE_PATH_H

#include <stdbool.h>
#include <stdint.h>

#define STORE_DIR_BYTES_MAX 1024u
#define STORE_PATH_BYTES 1536u
#define STORE_OFFSET_DIGITS 20
#define STORE_NAME_BYTES_MAX 255u /* of one file or directory (NAME_MAX) */

#define STORE_SUFFIX_LOG ".log"
#define STORE_SUFFIX_OFFSET_INDEX ".index"
#define STORE_SUFFIX_TIME_INDEX ".timeindex"
#define STORE_SUFFIX_TXN_INDEX ".txnindex"
#define STORE_SUFFIX_SNAPSHOT ".snapshot"
/* Being written; of no use when found at a start. */
#define STORE_SUFFIX_ASIDE ".tmp"
/* A segment's replacement, before it is renamed over it (Kafka's name for it). */
#define STORE_SUFFIX_CLEANED ".cleaned"
/* On its way out; removed when found at a start. */
#define STORE_SUFFIX_DELETED ".deleted"

struct store_path {
    char text[STORE_PATH_BYTES];
};

struct store_path store_path_join(const char *dir_path, const char *name);
/* Appends to a path. */
struct store_path store_path_add(const struct store_path *path, const char *suffix);
struct store_path store_path_segment(const char *dir_path, int64_t base_offset, const char *suffix);
/* PATH.UNIQUE<suffix>: where a partition directory is made, or put out of the way. The name of a topic may be as long as a file
 * name can be: its end is left out then, for `unique` tells the directories apart. From mem_alloc. */
char *store_path_marked_dir(const char *path, const char *unique, const char *suffix);
/* Whether `name` is 20 digits and `suffix`; the digits are an offset. */
bool store_path_parse_segment(const char *name, const char *suffix, int64_t *ret_base_offset);

#endif
