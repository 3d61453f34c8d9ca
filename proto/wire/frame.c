#include "proto/wire/frame.h"

#include "common/big_endian.h"

enum err frame_peek(struct span bytes, size_t body_bytes_max, size_t *ret_body_bytes)
{
    if (bytes.bytes < FRAME_SIZE_BYTES) {
        return ERR_INCOMPLETE;
    }
    int32_t body_bytes = (int32_t)be32_get(bytes.data);
    if (body_bytes < FRAME_BODY_BYTES_MIN) {
        return ERR_MALFORMED;
    }
    if ((size_t)body_bytes > body_bytes_max) {
        return ERR_LIMIT;
    }
    *ret_body_bytes = (size_t)body_bytes;
    return ERR_OK;
}

/* A TLS client begins with a handshake record: type 22, version 3.0 to 3.4. Read as a size, that is more than any limit
 * here, as are the four letters of an HTTP method. */
enum frame_guess frame_guess(struct span bytes)
{
    static const char methods[][FRAME_SIZE_BYTES + 1] = {"GET ", "POST", "HEAD", "PUT ", "DELE",
                                                         "OPTI", "PATC", "CONN", "PRI "};
    if (bytes.bytes < FRAME_SIZE_BYTES) {
        return FRAME_GUESS_UNKNOWN;
    }
    if (bytes.data[0] == 0x16 && bytes.data[1] == 3 && bytes.data[2] <= 4) {
        return FRAME_GUESS_TLS;
    }
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
        if (memcmp(bytes.data, methods[i], FRAME_SIZE_BYTES) == 0) {
            return FRAME_GUESS_HTTP;
        }
    }
    return FRAME_GUESS_UNKNOWN;
}

size_t frame_begin(struct writer *writer)
{
    CHECK(writer->cuts_count == 0);
    size_t begin_pos = writer_pos(writer);
    writer_int32(writer, 0);
    return begin_pos;
}

enum err frame_end(struct writer *writer, size_t begin_pos)
{
    if (writer->err != ERR_OK) {
        return writer->err;
    }
    size_t buffered_bytes = writer_pos(writer) - begin_pos - FRAME_SIZE_BYTES;
    if (buffered_bytes > INT32_MAX - writer->external_bytes) {
        writer_fail(writer, ERR_LIMIT);
        return writer->err;
    }
    writer_patch_int32(writer, begin_pos, (int32_t)(buffered_bytes + writer->external_bytes));
    return writer->err;
}
