/* The mutations of fuzz_node: the input stays a script (request_script.h). One of its frames is decoded and a field of it bent, often to
 * a word that means something to the node; or a frame is drawn, doubled, moved, removed, cut, sent over another connection, or a
 * pause, an end of a connection or a restart comes between. The rest is left to libFuzzer. Linked only with the fuzzer. */
#include "broker/api/dispatch.h"
#include "broker/api/handlers.h"
#include "common/mem.h"
#include "proto/record/batch.h"
#include "proto/wire/codec_table.h"
#include "proto/wire/header.h"
#include "tests/fuzz/message_bend.h"
#include "tests/fuzz/request_script.h"
#include "tests/fuzz/request_words.h"

#define STEPS_MAX 64u
#define MUTATOR_BYTES_MAX (1u << 20)
#define FRAME_SIZE_ROOM 4u

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data, size_t bytes, const uint8_t *other, size_t other_bytes,
                                 uint8_t *ret_data, size_t bytes_max, unsigned seed);

struct mutation {
    struct prop prop;
    struct arena arena;
    uint8_t seed_byte;
    struct script_step steps[STEPS_MAX];
    size_t step_count;
};

/* ---- scripts ---- */

static void read_script(struct mutation *mutation, struct span input)
{
    mutation->seed_byte = input.bytes > 0 ? input.data[0] : 0;
    struct span rest = input.bytes > 0 ? span_sub(input, 1, input.bytes - 1) : input;
    while (mutation->step_count < STEPS_MAX && script_next(&rest, &mutation->steps[mutation->step_count])) {
        mutation->step_count++;
    }
}

/* Bytes of the script in `data`; 0 when it is too long. */
static size_t write_script(const struct mutation *mutation, uint8_t *data, size_t bytes_max)
{
    struct bytebuf output;
    size_t bytes = 0;
    bytebuf_init(&output, MUTATOR_BYTES_MAX);
    enum err err = bytebuf_append(&output, span_make(&mutation->seed_byte, 1));
    CHECK(err == ERR_OK);
    for (size_t i = 0; i < mutation->step_count && output.bytes <= bytes_max; i++) {
        script_put(&output, &mutation->steps[i]);
    }
    if (output.bytes <= bytes_max) {
        memcpy(data, output.data, output.bytes);
        bytes = output.bytes;
    }
    bytebuf_done(&output);
    return bytes;
}

static size_t draw_place(struct mutation *mutation)
{
    return prop_below(&mutation->prop, mutation->step_count);
}

static void insert(struct mutation *mutation, const struct script_step *step)
{
    if (mutation->step_count == STEPS_MAX) {
        return;
    }
    struct script_step copy = *step; /* it may lie among those that move */
    size_t place = prop_below(&mutation->prop, mutation->step_count + 1);
    memmove(&mutation->steps[place + 1], &mutation->steps[place],
            (mutation->step_count - place) * sizeof(mutation->steps[0]));
    mutation->steps[place] = copy;
    mutation->step_count++;
}

static void remove_at(struct mutation *mutation, size_t place)
{
    mutation->step_count--;
    memmove(&mutation->steps[place], &mutation->steps[place + 1],
            (mutation->step_count - place) * sizeof(mutation->steps[0]));
}

/* ---- frames ---- */

struct message {
    const struct api_row *row;
    struct request_header header;
    void *body;
};

static struct span encode(struct mutation *mutation, const struct message *message)
{
    struct bytebuf output;
    struct writer writer;
    struct span frame = SPAN_NULL;
    bytebuf_init(&output, SCRIPT_BYTES_MAX);
    writer_init(&writer, &output);
    header_request_encode(&writer, &message->header);
    /* Null where there is no null, or a field that the other version lacks: not encoded. */
    if (codec_encode(message->row->request, message->header.api_version, message->body, &writer) == ERR_OK) {
        frame = arena_copy(&mutation->arena, bytebuf_span(&output));
    }
    writer_done(&writer);
    bytebuf_done(&output);
    return frame;
}

static bool decode(struct mutation *mutation, struct span frame, struct message *ret_message)
{
    struct reader reader;
    reader_init(&reader, frame);
    *ret_message = (struct message){0};
    enum err err = header_request_decode(&reader, &ret_message->header);
    ret_message->row = api_table_find(ret_message->header.api_key);
    if (err != ERR_OK || ret_message->row == NULL) {
        return false;
    }
    const struct codec_message *codec = ret_message->row->request;
    ret_message->body = arena_alloc(&mutation->arena, codec->body->struct_bytes);
    CHECK(ret_message->body != NULL);
    return codec_decode(codec, ret_message->header.api_version, &reader, &mutation->arena, ret_message->body) == ERR_OK;
}

