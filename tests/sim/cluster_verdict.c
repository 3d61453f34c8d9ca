#include "tests/sim/cluster_verdict.h"

#include <stdarg.h>
#include <stdio.h>

void cluster_verdict_violation(struct cluster_verdict *verdict, const char *format, ...)
{
    if (verdict->violation_count++ == 0) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(verdict->sentence, sizeof(verdict->sentence), format, args);
        va_end(args);
    }
}
