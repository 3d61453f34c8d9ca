#include "cli/output.h"

#include "common/bytebuf.h"
#include "common/mem.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#define OUTPUT_IDS_BYTES_MAX (1u << 20) /* replicas of a partition are at most 32,767 */

struct output_cell {
    char *text; /* in a table */
    json_t *json;
};

void output_init(struct output *output, bool is_json, const char *kind)
{
    *output = (struct output){.is_json = is_json, .kind = kind};
}

void output_columns(struct output *output, const char *const *names, size_t count)
{
    CHECK(count <= OUTPUT_COLUMNS_MAX);
    memcpy(output->columns, names, count * sizeof(names[0]));
    output->column_count = count;
}

static struct output_cell *output_next(struct output *output)
{
    output->cells = mem_grow(output->cells, output->cell_count + 1, sizeof(struct output_cell));
    return &output->cells[output->cell_count++];
}

void output_text(struct output *output, struct span text)
{
    char *copy = mem_format("%.*s", (int)text.bytes, text.bytes == 0 ? "" : (const char *)text.data);
    *output_next(output) = (struct output_cell){.text = copy, .json = json_string(copy)};
}

void output_number(struct output *output, int64_t number)
{
    *output_next(output) = (struct output_cell){.text = mem_format("%" PRId64, number), .json = json_integer(number)};
}

void output_ids(struct output *output, const int32_t *ids, size_t count)
{
    struct bytebuf text;
    json_t *array = json_array();
    bytebuf_init(&text, OUTPUT_IDS_BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        enum err err = bytebuf_append_format(&text, "%s%" PRId32, i == 0 ? "" : ",", ids[i]);
        CHECK(err == ERR_OK);
        (void)json_array_append_new(array, json_integer(ids[i]));
    }
    *output_next(output) = (struct output_cell){
        .text = mem_format("%.*s", (int)text.bytes, text.bytes == 0 ? "" : (const char *)text.data), .json = array};
    bytebuf_done(&text);
}

static void output_print_json(const struct output *output)
{
    for (size_t at = 0; at + output->column_count <= output->cell_count; at += output->column_count) {
        json_t *row = json_object();
        (void)json_object_set_new(row, "kind", json_string(output->kind));
        for (size_t i = 0; i < output->column_count; i++) {
            (void)json_object_set(row, output->columns[i], output->cells[at + i].json);
        }
        (void)json_dumpf(row, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        (void)putchar('\n');
        json_decref(row);
    }
}

static size_t output_width(const struct output *output, size_t column)
{
    size_t width = strlen(output->columns[column]);
    for (size_t at = column; at < output->cell_count; at += output->column_count) {
        size_t bytes = strlen(output->cells[at].text);
        width = bytes > width ? bytes : width;
    }
    return width;
}

static void output_print_table(const struct output *output)
{
    size_t widths[OUTPUT_COLUMNS_MAX];
    for (size_t i = 0; i < output->column_count; i++) {
        widths[i] = output_width(output, i);
        (void)printf("%-*s%s", (int)widths[i], output->columns[i], i + 1 == output->column_count ? "\n" : "  ");
    }
    for (size_t at = 0; at < output->cell_count; at++) {
        size_t i = at % output->column_count;
        const struct output_cell *cell = &output->cells[at];
        const char *gap = i + 1 == output->column_count ? "\n" : "  ";
        if (json_is_integer(cell->json)) {
            (void)printf("%*s%s", (int)widths[i], cell->text, gap);
        } else {
            (void)printf("%-*s%s", (int)widths[i], cell->text, gap);
        }
    }
    (void)putchar('\n');
}

void output_end(struct output *output)
{
    CHECK(output->column_count > 0 && output->cell_count % output->column_count == 0);
    if (output->is_json) {
        output_print_json(output);
    } else {
        output_print_table(output);
    }
    for (size_t i = 0; i < output->cell_count; i++) {
        mem_free(output->cells[i].text);
        json_decref(output->cells[i].json);
    }
    mem_free(output->cells);
    *output = (struct output){0};
}
