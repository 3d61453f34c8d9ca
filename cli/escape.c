#include "cli/escape.h"

/* What may follow a first byte of each kind. The second byte's bounds exclude longer forms than needed, surrogates,
 * and what lies above U+10FFFF. */
struct utf8_row {
    uint8_t first_min;
    uint8_t first_max;
    uint8_t second_min;
    uint8_t second_max;
    uint8_t bytes;
};

static const struct utf8_row utf8_rows[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

size_t escape_character_bytes(struct span bytes)
{
    if (bytes.bytes == 0) {
        return 0;
    }
    if (bytes.data[0] < 0x80) {
        return 1;
    }
    for (size_t i = 0; i < ARRAY_COUNT(utf8_rows); i++) {
        const struct utf8_row *row = &utf8_rows[i];
        if (bytes.data[0] < row->first_min || bytes.data[0] > row->first_max) {
            continue;
        }
        if (bytes.bytes < row->bytes || bytes.data[1] < row->second_min || bytes.data[1] > row->second_max) {
            return 0;
        }
        for (size_t pos = 2; pos < row->bytes; pos++) {
            if ((bytes.data[pos] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return row->bytes;
    }
    return 0;
}

/* Most text is ASCII: how far from `pos` on nothing has to be looked at closely. */
static size_t skip_printable(struct span bytes, size_t pos)
{
    while (pos < bytes.bytes && bytes.data[pos] >= 0x20 && bytes.data[pos] < 0x7f) {
        pos++;
    }
    return pos;
}

bool escape_is_utf8(struct span bytes)
{
    for (size_t pos = skip_printable(bytes, 0); pos < bytes.bytes; pos = skip_printable(bytes, pos)) {
        size_t step = escape_character_bytes(span_sub(bytes, pos, bytes.bytes - pos));
        if (step == 0) {
            return false;
        }
        pos += step;
    }
    return true;
}

static bool is_control(struct span character)
{
    uint8_t first = character.data[0];
    bool is_c1 = character.bytes == 2 && first == 0xc2 && character.data[1] < 0xa0; /* U+0080 to U+009F */
    return (first < 0x20 && first != '\t' && first != '\n') || first == 0x7f || is_c1;
}

static enum err append_hex(struct bytebuf *output, struct span bytes)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < bytes.bytes && err == ERR_OK; i++) {
        err = bytebuf_append_format(output, "\\x%02x", bytes.data[i]);
    }
    return err;
}

enum err escape_append(struct bytebuf *output, struct span bytes, bool hides_controls)
{
    size_t plain_pos = 0; /* bytes from here on are as they should be, and not yet appended */
    size_t pos = 0;
    while ((pos = skip_printable(bytes, pos)) < bytes.bytes) {
        size_t step = escape_character_bytes(span_sub(bytes, pos, bytes.bytes - pos));
        struct span character = span_sub(bytes, pos, step == 0 ? 1 : step);
        pos += character.bytes;
        if (step > 0 && !(hides_controls && is_control(character))) {
            continue;
        }
        size_t plain_bytes = pos - character.bytes - plain_pos;
        enum err err = bytebuf_append(output, span_sub(bytes, plain_pos, plain_bytes));
        if (err == ERR_OK) {
            err = append_hex(output, character);
        }
        if (err != ERR_OK) {
            return err;
        }
        plain_pos = pos;
    }
    return bytes.bytes == plain_pos ? ERR_OK
                                    : bytebuf_append(output, span_sub(bytes, plain_pos, bytes.bytes - plain_pos));
}
