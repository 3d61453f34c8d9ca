/* node_corpus: writes the first corpus of fuzz_node: for each API that is served, at its oldest and its newest version, a script with three
 * requests of words that mean something to the node, drawn from fixed seeds; and scenes of several requests that make sense only
 * together, which no drawing comes upon: fetch sessions that go on and forget, fetches whose client leaves or whose node restarts.
 *
 *     node_corpus FOLDER
 */
#include "broker/api/dispatch.h"
#include "broker/api/handlers.h"
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/kmsg/fetch.h"
#include "proto/wire/header.h"
#include "tests/fuzz/request_script.h"
#include "tests/fuzz/request_words.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUESTS_OF_A_SCRIPT 3
#define CORPUS_BYTES_MAX (1u << 20)
#define FETCH_VERSION_NAMES 12 /* the last without topic ids */

static void add_step(struct bytebuf *script, enum script_kind kind)
{
    script_put(script, &(struct script_step){.kind = kind});
}

static void add_frame(const struct api_row *row, int16_t version, const void *body, struct bytebuf *script)
{
    struct bytebuf frame;
    struct writer writer;
    struct request_header header = {.api_key = row->key, .api_version = version, .client_id = span_text("fuzz")};
    bytebuf_init(&frame, CORPUS_BYTES_MAX);
    writer_init(&writer, &frame);
    header_request_encode(&writer, &header);
    enum err err = codec_encode(row->request, version, body, &writer);
    CHECK(err == ERR_OK);
    struct script_step step = {.kind = SCRIPT_FRAME, .bytes = bytebuf_span(&frame)};
    script_put(script, &step);
    writer_done(&writer);
    bytebuf_done(&frame);
}

static void script_begin(struct bytebuf *script, uint8_t seed)
{
    bytebuf_init(script, CORPUS_BYTES_MAX);
    enum err err = bytebuf_append(script, span_make(&seed, 1));
    CHECK(err == ERR_OK);
}

/* Frees both. */
static void write_script(char *path, struct bytebuf *script)
{
    FILE *file = fopen(path, "wbe");
    if (file == NULL || fwrite(script->data, 1, script->bytes, file) != script->bytes || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    mem_free(path);
    bytebuf_done(script);
}

static void write_drawn(const char *folder, const struct api_row *row, int16_t version)
{
    struct prop prop;
    struct bytebuf script;
    prop_init_seed(&prop, (uint64_t)row->key * 100 + (uint64_t)version);
    script_begin(&script, (uint8_t)(row->key + version));
    for (int i = 0; i < REQUESTS_OF_A_SCRIPT; i++) {
        struct arena arena;
        arena_init(&arena, 0);
        void *body = arena_alloc(&arena, row->request->body->struct_bytes);
        CHECK(body != NULL);
        request_words_fill(&prop, row->request, version, &arena, body);
        add_frame(row, version, body, &script);
        add_step(&script, SCRIPT_WAIT);
        arena_done(&arena);
    }
    write_script(mem_format("%s/%s-v%d", folder, row->name, version), &script);
}

/* ---- scenes ---- */

struct scene_fetch {
    int32_t session_epoch; /* 0: a new session; else the session that was given last; -1: none */
    int32_t asked_count;   /* partitions 0 to asked_count - 1 */
    int32_t forgotten;     /* -1: none */
    int32_t wait_ms;       /* with more bytes than there are */
};

static void add_fetch(const struct scene_fetch *scene, int16_t version, struct bytebuf *script)
{
    struct fetch_request_partition partitions[WORDS_TOPIC_PARTITIONS];
    struct fetch_request_topic topic;
    struct fetch_request_forgotten_topic forgotten;
    struct fetch_request request;
    int32_t forgotten_index = scene->forgotten;
    codec_struct_set_defaults(&fetch_request_topic_layout, &topic);
    codec_struct_set_defaults(&fetch_request_forgotten_topic_layout, &forgotten);
    codec_set_defaults(&fetch_request_codec, &request);
    for (int32_t i = 0; i < scene->asked_count; i++) {
        codec_struct_set_defaults(&fetch_request_partition_layout, &partitions[i]);
        partitions[i].partition = i;
        partitions[i].partition_max_bytes = 1 << 20;
    }
    topic.topic = span_text(WORDS_TOPIC);
    topic.topic_id = request_words_id(WORDS_ID_TOPIC);
    topic.partitions = partitions;
    topic.partitions_count = (size_t)scene->asked_count;
    forgotten.topic = topic.topic;
    forgotten.topic_id = topic.topic_id;
    forgotten.partitions = &forgotten_index;
    forgotten.partitions_count = 1;
    request.session_id = scene->session_epoch > 0 ? WORDS_FETCH_SESSION : 0;
    request.session_epoch = scene->session_epoch;
    request.max_wait_ms = scene->wait_ms;
    request.min_bytes = scene->wait_ms > 0 ? 1 << 20 : 0;
    request.topics = &topic;
    request.topics_count = scene->asked_count > 0 ? 1 : 0;
    request.forgotten_topics_data = &forgotten;
    request.forgotten_topics_data_count = scene->forgotten >= 0 ? 1 : 0;
    add_frame(api_table_find(API_KEY_FETCH), version, &request, script);
}

static void write_scene(const char *folder, const char *name, int16_t version, const struct scene_fetch *fetches,
                        size_t count, enum script_kind between)
{
    struct bytebuf script;
    script_begin(&script, (uint8_t)version);
    for (size_t i = 0; i < count; i++) {
        add_fetch(&fetches[i], version, &script);
        add_step(&script, between);
    }
    write_script(mem_format("%s/%s-v%d", folder, name, version), &script);
}

static void write_scenes(const char *folder, int16_t version)
{
    static const struct scene_fetch session[] = {{0, 3, -1, 0}, {1, 0, 1, 0},  {2, 0, -1, 0},
                                                 {3, 3, 0, 0},  {4, 1, 2, 10}, {5, 0, -1, 10}};
    static const struct scene_fetch held[] = {{-1, 3, -1, 30000}, {-1, 1, -1, 5000}, {-1, 1, -1, 0}};
    write_scene(folder, "fetch_session_goes_on", version, session, ARRAY_COUNT(session), SCRIPT_WAIT);
    write_scene(folder, "fetch_session_of_a_node_that_restarts", version, session, 2, SCRIPT_RESTART);
    write_scene(folder, "client_leaves_while_its_fetch_is_held", version, held, ARRAY_COUNT(held), SCRIPT_CLOSE);
    write_scene(folder, "fetch_is_held_to_its_end", version, held, ARRAY_COUNT(held), SCRIPT_WAIT);
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
            write_drawn(arguments[1], row, row->versions.first);
            write_drawn(arguments[1], row, row->versions.last);
        }
    }
    write_scenes(arguments[1], FETCH_VERSION_NAMES);
    write_scenes(arguments[1], api_table_find(API_KEY_FETCH)->versions.last);
    return 0;
}
