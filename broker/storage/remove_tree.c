#include "broker/storage/remove_tree.h"

#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/fs.h"

#include <stdlib.h>

static void add_name(void *ctx, const char *name)
{
    struct name_list *names = ctx;
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 16 : names->capacity * 2;
        names->names = mem_grow(names->names, names->capacity, sizeof(*names->names));
    }
    names->names[names->count++] = mem_strdup(name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum err name_list_read(struct fs *fs, const char *path, struct name_list *ret_names)
{
    struct name_list names = {NULL, 0, 0};
    enum err err = fs_list(fs, path, add_name, &names);
    if (err != ERR_OK) {
        name_list_done(&names);
        return err;
    }
    if (names.count > 0) {
        qsort(names.names, names.count, sizeof(*names.names), compare_names);
    }
    *ret_names = names;
    return ERR_OK;
}

void name_list_done(struct name_list *names)
{
    for (size_t i = 0; i < names->count; i++) {
        mem_free(names->names[i]);
    }
    mem_free(names->names);
    *names = (struct name_list){NULL, 0, 0};
}

enum err remove_tree(struct fs *fs, const char *path)
{
    struct name_list names;
    enum err err = name_list_read(fs, path, &names);
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    for (size_t i = 0; i < names.count && err == ERR_OK; i++) {
        struct store_path file = store_path_join(path, names.names[i]);
        err = fs_unlink(fs, file.text);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    name_list_done(&names);
    return err == ERR_OK ? fs_rmdir(fs, path) : err;
}
