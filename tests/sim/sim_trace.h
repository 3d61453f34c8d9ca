/* sim_trace: the event log of a simulation: one line per event, a running hash over all of them, and the last lines (or all)
 * kept for people. Two runs of one seed must give the same bytes.
 *
 * Shape:     "time_us who what" + newline. Kept: the newest `kept_bytes_max` bytes; the hash covers everything.
 *            A compact trace has no lines for details (turns, segments, calls of the disk); whether it is one changes nothing else.
 * Ownership: the trace owns its bytes.
 * Threads:   one.
 */
#ifndef TESTS_SIM_SIM_TRACE_H
#define TESTS_SIM_SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_TRACE_LINE_BYTES_MAX 1024u

struct sim_trace {
    char *data;
    size_t bytes;
    size_t capacity_bytes;
    size_t kept_bytes_max;
    uint64_t hash;
    uint64_t line_count;
    bool is_printed; /* every line goes to standard error as it comes */
    bool is_compact; /* details leave no line, only their time in the hash */
};

void sim_trace_init(struct sim_trace *trace, size_t kept_bytes_max);
void sim_trace_done(struct sim_trace *trace);
void sim_trace_write(struct sim_trace *trace, uint64_t now_us, const char *who, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* An event of which there are hundreds of thousands a minute. */
#define sim_trace_detail(trace, now_us, ...)                                                                           \
    ((trace)->is_compact ? sim_trace_mix((trace), (now_us)) : sim_trace_write((trace), (now_us), __VA_ARGS__))
void sim_trace_mix(struct sim_trace *trace, uint64_t now_us);
/* The newest lines, at most `bytes_max` bytes, to standard error. */
void sim_trace_print_tail(const struct sim_trace *trace, size_t bytes_max);

#endif
