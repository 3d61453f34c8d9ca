/* A planted write past the end of a heap block: AddressSanitizer must report it (tests/gates/meson.build). */
#include <stdlib.h>

int main(int argument_count, char **arguments)
{
    (void)arguments;
    volatile size_t bytes = 16;
    /* volatile twice: the compiler must neither know the size and judge by itself, nor drop the write. */
    volatile char *volatile block = malloc(bytes);
    if (block == NULL) {
        return 0;
    }
    block[bytes + (size_t)argument_count] = 1;
    free((void *)block);
    return 0;
}
