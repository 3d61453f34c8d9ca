/* Files behind the seam: every call, its errors, and what the loop may ask without waiting. */
#include "common/bytebuf.h"
#include "common/mem.h"
#include "tests/support/prop.h"
#include "tests/unit/common/posix_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_BYTES 256

struct fs_test {
    struct posix_env *posix;
    struct fs *fs;
    char root[64];
};

static int setup(void **state)
{
    struct fs_test *test = MEM_NEW(struct fs_test);
    test->posix = posix_env_new(LOG_ERROR);
    test->fs = test->posix->env.fs;
    strcpy(test->root, "/tmp/moldau-fs-XXXXXX");
    assert_non_null(mkdtemp(test->root));
    *state = test;
    return 0;
}

static const char *path_of(struct fs_test *test, const char *name, char ret_path[PATH_BYTES])
{
    (void)snprintf(ret_path, PATH_BYTES, "%s/%s", test->root, name);
    return ret_path;
}

static void remove_entry(void *ctx, const char *name)
{
    char path[PATH_BYTES];
    path_of(ctx, name, path);
    if (remove(path) != 0) {
        fail_msg("%s is still there", path);
    }
}

static int teardown(void **state)
{
    struct fs_test *test = *state;
    assert_int_equal(fs_list(test->fs, test->root, remove_entry, test), ERR_OK);
    assert_int_equal(fs_rmdir(test->fs, test->root), ERR_OK);
    posix_env_free(test->posix);
    mem_free(test);
    return 0;
}

static struct file *must_open(struct fs_test *test, const char *name, unsigned flags)
{
    char path[PATH_BYTES];
    struct file *file = NULL;
    assert_int_equal(fs_open(test->fs, path_of(test, name, path), flags, &file), ERR_OK);
    return file;
}

static enum err try_open(struct fs_test *test, const char *name, unsigned flags)
{
    char path[PATH_BYTES];
    struct file *file = NULL;
    enum err err = fs_open(test->fs, path_of(test, name, path), flags, &file);
    assert_true(err == ERR_OK ? file != NULL : file == NULL);
    file_unref(file);
    return err;
}

static void must_write(struct file *file, const char *text, uint64_t pos)
{
    struct span span = span_text(text);
    assert_int_equal(file_pwritev(file, &span, 1, pos), ERR_OK);
}

static void open_obeys_its_flags(void **state)
{
    struct fs_test *test = *state;
    assert_int_equal(try_open(test, "a", FS_OPEN_READ), ERR_NOT_FOUND);
    assert_int_equal(try_open(test, "a", FS_OPEN_WRITE), ERR_NOT_FOUND);
    assert_int_equal(try_open(test, "a", FS_OPEN_WRITE | FS_OPEN_CREATE), ERR_OK);
    assert_int_equal(try_open(test, "a", FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_EXCLUSIVE), ERR_EXISTS);
    assert_int_equal(try_open(test, "b", FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_EXCLUSIVE), ERR_OK);
    assert_int_equal(try_open(test, "a/c", FS_OPEN_READ), ERR_NOT_DIRECTORY);
    struct file *file = must_open(test, "a", FS_OPEN_WRITE);
    must_write(file, "hello", 0);
    file_unref(file);
    file = must_open(test, "a", FS_OPEN_READ);
    uint64_t size_bytes = 0;
    assert_int_equal(file_size(file, &size_bytes), ERR_OK);
    assert_int_equal(size_bytes, 5);
    file_unref(file);
    file = must_open(test, "a", FS_OPEN_WRITE | FS_OPEN_TRUNCATE);
    assert_int_equal(file_size(file, &size_bytes), ERR_OK);
    assert_int_equal(size_bytes, 0);
    file_unref(file);
}

