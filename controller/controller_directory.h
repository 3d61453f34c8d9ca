/* controller_directory: the metadata directory: whose it is, its lock, its log, and the mark that keeps an emptied one from being taken for new.
 *
 * Shape:     <metadata dir>/moldau-metadata.lock    held while the process lives
 *                           moldau-metadata.mark    node, directory id (made before anybody is told of it), and, once there is one, the cluster
 *                                                   with its first configuration; text with a CRC line; replaced as a whole
 *                           moldau-metadata/        the log (quorum_log.h)
 *            new (no mark) -> marked, not formed -> [intent: cluster and configuration are noted -> log made] -> marked as formed.
 *            Formed without a log: it was lost, and the directory is refused.
 * Errors:    with a sentence that names the directory and what to do.
 * Ownership: as each says.
 * Threads:   every call blocks: the maker before the loop runs, or a pool job.
 * Source:    design.md 8 (formation, identity), correctness.md 4 (16).
 */
#ifndef CONTROLLER_CONTROLLER_DIRECTORY_H
#define CONTROLLER_CONTROLLER_DIRECTORY_H

#include "common/bytebuf.h"
#include "common/option.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"
#include "controller/controller_options.h"
#include "controller/quorum_log.h"

#define CONTROLLER_DIRECTORY_NAME "moldau-metadata"
#define CONTROLLER_CONFIGURATION_BYTES_MAX (16u << 10)

struct controller_directory {
    const char *path;    /* the metadata directory; borrowed */
    char *log_directory; /* mem_free */
    struct file *lock;
    struct uuid id;
    bool is_alone;  /* nobody is told of the id before there is a log: it is marked once, behind it */
    bool is_formed; /* there is a log */
    char cluster_id[UUID_TEXT_BYTES];
    struct bytebuf configuration; /* the first one; empty for a node that was admitted later */
};

/* Locks it and finds out what it is; makes the mark of a new one. With a log, fills *ret_identity. `is_alone`: nobody else could know
 * the cluster, so used log directories without metadata are refused before anything is made. */
enum err controller_directory_open(struct env *env, const struct controller_options *options, bool is_alone,
                                   struct controller_directory *ret_directory, struct quorum_identity *ret_identity,
                                   struct option_problem *ret_problem) MUST_USE;
/* Makes the log of a directory that is not formed: with the first configuration, or, for a node that is admitted to a cluster, without
 * (the null span). Changes `directory` only when it succeeds. */
enum err controller_directory_form(struct fs *fs, struct controller_directory *directory,
                                   const struct quorum_identity *identity, struct span configuration,
                                   struct option_problem *ret_problem) MUST_USE;
void controller_directory_close(struct controller_directory *directory);

#endif
