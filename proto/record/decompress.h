/* decompress: the bytes behind a compressed batch header, as a stream of windows in bounded memory.
 *
 * Shape:     a decompressor holds one window (DECOMPRESS_WINDOW_BYTES) and the library contexts, all made when first
 *            needed and used again for the next batch, so that a busy worker allocates nothing per batch.
 *            gzip: one member. snappy: xerial framing (what the Java client writes) or one raw block (librdkafka, Go).
 *            lz4: one frame, no dictionary. zstd: frames one after the other, window log up to 27, no dictionary.
 * Limits:    the output never passes the caller's maximum, at most DECOMPRESS_BYTES_MAX. snappy can't stream, so a block
 *            is held whole: its claimed length is checked against the output maximum and against what snappy can reach
 *            (DECOMPRESS_SNAPPY_RATIO_MAX) before any memory is taken (CVE-2023-34455). zstd takes up to its window
 *            (128 MiB of address space, touched as far as the output goes); what is above DECOMPRESS_KEPT_BYTES_MAX is
 *            given back at the end of the batch.
 * Errors:    ERR_UNSUPPORTED a codec that does not exist, ERR_CORRUPT bytes that the codec refuses, that end too early,
 *            or that go on behind the end, ERR_LIMIT more output than allowed. After an error only open and free may
 *            follow.
 * Ownership: input is borrowed until the next open or free; windows are valid until the next call.
 * Threads:   one at a time; one decompressor per worker.
 * Source:    KIP-110 (zstd), KIP-57 (lz4 frames); snappy-java's SnappyOutputStream; ADR-0008.
 */
#ifndef PROTO_RECORD_DECOMPRESS_H
#define PROTO_RECORD_DECOMPRESS_H

#include "common/bytebuf.h"

#define DECOMPRESS_BYTES_MAX (64u << 20)
#define DECOMPRESS_WINDOW_BYTES (64u << 10)
/* How much of a window the reader may leave unread when it asks for more: one varint at the longest. */
#define DECOMPRESS_CARRY_BYTES_MAX 32u
#define DECOMPRESS_KEPT_BYTES_MAX (4u << 20)
#define DECOMPRESS_ZSTD_WINDOW_LOG_MAX 27
/* The best that snappy's format allows is a 3-byte copy of 64 bytes. */
#define DECOMPRESS_SNAPPY_RATIO_MAX 22u

struct decompressor;

struct decompressor *decompressor_new(void);
void decompressor_free(struct decompressor *decompressor);

/* Begin with `compressed`, of which at most `output_bytes_max` may come out. `codec_bits` as in a batch header;
 * BATCH_CODEC_NONE passes the bytes through. */
enum err decompressor_open(struct decompressor *decompressor, unsigned codec_bits, struct span compressed,
                           size_t output_bytes_max) MUST_USE;

/* Put more output behind what the caller has not read of the last window. *unread: in, the tail of the last window, at
 * most DECOMPRESS_CARRY_BYTES_MAX (empty at first); out, that tail and at least one byte more. ERR_END when there is no
 * more; *unread is then as it was. */
enum err decompressor_more(struct decompressor *decompressor, struct span *unread) MUST_USE;

/* Append the whole output to `output`, which keeps its own maximum (ERR_LIMIT). */
enum err decompress_append(struct decompressor *decompressor, unsigned codec_bits, struct span compressed,
                           size_t output_bytes_max, struct bytebuf *output) MUST_USE;

#endif
