/* Positions only ever move forward; the cut at cut_index separates what may be sent now from what follows it. */
#include "broker/net/reply_output.h"

#include "broker/api/request.h"
#include "common/check.h"
#include "common/mem.h"
#include "common/seam/fs.h"

static void free_slice(struct file_slice *slice)
{
    file_unref(slice->file);
    mem_free(slice);
}

void reply_output_done(struct reply_output *output)
{
    for (size_t i = output->cut_index; i < output->cut_count; i++) {
        free_slice(output->cuts[i].external);
    }
    mem_free(output->cuts);
    mem_free(output->data);
    *output = (struct reply_output){0};
}

bool reply_output_is_sent(const struct reply_output *output)
{
    return output->sent_bytes == output->bytes && output->cut_index == output->cut_count;
}

void reply_cursor_init(struct reply_cursor *cursor, const struct reply_output *output)
{
    *cursor = (struct reply_cursor){output, output->sent_bytes, output->cut_index};
}

bool reply_cursor_next(struct reply_cursor *cursor, struct span *ret_span, struct file_slice **ret_slice)
{
    const struct reply_output *output = cursor->output;
    bool has_cut = cursor->cut_index < output->cut_count;
    size_t end_pos = has_cut ? output->cuts[cursor->cut_index].pos : output->bytes;
    CHECK(cursor->pos <= end_pos && end_pos <= output->bytes);
    if (cursor->pos < end_pos) {
        *ret_span = span_make(output->data + cursor->pos, end_pos - cursor->pos);
        *ret_slice = NULL;
        cursor->pos = end_pos;
        return true;
    }
    if (!has_cut) {
        return false;
    }
    *ret_span = SPAN_NULL;
    *ret_slice = output->cuts[cursor->cut_index++].external;
    return true;
}

struct file_slice *reply_output_next_file(const struct reply_output *output)
{
    if (output->cut_index == output->cut_count || output->cuts[output->cut_index].pos != output->sent_bytes) {
        return NULL;
    }
    return output->cuts[output->cut_index].external;
}

size_t reply_output_left(const struct reply_output *output)
{
    size_t bytes = output->bytes - output->sent_bytes;
    for (size_t i = output->cut_index; i < output->cut_count; i++) {
        const struct file_slice *slice = output->cuts[i].external;
        bytes += slice->bytes;
    }
    return bytes;
}

static size_t advance_file(struct reply_output *output, struct file_slice *slice, size_t bytes)
{
    size_t part_bytes = bytes < slice->bytes ? bytes : slice->bytes;
    slice->pos += part_bytes;
    slice->bytes -= part_bytes;
    if (slice->bytes == 0) {
        free_slice(slice);
        output->cut_index++;
    }
    return part_bytes;
}

static size_t advance_buffer(struct reply_output *output, size_t bytes)
{
    size_t end_pos = output->cut_index < output->cut_count ? output->cuts[output->cut_index].pos : output->bytes;
    size_t part_bytes = bytes < end_pos - output->sent_bytes ? bytes : end_pos - output->sent_bytes;
    CHECK(part_bytes > 0);
    output->sent_bytes += part_bytes;
    return part_bytes;
}

void reply_output_advance(struct reply_output *output, size_t bytes)
{
    while (bytes > 0) {
        struct file_slice *slice = reply_output_next_file(output);
        bytes -= slice != NULL ? advance_file(output, slice, bytes) : advance_buffer(output, bytes);
    }
}
