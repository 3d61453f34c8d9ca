#include "tests/support/fs_sim_tree.h"

#define TREE_CURRENT_DIRECTORY "/sim"

/* ---- inodes and entries ---- */

static struct inode *inode_new(struct tree *tree, bool is_directory)
{
    struct inode *inode = PLAIN_NEW(struct inode);
    inode->id = ++tree->inode_count;
    inode->is_directory = is_directory;
    image_init(&inode->image, tree->page_bytes);
    HASH_ADD(hh, tree->inodes, id, sizeof(inode->id), inode);
    return inode;
}

static void inode_unref(struct tree *tree, struct inode *inode);

static struct entry *entry_find(struct entry *entries, const char *name)
{
    struct entry *entry = NULL;
    HASH_FIND_STR(entries, name, entry);
    return entry;
}

static void entry_put(struct entry **entries, const char *name, struct inode *inode)
{
    CHECK(entry_find(*entries, name) == NULL);
    size_t name_bytes = strlen(name) + 1;
    struct entry *entry = (struct entry *)plain_zalloc(sizeof(struct entry) + name_bytes);
    memcpy(entry->name, name, name_bytes);
    entry->inode = inode;
    inode->references++;
    HASH_ADD_STR(*entries, name, entry);
}

/* Takes the entry out and returns its inode with the entry's reference. */
static struct inode *entry_take(struct entry **entries, struct entry *entry)
{
    struct inode *inode = entry->inode;
    HASH_DELETE(hh, *entries, entry);
    plain_free(entry);
    return inode;
}

static void entries_free(struct entry **entries)
{
    struct entry *entry = NULL;
    struct entry *next = NULL;
    HASH_ITER (hh, *entries, entry, next) {
        HASH_DELETE(hh, *entries, entry);
        plain_free(entry);
    }
}

/* Frees memory only; what its entries refer to is the caller's to unref first. */
static void inode_free(struct tree *tree, struct inode *inode)
{
    HASH_DELETE(hh, tree->inodes, inode);
    entries_free(&inode->live);
    entries_free(&inode->durable);
    image_done(&inode->image);
    plain_free(inode);
}

static void durable_remove(struct tree *tree, struct inode *dir, const char *name)
{
    struct entry *entry = entry_find(dir->durable, name);
    if (entry != NULL) {
        inode_unref(tree, entry_take(&dir->durable, entry));
    }
}

/* A directory that nobody can reach any more is empty among the living, but may hold durable names. */
static void inode_unref(struct tree *tree, struct inode *inode)
{
    CHECK(inode->references > 0);
    if (--inode->references > 0) {
        return;
    }
    while (inode->durable != NULL) {
        inode_unref(tree, entry_take(&inode->durable, inode->durable));
    }
    while (inode->live != NULL) {
        struct inode *child = entry_take(&inode->live, inode->live);
        tree_unuse(tree, child);
        inode_unref(tree, child);
    }
    inode_free(tree, inode);
}

void tree_use(struct tree *tree, struct inode *inode)
{
    if (inode->live_uses++ == 0) {
        tree->used_bytes += inode->image.live.bytes;
    }
    inode->references++;
}

void tree_unuse(struct tree *tree, struct inode *inode)
{
    CHECK(inode->live_uses > 0);
    if (--inode->live_uses == 0) {
        tree->used_bytes -= inode->image.live.bytes;
    }
    inode_unref(tree, inode);
}

static void account(struct tree *tree, const struct inode *inode, uint64_t bytes_before)
{
    if (inode->live_uses > 0) {
        tree->used_bytes = tree->used_bytes - bytes_before + inode->image.live.bytes;
    }
}

void tree_write(struct tree *tree, struct inode *inode, struct span bytes, uint64_t pos)
{
    uint64_t bytes_before = inode->image.live.bytes;
    image_write(&inode->image, bytes, pos);
    account(tree, inode, bytes_before);
}

void tree_truncate(struct tree *tree, struct inode *inode, uint64_t bytes)
{
    uint64_t bytes_before = inode->image.live.bytes;
    image_truncate(&inode->image, bytes);
    account(tree, inode, bytes_before);
}

/* ---- live names ---- */

static void live_add(struct tree *tree, struct inode *dir, const char *name, struct inode *inode)
{
    tree_use(tree, inode);
    entry_put(&dir->live, name, inode);
}

static void live_remove(struct tree *tree, struct inode *dir, const char *name)
{
    struct entry *entry = entry_find(dir->live, name);
    CHECK(entry != NULL);
    struct inode *inode = entry_take(&dir->live, entry);
    inode->references--; /* the entry's; that of tree_use is still there */
    tree_unuse(tree, inode);
}

