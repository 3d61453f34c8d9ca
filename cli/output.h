/* output: rows to standard output, as a table for people or as one JSON object a line for programs:
 * {"kind":"topics","name":"orders","partitions":6,...}.
 *
 * Shape:     columns are named first; then cells in the order of columns, row after row.
 * Ownership: cells are copied.
 * Threads:   one at a time.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "common/span.h"

#define OUTPUT_COLUMNS_MAX 16

struct output_cell;

struct output {
    bool is_json;
    const char *kind;
    const char *columns[OUTPUT_COLUMNS_MAX];
    size_t column_count;
    struct output_cell *cells;
    size_t cell_count;
};

void output_init(struct output *output, bool is_json, const char *kind);
void output_columns(struct output *output, const char *const *names, size_t count);
void output_text(struct output *output, struct span text);
void output_number(struct output *output, int64_t number);
/* "1,2,3" in a table, [1,2,3] in JSON. */
void output_ids(struct output *output, const int32_t *ids, size_t count);
/* Prints and frees everything. A table without rows prints its head only. */
void output_end(struct output *output);

#endif
