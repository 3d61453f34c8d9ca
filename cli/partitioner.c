#include "cli/partitioner.h"

#define MURMUR2_SEED 0x9747b28cu
#define MURMUR2_FACTOR 0x5bd1e995u
#define MURMUR2_SHIFT 24

uint32_t partitioner_murmur2(struct span bytes)
{
    uint32_t hash = MURMUR2_SEED ^ (uint32_t)bytes.bytes;
    size_t pos = 0;
    for (; pos + 4 <= bytes.bytes; pos += 4) {
        const uint8_t *at = bytes.data + pos;
        uint32_t word = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        word *= MURMUR2_FACTOR;
        word ^= word >> MURMUR2_SHIFT;
        word *= MURMUR2_FACTOR;
        hash *= MURMUR2_FACTOR;
        hash ^= word;
    }
    if (pos < bytes.bytes) {
        for (size_t i = bytes.bytes - pos; i-- > 0;) {
            hash ^= (uint32_t)bytes.data[pos + i] << (8 * i);
        }
        hash *= MURMUR2_FACTOR;
    }
    hash ^= hash >> 13;
    hash *= MURMUR2_FACTOR;
    hash ^= hash >> 15;
    return hash;
}

int32_t partitioner_of_key(struct span key, size_t partition_count)
{
    CHECK(partition_count > 0 && partition_count <= INT32_MAX);
    return (int32_t)((partitioner_murmur2(key) & 0x7fffffffu) % (uint32_t)partition_count);
}
