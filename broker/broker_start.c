/* The start, in the order that keeps its promises: what can be refused without a trace comes first (addresses, then locks and
 * identities of the directories), then the controller, then the way to the controllers. Everything else waits until the cluster is
 * known: at once for a node alone, after the formation or an answer of another node else (broker_join.c). */
#include "broker/broker_internal.h"
#include "broker/broker_metrics.h"
#include "broker/replica/log_dirs.h"
#include "common/check.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/rpc/rpc_server.h"
#include "common/seam/clock.h"
#include "controller/controller_client.h"

#include <stdio.h>

#define METADATA_DIR_NAME "__cluster_metadata"

/* ---- addresses ---- */

static void say_bind(const struct broker_listener *address, enum err err, struct option_problem *ret_problem)
{
    (void)snprintf(ret_problem->text, sizeof(ret_problem->text),
                   "can't listen on %s:%u (listener %s): %s; free the address or choose another with listeners",
                   address->host, (unsigned)address->port, address->name, err_text(err));
}

static void add_endpoint(struct broker *broker, const struct broker_listener *address, const struct net_address *bound)
{
    struct image_endpoint *endpoint = &broker->priv->endpoints[broker->priv->endpoint_count++];
    endpoint->listener_name = span_text(address->name);
    endpoint->host = span_text(address->advertised_host);
    endpoint->port = address->advertised_port == 0 ? bound->port : address->advertised_port;
    endpoint->security = IMAGE_PLAINTEXT;
}

static enum err bind_internal(struct broker *broker, const struct broker_listener *address,
                              struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    enum err err = rpc_server_new(broker->env, broker->home, address->host, address->port, &priv->internal);
    if (err != ERR_OK) {
        say_bind(address, err, ret_problem);
        return err;
    }
    struct net_address bound;
    rpc_server_address(priv->internal, &bound);
    add_endpoint(broker, address, &bound);
    return ERR_OK;
}

static enum err bind_one(struct broker *broker, size_t index, struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    struct broker_listener *address = &priv->addresses.items[index];
    struct listener_config config = {
        .net = broker->env->net,
        .home = broker->home,
        .logger = broker->env->logger,
        .name = address->name,
        .host = address->host,
        .port = address->port,
        .is_authenticated = true, /* PLAINTEXT: nobody is asked */
    };
    enum err err = listener_bind(&config, &priv->listeners[index]);
    if (err != ERR_OK) {
        say_bind(address, err, ret_problem);
        return err;
    }
    struct net_address bound;
    listener_address(priv->listeners[index], &bound);
    add_endpoint(broker, address, &bound);
    return ERR_OK;
}

static enum err bind_addresses(struct broker *broker, struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    enum err err = ERR_OK;
    for (size_t i = 0; i < priv->addresses.count && err == ERR_OK; i++) {
        if (priv->addresses.items[i].is_internal) {
            err = bind_internal(broker, &priv->addresses.items[i], ret_problem);
        } else if (broker_options_is_broker(broker->options)) {
            err = bind_one(broker, i, ret_problem);
        }
    }
    return err;
}

/* ---- who this node is ---- */

static struct uuid directory_id(const struct broker *broker)
{
    if (broker->controller != NULL) {
        return controller_directory_id(broker->controller);
    }
    return broker->log_dirs == NULL ? UUID_ZERO : log_dir_meta(broker->log_dirs->dirs[0])->directory_id;
}

void broker_hello(const struct broker *broker, struct rpc_hello *ret_hello)
{
    const struct broker_private *priv = broker->priv;
    *ret_hello = (struct rpc_hello){
        .node_id = broker->options->node_id,
        .directory_id = directory_id(broker),
        .incarnation_id = priv->incarnation_id,
        .broker_epoch = atomic_load(&priv->broker_epoch),
        .worker_count = broker_options_is_broker(broker->options) ? broker_worker_count(broker) : 0,
    };
    (void)snprintf(ret_hello->cluster_id, sizeof(ret_hello->cluster_id), "%s", priv->cluster_id);
}

void broker_renew_hello(struct broker *broker)
{
    if (broker->priv->internal != NULL) {
        struct rpc_hello hello;
        broker_hello(broker, &hello);
        rpc_server_set_hello(broker->priv->internal, &hello);
    }
}

