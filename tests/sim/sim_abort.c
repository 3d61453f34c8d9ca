#include "tests/sim/sim_abort.h"

#include "common/check.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the innermost code of a node can be left. A variable of the process: common/check.h has no context. */
struct abort_point {
    jmp_buf place;
    struct sim_abort *ret_abort;
    struct abort_point *outer;
};

static struct abort_point *abort_point_now;

bool sim_abort_catch(struct sim_abort *ret_abort, void (*code)(void *ctx), void *ctx)
{
    struct abort_point point = {.ret_abort = ret_abort, .outer = abort_point_now};
    if (setjmp(point.place) != 0) {
        abort_point_now = point.outer;
        return false;
    }
    abort_point_now = &point;
    code(ctx);
    abort_point_now = point.outer;
    return true;
}

/* The part of the path that people know. */
static const char *short_path(const char *file)
{
    while (strncmp(file, "../", 3) == 0) {
        file += 3;
    }
    return file;
}

_Noreturn void check_failed(const char *file, int line, const char *condition, const char *function)
{
    if (abort_point_now == NULL) {
        fprintf(stderr, "CHECK failed at %s:%d in %s: %s\n", short_path(file), line, function, condition);
        abort();
    }
    struct abort_point *point = abort_point_now;
    (void)snprintf(point->ret_abort->sentence, sizeof(point->ret_abort->sentence), "%s:%d %s: %s", short_path(file),
                   line, function, condition);
    longjmp(point->place, 1);
}
