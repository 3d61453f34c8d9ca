/* request_script: the inputs of fuzz_node: what clients do to one node, step by step.
 *
 * Shape:     byte 0 is the seed of the simulation; then steps. Step: a byte (bits 0 to 2 what, bits 3 and 4 on which connection;
 *            SCRIPT_LINK_INTERNAL is one to the INTERNAL listener), then for frames, bytes and pauses two bytes (big-endian): how many
 *            bytes follow, or milliseconds. What does not parse ends the script; a length beyond the end takes what is there.
 * Frames:    request header and body; their size and their correlation id are filled in when they are sent, and words of
 *            request_words.h are replaced.
 * Threads:   pure functions.
 */
#ifndef TESTS_FUZZ_REQUEST_SCRIPT_H
#define TESTS_FUZZ_REQUEST_SCRIPT_H

#include "common/bytebuf.h"

#define SCRIPT_LINK_COUNT 4u
#define SCRIPT_LINK_INTERNAL 3u
#define SCRIPT_BYTES_MAX 65535u /* of one frame */

enum script_kind {
    SCRIPT_FRAME,
    SCRIPT_BYTES,   /* as they are */
    SCRIPT_WAIT,    /* until everything asked so far is answered */
    SCRIPT_PAUSE,   /* time passes */
    SCRIPT_CLOSE,   /* the client leaves; the next bytes go over a new connection */
    SCRIPT_RESTART, /* the node stops in order and starts again */
    SCRIPT_KIND_COUNT
};

struct script_step {
    enum script_kind kind;
    unsigned link;
    uint16_t pause_ms;
    struct span bytes; /* borrowed */
};

/* False at the end. */
bool script_next(struct span *rest, struct script_step *ret_step);
void script_put(struct bytebuf *script, const struct script_step *step);

#endif
