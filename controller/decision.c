#include "controller/decision.h"

#include <stdarg.h>
#include <stdio.h>

#define MESSAGE_BYTES_MAX 1024
/* Sentences for hundreds of thousands of items must not take the memory that records need. */
#define ARENA_BYTES_MAX_FOR_MESSAGES (64u << 20)

bool decision_refuse(struct decision *decision, struct decision_result *result, int16_t code, const char *format, ...)
{
    char text[MESSAGE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    result->code = code;
    result->message = decision->arena->used_bytes > ARENA_BYTES_MAX_FOR_MESSAGES
                          ? SPAN_NULL
                          : arena_copy(decision->arena, span_text(text));
    return false;
}
