#include "cli/cluster_words.h"

enum err cluster_words_number(struct span text, int64_t max, int64_t *ret_number)
{
    int64_t number = 0;
    if (text.bytes == 0) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || number > max / 10) {
            return ERR_INVALID;
        }
        number = number * 10 + (text.data[i] - '0');
    }
    if (number > max) {
        return ERR_INVALID;
    }
    *ret_number = number;
    return ERR_OK;
}

/* What lies before and behind `mark`, the last one in the text; false when there is none. */
static bool split(struct span text, char mark, struct span *ret_before, struct span *ret_behind)
{
    const uint8_t *at = text.bytes == 0 ? NULL : memrchr(text.data, mark, text.bytes);
    if (at == NULL) {
        return false;
    }
    size_t bytes = (size_t)(at - text.data);
    *ret_behind = span_sub(text, bytes + 1, text.bytes - bytes - 1);
    *ret_before = span_sub(text, 0, bytes);
    return true;
}

enum err cluster_words_voter(const char *word, struct voter_word *ret_voter)
{
    struct voter_word voter = {0};
    struct span id = span_text(word);
    struct span directory;
    struct span address;
    struct span port;
    int64_t number = 0;
    if (split(id, '/', &id, &directory) &&
        (uuid_parse(directory, &voter.directory) != ERR_OK || uuid_is_zero(voter.directory))) {
        return ERR_INVALID;
    }
    if (split(id, '@', &id, &address)) {
        if (!split(address, ':', &voter.host, &port) || voter.host.bytes == 0 ||
            cluster_words_number(port, UINT16_MAX, &number) != ERR_OK || number == 0) {
            return ERR_INVALID;
        }
        voter.port = (uint16_t)number;
    }
    if (cluster_words_number(id, INT32_MAX, &number) != ERR_OK) {
        return ERR_INVALID;
    }
    voter.id = (int32_t)number;
    *ret_voter = voter;
    return ERR_OK;
}

enum err cluster_words_partition(const char *word, struct partition_word *ret_partition)
{
    struct partition_word found = {.topic = span_text(word), .partition = CLUSTER_WORDS_ALL_PARTITIONS};
    struct span index;
    int64_t number = 0;
    if (split(found.topic, ':', &found.topic, &index)) { /* no topic's name has a colon */
        if (cluster_words_number(index, INT32_MAX, &number) != ERR_OK) {
            return ERR_INVALID;
        }
        found.partition = (int32_t)number;
    }
    if (found.topic.bytes == 0) {
        return ERR_INVALID;
    }
    *ret_partition = found;
    return ERR_OK;
}
