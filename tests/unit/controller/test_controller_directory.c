/* The metadata directory: its mark at every step of a formation, and what is refused. */
#include "common/mem.h"
#include "controller/controller_directory.h"
#include "controller/quorum.h"
#include "tests/unit/controller/controller_harness.h"

static enum err open_it(struct harness *harness, struct controller_directory *ret_directory,
                        struct quorum_identity *ret_identity, struct option_problem *problem)
{
    return controller_directory_open(harness->env, &harness->options, false, ret_directory, ret_identity, problem);
}

static void form(struct harness *harness, struct controller_directory *directory)
{
    struct option_problem problem = {.text = ""};
    struct quorum_identity identity = {.node_id = 1,
                                       .raft_id = quorum_raft_id_of(directory->id),
                                       .directory_id = directory->id,
                                       .cluster_id = "ABCDEFGHIJKLMNOPQRSTUg"};
    struct bytebuf configuration;
    bytebuf_init(&configuration, CONTROLLER_CONFIGURATION_BYTES_MAX);
    assert_int_equal(quorum_first_configuration(identity.raft_id, "1@a:1/x", &configuration), ERR_OK);
    assert_int_equal(
        controller_directory_form(harness->env->fs, directory, &identity, bytebuf_span(&configuration), &problem),
        ERR_OK);
    bytebuf_done(&configuration);
}

static void remove_path(struct harness *harness, const char *name)
{
    char command[256];
    snprintf(command, sizeof(command), "rm -rf %s/%s", harness->dir, name);
    assert_int_equal(system(command), 0);
}

static void test_id_outlives_the_process(void **state)
{
    (void)state;
    struct harness harness;
    struct controller_directory directory;
    struct quorum_identity identity;
    struct option_problem problem = {.text = ""};
    harness_init(&harness);
    assert_int_equal(open_it(&harness, &directory, &identity, &problem), ERR_OK);
    assert_false(directory.is_formed);
    struct uuid id = directory.id;
    assert_true(quorum_raft_id_of(id) != 0);
    controller_directory_close(&directory);
    assert_int_equal(open_it(&harness, &directory, &identity, &problem), ERR_OK);
    assert_true(uuid_equal(directory.id, id));
    form(&harness, &directory);
    struct span configuration = bytebuf_span(&directory.configuration);
    size_t configuration_bytes = configuration.bytes;
    assert_true(configuration_bytes > 0);
    controller_directory_close(&directory);
    assert_int_equal(open_it(&harness, &directory, &identity, &problem), ERR_OK);
    assert_true(directory.is_formed);
    assert_int_equal(directory.configuration.bytes, configuration_bytes);
    assert_string_equal(identity.cluster_id, "ABCDEFGHIJKLMNOPQRSTUg");
    assert_true(uuid_equal(identity.directory_id, id));
    controller_directory_close(&directory);
    harness_done(&harness);
}

static void must_refuse(struct harness *harness, const char *words)
{
    struct controller_directory directory;
    struct quorum_identity identity;
    struct option_problem problem = {.text = ""};
    assert_int_not_equal(open_it(harness, &directory, &identity, &problem), ERR_OK);
    if (strstr(problem.text, words) == NULL) {
        print_message("%s\n", problem.text);
    }
    assert_non_null(strstr(problem.text, words));
}

static void test_refusals(void **state)
{
    (void)state;
    struct harness harness;
    struct controller_directory directory;
    struct quorum_identity identity;
    struct option_problem problem = {.text = ""};
    harness_init(&harness);
    assert_int_equal(open_it(&harness, &directory, &identity, &problem), ERR_OK);
    must_refuse(&harness, "in use by another process");
    controller_directory_close(&directory);
    harness.options.node_id = 2;
    must_refuse(&harness, "belongs to node 1");
    harness.options.node_id = 1;
    assert_int_equal(open_it(&harness, &directory, &identity, &problem), ERR_OK);
    form(&harness, &directory);
    controller_directory_close(&directory);
    harness.options.known_cluster_id = "AAAAAAAAAAAAAAAAAAAAAA";
    harness.options.known_cluster_dir = "/data/1";
    must_refuse(&harness, "is of cluster ABCDEFGHIJKLMNOPQRSTUg");
    harness.options.known_cluster_id = NULL;
    /* The log is gone, the mark is not: never a first boot. */
    remove_path(&harness, CONTROLLER_DIRECTORY_NAME);
    must_refuse(&harness, "but its log");
    remove_path(&harness, "moldau-metadata.mark");
    assert_int_equal(open_it(&harness, &directory, &identity, &problem), ERR_OK);
    assert_false(directory.is_formed);
    controller_directory_close(&directory);
    harness_done(&harness);
}

/* The process ended between the log and its mark; and between the intent and the log. */
static void test_ends_half_way(void **state)
{
    (void)state;
    struct harness harness;
    struct controller_directory directory;
    struct quorum_identity identity;
    struct option_problem problem = {.text = ""};
    harness_init(&harness);
    assert_int_equal(open_it(&harness, &directory, &identity, &problem), ERR_OK);
    struct uuid id = directory.id;
    form(&harness, &directory);
    controller_directory_close(&directory);
    remove_path(&harness, "moldau-metadata.mark"); /* as if it had never been written */
    assert_int_equal(open_it(&harness, &directory, &identity, &problem), ERR_OK);
    assert_true(directory.is_formed);
    assert_true(uuid_equal(directory.id, id));
    controller_directory_close(&directory);
    remove_path(&harness, CONTROLLER_DIRECTORY_NAME);
    must_refuse(&harness, "but its log"); /* the mark was made anew */
    harness_done(&harness);
}

static void test_damaged_marks(void **state)
{
    (void)state;
    struct harness harness;
    struct controller_directory directory;
    struct quorum_identity identity;
    struct option_problem problem = {.text = ""};
    char path[128];
    char text[512];
    harness_init(&harness);
    assert_int_equal(open_it(&harness, &directory, &identity, &problem), ERR_OK);
    form(&harness, &directory);
    controller_directory_close(&directory);
    snprintf(path, sizeof(path), "%s/moldau-metadata.mark", harness.dir);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t bytes = fread(text, 1, sizeof(text), file);
    fclose(file);
    assert_true(bytes > 100 && bytes < sizeof(text));
    for (size_t i = 0; i < bytes; i += 3) {
        char damaged[512];
        memcpy(damaged, text, bytes);
        damaged[i] = (char)(damaged[i] ^ 4);
        file = fopen(path, "w");
        assert_int_equal(fwrite(damaged, 1, bytes, file), bytes);
        fclose(file);
        must_refuse(&harness, "is damaged");
        file = fopen(path, "w"); /* cut */
        assert_int_equal(fwrite(text, 1, i, file), i);
        fclose(file);
        must_refuse(&harness, "is damaged");
    }
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id_outlives_the_process),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_ends_half_way),
        cmocka_unit_test(test_damaged_marks),
    };
    return cmocka_run_group_tests_name("controller_directory", tests, NULL, NULL);
}
