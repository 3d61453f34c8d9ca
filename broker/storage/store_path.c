#include "broker/storage/store_path.h"

#include "common/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct store_path store_path_join(const char *dir_path, const char *name)
{
    struct store_path path;
    int bytes = snprintf(path.text, sizeof(path.text), "%s/%s", dir_path, name);
    CHECK(bytes > 0 && (size_t)bytes < sizeof(path.text));
    return path;
}

struct store_path store_path_add(const struct store_path *from, const char *suffix)
{
    struct store_path path = *from;
    size_t bytes = strlen(path.text);
    size_t suffix_bytes = strlen(suffix);
    CHECK(bytes + suffix_bytes < sizeof(path.text));
    memcpy(path.text + bytes, suffix, suffix_bytes + 1);
    return path;
}

struct store_path store_path_segment(const char *dir_path, int64_t base_offset, const char *suffix)
{
    struct store_path path;
    CHECK(base_offset >= 0);
    int bytes = snprintf(path.text, sizeof(path.text), "%s/%0*" PRId64 "%s", dir_path, STORE_OFFSET_DIGITS, base_offset,
                         suffix);
    CHECK(bytes > 0 && (size_t)bytes < sizeof(path.text));
    return path;
}

bool store_path_parse_segment(const char *name, const char *suffix, int64_t *ret_base_offset)
{
    uint64_t value = 0;
    for (int i = 0; i < STORE_OFFSET_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return false;
        }
        unsigned digit = (unsigned)(name[i] - '0');
        if (value > ((uint64_t)INT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (strcmp(name + STORE_OFFSET_DIGITS, suffix) != 0) {
        return false;
    }
    *ret_base_offset = (int64_t)value;
    return true;
}