/* ---- pending changes ---- */

static void change_add(struct tree *tree, struct inode *removed_dir, const char *removed_name, struct inode *added_dir,
                       const char *added_name, struct inode *added)
{
    struct name_change *change = PLAIN_NEW(struct name_change);
    if (removed_dir != NULL) {
        change->removed_dir = removed_dir;
        change->removed_name = plain_strdup(removed_name);
        removed_dir->references++;
    }
    if (added_dir != NULL) {
        change->added_dir = added_dir;
        change->added_name = plain_strdup(added_name);
        change->added = added;
        added_dir->references++;
        added->references++;
    }
    DL_APPEND(tree->pending, change);
}

static void change_free(struct tree *tree, struct name_change *change)
{
    DL_DELETE(tree->pending, change);
    if (change->removed_dir != NULL) {
        inode_unref(tree, change->removed_dir);
    }
    if (change->added_dir != NULL) {
        inode_unref(tree, change->added);
        inode_unref(tree, change->added_dir);
    }
    plain_free(change->removed_name);
    plain_free(change->added_name);
    plain_free(change);
}

static void change_apply(struct tree *tree, struct name_change *change)
{
    if (change->removed_dir != NULL) {
        durable_remove(tree, change->removed_dir, change->removed_name);
    }
    if (change->added_dir != NULL) {
        durable_remove(tree, change->added_dir, change->added_name);
        entry_put(&change->added_dir->durable, change->added_name, change->added);
    }
}

void tree_sync_dir(struct tree *tree, struct inode *dir, bool is_failed)
{
    struct name_change *change = NULL;
    struct name_change *next = NULL;
    DL_FOREACH_SAFE (tree->pending, change, next) {
        if (change->removed_dir == dir || change->added_dir == dir) {
            if (!is_failed) {
                change_apply(tree, change);
            }
            change_free(tree, change);
        }
    }
}

void tree_sync_all(struct tree *tree, bool is_failed)
{
    while (tree->pending != NULL) {
        if (!is_failed) {
            change_apply(tree, tree->pending);
        }
        change_free(tree, tree->pending);
    }
    for (struct inode *inode = tree->inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        if (is_failed) {
            image_forget_dirty(&inode->image);
        } else {
            image_sync(&inode->image);
        }
    }
}

uint64_t tree_pending_count(const struct tree *tree)
{
    uint64_t count = 0;
    const struct name_change *change = NULL;
    DL_FOREACH (tree->pending, change) {
        count++;
    }
    return count;
}

void tree_lose_names(struct tree *tree, uint64_t kept_count)
{
    for (uint64_t index = 0; tree->pending != NULL; index++) {
        if (index < kept_count) {
            change_apply(tree, tree->pending);
        }
        change_free(tree, tree->pending);
    }
    /* While names move, nothing may be freed under the walk: hold every inode. */
    for (struct inode *inode = tree->inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        inode->references++;
    }
    for (struct inode *inode = tree->inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        while (inode->live != NULL) {
            live_remove(tree, inode, inode->live->name);
        }
        for (struct entry *entry = inode->durable; entry != NULL; entry = (struct entry *)entry->hh.next) {
            live_add(tree, inode, entry->name, entry->inode);
        }
    }
    struct inode *inode = tree->inodes;
    while (inode != NULL) {
        /* Freeing one may free others, but only such as nobody else holds; the next one is held by this loop. */
        struct inode *next = (struct inode *)inode->hh.next;
        inode_unref(tree, inode);
        inode = next;
    }
}

void tree_recount(struct tree *tree)
{
    tree->used_bytes = 0;
    for (struct inode *inode = tree->inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        if (inode->live_uses > 0) {
            tree->used_bytes += inode->image.live.bytes;
        }
    }
}

/* ---- paths ---- */

