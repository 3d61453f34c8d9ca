#include "controller/decision.h"

#include <stdarg.h>
#include <stdio.h>

#define MESSAGE_BYTES_MAX 1024

bool decision_refuse(struct decision *decision, struct decision_result *result, int16_t code, const char *format, ...)
{
    char text[MESSAGE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    result->code = code;
    result->message = arena_copy(decision->arena, span_text(text));
    return false;
}
