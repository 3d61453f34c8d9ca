#include "common/shared_bytes.h"

#include "common/mem.h"

struct shared_bytes *shared_bytes_new(size_t bytes)
{
    struct shared_bytes *shared = mem_alloc(sizeof(*shared) + bytes);
    atomic_init(&shared->reference_count, 1);
    shared->bytes = bytes;
    return shared;
}

struct shared_bytes *shared_bytes_ref(struct shared_bytes *shared)
{
    unsigned before = atomic_fetch_add_explicit(&shared->reference_count, 1, memory_order_relaxed);
    CHECK(before > 0);
    return shared;
}

void shared_bytes_unref(struct shared_bytes *shared)
{
    if (shared == NULL) {
        return;
    }
    unsigned before = atomic_fetch_sub_explicit(&shared->reference_count, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before == 1) {
        mem_free(shared);
    }
}
