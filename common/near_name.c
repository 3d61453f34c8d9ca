#include "common/near_name.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t near_name_distance(struct span a, struct span b)
{
    size_t rows[3][NEAR_NAME_BYTES_MAX + 1];
    size_t *before_last = rows[0];
    size_t *last = rows[1];
    size_t *now = rows[2];
    if (a.bytes > NEAR_NAME_BYTES_MAX || b.bytes > NEAR_NAME_BYTES_MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b.bytes; j++) {
        last[j] = j;
        before_last[j] = 0;
    }
    for (size_t i = 1; i <= a.bytes; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.bytes; j++) {
            size_t replaced = last[j - 1] + (a.data[i - 1] == b.data[j - 1] ? 0 : 1);
            now[j] = least(least(last[j] + 1, now[j - 1] + 1), replaced);
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1]) {
                now[j] = least(now[j], before_last[j - 2] + 1);
            }
        }
        size_t *oldest = before_last;
        before_last = last;
        last = now;
        now = oldest;
    }
    return last[b.bytes];
}

bool near_name_is_near(struct span typed, size_t distance)
{
    return distance <= 2 || distance <= typed.bytes / 4;
}