static void path_add(char *path, const char *component, size_t bytes)
{
    if (bytes == 0 || (bytes == 1 && component[0] == '.')) {
        return;
    }
    if (bytes == 2 && memcmp(component, "..", 2) == 0) {
        char *slash = strrchr(path, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        return;
    }
    size_t path_bytes = strlen(path);
    path[path_bytes] = '/';
    memcpy(path + path_bytes + 1, component, bytes);
    path[path_bytes + 1 + bytes] = '\0';
}

char *tree_normalise(const char *path)
{
    char *normal = (char *)plain_zalloc(strlen(path) + sizeof(TREE_CURRENT_DIRECTORY) + 2);
    if (path[0] != '/') {
        memcpy(normal, TREE_CURRENT_DIRECTORY, sizeof(TREE_CURRENT_DIRECTORY));
    }
    for (const char *rest = path; *rest != '\0';) {
        size_t bytes = strcspn(rest, "/");
        path_add(normal, rest, bytes);
        rest += bytes + (rest[bytes] == '/' ? 1 : 0);
    }
    if (normal[0] == '\0') {
        normal[0] = '/';
    }
    return normal;
}

enum err tree_find(const struct tree *tree, const char *normal_path, struct tree_place *ret_place)
{
    struct tree_place place = {.inode = tree->root};
    for (const char *rest = normal_path; rest[0] == '/' && rest[1] != '\0';) {
        const char *name = rest + 1;
        size_t bytes = strcspn(name, "/");
        if (place.inode == NULL) {
            return ERR_NOT_FOUND;
        }
        if (!place.inode->is_directory) {
            return ERR_NOT_DIRECTORY;
        }
        struct entry *entry = NULL;
        HASH_FIND(hh, place.inode->live, name, bytes, entry);
        place = (struct tree_place){.parent = place.inode, .name = name, .inode = entry == NULL ? NULL : entry->inode};
        rest = name + bytes;
    }
    *ret_place = place;
    return ERR_OK;
}

/* ---- changes of names ---- */

struct inode *tree_make(struct tree *tree, const struct tree_place *place, bool is_directory)
{
    CHECK(place->parent != NULL && place->inode == NULL);
    struct inode *inode = inode_new(tree, is_directory);
    live_add(tree, place->parent, place->name, inode);
    change_add(tree, NULL, NULL, place->parent, place->name, inode);
    return inode;
}

void tree_remove(struct tree *tree, const struct tree_place *place)
{
    change_add(tree, place->parent, place->name, NULL, NULL, NULL);
    live_remove(tree, place->parent, place->name);
}

void tree_rename(struct tree *tree, const struct tree_place *from, const struct tree_place *to)
{
    if (from->inode == to->inode) {
        return;
    }
    change_add(tree, from->parent, from->name, to->parent, to->name, from->inode);
    if (to->inode != NULL) {
        live_remove(tree, to->parent, to->name);
    }
    live_add(tree, to->parent, to->name, from->inode);
    live_remove(tree, from->parent, from->name);
}

/* ---- the whole ---- */

void tree_init(struct tree *tree, uint32_t page_bytes)
{
    *tree = (struct tree){.page_bytes = page_bytes};
    tree->root = inode_new(tree, true);
    tree_use(tree, tree->root);
    struct tree_place place = {.parent = tree->root, .name = &TREE_CURRENT_DIRECTORY[1]};
    (void)tree_make(tree, &place, true);
    tree_sync_all(tree, false);
}

void tree_done(struct tree *tree)
{
    while (tree->pending != NULL) {
        change_free(tree, tree->pending);
    }
    while (tree->inodes != NULL) {
        inode_free(tree, tree->inodes);
    }
    *tree = (struct tree){0};
}

static struct inode *same_inode(struct tree *tree, const struct inode *inode)
{
    struct inode *same = NULL;
    if (inode != NULL) {
        HASH_FIND(hh, tree->inodes, &inode->id, sizeof(inode->id), same);
        CHECK(same != NULL);
    }
    return same;
}

static void inode_copy(struct tree *to, const struct inode *from)
{
    struct inode *inode = PLAIN_NEW(struct inode);
    inode->id = from->id;
    inode->is_directory = from->is_directory;
    inode->is_warm = from->is_warm;
    inode->modified_ms = from->modified_ms;
    image_copy(&inode->image, &from->image);
    HASH_ADD(hh, to->inodes, id, sizeof(inode->id), inode);
}

void tree_copy(struct tree *to, const struct tree *from)
{
    *to = (struct tree){.page_bytes = from->page_bytes, .inode_count = from->inode_count};
    for (struct inode *inode = from->inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        inode_copy(to, inode);
    }
    for (struct inode *inode = from->inodes; inode != NULL; inode = (struct inode *)inode->hh.next) {
        struct inode *same = same_inode(to, inode);
        for (struct entry *entry = inode->live; entry != NULL; entry = (struct entry *)entry->hh.next) {
            live_add(to, same, entry->name, same_inode(to, entry->inode));
        }
        for (struct entry *entry = inode->durable; entry != NULL; entry = (struct entry *)entry->hh.next) {
            entry_put(&same->durable, entry->name, same_inode(to, entry->inode));
        }
    }
    to->root = same_inode(to, from->root);
    tree_use(to, to->root);
    const struct name_change *change = NULL;
    DL_FOREACH (from->pending, change) {
        change_add(to, same_inode(to, change->removed_dir), change->removed_name, same_inode(to, change->added_dir),
                   change->added_name, same_inode(to, change->added));
    }
}