static int16_t draw_version(struct mutation *mutation, const struct api_row *row)
{
    return (int16_t)prop_range(&mutation->prop, (uint64_t)row->versions.first, (uint64_t)row->versions.last);
}

static struct span draw_frame(struct mutation *mutation)
{
    struct message message = {.header = {.client_id = span_text("fuzz")}};
    do {
        message.row = api_table_at(prop_below(&mutation->prop, api_table_count()));
    } while (!dispatch_is_served(handlers_table(), message.row) && !prop_chance(&mutation->prop, 1, 50));
    message.header.api_key = message.row->key;
    message.header.api_version = draw_version(mutation, message.row);
    message.body = arena_alloc(&mutation->arena, message.row->request->body->struct_bytes);
    CHECK(message.body != NULL);
    request_words_fill(&mutation->prop, message.row->request, message.header.api_version, &mutation->arena,
                       message.body);
    return encode(mutation, &message);
}

/* A batch whose checksum is right again, or a field of its header is bent: what lies behind the checksum is tried. */
static void bend_batch(struct prop *prop, struct arena *arena, struct span *records)
{
    struct batch_header header;
    struct span copy = span_is_null(*records) ? SPAN_NULL : arena_copy(arena, *records);
    if (copy.bytes < BATCH_HEADER_BYTES || batch_header_parse(copy, &header) != ERR_OK ||
        header.batch_bytes > copy.bytes) {
        *records = request_words_batch(prop, arena);
        return;
    }
    int64_t small = (int64_t)prop_below(prop, 6) - 1;
    uint8_t *data = (uint8_t *)(uintptr_t)copy.data;
    switch (prop_below(prop, 8)) {
    case 0:
        header.producer_id = small;
        break;
    case 1:
        header.producer_epoch = (int16_t)small;
        break;
    case 2:
        header.base_sequence = prop_chance(prop, 1, 4) ? INT32_MAX - (int32_t)small : (int32_t)small;
        break;
    case 3:
        header.attributes = (uint16_t)(header.attributes ^ (1u << prop_below(prop, 8)));
        break;
    case 4:
        header.record_count = (int32_t)prop_u64(prop);
        break;
    case 5:
        header.last_offset_delta = (int32_t)prop_skewed(prop, INT32_MAX);
        break;
    case 6:
        header.max_timestamp_ms = (int64_t)prop_u64(prop);
        break;
    default:
        (void)LLVMFuzzerMutate(data + BATCH_HEADER_BYTES, header.batch_bytes - BATCH_HEADER_BYTES,
                               header.batch_bytes - BATCH_HEADER_BYTES);
        break;
    }
    batch_header_write(data, &header);
    *records = copy;
}

static bool draw_word(struct prop *prop, struct arena *arena, const struct codec_struct *parent,
                      const struct codec_field *field, void *value)
{
    if (field->kind == CODEC_RECORDS && prop_chance(prop, 3, 4)) {
        bend_batch(prop, arena, &((struct kmsg_records *)value)->bytes);
        return true;
    }
    return request_words_draw(prop, arena, parent, field, value);
}

static void bend_frame(struct mutation *mutation, struct script_step *step)
{
    struct message message;
    if (!decode(mutation, step->bytes, &message)) {
        step->bytes = draw_frame(mutation);
        return;
    }
    if (prop_chance(&mutation->prop, 1, 10)) {
        message.header.api_version = draw_version(mutation, message.row);
    }
    struct message_bend bend = {.prop = &mutation->prop,
                                .arena = &mutation->arena,
                                .version = message.header.api_version,
                                .draw_word = draw_word};
    for (uint64_t i = 1 + prop_below(&mutation->prop, 3); i > 0; i--) {
        message_bend(&bend, message.row->request, message.body);
    }
    struct span frame = encode(mutation, &message);
    step->bytes = span_is_null(frame) ? step->bytes : frame;
}

