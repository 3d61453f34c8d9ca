/* Bytes, big-endian. The first eight never change with the version, so that nodes of different versions can tell each other.
 *
 *     0  u32 magic: "MLDH" a hello, "MLDA" an answer
 *     4  u16 version
 *     6  u16 bytes of the whole message
 *     8  u32 CRC-32C of bytes [0, 8) and [12, end)
 *    12  u16 kind
 *    14  u16 zero
 *    16  i32 node id
 *    20  u32 workers
 *    24  u32 lane
 *    28  i64 broker epoch
 *    36  16 bytes directory id
 *    52  16 bytes incarnation id
 *    68  u16 length, cluster id
 *     .  u16 length, authentication
 *     .  u16 length, refusal (an answer only)
 *
 * Nothing may follow: a later version that says more raises the version. Texts hold no zero byte, so that what is decoded is
 * what was encoded.
 */
#include "common/rpc/rpc_hello.h"

#include "common/big_endian.h"
#include "common/crc32c.h"

#define HELLO_MAGIC 0x4d4c4448u
#define ANSWER_MAGIC 0x4d4c4441u
#define CRC_POS 8
#define BODY_POS 12
#define FIXED_BYTES 68

static uint32_t message_crc(struct span message)
{
    return crc32c(crc32c(0, span_sub(message, 0, CRC_POS)), span_sub(message, BODY_POS, message.bytes - BODY_POS));
}

static void put_fixed(const struct rpc_hello *hello, uint32_t magic, uint8_t ret_fixed[FIXED_BYTES])
{
    memset(ret_fixed, 0, FIXED_BYTES);
    be32_put(ret_fixed, magic);
    be16_put(ret_fixed + 4, RPC_VERSION);
    be16_put(ret_fixed + 12, (uint16_t)hello->kind);
    be32_put(ret_fixed + 16, (uint32_t)hello->node_id);
    be32_put(ret_fixed + 20, hello->worker_count);
    be32_put(ret_fixed + 24, hello->lane);
    be64_put(ret_fixed + 28, (uint64_t)hello->broker_epoch);
    memcpy(ret_fixed + 36, hello->directory_id.bytes, UUID_BYTES);
    memcpy(ret_fixed + 52, hello->incarnation_id.bytes, UUID_BYTES);
}

static void append_field(struct bytebuf *bytes, struct span field, enum err *err)
{
    uint8_t length[2];
    if (*err == ERR_OK && field.bytes > RPC_HELLO_BYTES_MAX) {
        *err = ERR_LIMIT;
    }
    if (*err == ERR_OK) {
        be16_put(length, (uint16_t)field.bytes);
        *err = bytebuf_append(bytes, span_make(length, sizeof(length)));
    }
    if (*err == ERR_OK) {
        *err = bytebuf_append(bytes, field);
    }
}

static struct span text_field(const char *text, size_t text_bytes_max)
{
    return span_make(text, strnlen(text, text_bytes_max - 1));
}

/* Appends to `bytes`; on failure it is as before. */
static enum err encode(const struct rpc_hello *hello, const char *refusal, struct bytebuf *bytes)
{
    uint8_t fixed[FIXED_BYTES];
    size_t start = bytes->bytes;
    CHECK(hello->kind >= RPC_KIND_PROBE && (int)hello->kind <= RPC_KIND_MAX);
    put_fixed(hello, refusal == NULL ? HELLO_MAGIC : ANSWER_MAGIC, fixed);
    enum err err = bytebuf_append(bytes, span_make(fixed, sizeof(fixed)));
    append_field(bytes, text_field(hello->cluster_id, sizeof(hello->cluster_id)), &err);
    append_field(bytes, hello->authentication, &err);
    if (refusal != NULL) {
        append_field(bytes, text_field(refusal, RPC_REFUSAL_BYTES), &err);
    }
    if (err == ERR_OK && bytes->bytes - start > RPC_HELLO_BYTES_MAX) {
        err = ERR_LIMIT;
    }
    if (err != ERR_OK) {
        bytes->bytes = start;
        return err;
    }
    uint8_t *message = bytes->data + start;
    be16_put(message + 6, (uint16_t)(bytes->bytes - start));
    be32_put(message + CRC_POS, message_crc(span_make(message, bytes->bytes - start)));
    return ERR_OK;
}

enum err rpc_hello_encode(const struct rpc_hello *hello, struct bytebuf *bytes)
{
    return encode(hello, NULL, bytes);
}

