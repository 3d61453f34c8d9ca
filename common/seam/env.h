/* env: what a node may use of the world, handed in at its creation. Two nodes with two envs share nothing: a node is a
 * value that can be made twice in a process.
 *
 * Ownership: borrowed by everything; lives longer than the node.
 * Threads:   as each member says.
 */
#ifndef COMMON_SEAM_ENV_H
#define COMMON_SEAM_ENV_H

struct clock;
struct rng;
struct fs;
struct net;
struct runtime;
struct logger;

struct env {
    struct clock *clock;
    struct rng *rng;
    struct fs *fs;
    struct net *net;
    struct runtime *runtime;
    struct logger *logger;
    const char
        *boot_id; /* of the machine since its last start; NULL: not known. Another one: its page cache was lost */
};

#endif
