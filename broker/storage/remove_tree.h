/* remove_tree: removes a partition's directory with the files in it.
 *
 * Limits:    one level: partition directories hold no directories.
 * Errors:    ERR_OK also when it is not there; otherwise the first error of fs.
 * Threads:   blocks: pool jobs and start.
 */
#ifndef BROKER_STORAGE_REMOVE_TREE_H
#define BROKER_STORAGE_REMOVE_TREE_H

#include "common/err.h"

#include <stddef.h>

struct fs;

/* Names of a directory, for callers that change it while they walk. */
struct name_list {
    char **names;
    size_t count;
    size_t capacity;
};

enum err name_list_read(struct fs *fs, const char *path, struct name_list *ret_names) MUST_USE;
void name_list_done(struct name_list *names);
enum err remove_tree(struct fs *fs, const char *path) MUST_USE;

#endif