enum err rpc_answer_encode(const struct rpc_answer *answer, struct bytebuf *bytes)
{
    return encode(&answer->hello, answer->refusal, bytes);
}

enum err rpc_hello_peek(struct span bytes, size_t *ret_message_bytes)
{
    if (bytes.bytes >= 4 && be32_get(bytes.data) != HELLO_MAGIC && be32_get(bytes.data) != ANSWER_MAGIC) {
        return ERR_MALFORMED;
    }
    if (bytes.bytes < RPC_HELLO_PREFIX_BYTES) {
        return ERR_INCOMPLETE;
    }
    size_t message_bytes = be16_get(bytes.data + 6);
    if (message_bytes < RPC_HELLO_PREFIX_BYTES || message_bytes > RPC_HELLO_BYTES_MAX) {
        return ERR_MALFORMED;
    }
    *ret_message_bytes = message_bytes;
    return ERR_OK;
}

/* Takes a field with its length from the front; false when it is not there. */
static bool take_field(struct span *rest, struct span *ret_field)
{
    if (rest->bytes < 2) {
        return false;
    }
    size_t field_bytes = be16_get(rest->data);
    *rest = span_sub(*rest, 2, rest->bytes - 2);
    if (field_bytes > rest->bytes) {
        return false;
    }
    *ret_field = span_sub(*rest, 0, field_bytes);
    *rest = span_sub(*rest, field_bytes, rest->bytes - field_bytes);
    return true;
}

static bool take_text(struct span *rest, char *ret_text, size_t text_bytes_max)
{
    struct span field;
    if (!take_field(rest, &field) || field.bytes >= text_bytes_max ||
        (field.bytes > 0 && memchr(field.data, 0, field.bytes) != NULL)) {
        return false;
    }
    memset(ret_text, 0, text_bytes_max);
    memcpy(ret_text, field.data, field.bytes);
    return true;
}

static void get_fixed(const uint8_t *fixed, struct rpc_hello *ret_hello)
{
    ret_hello->kind = (enum rpc_kind)be16_get(fixed + 12);
    ret_hello->node_id = (int32_t)be32_get(fixed + 16);
    ret_hello->worker_count = be32_get(fixed + 20);
    ret_hello->lane = be32_get(fixed + 24);
    ret_hello->broker_epoch = (int64_t)be64_get(fixed + 28);
    memcpy(ret_hello->directory_id.bytes, fixed + 36, UUID_BYTES);
    memcpy(ret_hello->incarnation_id.bytes, fixed + 52, UUID_BYTES);
}

static enum err decode(struct span bytes, uint32_t magic, struct rpc_answer *ret_answer)
{
    size_t message_bytes = 0;
    struct rpc_answer answer = {.refusal = ""};
    if (rpc_hello_peek(bytes, &message_bytes) != ERR_OK || message_bytes != bytes.bytes ||
        be32_get(bytes.data) != magic) {
        return ERR_MALFORMED;
    }
    if (be16_get(bytes.data + 4) != RPC_VERSION) {
        return ERR_UNSUPPORTED;
    }
    if (bytes.bytes < FIXED_BYTES || be32_get(bytes.data + CRC_POS) != message_crc(bytes)) {
        return ERR_MALFORMED;
    }
    uint16_t kind = be16_get(bytes.data + 12);
    if (kind < RPC_KIND_PROBE || kind > RPC_KIND_MAX || be16_get(bytes.data + 14) != 0) {
        return ERR_MALFORMED;
    }
    get_fixed(bytes.data, &answer.hello);
    struct span rest = span_sub(bytes, FIXED_BYTES, bytes.bytes - FIXED_BYTES);
    if (!take_text(&rest, answer.hello.cluster_id, sizeof(answer.hello.cluster_id)) ||
        !take_field(&rest, &answer.hello.authentication) ||
        (magic == ANSWER_MAGIC && !take_text(&rest, answer.refusal, sizeof(answer.refusal))) || rest.bytes != 0) {
        return ERR_MALFORMED;
    }
    *ret_answer = answer;
    return ERR_OK;
}

enum err rpc_hello_decode(struct span bytes, struct rpc_hello *ret_hello)
{
    struct rpc_answer answer;
    enum err err = decode(bytes, HELLO_MAGIC, &answer);
    if (err == ERR_OK) {
        *ret_hello = answer.hello;
    }
    return err;
}

enum err rpc_answer_decode(struct span bytes, struct rpc_answer *ret_answer)
{
    return decode(bytes, ANSWER_MAGIC, ret_answer);
}
