/* A topic's name may be as long as a file name can be: making, deleting and setting aside its directory must not need more
 * (found by the differential test: a legal name of 249 characters failed the whole log directory). On the real file system,
 * which has that limit. */
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "log_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LONG_NAME_BYTES 249

static void the_longest_topic_name_is_created_opened_and_deleted(void **state)
{
    (void)state;
    char path[] = "/tmp/moldau-long-XXXXXX";
    assert_non_null(mkdtemp(path));
    struct posix_env *posix = posix_env_new(LOG_ERROR);
    char name[LONG_NAME_BYTES + 1];
    memset(name, 'y', LONG_NAME_BYTES);
    name[LONG_NAME_BYTES] = '\0';
    struct harness harness;
    harness_init(&harness, NULL, posix->env.fs, path);
    harness.id.topic = name;
    harness.id.partition_index = 99999;
    assert_int_equal(harness_start(&harness), ERR_OK);
    assert_int_equal(harness_create(&harness), ERR_OK);
    assert_int_equal(harness_close_log(&harness), ERR_OK);
    assert_int_equal(harness_open(&harness), ERR_OK);
    assert_int_equal(harness_delete_log(&harness), ERR_OK);
    assert_false(log_dir_is_failed(harness.dir));
    assert_int_equal(harness_create(&harness), ERR_OK);
    assert_int_equal(harness_close_log(&harness), ERR_OK);
    assert_int_equal(log_dir_mark_stray(harness.dir, name, 99999), ERR_OK);
    assert_int_equal(harness_stop(&harness, true), ERR_OK);
    harness_done(&harness);
    posix_env_free(posix);
    char *command = mem_format("rm -rf %s", path);
    assert_int_equal(system(command), 0);
    mem_free(command);
}

static void a_marked_name_fits_and_keeps_its_mark(void **state)
{
    (void)state;
    char path[600] = "/data/";
    memset(path + 6, 'x', 255);
    char *marked = store_path_marked_dir(path, "abc", "-delete");
    assert_int_equal(strlen(marked), 6 + STORE_NAME_BYTES_MAX);
    assert_string_equal(marked + strlen(marked) - strlen(".abc-delete"), ".abc-delete");
    mem_free(marked);
    marked = store_path_marked_dir("/data/t-0", "abc", "-delete");
    assert_string_equal(marked, "/data/t-0.abc-delete");
    mem_free(marked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_topic_name_is_created_opened_and_deleted),
        cmocka_unit_test(a_marked_name_fits_and_keeps_its_mark),
    };
    return cmocka_run_group_tests_name("long_names", tests, NULL, NULL);
}
