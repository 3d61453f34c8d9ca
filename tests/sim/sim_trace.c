#include "tests/sim/sim_trace.h"

#include "tests/support/plain_mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* FNV-1a, 64 bits: it only has to tell two runs apart, and the bytes are compared too. */
#define TRACE_HASH_START 0xcbf29ce484222325u
#define TRACE_HASH_FACTOR 0x100000001b3u

void sim_trace_init(struct sim_trace *trace, size_t kept_bytes_max)
{
    *trace = (struct sim_trace){.kept_bytes_max = kept_bytes_max, .hash = TRACE_HASH_START};
}

void sim_trace_done(struct sim_trace *trace)
{
    plain_free(trace->data);
    *trace = (struct sim_trace){0};
}

static void trace_keep(struct sim_trace *trace, const char *line, size_t bytes)
{
    /* Twice the wanted bytes are held, and the older half is dropped at once: no copy per line. */
    if (trace->bytes + bytes > 2 * trace->kept_bytes_max) {
        size_t dropped_bytes = trace->bytes > trace->kept_bytes_max ? trace->bytes - trace->kept_bytes_max : 0;
        memmove(trace->data, trace->data + dropped_bytes, trace->bytes - dropped_bytes);
        trace->bytes -= dropped_bytes;
    }
    if (trace->bytes + bytes > trace->capacity_bytes) {
        trace->capacity_bytes = (trace->bytes + bytes) * 2;
        trace->data = (char *)plain_grow(trace->data, trace->capacity_bytes, 1);
    }
    memcpy(trace->data + trace->bytes, line, bytes);
    trace->bytes += bytes;
}

void sim_trace_mix(struct sim_trace *trace, uint64_t now_us)
{
    trace->hash = (trace->hash ^ now_us) * TRACE_HASH_FACTOR;
}

void sim_trace_write(struct sim_trace *trace, uint64_t now_us, const char *who, const char *format, ...)
{
    char line[SIM_TRACE_LINE_BYTES_MAX];
    int head_bytes = snprintf(line, sizeof(line), "%" PRIu64 " %s ", now_us, who);
    CHECK(head_bytes > 0 && (size_t)head_bytes < sizeof(line) / 2);
    va_list args;
    va_start(args, format);
    int text_bytes = vsnprintf(line + head_bytes, sizeof(line) - (size_t)head_bytes - 1, format, args);
    va_end(args);
    CHECK(text_bytes >= 0);
    size_t bytes = (size_t)head_bytes + (size_t)text_bytes;
    bytes = bytes < sizeof(line) - 2 ? bytes : sizeof(line) - 2;
    line[bytes++] = '\n';
    for (size_t i = 0; i < bytes; i++) {
        trace->hash = (trace->hash ^ (uint8_t)line[i]) * TRACE_HASH_FACTOR;
    }
    trace->line_count++;
    if (trace->is_printed) {
        (void)fwrite(line, 1, bytes, stderr);
    }
    if (trace->kept_bytes_max > 0) {
        trace_keep(trace, line, bytes);
    }
}

void sim_trace_print_tail(const struct sim_trace *trace, size_t bytes_max)
{
    size_t bytes = trace->bytes < bytes_max ? trace->bytes : bytes_max;
    const char *start = trace->data + (trace->bytes - bytes);
    if (bytes < trace->bytes) {
        const char *newline = (const char *)memchr(start, '\n', bytes);
        if (newline != NULL) {
            bytes -= (size_t)(newline + 1 - start);
            start = newline + 1;
        }
    }
    (void)fwrite(start, 1, bytes, stderr);
}
