/* A planted write past the end of a heap block: AddressSanitizer must report it (tests/gates/meson.build). */
#include <stdlib.h>

int main(int argument_count, char **arguments)
{
    (void)arguments;
    volatile size_t bytes = 16;
    char *volatile block = malloc(bytes); /* volatile: the compiler must not know its size and judge by itself */
    if (block == NULL) {
        return 0;
    }
    block[bytes + (size_t)argument_count] = 1;
    free(block);
    return 0;
}
