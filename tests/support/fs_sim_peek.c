/* What a checker may see without making a call: faults, latencies and the log know nothing of it. */
#include "tests/support/fs_sim_internal.h"

enum err fs_sim_peek(const struct fs_sim *sim, const char *path, struct span *ret_bytes)
{
    char *normal = tree_normalise(path);
    struct tree_place place = {0};
    enum err err = tree_find(&sim->tree, normal, &place);
    plain_free(normal);
    if (err != ERR_OK || place.inode == NULL || place.inode->is_directory) {
        return ERR_NOT_FOUND;
    }
    *ret_bytes = span_make(place.inode->image.live.data, (size_t)place.inode->image.live.bytes);
    return ERR_OK;
}
