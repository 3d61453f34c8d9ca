#include "proto/api/api_table.h"

#include "proto/kmsg/all.h"

static const struct api_row api_rows[] = {
#define X(key_, upper, stem, text, first, last, advertised_first_, flexible_first_)                                    \
    {.key = (key_),                                                                                                    \
     .name = (text),                                                                                                   \
     .versions = {(first), (last)},                                                                                    \
     .advertised_first = (advertised_first_),                                                                          \
     .flexible_first = (flexible_first_),                                                                              \
     .request = &stem##_request_codec,                                                                                 \
     .response = &stem##_response_codec},
    KMSG_API_ROWS(X)
#undef X
};

/* Where each row stands in api_rows. */
enum api_row_index {
#define X(key, upper, stem, text, first, last, advertised_first, flexible_first) API_ROW_INDEX_##upper,
    KMSG_API_ROWS(X)
#undef X
};

/* Index of a key in api_rows, plus one; 0 is none. */
static const uint8_t api_row_of_key[API_KEY_MAX + 1] = {
#define X(key, upper, stem, text, first, last, advertised_first, flexible_first) [key] = API_ROW_INDEX_##upper + 1,
    KMSG_API_ROWS(X)
#undef X
};

const struct api_row *api_table_find(int16_t key)
{
    if (key < 0 || key > API_KEY_MAX || api_row_of_key[key] == 0) {
        return NULL;
    }
    return &api_rows[api_row_of_key[key] - 1];
}

size_t api_table_count(void)
{
    return ARRAY_COUNT(api_rows);
}

const struct api_row *api_table_at(size_t index)
{
    CHECK(index < ARRAY_COUNT(api_rows));
    return &api_rows[index];
}

bool api_table_has_version(const struct api_row *row, int16_t version)
{
    return version >= row->versions.first && version <= row->versions.last;
}
