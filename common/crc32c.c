/* ISA-L's crc32_iscsi neither inverts the seed nor the result; the usual convention does both. It
 * also takes an int length and a non-const pointer (it does not write), so long inputs go in
 * pieces. */
#include "common/crc32c.h"

#include <isa-l/crc.h>

#define CRC32C_PIECE_BYTES (1u << 30)

uint32_t crc32c(uint32_t crc, struct span bytes)
{
    const uint8_t *at = bytes.data;
    size_t left_bytes = bytes.bytes;

    while (left_bytes > 0) {
        size_t piece_bytes = left_bytes < CRC32C_PIECE_BYTES ? left_bytes : CRC32C_PIECE_BYTES;
        crc = ~crc32_iscsi((unsigned char *)(uintptr_t)at, (int)piece_bytes, ~crc);
        at += piece_bytes;
        left_bytes -= piece_bytes;
    }
    return crc;
}
