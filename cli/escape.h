/* escape: bytes of records as text that is always valid UTF-8: what is not UTF-8 is shown as \xNN, never hidden or
 * replaced.
 *
 * Shape:     a backslash in the text stays one, so "\x41" may stand for itself: JSON output is the exact one.
 * Errors:    ERR_LIMIT from the output.
 * Threads:   pure functions.
 * Source:    RFC 3629 (UTF-8: shortest forms only, no surrogates, up to U+10FFFF).
 */
#ifndef CLI_ESCAPE_H
#define CLI_ESCAPE_H

#include "common/bytebuf.h"

/* Bytes of the well-formed character at the start of `bytes`; 0 when there is none. */
size_t escape_character_bytes(struct span bytes);
bool escape_is_utf8(struct span bytes);
/* `hides_controls`: control characters except \t and \n become \xNN too: a terminal would act on them. */
enum err escape_append(struct bytebuf *output, struct span bytes, bool hides_controls) MUST_USE;

#endif
