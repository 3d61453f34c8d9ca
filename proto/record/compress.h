/* compress: the records of a batch as one compressed block, in the form that Kafka's clients read.
 *
 * Shape:     gzip: one member. snappy: xerial framing with blocks of COMPRESS_SNAPPY_BLOCK_BYTES, as the Java client
 *            writes it. lz4: one frame of independent 64 KiB blocks (Java refuses dependent ones), no checksums beside
 *            the header's. zstd: one frame. Each at its library's default level.
 * Errors:    ERR_UNSUPPORTED a codec that does not exist, ERR_LIMIT the output's maximum is too small (the output is
 *            then as it was).
 * Ownership: the input is borrowed for the call.
 * Threads:   pure functions.
 * Source:    ADR-0008; Kafka's names as in the setting compression.type.
 */
#ifndef PROTO_RECORD_COMPRESS_H
#define PROTO_RECORD_COMPRESS_H

#include "common/bytebuf.h"
#include "proto/record/batch.h"

#define COMPRESS_SNAPPY_BLOCK_BYTES (32u << 10)
/* "\x82SNAPPY\0" begins xerial framing; then the version that wrote it and the oldest that can read it. */
#define COMPRESS_XERIAL_MAGIC_BYTES 8u
#define COMPRESS_XERIAL_HEADER_BYTES 16u
#define COMPRESS_XERIAL_VERSION 1u

extern const uint8_t compress_xerial_magic[COMPRESS_XERIAL_MAGIC_BYTES];

/* Append the compressed form of `bytes`; BATCH_CODEC_NONE copies. */
enum err compress_append(enum batch_codec codec, struct span bytes, struct bytebuf *output) MUST_USE;

/* "none", "gzip", "snappy", "lz4", "zstd"; NULL for bits that name no codec. Static memory. */
const char *compress_codec_name(unsigned codec_bits);
enum err compress_codec_find(struct span name, enum batch_codec *ret_codec) MUST_USE;

#endif
