#include "proto/wire/error_code.h"

#include "common/check.h"

struct error_code_row {
    int16_t number;
    bool retriable;
    const char *name;
    const char *text;
};

static const struct error_code_row error_code_rows[] = {
#define X(number, name, retriable, text) {(number), (retriable), #name, (text)},
    ERROR_CODE_TABLE(X)
#undef X
};

/* The numbers run without a gap from the first row's (a test holds the table to it). */
static const struct error_code_row *error_code_find(int16_t code)
{
    int index = code - error_code_rows[0].number;
    if (index < 0 || (size_t)index >= ARRAY_COUNT(error_code_rows)) {
        return NULL;
    }
    return &error_code_rows[index];
}

const char *error_code_name(int16_t code)
{
    const struct error_code_row *row = error_code_find(code);
    return row == NULL ? "UNKNOWN_CODE" : row->name;
}

const char *error_code_text(int16_t code)
{
    const struct error_code_row *row = error_code_find(code);
    return row == NULL ? "an error code that this program does not know" : row->text;
}

bool error_code_is_retriable(int16_t code)
{
    const struct error_code_row *row = error_code_find(code);
    return row != NULL && row->retriable;
}

enum error_code error_code_from_err(enum err err)
{
    switch (err) {
    case ERR_OK:
        return ERROR_NONE;
    case ERR_CORRUPT:
        return ERROR_CORRUPT_MESSAGE;
    case ERR_MALFORMED:
    case ERR_INVALID:
        return ERROR_INVALID_REQUEST;
    case ERR_UNSUPPORTED:
        return ERROR_UNSUPPORTED_VERSION;
    case ERR_NOT_FOUND:
        return ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    case ERR_OUT_OF_RANGE:
        return ERROR_OFFSET_OUT_OF_RANGE;
    case ERR_NOT_LEADER:
        return ERROR_NOT_LEADER_OR_FOLLOWER;
    case ERR_TIMEOUT:
        return ERROR_REQUEST_TIMED_OUT;
    case ERR_IO:
    case ERR_NO_SPACE:
    case ERR_TOO_MANY_FILES:
    case ERR_PERMISSION:
    case ERR_NOT_DIRECTORY:
        return ERROR_KAFKA_STORAGE_ERROR;
    case ERR_CLOSED:
    case ERR_CANCELLED:
        return ERROR_BROKER_NOT_AVAILABLE;
    case ERR_WOULD_BLOCK:
    case ERR_END:
    case ERR_INCOMPLETE:
    case ERR_LIMIT:
    case ERR_EXISTS:
    case ERR_STALE:
    case ERR_BUSY:
    case ERR_ADDRESS_IN_USE:
    case ERR_ADDRESS_UNKNOWN:
    case ERR_REFUSED:
    case ERR_RESET:
    case ERR_UNREACHABLE:
        return ERROR_UNKNOWN_SERVER_ERROR;
    case ERR_COUNT:
        break;
    }
    UNREACHABLE();
}
