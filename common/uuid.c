#include "common/uuid.h"

#include "common/seam/rng.h"

#define UUID_TEXT_CHARS 22
#define UUID_PADDED_CHARS 24 /* Kafka's decoder accepts "==" behind it */

static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct uuid uuid_random(struct rng *rng)
{
    struct uuid uuid;
    char text[UUID_TEXT_BYTES];
    /* A leading '-' would look like an option on a command line; Kafka draws again too. The version bits keep clear
     * of the ids that Kafka reserves, which begin with eight zero bytes. */
    do {
        rng_fill(rng, uuid.bytes, sizeof(uuid.bytes));
        uuid.bytes[6] = (uint8_t)((uuid.bytes[6] & 0x0f) | 0x40);
        uuid.bytes[8] = (uint8_t)((uuid.bytes[8] & 0x3f) | 0x80);
        uuid_format(uuid, text);
    } while (text[0] == '-');
    return uuid;
}

bool uuid_equal(struct uuid a, struct uuid b)
{
    return memcmp(a.bytes, b.bytes, UUID_BYTES) == 0;
}

bool uuid_is_zero(struct uuid uuid)
{
    return uuid_equal(uuid, UUID_ZERO);
}

void uuid_format(struct uuid uuid, char ret_text[UUID_TEXT_BYTES])
{
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t written = 0;
    for (size_t i = 0; i < UUID_BYTES; i++) {
        bits = bits << 8 | uuid.bytes[i];
        bit_count += 8;
        while (bit_count >= 6) {
            bit_count -= 6;
            ret_text[written++] = base64_url[bits >> bit_count & 63];
        }
    }
    ret_text[written++] = base64_url[bits << (6 - bit_count) & 63];
    ret_text[written] = '\0';
}

enum err uuid_parse(struct span text, struct uuid *ret_uuid)
{
    bool is_padded = text.bytes == UUID_PADDED_CHARS && text.data[22] == '=' && text.data[23] == '=';
    if (text.bytes != UUID_TEXT_CHARS && !is_padded) {
        return ERR_INVALID;
    }
    struct uuid uuid;
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t written = 0;
    for (size_t i = 0; i < UUID_TEXT_CHARS; i++) {
        const char *place = text.data[i] == '\0' ? NULL : strchr(base64_url, text.data[i]);
        if (place == NULL) {
            return ERR_INVALID;
        }
        bits = bits << 6 | (uint32_t)(place - base64_url);
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            uuid.bytes[written++] = (uint8_t)(bits >> bit_count);
        }
    }
    *ret_uuid = uuid; /* the last character's four spare bits are ignored, as Kafka's decoder does */
    return ERR_OK;
}
