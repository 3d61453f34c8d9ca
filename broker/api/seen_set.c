#include "broker/api/seen_set.h"

void seen_set_done(struct seen_set *set)
{
    HASH_CLEAR(hh, set->keys);
}

struct seen_key *seen_set_add(struct seen_set *set, struct span a, struct span b)
{
    struct seen_key *made = arena_alloc(set->arena, sizeof(*made) + a.bytes + b.bytes);
    if (made == NULL) {
        return NULL;
    }
    if (a.bytes > 0) {
        memcpy(made->bytes, a.data, a.bytes);
    }
    if (b.bytes > 0) {
        memcpy(made->bytes + a.bytes, b.data, b.bytes);
    }
    struct seen_key *key = NULL;
    HASH_FIND(hh, set->keys, made->bytes, a.bytes + b.bytes, key);
    if (key == NULL) {
        key = made;
        HASH_ADD_KEYPTR(hh, set->keys, made->bytes, a.bytes + b.bytes, key);
    }
    key->count++;
    return key;
}
