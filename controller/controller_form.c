/* Opening the metadata directory: whose is it, and may a new cluster be formed here? A directory that is empty where it should not be
 * is never taken for a first boot (design.md 8, formation). */
#include "common/mem.h"
#include "common/seam/fs.h"
#include "common/seam/rng.h"
#include "controller/controller_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LOCK_NAME "moldau-metadata.lock"
#define ADDRESS_ALONE "none" /* of a voter that nobody needs to reach */

static enum err say(struct option_problem *problem, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum err say(struct option_problem *problem, enum err err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->text, sizeof(problem->text), format, arguments);
    va_end(arguments);
    return err;
}

/* ---- controller.quorum.voters ---- */

/* "id@host:port"; the address is copied (mem_free). */
static enum err parse_voter(struct span text, int32_t *ret_id, char **ret_address)
{
    const uint8_t *at = (const uint8_t *)memchr(text.data, '@', text.bytes);
    size_t digits = at == NULL ? 0 : (size_t)(at - text.data);
    char id[12];
    if (digits == 0 || digits >= sizeof(id) || digits + 1 == text.bytes) {
        return ERR_INVALID;
    }
    memcpy(id, text.data, digits);
    id[digits] = '\0';
    char *end = NULL;
    long value = strtol(id, &end, 10);
    struct span address = span_sub(text, digits + 1, text.bytes - digits - 1);
    const uint8_t *colon = (const uint8_t *)memrchr(address.data, ':', address.bytes);
    if (*end != '\0' || value < 0 || value > INT32_MAX || colon == NULL || colon == address.data ||
        colon + 1 == address.data + address.bytes) {
        return ERR_INVALID;
    }
    *ret_id = (int32_t)value;
    *ret_address = mem_format("%.*s", (int)address.bytes, (const char *)address.data);
    return ERR_OK;
}

/* This version runs a quorum of one: the list may name this node, and nobody else. */
static enum err check_voters(const struct controller_options *options, char **ret_address,
                             struct option_problem *problem)
{
    struct span list = span_text(options->quorum_voters);
    if (span_is_null(list) || list.bytes == 0) {
        *ret_address = mem_strdup(ADDRESS_ALONE);
        return ERR_OK;
    }
    if (memchr(list.data, ',', list.bytes) != NULL) {
        return say(
            problem, ERR_UNSUPPORTED,
            "controller.quorum.voters names several voters (%s): a quorum of more than one node arrives with the "
            "next release; name only %" PRId32 "@host:port, or leave it unset",
            options->quorum_voters, options->node_id);
    }
    int32_t id = -1;
    char *address = NULL;
    if (parse_voter(list, &id, &address) != ERR_OK) {
        return say(problem, ERR_INVALID, "controller.quorum.voters is \"%s\"; it must be id@host:port",
                   options->quorum_voters);
    }
    if (id != options->node_id) {
        mem_free(address);
        return say(problem, ERR_UNSUPPORTED,
                   "controller.quorum.voters names node %" PRId32 ", but this is node %" PRId32
                   ": a node whose controller runs elsewhere arrives with the next release; name this node, or leave "
                   "it unset",
                   id, options->node_id);
    }
    *ret_address = address;
    return ERR_OK;
}

/* ---- directories ---- */

/* Makes the directory with its parents; existing ones are fine. */
static enum err make_directories(struct fs *fs, const char *path)
{
    char *part = mem_strdup(path);
    enum err err = ERR_OK;
    for (char *at = part + 1; err == ERR_OK; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        bool is_end = *at == '\0';
        *at = '\0';
        err = fs_mkdir(fs, part);
        err = err == ERR_EXISTS ? ERR_OK : err;
        if (is_end) {
            break;
        }
        *at = '/';
    }
    mem_free(part);
    return err;
}

static enum err lock_directory(struct controller *controller, struct option_problem *problem)
{
    const char *dir = controller->options.metadata_dir;
    enum err err = make_directories(controller->env->fs, dir);
    if (err != ERR_OK) {
        return say(problem, err, "can't make the metadata directory %s: %s", dir, err_text(err));
    }
    char *path = mem_format("%s/" LOCK_NAME, dir);
    err = fs_lock(controller->env->fs, path, &controller->lock);
    mem_free(path);
    if (err == ERR_BUSY) {
        return say(problem, err,
                   "the metadata directory %s is in use by another process: stop it, or choose another "
                   "directory (metadata.log.dir, log.dirs)",
                   dir);
    }
    return err == ERR_OK ? ERR_OK
                         : say(problem, err, "can't write to the metadata directory %s: %s", dir, err_text(err));
}

