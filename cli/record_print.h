/* record_print: one record as text: by a format like kcat's, or as a JSON object in a line of its own.
 *
 * Shape:     format: %t topic, %p partition, %o offset, %T timestamp (ms), %k key, %K its bytes, %v or %s value, %V
 *            or %S its bytes, %h headers (name=value,...), %% a percent sign; \n \t \r \\ and \xNN. A null key or
 *            value is printed as nothing, its size as -1. JSON: kind "record", topic, partition, offset, timestamp,
 *            key, value, headers [{name, value}]; null is null; what is not UTF-8 stands as base64 in key_base64,
 *            value_base64 instead.
 * Errors:    ERR_INVALID a format that makes no sense; ERR_LIMIT, ERR_MALFORMED from appending.
 * Ownership: format and topic are borrowed.
 * Threads:   pure functions.
 */
#ifndef CLI_RECORD_PRINT_H
#define CLI_RECORD_PRINT_H

#include "common/bytebuf.h"
#include "proto/record/iter.h"

#define RECORD_PRINT_FORMAT_DEFAULT "%v\\n"

struct record_print {
    const char *topic;
    const char *format; /* NULL: JSON */
    bool hides_controls;
};

/* ERR_INVALID: *ret_pos is where. */
enum err record_print_check(const char *format, size_t *ret_pos) MUST_USE;
enum err record_print_append(const struct record_print *print, int32_t partition, const struct record *record,
                             struct bytebuf *output) MUST_USE;

#endif