/* Files are for their user only, and no child inherits them. */
static void files_are_private(void **state)
{
    struct fs_test *test = *state;
    char path[PATH_BYTES];
    file_unref(must_open(test, "secret", FS_OPEN_WRITE | FS_OPEN_CREATE));
    struct stat status;
    assert_int_equal(stat(path_of(test, "secret", path), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(fs_mkdir(test->fs, path_of(test, "private", path)), ERR_OK);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
}

#define MODEL_BYTES 20000
#define SPANS_MAX 200

/* Random gathered writes and reads against a plain array. */
static void reads_return_what_was_written(void **state)
{
    struct fs_test *test = *state;
    struct prop prop;
    prop_init(&prop, "reads_return_what_was_written", PROP_SEED_DEFAULT);
    struct file *file = must_open(test, "model", FS_OPEN_WRITE | FS_OPEN_CREATE);
    uint8_t *model = mem_zalloc(MODEL_BYTES);
    uint8_t *source = mem_alloc(MODEL_BYTES);
    uint8_t *read_back = mem_alloc(MODEL_BYTES);
    struct span *spans = mem_array(SPANS_MAX, sizeof(*spans));
    size_t end_pos = 0;
    for (uint64_t run = 0; run < prop_runs(300); run++) {
        prop_fill(&prop, source, MODEL_BYTES);
        size_t start_pos = (size_t)prop_below(&prop, MODEL_BYTES);
        size_t pos = start_pos;
        size_t count = (size_t)prop_below(&prop, SPANS_MAX); /* more than one pwritev takes */
        for (size_t i = 0; i < count; i++) {
            size_t bytes = (size_t)prop_skewed(&prop, MODEL_BYTES - pos);
            spans[i] = span_make(source + pos, bytes);
            memcpy(model + pos, source + pos, bytes);
            pos += bytes;
        }
        assert_int_equal(file_pwritev(file, spans, count, start_pos), ERR_OK);
        end_pos = pos > start_pos && pos > end_pos ? pos : end_pos;
        size_t read_pos = (size_t)prop_below(&prop, MODEL_BYTES);
        size_t wanted_bytes = (size_t)prop_below(&prop, MODEL_BYTES);
        size_t expected_bytes = read_pos >= end_pos                 ? 0
                                : end_pos - read_pos < wanted_bytes ? end_pos - read_pos
                                                                    : wanted_bytes;
        size_t read_bytes = 0;
        assert_int_equal(file_pread(file, read_back, wanted_bytes, read_pos, &read_bytes), ERR_OK);
        assert_int_equal(read_bytes, expected_bytes);
        assert_memory_equal(read_back, model + read_pos, read_bytes);
    }
    mem_free(spans);
    mem_free(read_back);
    mem_free(source);
    mem_free(model);
    file_unref(file);
}

static void sync_truncate_and_stat(void **state)
{
    struct fs_test *test = *state;
    char path[PATH_BYTES];
    int64_t before_ms = clock_wall_ms(test->posix->env.clock);
    struct file *file = must_open(test, "a", FS_OPEN_WRITE | FS_OPEN_CREATE);
    must_write(file, "hello world", 0);
    assert_int_equal(file_sync(file), ERR_OK);
    assert_int_equal(file_truncate(file, 5), ERR_OK);
    struct fs_stat status;
    assert_int_equal(fs_stat(test->fs, path_of(test, "a", path), &status), ERR_OK);
    assert_int_equal(status.bytes, 5);
    assert_false(status.is_directory);
    assert_true(status.modified_ms >= before_ms - 1000 && status.modified_ms <= before_ms + 60000);
    assert_int_equal(fs_stat(test->fs, test->root, &status), ERR_OK);
    assert_true(status.is_directory);
    assert_int_equal(fs_stat(test->fs, path_of(test, "none", path), &status), ERR_NOT_FOUND);
    assert_int_equal(fs_sync_dir(test->fs, test->root), ERR_OK);
    assert_int_equal(fs_sync_dir(test->fs, path_of(test, "a", path)), ERR_NOT_DIRECTORY);
    assert_int_equal(fs_sync_dir(test->fs, path_of(test, "none", path)), ERR_NOT_FOUND);
    assert_int_equal(fs_sync_all(test->fs, test->root), ERR_OK);
    struct fs_space space;
    assert_int_equal(fs_space(test->fs, test->root, &space), ERR_OK);
    assert_true(space.total_bytes > 0 && space.available_bytes <= space.total_bytes);
    file_unref(file);
    file = must_open(test, "a", FS_OPEN_READ);
    struct span span = span_text("x");
    assert_int_not_equal(file_pwritev(file, &span, 1, 0), ERR_OK); /* opened for reading */
    file_unref(file);
}

static void collect_name(void *ctx, const char *name)
{
    assert_int_equal(bytebuf_append_format(ctx, "%s;", name), ERR_OK);
}

static void names_change_as_told(void **state)
{
    struct fs_test *test = *state;
    char path[PATH_BYTES];
    char other[PATH_BYTES];
    assert_int_equal(fs_mkdir(test->fs, path_of(test, "d", path)), ERR_OK);
    assert_int_equal(fs_mkdir(test->fs, path), ERR_EXISTS);
    file_unref(must_open(test, "d/one", FS_OPEN_WRITE | FS_OPEN_CREATE));
    assert_int_equal(fs_rmdir(test->fs, path), ERR_EXISTS); /* not empty */
    struct bytebuf names;
    bytebuf_init(&names, 1000);
    assert_int_equal(fs_list(test->fs, path, collect_name, &names), ERR_OK);
    assert_true(span_equal_text(bytebuf_span(&names), "one;"));
    bytebuf_done(&names);
    assert_int_equal(fs_rename(test->fs, path_of(test, "d/one", path), path_of(test, "two", other)), ERR_OK);
    assert_int_equal(fs_rename(test->fs, path, other), ERR_NOT_FOUND);
    assert_int_equal(fs_unlink(test->fs, other), ERR_OK);
    assert_int_equal(fs_unlink(test->fs, other), ERR_NOT_FOUND);
    assert_int_equal(fs_rmdir(test->fs, path_of(test, "d", path)), ERR_OK);
    assert_int_equal(fs_list(test->fs, path, collect_name, NULL), ERR_NOT_FOUND);
    char *real = NULL;
    assert_int_equal(fs_real_path(test->fs, path_of(test, "../..//tmp/./", path), &real), ERR_OK);
    assert_string_equal(real, "/tmp");
    mem_free(real);
    assert_int_equal(fs_real_path(test->fs, path_of(test, "none", path), &real), ERR_NOT_FOUND);
}

/* One holder at a time, also within this process; the lock ends with its file. */
static void lock_is_exclusive(void **state)
{
    struct fs_test *test = *state;
    char path[PATH_BYTES];
    path_of(test, "lock", path);
    struct file *first = NULL;
    struct file *second = NULL;
    assert_int_equal(fs_lock(test->fs, path, &first), ERR_OK);
    assert_int_equal(fs_lock(test->fs, path, &second), ERR_BUSY);
    file_unref(first);
    assert_int_equal(fs_lock(test->fs, path, &second), ERR_OK);
    file_unref(second);
}

/* RLIMIT_FSIZE stands for the full disk: a write that is cut short goes on until it fails, and says so. */
static void failing_writes_are_told(void **state)
{
    struct fs_test *test = *state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 100, .rlim_max = before.rlim_max};
    void (*handler_before)(int) = signal(SIGXFSZ, SIG_IGN);
    struct file *file = must_open(test, "a", FS_OPEN_WRITE | FS_OPEN_CREATE);
    char text[201];
    memset(text, 'x', sizeof(text));
    struct span spans[2] = {span_make(text, 60), span_make(text, 60)};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum err write_err = file_pwritev(file, spans, 2, 0);
    enum err truncate_err = file_truncate(file, 200);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler_before);
    assert_int_equal(write_err, ERR_IO);
    assert_int_equal(truncate_err, ERR_IO);
    file_unref(file);
}

