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

struct span reply_output_next_span(const struct reply_output *output)
{
    size_t end_pos = output->cut_index < output->cut_count ? output->cuts[output->cut_index].pos : output->bytes;
    CHECK(output->sent_bytes <= end_pos && end_pos <= output->bytes);
    return span_make(output->data + output->sent_bytes, end_pos - output->sent_bytes);
}

struct file_slice *reply_output_next_file(const struct reply_output *output)
{
    if (output->cut_index == output->cut_count || output->cuts[output->cut_index].pos != output->sent_bytes) {
        return NULL;
    }
    return output->cuts[output->cut_index].external;
}

void reply_output_advance_span(struct reply_output *output, size_t bytes)
{
    CHECK(bytes <= reply_output_next_span(output).bytes);
    output->sent_bytes += bytes;
}

void reply_output_advance_file(struct reply_output *output, size_t bytes)
{
    struct file_slice *slice = reply_output_next_file(output);
    CHECK(slice != NULL && bytes <= slice->bytes);
    slice->pos += bytes;
    slice->bytes -= bytes;
    if (slice->bytes == 0) {
        free_slice(slice);
        output->cut_index++;
    }
}