/* Its size and some of it; the rest may never come. */
static void cut_frame(struct mutation *mutation, struct script_step *step)
{
    uint8_t *bytes = arena_alloc(&mutation->arena, FRAME_SIZE_ROOM + step->bytes.bytes);
    CHECK(bytes != NULL);
    size_t kept_bytes = prop_below(&mutation->prop, FRAME_SIZE_ROOM + step->bytes.bytes + 1);
    bytes[2] = (uint8_t)(step->bytes.bytes >> 8);
    bytes[3] = (uint8_t)step->bytes.bytes;
    if (step->bytes.bytes > 0) {
        memcpy(bytes + FRAME_SIZE_ROOM, step->bytes.data, step->bytes.bytes);
    }
    struct script_step rest = {.kind = SCRIPT_BYTES,
                               .link = step->link,
                               .bytes =
                                   span_make(bytes + kept_bytes, FRAME_SIZE_ROOM + step->bytes.bytes - kept_bytes)};
    step->kind = SCRIPT_BYTES;
    step->bytes = span_make(bytes, kept_bytes);
    if (prop_chance(&mutation->prop, 1, 2)) {
        insert(mutation, &rest);
    }
}

/* ---- steps ---- */

static unsigned draw_link(struct mutation *mutation)
{
    return prop_chance(&mutation->prop, 1, 30) ? SCRIPT_LINK_INTERNAL
                                               : (unsigned)prop_below(&mutation->prop, SCRIPT_LINK_INTERNAL);
}

static void insert_between(struct mutation *mutation)
{
    static const enum script_kind kinds[] = {SCRIPT_WAIT,  SCRIPT_WAIT,  SCRIPT_WAIT,   SCRIPT_WAIT,
                                             SCRIPT_PAUSE, SCRIPT_CLOSE, SCRIPT_RESTART};
    struct script_step step = {.kind = kinds[prop_below(&mutation->prop, ARRAY_COUNT(kinds))],
                               .link = draw_link(mutation),
                               .pause_ms = (uint16_t)prop_skewed(&mutation->prop, UINT16_MAX)};
    insert(mutation, &step);
}

static void insert_frame(struct mutation *mutation)
{
    struct script_step step = {.kind = SCRIPT_FRAME, .link = draw_link(mutation), .bytes = draw_frame(mutation)};
    if (!span_is_null(step.bytes)) {
        insert(mutation, &step);
    }
}

static void change_step(struct mutation *mutation)
{
    struct script_step *step = &mutation->steps[draw_place(mutation)];
    uint64_t choice = prop_below(&mutation->prop, 100);
    if (choice < 8) {
        insert(mutation, step);
    } else if (choice < 20) {
        remove_at(mutation, draw_place(mutation));
    } else if (choice < 27) {
        struct script_step *other = &mutation->steps[draw_place(mutation)];
        struct script_step swapped = *other;
        *other = *step;
        *step = swapped;
    } else if (choice < 31) {
        step->link = draw_link(mutation);
    } else if (step->kind != SCRIPT_FRAME) {
        insert_between(mutation);
    } else if (choice < 34) {
        cut_frame(mutation, step);
    } else {
        bend_frame(mutation, step);
    }
}

static void mutate(struct mutation *mutation)
{
    uint64_t choice = prop_below(&mutation->prop, 100);
    if (mutation->step_count == 0 || choice < 20) {
        insert_frame(mutation);
    } else if (choice < 23) {
        mutation->seed_byte = (uint8_t)prop_u64(&mutation->prop);
    } else if (choice < 31) {
        insert_between(mutation);
    } else {
        change_step(mutation);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed)
{
    struct mutation mutation = {0};
    size_t result_bytes = 0;
    prop_init_seed(&mutation.prop, seed);
    if (prop_chance(&mutation.prop, 1, 10)) {
        return LLVMFuzzerMutate(data, bytes, bytes_max);
    }
    arena_init(&mutation.arena, 0);
    struct span copy = arena_copy(&mutation.arena, span_make(data, bytes)); /* steps borrow, and `data` is written */
    read_script(&mutation, copy);
    mutate(&mutation);
    result_bytes = write_script(&mutation, data, bytes_max);
    arena_done(&mutation.arena);
    return result_bytes == 0 ? LLVMFuzzerMutate(data, bytes, bytes_max) : result_bytes;
}

/* The first steps of one, then the last of the other. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data, size_t bytes, const uint8_t *other, size_t other_bytes,
                                 uint8_t *ret_data, size_t bytes_max, unsigned seed)
{
    struct mutation mutation = {0};
    struct mutation second = {0};
    prop_init_seed(&mutation.prop, seed);
    read_script(&mutation, span_make(data, bytes));
    read_script(&second, span_make(other, other_bytes));
    mutation.step_count = prop_below(&mutation.prop, mutation.step_count + 1);
    for (size_t i = prop_below(&mutation.prop, second.step_count + 1);
         i < second.step_count && mutation.step_count < STEPS_MAX; i++) {
        mutation.steps[mutation.step_count++] = second.steps[i];
    }
    return write_script(&mutation, ret_data, bytes_max);
}