/* ---- directories ---- */

static enum err open_directories(struct broker *broker, struct option_problem *ret_problem)
{
    if (!broker_options_is_broker(broker->options)) {
        return ERR_OK;
    }
    enum err err = log_dirs_open(broker->env, broker->options->log_dirs, &broker->log_dirs, ret_problem);
    char known_cluster_id[LOG_DIR_CLUSTER_ID_BYTES];
    if (err == ERR_OK && log_dirs_cluster_id(broker->log_dirs, known_cluster_id)) {
        /* Before the controller writes to its log: directories that don't belong together stay as they are. */
        err = log_dirs_check_identity(broker->log_dirs, known_cluster_id, broker->options->node_id, ret_problem);
    }
    return err;
}

static char *metadata_dir(const struct broker *broker)
{
    const struct broker_options *options = broker->options;
    if (options->metadata_log_dir != NULL) {
        return mem_strdup(options->metadata_log_dir);
    }
    if (broker->log_dirs != NULL) {
        return mem_format("%s/%s", log_dir_path(broker->log_dirs->dirs[0]), METADATA_DIR_NAME);
    }
    size_t first_bytes = strcspn(options->log_dirs, ",");
    return mem_format("%.*s/%s", (int)first_bytes, options->log_dirs, METADATA_DIR_NAME);
}

/* ---- controller ---- */

/* Home: the metadata's disk has failed, or a rule of the consensus was broken. The reason was logged. */
static void on_controller_failed(struct loop_task *task)
{
    struct broker *broker = CONTAINER_OF(task, struct broker_note, task)->broker;
    broker_fail(broker, "the controller of this node can't go on: the line before says why");
}

/* On the controller's thread. */
static void on_controller_fatal(void *ctx, const char *reason)
{
    struct broker *broker = ctx;
    (void)reason;
    if (!atomic_exchange(&broker->priv->is_controller_failed, true)) {
        loop_post(broker->home, &broker->priv->controller_failed.task);
    }
}

static enum err start_controller(struct broker *broker, struct option_problem *ret_problem)
{
    const struct broker_options *options = broker->options;
    if (!broker_options_is_controller(options)) {
        return ERR_OK;
    }
    /* The formation looks at it for as long as it lasts. */
    char *known_cluster_id = broker->priv->known_cluster_id;
    bool is_known = broker->log_dirs != NULL && log_dirs_cluster_id(broker->log_dirs, known_cluster_id);
    struct controller_options controller_options;
    controller_options_init(&controller_options);
    broker->priv->metadata_dir = metadata_dir(broker);
    controller_options.node_id = options->node_id;
    controller_options.is_broker = broker_options_is_broker(options);
    controller_options.metadata_dir = broker->priv->metadata_dir;
    controller_options.quorum_voters = options->controller_quorum_voters;
    controller_options.cluster_name = options->cluster_name;
    controller_options.known_cluster_id = is_known ? known_cluster_id : NULL;
    controller_options.known_cluster_dir = is_known ? log_dir_path(broker->log_dirs->dirs[0]) : NULL;
    controller_options.server = broker->priv->internal;
    controller_options.incarnation_id = broker->priv->incarnation_id;
    controller_options.session_timeout_ms = (uint32_t)options->broker_session_timeout_ms;
    controller_options.auto_rebalance = options->auto_leader_rebalance_enable;
    controller_options.imbalance_check_ms = (uint32_t)options->leader_imbalance_check_interval_seconds * 1000;
    controller_options.election_timeout_ms = (uint32_t)options->controller_quorum_election_timeout_ms;
    controller_options.heartbeat_timeout_ms = (uint32_t)options->controller_quorum_heartbeat_ms;
    controller_options.snapshot_entries = (uint32_t)options->metadata_snapshot_entries;
    controller_options.trailing_entries = (uint32_t)options->metadata_trailing_entries;
    controller_options.segment_bytes = (uint64_t)options->metadata_log_segment_bytes;
    controller_options.num_partitions = options->num_partitions;
    controller_options.default_replication_factor = options->default_replication_factor;
    controller_options.min_insync_replicas = options->min_insync_replicas;
    controller_options.is_cached = strcmp(options->log_durability, "cached") == 0;
    controller_options.allows_unclean = options->unclean_leader_election_enable;
    controller_options.broker_options = broker_options_table();
    controller_options.metrics = broker->metrics;
    controller_options.on_fatal = on_controller_fatal;
    controller_options.on_fatal_ctx = broker;
    return controller_start(broker->env, &controller_options, &broker->controller, ret_problem);
}

