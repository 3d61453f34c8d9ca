/* A planted leak: LeakSanitizer must report it (tests/gates/meson.build). */
#include <stdlib.h>
#include <string.h>

static void leak(void)
{
    char *volatile block = malloc(100);
    if (block != NULL) {
        memset(block, 1, 100);
    }
    block = NULL;
}

int main(void)
{
    leak();
    return 0;
}
