/* err: the result codes used inside Moldau. They are never sent on a wire: Kafka's own codes live in
 * proto/wire/error_code.h and are made from these at the edge, by one exhaustive switch.
 *
 * Errors:    every function that can fail returns `enum err`, 0 is success; outputs are `ret_*`, last, and untouched
 *            on failure. Running out of memory is not an error code: see common/mem.h and ADR-0003.
 * Threads:   any.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

/* name, text for people (a clause, without a full stop) */
#define ERR_TABLE(X)                                                                                                   \
    X(ERR_OK, "success")                                                                                               \
    X(ERR_WOULD_BLOCK, "not possible now without waiting")                                                             \
    X(ERR_END, "end of the data")                                                                                      \
    X(ERR_INCOMPLETE, "more bytes are needed")                                                                         \
    X(ERR_MALFORMED, "malformed input")                                                                                \
    X(ERR_CORRUPT, "stored or sent bytes fail their checksum or structure")                                            \
    X(ERR_LIMIT, "a named limit is exceeded")                                                                          \
    X(ERR_INVALID, "a value is not acceptable")                                                                        \
    X(ERR_UNSUPPORTED, "not supported")                                                                                \
    X(ERR_NOT_FOUND, "does not exist")                                                                                 \
    X(ERR_EXISTS, "exists already")                                                                                    \
    X(ERR_STALE, "older than what is current")                                                                         \
    X(ERR_OUT_OF_RANGE, "outside of the range that exists")                                                            \
    X(ERR_BUSY, "in use by somebody else")                                                                             \
    X(ERR_CLOSED, "closed or shutting down")                                                                           \
    X(ERR_CANCELLED, "cancelled before it was done")                                                                   \
    X(ERR_TIMEOUT, "the deadline has passed")                                                                          \
    X(ERR_NOT_LEADER, "not the leader")                                                                                \
    X(ERR_IO, "input/output error")                                                                                    \
    X(ERR_NO_SPACE, "no space left on the device")                                                                     \
    X(ERR_TOO_MANY_FILES, "too many open files")                                                                       \
    X(ERR_PERMISSION, "permission denied")                                                                             \
    X(ERR_NOT_DIRECTORY, "not a directory")                                                                            \
    X(ERR_ADDRESS_IN_USE, "the address is in use")                                                                     \
    X(ERR_ADDRESS_UNKNOWN, "the address does not exist on this machine or can't be resolved")                          \
    X(ERR_REFUSED, "connection refused")                                                                               \
    X(ERR_RESET, "connection reset by the peer")                                                                       \
    X(ERR_UNREACHABLE, "the host or network is unreachable")

enum err {
#define X(name, text) name,
    ERR_TABLE(X)
#undef X
        ERR_COUNT
};

#define MUST_USE __attribute__((warn_unused_result))

/* The code's text, for log lines and messages. Static memory. */
const char *err_text(enum err err);

/* The code's name, "ERR_IO", for key=value log lines. Static memory. */
const char *err_name(enum err err);

/* Translate an errno value; unknown values become ERR_IO. */
enum err err_from_errno(int error_number);

#endif
