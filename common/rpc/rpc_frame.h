/* rpc_frame: the sixteen bytes in front of every frame of a link.
 *
 * Shape:     big-endian:
 *                0  u32 bytes that follow these four
 *                4  u16 type
 *                6  u16 zero
 *                8  u32 header bytes
 *               12  u32 CRC-32C of bytes [0, 12) and of the header
 *               16  header, then body up to the end
 *            The body has no checksum here: record batches and snapshot chunks carry their own.
 * Threads:   values.
 */
#ifndef COMMON_RPC_RPC_FRAME_H
#define COMMON_RPC_RPC_FRAME_H

#include "common/big_endian.h"
#include "common/crc32c.h"

#define RPC_PREFIX_BYTES 16u
#define RPC_LENGTH_BYTES 4u
#define RPC_CRC_POS 12u

static inline uint32_t rpc_frame_crc(const uint8_t *prefix, struct span header)
{
    return crc32c(crc32c(0, span_make(prefix, RPC_CRC_POS)), header);
}

static inline void rpc_frame_put(uint8_t ret_prefix[RPC_PREFIX_BYTES], uint16_t type, struct span header,
                                 size_t body_bytes)
{
    be32_put(ret_prefix, (uint32_t)(RPC_PREFIX_BYTES - RPC_LENGTH_BYTES + header.bytes + body_bytes));
    be16_put(ret_prefix + 4, type);
    be16_put(ret_prefix + 6, 0);
    be32_put(ret_prefix + 8, (uint32_t)header.bytes);
    be32_put(ret_prefix + RPC_CRC_POS, rpc_frame_crc(ret_prefix, header));
}

#endif
