/* fs_sim_tree: the names of the simulated file system: inodes, directories with live and durable entries, and the list
 * of changes of names that are not durable yet.
 *
 * Shape:     tree -> inodes by id (in the order of their making); a directory maps names to inodes twice, live and
 *            durable. pending: changes in their order; a rename is one change, never half durable.
 * Ownership: an inode lives while an entry, a pending change or an open file refers to it. `live_uses` counts live entries
 *            and open files: what occupies space.
 * Threads:   one.
 */
#ifndef TESTS_SUPPORT_FS_SIM_TREE_H
#define TESTS_SUPPORT_FS_SIM_TREE_H

#include "common/err.h"
#include "tests/support/fs_sim_image.h"
#include "tests/support/plain_mem.h"

#define uthash_malloc(bytes) plain_zalloc(bytes)
#define uthash_free(memory, bytes) plain_free(memory)
#define uthash_fatal(text) CHECK(!(text))
#include <uthash.h>
#include <utlist.h>

struct entry;

struct inode {
    uint64_t id;
    bool is_directory;
    bool is_locked;
    bool is_warm; /* its bytes are cached */
    unsigned references;
    unsigned live_uses;
    int64_t modified_ms;
    struct image image;
    struct entry *live; /* uthash by name */
    struct entry *durable;
    UT_hash_handle hh;
};

struct entry {
    struct inode *inode;
    UT_hash_handle hh;
    char name[];
};

/* A change of names: a removal, an addition, or both (rename). */
struct name_change {
    struct inode *removed_dir; /* NULL: nothing is removed */
    char *removed_name;
    struct inode *added_dir; /* NULL: nothing is added */
    char *added_name;
    struct inode *added;
    struct name_change *prev;
    struct name_change *next;
};

struct tree {
    uint32_t page_bytes;
    uint64_t inode_count; /* ever made */
    uint64_t used_bytes;  /* live bytes of inodes in use */
    struct inode *inodes; /* uthash by id */
    struct inode *root;
    struct name_change *pending; /* utlist DL */
};

/* Where a path leads: the directory that holds its last component, and what is there now (NULL: nothing). `name` points
 * into the normalised path. "/" has no parent. */
struct tree_place {
    struct inode *parent;
    const char *name;
    struct inode *inode;
};

void tree_init(struct tree *tree, uint32_t page_bytes);
void tree_done(struct tree *tree);
void tree_copy(struct tree *to, const struct tree *from);

/* The absolute path without ".", ".." and "//"; plain_free by the caller. */
char *tree_normalise(const char *path);
/* ERR_NOT_FOUND when a directory on the way is missing, ERR_NOT_DIRECTORY when it is a file. */
enum err tree_find(const struct tree *tree, const char *normal_path, struct tree_place *ret_place) MUST_USE;

/* Makes a file or directory at a free place; the change is pending. */
struct inode *tree_make(struct tree *tree, const struct tree_place *place, bool is_directory);
void tree_remove(struct tree *tree, const struct tree_place *place);
/* Replaces what is at `to`. */
void tree_rename(struct tree *tree, const struct tree_place *from, const struct tree_place *to);

void tree_use(struct tree *tree, struct inode *inode);
void tree_unuse(struct tree *tree, struct inode *inode);
/* Write and truncate through these: they keep used_bytes. */
void tree_write(struct tree *tree, struct inode *inode, struct span bytes, uint64_t pos);
void tree_truncate(struct tree *tree, struct inode *inode, uint64_t bytes);

/* Pending changes that touch `dir` become durable, or (`is_failed`) never will. */
void tree_sync_dir(struct tree *tree, struct inode *dir, bool is_failed);
void tree_sync_all(struct tree *tree, bool is_failed);

/* Power loss, for names: the first `kept_count` pending changes survive; then live names are the durable ones. The
 * images are the caller's to treat. */
void tree_lose_names(struct tree *tree, uint64_t kept_count);
/* Counts used_bytes anew, after images were changed behind the tree's back. */
void tree_recount(struct tree *tree);
uint64_t tree_pending_count(const struct tree *tree);

#endif
