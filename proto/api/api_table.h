/* api_table: which Kafka APIs and versions are known, one row per API. Whether a broker has a handler for one is the
 * broker's own table.
 *
 * Threads:   const data.
 * Source:    proto/schema/ (generated rows); Kafka 4.3 message specifications.
 */
#ifndef PROTO_API_API_TABLE_H
#define PROTO_API_API_TABLE_H

#include "proto/kmsg/api_rows.h"
#include "proto/wire/codec.h"

enum api_key {
#define X(key, name, stem, text, first, last, advertised_first, flexible_first) API_KEY_##name = (key),
    KMSG_API_ROWS(X)
#undef X
};

#define API_KEY_MAX 92

struct api_row {
    int16_t key; /* enum api_key */
    const char *name;
    struct codec_versions versions; /* served; the codecs may know unstable ones above */
    int16_t advertised_first;       /* Produce: lower than what is served (KAFKA-18659, librdkafka #4956) */
    int16_t flexible_first;         /* CODEC_VERSION_NEVER: none */
    const struct codec_message *request;
    const struct codec_message *response;
};

/* NULL when the key is not known. O(1). */
const struct api_row *api_table_find(int16_t key);
/* Rows by ascending key: for (i = 0; i < api_table_count(); i++) api_table_at(i). */
size_t api_table_count(void);
const struct api_row *api_table_at(size_t index);
/* Is `version` of this API served? */
bool api_table_has_version(const struct api_row *row, int16_t version);

#endif
