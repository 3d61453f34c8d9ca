/* Messages that Kafka and real clients wrote (tests/golden/kmsg/README.md): each must decode, mean what Kafka says that it
 * means, and encode to the same bytes. MOLDAU_GOLDEN_KMSG names the folder. */
#include "common/mem.h"
#include "proto/api/api_table.h"
#include "proto/wire/header.h"

#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MESSAGE_BYTES_MAX (1u << 20)

struct golden {
    const char *place;
    const struct codec_message *message;
    bool is_request;
    int16_t version;
    struct span frame;
    const char *json; /* NULL: not known */
};

static int hex_digit(char digit)
{
    return digit >= 'a' ? digit - 'a' + 10 : digit - '0';
}

static const struct codec_message *find_message(const char *name, bool *ret_is_request)
{
    for (size_t i = 0; i < api_table_count(); i++) {
        const struct api_row *row = api_table_at(i);
        *ret_is_request = strcmp(row->request->name, name) == 0;
        if (*ret_is_request) {
            return row->request;
        }
        if (strcmp(row->response->name, name) == 0) {
            return row->response;
        }
    }
    return NULL;
}

static void decode_header(const struct golden *golden, struct reader *reader, struct writer *writer)
{
    if (golden->is_request) {
        struct request_header header = {.api_key = 0};
        assert_int_equal(header_request_decode(reader, &header), ERR_OK);
        assert_int_equal(header.api_key, golden->message->api_key);
        assert_int_equal(header.api_version, golden->version);
        header_request_encode(writer, &header);
    } else {
        int32_t correlation_id = 0;
        int16_t api_key = golden->message->api_key;
        assert_int_equal(header_response_decode(reader, api_key, golden->version, &correlation_id), ERR_OK);
        header_response_encode(writer, api_key, golden->version, correlation_id);
    }
}

static void assert_json_is_kafkas(const struct golden *golden, const void *body)
{
    struct bytebuf text;
    json_error_t error;
    bytebuf_init(&text, MESSAGE_BYTES_MAX);
    assert_int_equal(codec_print_json(golden->message, golden->version, body, &text), ERR_OK);
    json_t *ours = json_loadb((const char *)text.data, text.bytes, 0, &error);
    json_t *theirs = json_loads(golden->json, 0, &error);
    if (ours == NULL || theirs == NULL || !json_equal(ours, theirs)) {
        fail_msg("%s: %s version %d\nours:   %.*s\nKafkas: %s", golden->place, golden->message->name, golden->version,
                 (int)text.bytes, (const char *)text.data, golden->json);
    }
    json_decref(ours);
    json_decref(theirs);
    bytebuf_done(&text);
}

static void assert_golden(const struct golden *golden)
{
    struct arena arena;
    struct reader reader;
    struct bytebuf encoded;
    struct writer writer;
    void *body = mem_zalloc(golden->message->body->struct_bytes);
    arena_init(&arena, 0);
    reader_init(&reader, golden->frame);
    bytebuf_init(&encoded, MESSAGE_BYTES_MAX);
    writer_init(&writer, &encoded);
    decode_header(golden, &reader, &writer);
    enum err err = codec_decode(golden->message, golden->version, &reader, &arena, body);
    if (err != ERR_OK) {
        fail_msg("%s: %s version %d: %s at byte %zu of %zu", golden->place, golden->message->name, golden->version,
                 err_name(err), reader.error_pos, golden->frame.bytes);
    }
    if (golden->json != NULL) {
        assert_json_is_kafkas(golden, body);
    }
    assert_int_equal(codec_encode(golden->message, golden->version, body, &writer), ERR_OK);
    if (!span_equal(bytebuf_span(&encoded), golden->frame)) {
        fail_msg("%s: %s version %d encodes to other bytes", golden->place, golden->message->name, golden->version);
    }
    writer_done(&writer);
    bytebuf_done(&encoded);
    arena_done(&arena);
    mem_free(body);
}

/* "NAME VERSION HEX [JSON]". Returns whether the message is one of ours: Kafka's internal APIs are not. */
static bool check_line(const char *place, char *line)
{
    char *rest = NULL;
    struct golden golden = {.place = place};
    const char *name = strtok_r(line, " ", &rest);
    const char *version = strtok_r(NULL, " ", &rest);
    const char *hex = strtok_r(NULL, " \n", &rest);
    if (name == NULL || version == NULL || hex == NULL) {
        fail_msg("%s: a line is not NAME VERSION HEX [JSON]", place);
        return false;
    }
    golden.version = (int16_t)atoi(version);
    golden.message = find_message(name, &golden.is_request);
    golden.json = *rest == '{' ? rest : NULL;
    if (golden.message == NULL) {
        return false;
    }
    size_t frame_bytes = strlen(hex) / 2;
    uint8_t *frame = mem_alloc(frame_bytes);
    for (size_t i = 0; i < frame_bytes; i++) {
        frame[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    }
    golden.frame = span_make(frame, frame_bytes);
    assert_golden(&golden);
    mem_free(frame);
    return true;
}

static size_t check_file(const char *path)
{
    size_t checked_count = 0;
    char *line = NULL;
    size_t capacity_bytes = 0;
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (getline(&line, &capacity_bytes, file) > 0) {
        checked_count += line[0] != '#' && check_line(path, line) ? 1 : 0;
    }
    free(line); /* getline's */
    assert_int_equal(fclose(file), 0);
    return checked_count;
}

static void every_golden_message_survives_decode_and_encode(void **state)
{
    (void)state;
    size_t checked_count = 0;
    const char *folder = getenv("MOLDAU_GOLDEN_KMSG");
    if (folder == NULL) {
        fail_msg("MOLDAU_GOLDEN_KMSG is not set");
        return;
    }
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const char *suffix = strrchr(entry->d_name, '.');
        if (suffix != NULL && strcmp(suffix, ".txt") == 0) {
            char *path = mem_format("%s/%s", folder, entry->d_name);
            checked_count += check_file(path);
            mem_free(path);
        }
    }
    assert_int_equal(closedir(dir), 0);
    printf("# %zu messages\n", checked_count);
    assert_true(checked_count >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_message_survives_decode_and_encode),
    };
    return cmocka_run_group_tests_name("golden_kmsg", tests, NULL, NULL);
}
