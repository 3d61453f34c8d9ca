/* A planted data race: ThreadSanitizer must report it (tests/gates/meson.build). */
#include <pthread.h>
#include <stddef.h>

static void *count(void *context)
{
    int *counter = (int *)context;
    for (int round = 0; round < 1000; round++) {
        *counter += 1;
    }
    return NULL;
}

int main(void)
{
    int counter = 0;
    pthread_t thread;
    if (pthread_create(&thread, NULL, count, &counter) != 0) {
        return 0;
    }
    (void)count(&counter);
    pthread_join(thread, NULL);
    return 0;
}