/* ---- identity ---- */

static enum err check_identity(const struct controller *controller, struct option_problem *problem)
{
    const struct controller_options *options = &controller->options;
    const struct quorum_identity *identity = &controller->identity;
    if (identity->node_id != options->node_id) {
        return say(problem, ERR_INVALID,
                   "the metadata in %s belongs to node %" PRId32 ", but node.id is %" PRId32 ": set node.id=%" PRId32
                   ", or choose another metadata.log.dir",
                   options->metadata_dir, identity->node_id, options->node_id, identity->node_id);
    }
    if (options->known_cluster_id != NULL && strcmp(options->known_cluster_id, identity->cluster_id) != 0) {
        return say(problem, ERR_INVALID,
                   "the metadata in %s is of cluster %s, but the log directory %s is of cluster %s: give this node the "
                   "directories of one cluster",
                   options->metadata_dir, identity->cluster_id, options->known_cluster_dir, options->known_cluster_id);
    }
    return ERR_OK;
}

static enum err refuse_lost(const struct controller_options *options, struct option_problem *problem)
{
    return say(problem, ERR_INVALID,
               "the log directory %s belongs to cluster %s, but %s holds no metadata: it was lost or "
               "metadata.log.dir points elsewhere; restore it (a new cluster is only formed with empty directories)",
               options->known_cluster_dir, options->known_cluster_id, options->metadata_dir);
}

static enum err form(struct controller *controller, const char *directory, const char *address,
                     struct option_problem *problem)
{
    const struct controller_options *options = &controller->options;
    if (options->known_cluster_id != NULL) {
        return refuse_lost(options, problem);
    }
    struct quorum_identity *identity = &controller->identity;
    *identity = (struct quorum_identity){.node_id = options->node_id};
    uuid_format(uuid_random(controller->env->rng), identity->cluster_id);
    while (identity->raft_id == 0) {
        identity->raft_id = rng_u64(controller->env->rng);
    }
    struct bytebuf configuration;
    bytebuf_init(&configuration, QUORUM_ENTRY_BYTES_MAX);
    enum err err = quorum_first_configuration(identity->raft_id, address, &configuration);
    CHECK(err == ERR_OK);
    err = quorum_log_form(controller->env->fs, directory, identity, bytebuf_span(&configuration), problem);
    bytebuf_done(&configuration);
    return err;
}

enum err controller_form(struct controller *controller, char **ret_log_directory, char **ret_address,
                         struct option_problem *ret_problem)
{
    char *address = NULL;
    enum err err = check_voters(&controller->options, &address, ret_problem);
    if (err != ERR_OK) {
        return err;
    }
    char *directory = mem_format("%s/" CONTROLLER_DIRECTORY_NAME, controller->options.metadata_dir);
    bool exists = false;
    if (controller->options.known_cluster_id != NULL &&
        quorum_log_exists(controller->env->fs, directory, &exists) == ERR_OK && !exists) {
        err = refuse_lost(&controller->options, ret_problem); /* before anything is made or locked */
    }
    if (err == ERR_OK) {
        err = lock_directory(controller, ret_problem);
    }
    if (err == ERR_OK && quorum_log_exists(controller->env->fs, directory, &exists) != ERR_OK) {
        err = say(ret_problem, ERR_IO, "can't look into %s", directory);
    }
    if (err == ERR_OK && !exists) {
        err = form(controller, directory, address, ret_problem);
    } else if (err == ERR_OK) {
        err = quorum_log_read_identity(controller->env->fs, directory, &controller->identity, ret_problem);
        err = err == ERR_OK ? check_identity(controller, ret_problem) : err;
    }
    if (err != ERR_OK) {
        mem_free(directory);
        mem_free(address);
        return err;
    }
    *ret_log_directory = directory;
    *ret_address = address;
    return ERR_OK;
}
