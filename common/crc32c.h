/* crc32c: the Castagnoli checksum (CRC-32C, as in iSCSI and in Kafka's record batches), in hardware
 * by ISA-L.
 *
 * Shape:     the usual convention: the checksum of nothing is 0, and crc32c(crc32c(0, a), b) is the
 * checksum of a followed by b. "123456789" gives 0xE3069283. Errors:    none. Threads:   pure
 * function. Source:    RFC 3720 appendix B.4.
 */
#ifndef COMMON_CRC32C_H
#define COMMON_CRC32C_H

#include "common/span.h"

/* The checksum of what `crc` covers (0: nothing) followed by `bytes`. */
uint32_t crc32c(uint32_t crc, struct span bytes);

#endif
