/* node_corpus: writes the first corpus of fuzz_node: for each API that is served, at its oldest and its newest version, a script with three
 * requests of words that mean something to the node, drawn from fixed seeds.
 *
 *     node_corpus FOLDER
 */
#include "broker/api/dispatch.h"
#include "broker/api/handlers.h"
#include "common/mem.h"
#include "proto/wire/header.h"
#include "tests/fuzz/request_script.h"
#include "tests/fuzz/request_words.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUESTS_OF_A_SCRIPT 3
#define CORPUS_BYTES_MAX (1u << 20)

static void add_frame(struct prop *prop, const struct api_row *row, int16_t version, struct bytebuf *script)
{
    struct arena arena;
    struct bytebuf frame;
    struct writer writer;
    struct request_header header = {.api_key = row->key, .api_version = version, .client_id = span_text("fuzz")};
    arena_init(&arena, 0);
    bytebuf_init(&frame, CORPUS_BYTES_MAX);
    writer_init(&writer, &frame);
    header_request_encode(&writer, &header);
    void *body = arena_alloc(&arena, row->request->body->struct_bytes);
    CHECK(body != NULL);
    request_words_fill(prop, row->request, version, &arena, body);
    enum err err = codec_encode(row->request, version, body, &writer);
    CHECK(err == ERR_OK);
    struct script_step step = {.kind = SCRIPT_FRAME, .bytes = bytebuf_span(&frame)};
    script_put(script, &step);
    script_put(script, &(struct script_step){.kind = SCRIPT_WAIT});
    writer_done(&writer);
    bytebuf_done(&frame);
    arena_done(&arena);
}

static void write_script(const char *folder, const struct api_row *row, int16_t version)
{
    struct prop prop;
    struct bytebuf script;
    uint8_t seed = (uint8_t)(row->key + version);
    prop_init_seed(&prop, (uint64_t)row->key * 100 + (uint64_t)version);
    bytebuf_init(&script, CORPUS_BYTES_MAX);
    enum err err = bytebuf_append(&script, span_make(&seed, 1));
    CHECK(err == ERR_OK);
    for (int i = 0; i < REQUESTS_OF_A_SCRIPT; i++) {
        add_frame(&prop, row, version, &script);
    }
    char *path = mem_format("%s/%s-v%d", folder, row->name, version);
    FILE *file = fopen(path, "wbe");
    if (file == NULL || fwrite(script.data, 1, script.bytes, file) != script.bytes || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    mem_free(path);
    bytebuf_done(&script);
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 2) {
        fprintf(stderr, "usage: node_corpus FOLDER\n");
        return 2;
    }
    for (size_t i = 0; i < api_table_count(); i++) {
        const struct api_row *row = api_table_at(i);
        if (dispatch_is_served(handlers_table(), row)) {
            write_script(arguments[1], row, row->versions.first);
            write_script(arguments[1], row, row->versions.last);
        }
    }
    return 0;
}
