/* handlers: the handlers of the served APIs. Adding one: its prototype here, its line in handlers.c (CONTRIBUTING.md).
 *
 * Shape:     each takes a decoded request (request->message is the API's request struct) and ends it with one reply.
 * Threads:   the request's worker.
 */
#ifndef BROKER_API_HANDLERS_H
#define BROKER_API_HANDLERS_H

struct dispatch_table;
struct request;

/* What a broker serves. */
const struct dispatch_table *handlers_table(void);

void handle_api_versions(struct request *request);
/* A version that is not served: answered in version 0 all the same (KIP-511). `message` is NULL. */
void handle_api_versions_unsupported(struct request *request);
void handle_produce(struct request *request);
void handle_describe_configs(struct request *request);
void handle_describe_cluster(struct request *request);
void handle_describe_topic_partitions(struct request *request);
void handle_metadata(struct request *request);
void handle_forward(struct request *request);
void handle_describe_log_dirs(struct request *request);
void handle_init_producer_id(struct request *request);
void handle_offset_for_leader_epoch(struct request *request);
void handle_list_offsets(struct request *request);
void handle_fetch(struct request *request);

#endif
