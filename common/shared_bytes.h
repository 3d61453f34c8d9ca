/* shared_bytes: immutable, reference-counted bytes: the frame of a produce request that goes to the log, to
 * followers and to waiting fetches without a copy.
 *
 * Shape:     one allocation, header and bytes. Written only by its maker, before the second reference exists.
 * Ownership: shared; freed with the last unref.
 * Threads:   references may be taken and dropped on any thread (atomic count).
 */
#ifndef COMMON_SHARED_BYTES_H
#define COMMON_SHARED_BYTES_H

#include "common/span.h"

#include <stdatomic.h>

struct shared_bytes {
    atomic_uint reference_count;
    size_t bytes;
    uint8_t data[];
};

struct shared_bytes *shared_bytes_new(size_t bytes);
struct shared_bytes *shared_bytes_ref(struct shared_bytes *shared);
void shared_bytes_unref(struct shared_bytes *shared);

#endif
