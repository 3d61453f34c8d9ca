#include "tests/sim/sim_mem.h"

#include "common/mem.h"
#include "tests/support/plain_mem.h"

#include <dlfcn.h>
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
    uint64_t magic;     /* tells a pointer that never came from here */
    const void *caller; /* who asked for it; for people */
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

static void *block_new(size_t bytes, const void *caller)
{
    CHECK(bytes <= SIZE_MAX - sizeof(struct sim_mem_block));
    struct sim_mem_block *block = (struct sim_mem_block *)plain_zalloc(sizeof(*block) + bytes);
    block->caller = caller;
    block_add(block, sim_mem_current, bytes);
    return block + 1;
}

void sim_mem_describe(const struct sim_mem_owner *owner, char *ret_text, size_t bytes_max)
{
    size_t bytes = 0;
    const struct sim_mem_block *block = NULL;
    ret_text[0] = '\0';
    DL_FOREACH (owner->blocks, block) {
        Dl_info info = {0};
        (void)dladdr(block->caller, &info);
        if (bytes < bytes_max) {
            bytes +=
                (size_t)snprintf(ret_text + bytes, bytes_max - bytes, "%s%zu bytes by 0x%zx", bytes == 0 ? "" : ", ",
                                 block->bytes, (size_t)((const char *)block->caller - (const char *)info.dli_fbase));
        }
    }
}

void *mem_zalloc(size_t bytes)
{
    return block_new(bytes, __builtin_return_address(0));
}

/* Zeroed, so that a run never depends on what memory held before: determinism comes first here. */
void *mem_alloc(size_t bytes)
{
    return block_new(bytes, __builtin_return_address(0));
}

void *mem_array(size_t count, size_t item_bytes)
{
    size_t bytes = 0;
    CHECK(!__builtin_mul_overflow(count, item_bytes, &bytes));
    return block_new(bytes, __builtin_return_address(0));
}

void *mem_grow(void *memory, size_t count, size_t item_bytes)
{
    if (memory == NULL) {
        size_t first_bytes = 0;
        CHECK(!__builtin_mul_overflow(count, item_bytes, &first_bytes));
        return block_new(first_bytes, __builtin_return_address(0));
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
    return (char *)memcpy(block_new(bytes, __builtin_return_address(0)), text, bytes);
}

char *mem_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int count = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(count >= 0);
    char *text = (char *)block_new((size_t)count + 1, __builtin_return_address(0));
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
