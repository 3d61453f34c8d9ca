/* Runs a fuzz target once over each file of the given folders, without libFuzzer: what a fuzzer once found stays found,
 * in every build and with every compiler. One TAP line a file; the process aborts where the target does. */
#include "common/mem.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(bool is_good, const char *path)
{
    if (!is_good) {
        perror(path);
        exit(1);
    }
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rbe");
    must(file != NULL, path);
    must(fseek(file, 0, SEEK_END) == 0, path);
    long bytes = ftell(file);
    must(bytes >= 0 && fseek(file, 0, SEEK_SET) == 0, path);
    /* Exactly as large as the input, so that AddressSanitizer sees one byte too many. */
    uint8_t *data = mem_alloc((size_t)bytes);
    must(fread(data, 1, (size_t)bytes, file) == (size_t)bytes, path);
    fclose(file);
    (void)LLVMFuzzerTestOneInput(data, (size_t)bytes);
    mem_free(data);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    int file_count = 0;
    for (int i = 1; i < argc; i++) {
        struct dirent **entries = NULL;
        int count = scandir(argv[i], &entries, is_visible, alphasort);
        must(count >= 0, argv[i]);
        for (int entry = 0; entry < count; entry++) {
            char *path = mem_format("%s/%s", argv[i], entries[entry]->d_name);
            run_file(path);
            printf("ok %d - %s\n", ++file_count, entries[entry]->d_name);
            fflush(stdout);
            mem_free(path);
            free(entries[entry]); /* scandir's */
        }
        free(entries);
    }
    printf("1..%d\n", file_count);
    return file_count == 0 ? 1 : 0;
}
