/* fs_sim_harness: what the tests of the simulated file system share: files as texts.
 *
 * Threads:   one.
 */
#ifndef TESTS_UNIT_SIM_FS_SIM_HARNESS_H
#define TESTS_UNIT_SIM_FS_SIM_HARNESS_H

#include "tests/support/fs_sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static inline struct file *must_open(struct fs_sim *sim, const char *path, unsigned flags)
{
    struct file *file = NULL;
    assert_int_equal(fs_open(fs_sim_fs(sim), path, flags, &file), ERR_OK);
    return file;
}

static inline enum err try_write(struct file *file, const char *text, uint64_t pos)
{
    struct span bytes = span_text(text);
    return file_pwritev(file, &bytes, 1, pos);
}

static inline void put(struct fs_sim *sim, const char *path, const char *text, bool is_synced)
{
    struct file *file = must_open(sim, path, FS_OPEN_WRITE | FS_OPEN_CREATE);
    assert_int_equal(try_write(file, text, 0), ERR_OK);
    if (is_synced) {
        assert_int_equal(file_sync(file), ERR_OK);
    }
    file_unref(file);
}

/* The whole file as text; NULL when there is none. */
static inline const char *text_of(struct fs_sim *sim, const char *path, char *ret_text, size_t bytes_max)
{
    struct file *file = NULL;
    if (fs_open(fs_sim_fs(sim), path, FS_OPEN_READ, &file) != ERR_OK) {
        return NULL;
    }
    size_t read_bytes = 0;
    assert_int_equal(file_pread(file, ret_text, bytes_max - 1, 0, &read_bytes), ERR_OK);
    ret_text[read_bytes] = '\0';
    file_unref(file);
    return ret_text;
}

#define assert_text(sim, path, expected)                                                                               \
    do {                                                                                                               \
        char text_[256];                                                                                               \
        const char *found_ = text_of(sim, path, text_, sizeof(text_));                                                 \
        assert_non_null(found_);                                                                                       \
        assert_string_equal(found_, expected);                                                                         \
    } while (0)

#define assert_missing(sim, path)                                                                                      \
    do {                                                                                                               \
        char text_[256];                                                                                               \
        assert_null(text_of(sim, path, text_, sizeof(text_)));                                                         \
    } while (0)

static inline void sync_dir_of(struct fs_sim *sim, const char *path)
{
    assert_int_equal(fs_sync_dir(fs_sim_fs(sim), path), ERR_OK);
}

#endif
