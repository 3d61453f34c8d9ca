/* units: what people write for times and sizes, as the numbers that settings take.
 *
 * Shape:     "7d", "12h", "30m", "10s", "250ms" for milliseconds; "64KiB", "512MiB", "1GiB", "10kB", "1GB" for
 *            bytes; plain numbers stay as they are. Which of the two applies is told by the setting's name.
 * Errors:    ERR_INVALID for anything else, and for what does not fit into 63 bits.
 * Threads:   pure.
 */
#ifndef CLI_UNITS_H
#define CLI_UNITS_H

#include "common/err.h"
#include "common/span.h"

#define UNITS_TEXT_BYTES 128 /* more than any text needs: gcc counts 20 digits for every number */

/* A whole number: an optional minus and digits, nothing else. */
enum err units_parse_number(struct span text, int64_t *ret_value) MUST_USE;
enum err units_parse_ms(struct span text, int64_t *ret_ms) MUST_USE;
enum err units_parse_bytes(struct span text, int64_t *ret_bytes) MUST_USE;
/* The value of a setting: settings that end in .ms or .bytes take units, all others stay as they are. */
enum err units_setting_value(struct span name, struct span text, char *ret_text, size_t ret_text_bytes) MUST_USE;
/* "1.5 GiB" and the like. */
const char *units_format_bytes(uint64_t bytes, char ret_text[UNITS_TEXT_BYTES]);
/* A moment: milliseconds since 1970, or ISO 8601 in UTC: 2026-11-23, 2026-11-23T16:00:00, ...:00.250Z. */
enum err units_parse_time(struct span text, int64_t *ret_ms) MUST_USE;
/* ISO 8601 in UTC with milliseconds. */
const char *units_format_time(int64_t ms, char ret_text[UNITS_TEXT_BYTES]);

#endif
