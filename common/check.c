#include "common/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *condition, const char *function)
{
    fprintf(stderr, "level=fatal event=check_failed condition=\"%s\" at=%s:%d function=%s\n", condition, file, line,
            function);
    fflush(stderr);
    abort();
}
