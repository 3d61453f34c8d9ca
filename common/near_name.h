/* near_name: how far a mistyped name is from a known one, for "did you mean".
 *
 * Shape:     edits: insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
 * Limits:    names of NEAR_NAME_BYTES_MAX; longer ones are near to nothing.
 * Threads:   pure functions.
 */
#ifndef COMMON_NEAR_NAME_H
#define COMMON_NEAR_NAME_H

#include "common/span.h"

#define NEAR_NAME_BYTES_MAX 256

/* SIZE_MAX when one of them is too long. */
size_t near_name_distance(struct span a, struct span b);
/* Is it still a slip of the finger? Two edits, or one in four bytes of what was typed. */
bool near_name_is_near(struct span typed, size_t distance);

#endif
