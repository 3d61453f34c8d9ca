#include "common/err.h"

#include "common/check.h"

#include <errno.h>

const char *err_text(enum err err)
{
    static const char *const texts[] = {
#define X(name, text) text,
        ERR_TABLE(X)
#undef X
    };
    CHECK((unsigned)err < ERR_COUNT);
    return texts[err];
}

const char *err_name(enum err err)
{
    static const char *const names[] = {
#define X(name, text) #name,
        ERR_TABLE(X)
#undef X
    };
    CHECK((unsigned)err < ERR_COUNT);
    return names[err];
}

enum err err_from_errno(int error_number)
{
    switch (error_number) {
    case 0:
        return ERR_OK;
    case EAGAIN:
        return ERR_WOULD_BLOCK;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return ERR_EXISTS;
    case EBUSY:
        return ERR_BUSY;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case EMFILE:
    case ENFILE:
        return ERR_TOO_MANY_FILES;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_PERMISSION;
    case ENOTDIR:
        return ERR_NOT_DIRECTORY;
    case EADDRINUSE:
        return ERR_ADDRESS_IN_USE;
    case EADDRNOTAVAIL:
        return ERR_ADDRESS_UNKNOWN;
    case ECONNREFUSED:
        return ERR_REFUSED;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
        return ERR_RESET;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
        return ERR_UNREACHABLE;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EINVAL:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}
