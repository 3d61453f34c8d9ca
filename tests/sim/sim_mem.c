#include "tests/sim/sim_mem.h"

#include "common/mem.h"
#include "tests/support/plain_mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <utlist.h>

#define BLOCK_MAGIC 0x6d656d5f73696d21u

struct sim_mem_block {
    struct sim_mem_owner *owner;
    struct sim_mem_block *prev;
    struct sim_mem_block *next;
    size_t bytes;
    uint64_t magic; /* tells a pointer that never came from here */
    uint64_t padding;
};
_Static_assert(sizeof(struct sim_mem_block) % 16 == 0, "blocks are aligned for any type");

/* A variable of the process: common/mem.h has no context to carry it. Of the test only, one thread. */
static struct sim_mem_owner sim_mem_test_owner;
static struct sim_mem_owner *sim_mem_current = &sim_mem_test_owner;

struct sim_mem_owner *sim_mem_enter(struct sim_mem_owner *owner)
{
    struct sim_mem_owner *before = sim_mem_current;
    sim_mem_current = owner == NULL ? &sim_mem_test_owner : owner;
    return before;
}

static void block_add(struct sim_mem_block *block, struct sim_mem_owner *owner, size_t bytes)
{
    block->owner = owner;
    block->bytes = bytes;
    block->magic = BLOCK_MAGIC;
    DL_APPEND(owner->blocks, block);
    owner->block_count++;
    owner->bytes += bytes;
}

static void block_remove(struct sim_mem_block *block)
{
    CHECK(block->magic == BLOCK_MAGIC);
    block->magic = 0;
    DL_DELETE(block->owner->blocks, block);
    block->owner->block_count--;
    block->owner->bytes -= block->bytes;
}

void sim_mem_free_all(struct sim_mem_owner *owner)
{
    while (owner->blocks != NULL) {
        struct sim_mem_block *block = owner->blocks;
        block_remove(block);
        plain_free(block);
    }
}

void *mem_zalloc(size_t bytes)
{
    CHECK(bytes <= SIZE_MAX - sizeof(struct sim_mem_block));
    struct sim_mem_block *block = (struct sim_mem_block *)plain_zalloc(sizeof(*block) + bytes);
    block_add(block, sim_mem_current, bytes);
    return block + 1;
}

/* Zeroed, so that a run never depends on what memory held before: determinism comes first here. */
void *mem_alloc(size_t bytes)
{
    return mem_zalloc(bytes);
}

void *mem_array(size_t count, size_t item_bytes)
{
    size_t bytes = 0;
    CHECK(!__builtin_mul_overflow(count, item_bytes, &bytes));
    return mem_zalloc(bytes);
}

void *mem_grow(void *memory, size_t count, size_t item_bytes)
{
    if (memory == NULL) {
        return mem_array(count, item_bytes);
    }
    size_t bytes = 0;
    CHECK(!__builtin_mul_overflow(count, item_bytes, &bytes));
    struct sim_mem_block *block = (struct sim_mem_block *)memory - 1;
    struct sim_mem_owner *owner = block->owner;
    size_t bytes_before = block->bytes;
    block_remove(block);
    block = (struct sim_mem_block *)plain_grow(block, sizeof(*block) + bytes, 1);
    if (bytes > bytes_before) {
        memset((char *)(block + 1) + bytes_before, 0, bytes - bytes_before);
    }
    block_add(block, owner, bytes);
    return block + 1;
}

char *mem_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    return (char *)memcpy(mem_zalloc(bytes), text, bytes);
}

char *mem_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int count = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(count >= 0);
    char *text = (char *)mem_zalloc((size_t)count + 1);
    va_start(args, format);
    (void)vsnprintf(text, (size_t)count + 1, format, args);
    va_end(args);
    return text;
}

void mem_free(void *memory)
{
    if (memory == NULL) {
        return;
    }
    struct sim_mem_block *block = (struct sim_mem_block *)memory - 1;
    block_remove(block);
    plain_free(block);
}