static void missing_descriptors_and_rights_are_told(void **state)
{
    struct fs_test *test = *state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    enum err err = try_open(test, "a", FS_OPEN_WRITE | FS_OPEN_CREATE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(err, ERR_TOO_MANY_FILES);
    if (geteuid() != 0) { /* root may do everything */
        char path[PATH_BYTES];
        assert_int_equal(chmod(test->root, 0500), 0);
        err = try_open(test, "a", FS_OPEN_WRITE | FS_OPEN_CREATE);
        assert_int_equal(fs_mkdir(test->fs, path_of(test, "d", path)), ERR_PERMISSION);
        assert_int_equal(chmod(test->root, 0700), 0);
        assert_int_equal(err, ERR_PERMISSION);
    }
    assert_int_equal(try_open(test, ".", FS_OPEN_WRITE), ERR_IO); /* a directory */
}

#define CACHED_BYTES (4u << 20)

/* Fresh bytes are cached; dropped ones are not; prefetched ones are again. */
static void cache_state_is_known(void **state)
{
    struct fs_test *test = *state;
    char path[PATH_BYTES];
    struct file *file = must_open(test, "cached", FS_OPEN_WRITE | FS_OPEN_CREATE);
    uint8_t *bytes = mem_zalloc(CACHED_BYTES);
    struct span span = span_make(bytes, CACHED_BYTES);
    assert_int_equal(file_pwritev(file, &span, 1, 0), ERR_OK);
    if (!file_is_cached(file, 0, CACHED_BYTES)) { /* as fs.h allows: a file system that can't tell */
        mem_free(bytes);
        file_unref(file);
        skip();
    }
    assert_true(file_is_cached(file, 12345, 1));
    assert_true(file_is_cached(file, 12345, 0));
    assert_true(file_is_cached(file, CACHED_BYTES - 10, 100000)); /* behind the end there is nothing to wait for */
    assert_true(file_is_cached(file, CACHED_BYTES + 10, 100000));
    assert_int_equal(file_sync(file), ERR_OK);
    int fd = open(path_of(test, "cached", path), O_RDONLY);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
    if (file_is_cached(file, 0, CACHED_BYTES)) {
        print_message("# this file system keeps its pages\n");
    } else {
        file_prefetch(file, 0, CACHED_BYTES / 2);
        assert_true(file_is_cached(file, 0, CACHED_BYTES / 2));
        file_prefetch(file, 0, CACHED_BYTES);
        assert_true(file_is_cached(file, 0, CACHED_BYTES));
    }
    file_prefetch(file, CACHED_BYTES, 100);
    mem_free(bytes);
    file_unref(file);
}

static void count_entry(void *ctx, const char *name)
{
    (void)name;
    (*(unsigned *)ctx)++;
}

static unsigned descriptors_open(struct fs_test *test)
{
    unsigned count = 0;
    assert_int_equal(fs_list(test->fs, "/proc/self/fd", count_entry, &count), ERR_OK);
    return count;
}

/* A removed file stays readable while it is referenced; its last close happens in the pool, and does happen. */
static void removed_file_lives_until_its_last_reference(void **state)
{
    struct fs_test *test = *state;
    char path[PATH_BYTES];
    unsigned before_count = descriptors_open(test);
    struct file *file = must_open(test, "gone", FS_OPEN_WRITE | FS_OPEN_CREATE);
    must_write(file, "still here", 0);
    struct file *reader = file_ref(file);
    assert_int_equal(fs_unlink(test->fs, path_of(test, "gone", path)), ERR_OK);
    file_unref(file);
    char text[10];
    size_t read_bytes = 0;
    assert_int_equal(file_pread(reader, text, sizeof(text), 0, &read_bytes), ERR_OK);
    assert_memory_equal(text, "still here", 10);
    file_unref(reader);
    uint64_t deadline_us = clock_mono_us(test->posix->env.clock) + TEST_DEADLINE_US;
    while (descriptors_open(test) != before_count) {
        assert_true(clock_mono_us(test->posix->env.clock) < deadline_us);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(open_obeys_its_flags, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_private, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_return_what_was_written, setup, teardown),
        cmocka_unit_test_setup_teardown(sync_truncate_and_stat, setup, teardown),
        cmocka_unit_test_setup_teardown(names_change_as_told, setup, teardown),
        cmocka_unit_test_setup_teardown(lock_is_exclusive, setup, teardown),
        cmocka_unit_test_setup_teardown(failing_writes_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_descriptors_and_rights_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(cache_state_is_known, setup, teardown),
        cmocka_unit_test_setup_teardown(removed_file_lives_until_its_last_reference, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
