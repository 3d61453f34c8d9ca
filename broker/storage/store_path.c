#include "broker/storage/store_path.h"

#include "common/check.h"
#include "common/mem.h"

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

char *store_path_marked_dir(const char *path, const char *unique, const char *suffix)
{
    const char *slash = strrchr(path, '/');
    size_t dir_bytes = slash == NULL ? 0 : (size_t)(slash + 1 - path);
    size_t name_bytes = strlen(path) - dir_bytes;
    size_t mark_bytes = 1 + strlen(unique) + strlen(suffix);
    CHECK(mark_bytes < STORE_NAME_BYTES_MAX);
    if (name_bytes + mark_bytes > STORE_NAME_BYTES_MAX) {
        name_bytes = STORE_NAME_BYTES_MAX - mark_bytes;
    }
    return mem_format("%.*s.%s%s", (int)(dir_bytes + name_bytes), path, unique, suffix);
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
