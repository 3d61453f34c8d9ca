/* prop: a tiny seeded generator for property tests and for the simulator: the same seed gives the same values on every
 * machine. It is not the product's source of randomness (common/seam/rng.h).
 *
 * Shape:     splitmix64; one `struct prop` per test, or several split off one with prop_split.
 * Seeds:     prop_init takes the seed of MOLDAU_SEED (a number, or "random") or else the test's own fixed one, and prints
 *            "# name seed=N" (a TAP comment), so that any failure can be repeated. MOLDAU_RUNS multiplies the number of
 *            cases (prop_runs). What is no number ends the program with status 2.
 * Threads:   one at a time.
 * Source:    testing.md ("every layer prints its seed"); Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators.
 */
#ifndef TESTS_SUPPORT_PROP_H
#define TESTS_SUPPORT_PROP_H

#include "common/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROP_SEED_DEFAULT 1u

struct prop {
    uint64_t seed; /* as printed */
    uint64_t state;
};

static inline uint64_t prop_u64(struct prop *prop)
{
    prop->state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = prop->state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

static inline void prop_init_seed(struct prop *prop, uint64_t seed)
{
    prop->seed = seed;
    prop->state = seed;
    (void)prop_u64(prop); /* small seeds that are neighbours part here */
}

/* A whole number; anything else ends the program with status 2: a mistyped seed or count must not become a run of something else. `name`: as the user wrote it. */
static inline uint64_t prop_number(const char *name, const char *text, uint64_t least)
{
    char *end = NULL;
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < least) {
        fprintf(stderr, "%s: '%s' is not a whole number of %" PRIu64 " or more\n", name, text, least);
        exit(2);
    }
    return value;
}

/* The seed that MOLDAU_SEED names, or else `default_seed`. */
static inline uint64_t prop_seed_choose(uint64_t default_seed)
{
    const char *text = getenv("MOLDAU_SEED");
    if (text == NULL || text[0] == '\0') {
        return default_seed;
    }
    if (strcmp(text, "random") == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec) ^ ((uint64_t)getpid() << 40);
    }
    return prop_number("MOLDAU_SEED", text, 0);
}

/* Starts from MOLDAU_SEED or `default_seed`, and prints the seed under the name of the test. */
static inline void prop_init(struct prop *prop, const char *test_name, uint64_t default_seed)
{
    prop_init_seed(prop, prop_seed_choose(default_seed));
    printf("# %s seed=%" PRIu64 " (repeat with MOLDAU_SEED=%" PRIu64 ")\n", test_name, prop->seed, prop->seed);
    fflush(stdout);
}

/* `count` cases, times MOLDAU_RUNS when that is set (nightly runs). */
static inline uint64_t prop_runs(uint64_t count)
{
    const char *text = getenv("MOLDAU_RUNS");
    return count * (text == NULL || text[0] == '\0' ? 1 : prop_number("MOLDAU_RUNS", text, 1));
}

/* In [0, bound); bound > 0. */
static inline uint64_t prop_below(struct prop *prop, uint64_t bound)
{
    CHECK(bound > 0);
    return prop_u64(prop) % bound;
}

/* In [first, last], both included. */
static inline uint64_t prop_range(struct prop *prop, uint64_t first, uint64_t last)
{
    CHECK(first <= last);
    return last - first == UINT64_MAX ? prop_u64(prop) : first + prop_below(prop, last - first + 1);
}

static inline int64_t prop_range_signed(struct prop *prop, int64_t first, int64_t last)
{
    CHECK(first <= last);
    return (int64_t)((uint64_t)first + prop_range(prop, 0, (uint64_t)last - (uint64_t)first));
}

/* True `hits` times out of `out_of`. */
static inline bool prop_chance(struct prop *prop, uint64_t hits, uint64_t out_of)
{
    return prop_below(prop, out_of) < hits;
}

/* In [0, most], small values more often than large ones: every power of two is about equally likely. */
static inline uint64_t prop_skewed(struct prop *prop, uint64_t most)
{
    unsigned bit_count = 0;
    while (bit_count < 64 && (most >> bit_count) != 0) {
        bit_count++;
    }
    unsigned bits = (unsigned)prop_below(prop, bit_count + 1u);
    uint64_t value = bits == 0 ? 0 : prop_u64(prop) >> (64 - bits);
    return value > most ? most : value;
}

static inline void prop_fill(struct prop *prop, void *ret_bytes, size_t bytes)
{
    uint8_t *out = (uint8_t *)ret_bytes;
    while (bytes > 0) {
        uint64_t value = prop_u64(prop);
        size_t part_bytes = bytes < sizeof(value) ? bytes : sizeof(value);
        memcpy(out, &value, part_bytes);
        out += part_bytes;
        bytes -= part_bytes;
    }
}

/* A generator of its own, whose values do not depend on how many are drawn from `prop` later. */
static inline struct prop prop_split(struct prop *prop)
{
    struct prop split;
    prop_init_seed(&split, prop_u64(prop));
    return split;
}

#endif