/* ---- the way to the controllers ---- */

static void join(struct broker *broker)
{
    struct option_problem problem = {.text = ""};
    if (broker->priv->is_joined || broker_state(broker) != BROKER_STARTING) {
        return;
    }
    if (broker_join(broker, &problem) != ERR_OK) {
        broker_fail(broker, problem.text);
        return;
    }
    broker_register(broker);
}

static void on_cluster_id(void *ctx, const char *cluster_id)
{
    struct broker *broker = ctx;
    (void)snprintf(broker->priv->cluster_id, sizeof(broker->priv->cluster_id), "%s", cluster_id);
    broker_renew_hello(broker);
    join(broker);
}

static void on_client_fatal(void *ctx, const char *sentence)
{
    broker_fail(ctx, sentence);
}

static enum err make_client(struct broker *broker, struct option_problem *ret_problem)
{
    struct controller_client_config config = {
        .env = broker->env,
        .home = broker->home,
        .local = broker->controller,
        .ctx = broker,
        .on_cluster_id = on_cluster_id,
        .on_fatal = on_client_fatal,
    };
    struct controller_voter voters[CONTROLLER_VOTERS_MAX];
    struct span list = span_text(broker->options->controller_quorum_voters);
    if (list.bytes > 0) {
        enum err err = controller_voters_parse(list, voters, &config.voter_count, ret_problem);
        if (err != ERR_OK) {
            return err;
        }
    }
    config.voters = voters;
    broker_hello(broker, &config.hello);
    broker->controller_client = controller_client_new(&config);
    return ERR_OK;
}

static enum err start_parts(struct broker *broker, struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    enum err err = broker_listeners_parse(broker->options, &priv->addresses, ret_problem);
    if (err == ERR_OK) {
        err = bind_addresses(broker, ret_problem);
    }
    if (err == ERR_OK) {
        err = open_directories(broker, ret_problem);
    }
    if (err == ERR_OK) {
        err = start_controller(broker, ret_problem);
    }
    if (err == ERR_OK) {
        err = make_client(broker, ret_problem);
    }
    if (err != ERR_OK) {
        return err;
    }
    const char *cluster_id = broker->controller == NULL ? "" : controller_cluster_id(broker->controller);
    (void)snprintf(priv->cluster_id, sizeof(priv->cluster_id), "%s", cluster_id);
    broker_renew_hello(broker);
    if (cluster_id[0] != '\0') {
        err = broker_join(broker, ret_problem);
    } else {
        log_info(broker->env->logger, "broker", "waiting_for_cluster", "node_id=%d voters=%s", broker->options->node_id,
                 broker->options->controller_quorum_voters);
    }
    if (err == ERR_OK) {
        controller_client_start(broker->controller_client);
    }
    if (err == ERR_OK && priv->is_joined) {
        broker_register(broker);
    }
    return err;
}

enum err broker_start(struct broker *broker, broker_event_fn on_ready, broker_event_fn on_failed, void *ctx,
                      struct option_problem *ret_problem)
{
    struct broker_private *priv = broker->priv;
    broker_set_state(broker, BROKER_STARTING);
    priv->start_us = clock_mono_us(broker->env->clock);
    priv->on_ready = on_ready;
    priv->on_failed = on_failed;
    priv->events_ctx = ctx;
    atomic_store(&priv->broker_epoch, -1);
    priv->incarnation_id = uuid_random(broker->env->rng);
    priv->controller_failed = (struct broker_note){.task = {.run = on_controller_failed}, .broker = broker};
    enum err err = start_parts(broker, ret_problem);
    if (err != ERR_OK) {
        if (broker->controller != NULL) {
            controller_stop(broker->controller);
        }
        broker_unmake(broker);
        broker_set_state(broker, BROKER_NEW);
    }
    return err;
}
