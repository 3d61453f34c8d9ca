/* error_code: Kafka's error codes as they stand in responses, and the one place where results of our own become them.
 *
 * Shape:     number, name, whether a client may try the same again, and a clause for people. A handler that knows more
 *            says more: where a response has an ErrorMessage, it names cause, numbers and fix.
 * Threads:   const data.
 * Source:    org.apache.kafka.common.protocol.Errors of Kafka 4.3 (numbers, names, retriability); the texts are ours.
 */
#ifndef PROTO_WIRE_ERROR_CODE_H
#define PROTO_WIRE_ERROR_CODE_H

#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>

/* X(number, name, retriable, text) */
#define ERROR_CODE_TABLE(X)                                                                                            \
    X(-1, UNKNOWN_SERVER_ERROR, false, "the broker met an error that it did not expect; its log says more")            \
    X(0, NONE, false, "no error")                                                                                      \
    X(1, OFFSET_OUT_OF_RANGE, false, "the offset lies outside of what the partition holds")                            \
    X(2, CORRUPT_MESSAGE, true,                                                                                        \
      "the batch fails its checksum or structure, is too large, or has a null key in a "                               \
      "compacted topic")                                                                                               \
    X(3, UNKNOWN_TOPIC_OR_PARTITION, true, "this broker does not host the topic or partition")                         \
    X(4, INVALID_FETCH_SIZE, false, "the fetch size is not acceptable")                                                \
    X(5, LEADER_NOT_AVAILABLE, true, "the partition has no leader at the moment")                                      \
    X(6, NOT_LEADER_OR_FOLLOWER, true, "this broker is not the partition's leader, or not one of its replicas")        \
    X(7, REQUEST_TIMED_OUT, true, "the request was not completed in time")                                             \
    X(8, BROKER_NOT_AVAILABLE, false, "the broker is not available")                                                   \
    X(9, REPLICA_NOT_AVAILABLE, true, "the replica is not available")                                                  \
    X(10, MESSAGE_TOO_LARGE, false, "the batch is larger than max.message.bytes allows")                               \
    X(11, STALE_CONTROLLER_EPOCH, false, "the controller has moved to another node")                                   \
    X(12, OFFSET_METADATA_TOO_LARGE, false, "the metadata of the committed offset is too large")                       \
    X(13, NETWORK_EXCEPTION, true, "the connection ended before a response came")                                      \
    X(14, COORDINATOR_LOAD_IN_PROGRESS, true, "the coordinator is still loading its state")                            \
    X(15, COORDINATOR_NOT_AVAILABLE, true, "the coordinator is not available")                                         \
    X(16, NOT_COORDINATOR, true, "this broker is not the coordinator")                                                 \
    X(17, INVALID_TOPIC_EXCEPTION, false, "the topic name is not acceptable")                                          \
    X(18, RECORD_LIST_TOO_LARGE, false, "the batch is larger than a segment")                                          \
    X(19, NOT_ENOUGH_REPLICAS, true,                                                                                   \
      "fewer replicas are in sync than min.insync.replicas asks for; nothing was written")                             \
    X(20, NOT_ENOUGH_REPLICAS_AFTER_APPEND, true,                                                                      \
      "the batch was written, but fewer replicas are in sync than min.insync.replicas asks "                           \
      "for")                                                                                                           \
    X(21, INVALID_REQUIRED_ACKS, false, "acks must be 0, 1 or -1 (all)")                                               \
    X(22, ILLEGAL_GENERATION, false, "the generation of the group is another one")                                     \
    X(23, INCONSISTENT_GROUP_PROTOCOL, false, "the member's protocols do not fit those of the group")                  \
    X(24, INVALID_GROUP_ID, false, "the group id is not acceptable")                                                   \
    X(25, UNKNOWN_MEMBER_ID, false, "the coordinator does not know this member")                                       \
    X(26, INVALID_SESSION_TIMEOUT, false,                                                                              \
      "the session timeout lies outside of group.min.session.timeout.ms to "                                           \
      "group.max.session.timeout.ms")                                                                                  \
    X(27, REBALANCE_IN_PROGRESS, false, "the group is rebalancing: join again")                                        \
    X(28, INVALID_COMMIT_OFFSET_SIZE, false, "the committed offset's data is too large")                               \
    X(29, TOPIC_AUTHORIZATION_FAILED, false, "not authorised for this topic")                                          \
    X(30, GROUP_AUTHORIZATION_FAILED, false, "not authorised for this group")                                          \
    X(31, CLUSTER_AUTHORIZATION_FAILED, false, "not authorised for this operation on the cluster")                     \
    X(32, INVALID_TIMESTAMP, false, "the record's timestamp lies outside of the accepted range")                       \
    X(33, UNSUPPORTED_SASL_MECHANISM, false, "the SASL mechanism is not enabled here")                                 \
    X(34, ILLEGAL_SASL_STATE, false, "the request does not fit the state of the SASL exchange")                        \
    X(35, UNSUPPORTED_VERSION, false, "this version of the API is not served")                                         \
    X(36, TOPIC_ALREADY_EXISTS, false, "a topic of this name exists already")                                          \
    X(37, INVALID_PARTITIONS, false, "the number of partitions is not acceptable")                                     \
    X(38, INVALID_REPLICATION_FACTOR, false,                                                                           \
      "the replication factor is below 1 or larger than the number of brokers that are "                               \
      "alive")                                                                                                         \
    X(39, INVALID_REPLICA_ASSIGNMENT, false, "the replica assignment is not acceptable")                               \
    X(40, INVALID_CONFIG, false, "a setting's name or value is not acceptable")                                        \
    X(41, NOT_CONTROLLER, true, "this node is not the active controller")                                              \
    X(42, INVALID_REQUEST, false, "the request contradicts itself or its API")                                         \
    X(43, UNSUPPORTED_FOR_MESSAGE_FORMAT, false, "the message format of the partition does not allow this")            \
    X(44, POLICY_VIOLATION, false, "a policy of this cluster forbids it")                                              \
    X(45, OUT_OF_ORDER_SEQUENCE_NUMBER, false, "the sequence number does not follow the last one of this producer")    \
    X(46, DUPLICATE_SEQUENCE_NUMBER, false, "the batch with this sequence number was written already")                 \
    X(47, INVALID_PRODUCER_EPOCH, false, "the producer's epoch is older than the current one")                         \
    X(48, INVALID_TXN_STATE, false, "the transaction is in a state that does not allow this")                          \
    X(49, INVALID_PRODUCER_ID_MAPPING, false, "the producer id does not belong to this transactional id")              \
    X(50, INVALID_TRANSACTION_TIMEOUT, false, "the transaction timeout is larger than transaction.max.timeout.ms")     \
    X(51, CONCURRENT_TRANSACTIONS, true, "another operation on this transaction is not finished yet")                  \
    X(52, TRANSACTION_COORDINATOR_FENCED, false, "a newer transaction coordinator has taken over")                     \
    X(53, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, false, "not authorised for this transactional id")                    \
    X(54, SECURITY_DISABLED, false, "security is not enabled on this cluster")                                         \
    X(55, OPERATION_NOT_ATTEMPTED, false, "not attempted, because another part of the request failed")                 \
    X(56, KAFKA_STORAGE_ERROR, true, "the disk that holds the partition failed")                                       \
    X(57, LOG_DIR_NOT_FOUND, false, "the log directory is not one of this broker's")                                   \
    X(58, SASL_AUTHENTICATION_FAILED, false, "authentication failed")                                                  \
    X(59, UNKNOWN_PRODUCER_ID, false, "nothing is known about this producer id any more")                              \
    X(60, REASSIGNMENT_IN_PROGRESS, false, "a reassignment of the partition is under way")                             \
    X(61, DELEGATION_TOKEN_AUTH_DISABLED, false, "delegation tokens are not enabled")                                  \
    X(62, DELEGATION_TOKEN_NOT_FOUND, false, "no such delegation token")                                               \
    X(63, DELEGATION_TOKEN_OWNER_MISMATCH, false, "only the owner or a renewer may do this with the delegation token") \
    X(64, DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, false,                                                                 \
      "delegation tokens may not be requested over this kind of connection")                                           \
    X(65, DELEGATION_TOKEN_AUTHORIZATION_FAILED, false, "not authorised for this delegation token")                    \
    X(66, DELEGATION_TOKEN_EXPIRED, false, "the delegation token has expired")                                         \
    X(67, INVALID_PRINCIPAL_TYPE, false, "the type of principal is not supported")                                     \
    X(68, NON_EMPTY_GROUP, false, "the group still has members")                                                       \
    X(69, GROUP_ID_NOT_FOUND, false, "no such group")                                                                  \
    X(70, FETCH_SESSION_ID_NOT_FOUND, true, "no such fetch session")                                                   \
    X(71, INVALID_FETCH_SESSION_EPOCH, true, "the epoch of the fetch session does not follow the last one")            \
    X(72, LISTENER_NOT_FOUND, true, "the leader has no listener of this name")                                         \
    X(73, TOPIC_DELETION_DISABLED, false, "topic deletion is disabled")                                                \
    X(74, FENCED_LEADER_EPOCH, true, "the leader epoch in the request is older than the broker's")                     \
    X(75, UNKNOWN_LEADER_EPOCH, true, "the leader epoch in the request is newer than the broker's")                    \
    X(76, UNSUPPORTED_COMPRESSION_TYPE, false, "the compression type is not supported by this version of the API")     \
    X(77, STALE_BROKER_EPOCH, false, "the broker's epoch is older than its registration")                              \
    X(78, OFFSET_NOT_AVAILABLE, true, "the new leader does not know its high watermark yet")                           \
    X(79, MEMBER_ID_REQUIRED, false, "join again with the member id of this response")                                 \
    X(80, PREFERRED_LEADER_NOT_AVAILABLE, true, "the preferred leader is not available")                               \
    X(81, GROUP_MAX_SIZE_REACHED, false, "the group has as many members as group.max.size allows")                     \
    X(82, FENCED_INSTANCE_ID, false, "another member with this group.instance.id has taken over")                      \
    X(83, ELIGIBLE_LEADERS_NOT_AVAILABLE, true, "no replica is eligible as leader")                                    \
    X(84, ELECTION_NOT_NEEDED, true, "the partition needs no election")                                                \
    X(85, NO_REASSIGNMENT_IN_PROGRESS, false, "no reassignment of the partition is under way")                         \
    X(86, GROUP_SUBSCRIBED_TO_TOPIC, false, "the group is subscribed to the topic")                                    \
    X(87, INVALID_RECORD, false, "a record is not acceptable")                                                         \
    X(88, UNSTABLE_OFFSET_COMMIT, true, "offsets of an open transaction are pending")                                  \
    X(89, THROTTLING_QUOTA_EXCEEDED, true, "the quota is used up; try later")                                          \
    X(90, PRODUCER_FENCED, false, "a newer producer with this transactional id has taken over")                        \
    X(91, RESOURCE_NOT_FOUND, false, "the named resource does not exist")                                              \
    X(92, DUPLICATE_RESOURCE, false, "the request names one resource twice")                                           \
    X(93, UNACCEPTABLE_CREDENTIAL, false, "the credential is not acceptable")                                          \
    X(94, INCONSISTENT_VOTER_SET, false, "sender or receiver is not a voter of this quorum")                           \
    X(95, INVALID_UPDATE_VERSION, false, "the version is not the one that the update expects")                         \
    X(96, FEATURE_UPDATE_FAILED, false, "the feature level could not be changed")                                      \
    X(97, PRINCIPAL_DESERIALIZATION_FAILURE, false, "the forwarded principal can't be read")                           \
    X(98, SNAPSHOT_NOT_FOUND, false, "no such snapshot")                                                               \
    X(99, POSITION_OUT_OF_RANGE, false, "the position lies outside of the snapshot")                                   \
    X(100, UNKNOWN_TOPIC_ID, true, "this broker knows no topic with this id")                                          \
    X(101, DUPLICATE_BROKER_REGISTRATION, false, "another broker with this id is alive")                               \
    X(102, BROKER_ID_NOT_REGISTERED, false, "no broker with this id is registered")                                    \
    X(103, INCONSISTENT_TOPIC_ID, true, "the partition belongs to another topic id")                                   \
    X(104, INCONSISTENT_CLUSTER_ID, false, "the request is meant for another cluster")                                 \
    X(105, TRANSACTIONAL_ID_NOT_FOUND, false, "no such transactional id")                                              \
    X(106, FETCH_SESSION_TOPIC_ID_ERROR, true, "the fetch session mixes topic names and topic ids")                    \
    X(107, INELIGIBLE_REPLICA, false, "a replica of the proposed ISR is not eligible")                                 \
    X(108, NEW_LEADER_ELECTED, false, "the change was made, but another leader was elected")                           \
    X(109, OFFSET_MOVED_TO_TIERED_STORAGE, false, "the offset has moved to tiered storage")                            \
    X(110, FENCED_MEMBER_EPOCH, false, "the member was fenced: it must give up its partitions and join again")         \
    X(111, UNRELEASED_INSTANCE_ID, false, "the group.instance.id is in use by a member that has not left")             \
    X(112, UNSUPPORTED_ASSIGNOR, false, "the group supports no such assignor")                                         \
    X(113, STALE_MEMBER_EPOCH, false, "the member's epoch is old: it must take the new one first")                     \
    X(114, MISMATCHED_ENDPOINT_TYPE, false, "the request is meant for another kind of node")                           \
    X(115, UNSUPPORTED_ENDPOINT_TYPE, false, "this kind of endpoint is not supported")                                 \
    X(116, UNKNOWN_CONTROLLER_ID, false, "no such controller")                                                         \
    X(117, UNKNOWN_SUBSCRIPTION_ID, false, "the telemetry subscription is unknown or outdated")                        \
    X(118, TELEMETRY_TOO_LARGE, false, "the telemetry is larger than the broker accepts")                              \
    X(119, INVALID_REGISTRATION, false, "the registration is not acceptable to the controller")                        \
    X(120, TRANSACTION_ABORTABLE, false, "the transaction can't go on; abort it and start anew")                       \
    X(121, INVALID_RECORD_STATE, false, "the records are in a state that does not allow this acknowledgement")         \
    X(122, SHARE_SESSION_NOT_FOUND, true, "no such share session")                                                     \
    X(123, INVALID_SHARE_SESSION_EPOCH, true, "the epoch of the share session does not follow the last one")           \
    X(124, FENCED_STATE_EPOCH, false, "the state epoch of the share group is another one")                             \
    X(125, INVALID_VOTER_KEY, false, "the voter key is not that of this node")                                         \
    X(126, DUPLICATE_VOTER, false, "the voter is in the set already")                                                  \
    X(127, VOTER_NOT_FOUND, false, "the voter is not in the set")                                                      \
    X(128, INVALID_REGULAR_EXPRESSION, false, "the regular expression is not valid")                                   \
    X(129, REBOOTSTRAP_REQUIRED, false,                                                                                \
      "the client's metadata is outdated: it must start again from its bootstrap servers")                             \
    X(130, STREAMS_INVALID_TOPOLOGY, false, "the topology of the streams group is not acceptable")                     \
    X(131, STREAMS_INVALID_TOPOLOGY_EPOCH, false, "the epoch of the topology is not acceptable")                       \
    X(132, STREAMS_TOPOLOGY_FENCED, false, "the epoch of the topology is outdated")                                    \
    X(133, SHARE_SESSION_LIMIT_REACHED, true, "the limit of share sessions is reached")

/* Values outside of the table occur on the wire (newer peers): keep those in an int16_t. */
enum error_code {
#define X(number, name, retriable, text) ERROR_##name = (number),
    ERROR_CODE_TABLE(X)
#undef X
};

/* "OFFSET_OUT_OF_RANGE"; "UNKNOWN_CODE" for numbers outside of the table. Static memory. */
const char *error_code_name(int16_t code);
/* A clause without a full stop. Static memory. */
const char *error_code_text(int16_t code);
/* May a client send the same again and hope? False for numbers outside of the table. */
bool error_code_is_retriable(int16_t code);

/* What a client is told of a result of ours when the handler knows nothing better. Codes that can't reach a client become
 * UNKNOWN_SERVER_ERROR. */
enum error_code error_code_from_err(enum err err);

#endif
