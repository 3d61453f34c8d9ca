#include "tests/fuzz/request_script.h"

#include "common/big_endian.h"
#include "common/check.h"

#define KIND_BITS 3u
#define KIND_MASK 7u
#define LINK_MASK 3u

static bool has_number(enum script_kind kind)
{
    return kind == SCRIPT_FRAME || kind == SCRIPT_BYTES || kind == SCRIPT_PAUSE;
}

bool script_next(struct span *rest, struct script_step *ret_step)
{
    if (rest->bytes == 0) {
        return false;
    }
    *ret_step = (struct script_step){.kind = (enum script_kind)((rest->data[0] & KIND_MASK) % SCRIPT_KIND_COUNT),
                                     .link = (rest->data[0] >> KIND_BITS) & LINK_MASK};
    *rest = span_sub(*rest, 1, rest->bytes - 1);
    if (!has_number(ret_step->kind)) {
        return true;
    }
    if (rest->bytes < 2) {
        return false;
    }
    uint16_t number = be16_get(rest->data);
    *rest = span_sub(*rest, 2, rest->bytes - 2);
    if (ret_step->kind == SCRIPT_PAUSE) {
        ret_step->pause_ms = number;
        return true;
    }
    size_t bytes = number < rest->bytes ? number : rest->bytes;
    ret_step->bytes = span_sub(*rest, 0, bytes);
    *rest = span_sub(*rest, bytes, rest->bytes - bytes);
    return true;
}

void script_put(struct bytebuf *script, const struct script_step *step)
{
    uint8_t head[3] = {(uint8_t)((unsigned)step->kind | step->link << KIND_BITS)};
    size_t bytes = step->bytes.bytes < SCRIPT_BYTES_MAX ? step->bytes.bytes : SCRIPT_BYTES_MAX;
    be16_put(head + 1, step->kind == SCRIPT_PAUSE ? step->pause_ms : (uint16_t)bytes);
    enum err err = bytebuf_append(script, span_make(head, has_number(step->kind) ? 3 : 1));
    CHECK(err == ERR_OK);
    if (bytes > 0) {
        err = bytebuf_append(script, span_sub(step->bytes, 0, bytes));
        CHECK(err == ERR_OK);
    }
}
