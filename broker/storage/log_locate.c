#include "broker/storage/log_locate.h"

#include "broker/storage/batch_scan.h"
#include "broker/storage/offset_index.h"
#include "common/seam/fs.h"

void read_source_done(struct read_source *source)
{
    file_unref(source->log);
    file_unref(source->offset_index);
    file_unref(source->time_index);
    file_unref(source->txn_index);
    *source = (struct read_source){.log = NULL};
}

static int32_t relative(const struct read_source *source, int64_t offset)
{
    int64_t value = offset - source->base_offset;
    return value > INT32_MAX ? INT32_MAX : (int32_t)value;
}

/* Reads the batch at an index entry; ERR_CORRUPT when it is not the one that the entry names. */
static enum err follow_entry(const struct read_source *source, struct offset_entry entry, bool may_block,
                             struct batch_header *ret_header)
{
    struct batch_scan scan;
    uint64_t pos = 0;
    if (entry.position >= source->bytes || entry.relative_offset < 0) {
        return ERR_CORRUPT;
    }
    batch_scan_init(&scan, source->log, entry.position, source->bytes, may_block);
    enum err err = batch_scan_next(&scan, ret_header, &pos);
    if (err == ERR_OK && batch_last_offset(ret_header) != source->base_offset + entry.relative_offset) {
        return ERR_CORRUPT;
    }
    return err == ERR_END ? ERR_CORRUPT : err;
}

/* Where to begin walking for `offset`. */
static enum err choose_start(const struct read_source *source, int64_t offset, bool may_block, uint64_t *ret_pos)
{
    struct offset_entry entry;
    struct batch_header header;
    *ret_pos = 0;
    if (source->start.offset != LOG_NO_OFFSET && source->start.offset <= offset) {
        *ret_pos = source->start.pos;
        return ERR_OK;
    }
    if (source->offset_index == NULL || source->offset_entry_count == 0) {
        return ERR_OK;
    }
    enum err err = offset_index_floor(source->offset_index, source->offset_entry_count, relative(source, offset),
                                      may_block, &entry);
    if (err == ERR_OK) {
        err = follow_entry(source, entry, may_block, &header);
        if (err == ERR_OK) {
            *ret_pos = entry.position;
        }
    }
    return err == ERR_WOULD_BLOCK || err == ERR_IO ? err : ERR_OK;
}

enum err log_locate_batch(const struct read_source *source, int64_t offset, bool may_block, uint64_t *ret_pos,
                          struct batch_header *ret_header)
{
    struct batch_scan scan;
    uint64_t start_pos = 0;
    enum err err = choose_start(source, offset, may_block, &start_pos);
    if (err != ERR_OK) {
        return err;
    }
    batch_scan_init(&scan, source->log, start_pos, source->bytes, may_block);
    do {
        err = batch_scan_next(&scan, ret_header, ret_pos);
    } while (err == ERR_OK && batch_last_offset(ret_header) < offset);
    return err;
}

enum err log_locate_time_entry(const struct read_source *source, struct time_entry entry, uint64_t *ret_pos)
{
    struct batch_header header;
    uint64_t pos = 0;
    if (entry.relative_offset < 0) {
        return ERR_CORRUPT;
    }
    int64_t offset = source->base_offset + entry.relative_offset;
    enum err err = log_locate_batch(source, offset, true, &pos, &header);
    if (err == ERR_END ||
        (err == ERR_OK && (batch_last_offset(&header) != offset || header.max_timestamp_ms != entry.timestamp_ms))) {
        return ERR_CORRUPT;
    }
    if (err == ERR_OK) {
        *ret_pos = pos;
    }
    return err;
}

/* A batch at or behind `start_pos` from which to walk to the end; the place itself is a valid end. */
static enum err choose_end(const struct read_source *source, uint64_t start_pos, uint64_t limit_pos, int64_t end_offset,
                           bool may_block, struct read_place *place)
{
    struct offset_entry entry;
    struct batch_header header;
    if (source->end.offset != LOG_NO_OFFSET && source->end.offset <= end_offset && source->end.pos <= limit_pos &&
        source->end.pos > place->pos) {
        *place = source->end;
    }
    /* Known to be all that there is. */
    if (place->pos == source->bytes || place->offset == end_offset || source->offset_index == NULL ||
        source->offset_entry_count == 0) {
        return ERR_OK;
    }
    enum err err = offset_index_floor_position(source->offset_index, source->offset_entry_count,
                                               limit_pos > UINT32_MAX ? UINT32_MAX : (uint32_t)limit_pos,
                                               end_offset - source->base_offset, may_block, &entry);
    if (err == ERR_OK && entry.position > place->pos && entry.position > start_pos) {
        err = follow_entry(source, entry, may_block, &header);
        if (err == ERR_OK) {
            *place = (struct read_place){header.base_offset, entry.position};
        }
    }
    return err == ERR_WOULD_BLOCK || err == ERR_IO ? err : ERR_OK;
}

enum err log_locate_end(const struct read_source *source, uint64_t start_pos, const struct batch_header *first,
                        uint64_t limit_pos, int64_t end_offset, bool may_block, struct read_place *ret_end)
{
    struct read_place place = {first->base_offset, start_pos};
    if (limit_pos > source->bytes) {
        limit_pos = source->bytes;
    }
    if (limit_pos == source->bytes && end_offset >= source->end_offset) {
        *ret_end = (struct read_place){source->end_offset, source->bytes};
        return ERR_OK;
    }
    enum err err = choose_end(source, start_pos, limit_pos, end_offset, may_block, &place);
    struct batch_scan scan;
    batch_scan_init(&scan, source->log, place.pos, source->bytes, may_block);
    while (err == ERR_OK) {
        struct batch_header header;
        uint64_t pos = 0;
        if (place.pos >= limit_pos || place.offset >= end_offset) {
            break;
        }
        err = batch_scan_next(&scan, &header, &pos);
        if (err != ERR_OK || scan.pos > limit_pos || batch_next_offset(&header) > end_offset) {
            break;
        }
        place = (struct read_place){batch_next_offset(&header), scan.pos};
    }
    if (err == ERR_OK || err == ERR_END) {
        *ret_end = place;
        return ERR_OK;
    }
    return err;
}
