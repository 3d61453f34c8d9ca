/* A planted signed overflow: UndefinedBehaviorSanitizer must report it and end the program (tests/gates/meson.build). */
#include <limits.h>

int main(int argument_count, char **arguments)
{
    (void)arguments;
    volatile int sum = INT_MAX;
    sum = sum + argument_count;
    return sum == 0 ? 1 : 0;
}
