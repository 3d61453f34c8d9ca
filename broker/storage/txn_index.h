/* txn_index: the .txnindex file of a segment: the transactions whose abort marker is in it.
 *
 * Shape:     entries of 34 bytes, in the order of their markers; the file does not exist when there are none:
 *
 *      pos bytes field             note
 *        0   2   version           0
 *        2   8   producerId
 *       10   8   firstOffset       of the transaction in this partition
 *       18   8   lastOffset        of the abort marker
 *       26   8   lastStableOffset  once this transaction had ended: no earlier one was open below it
 *
 * Errors:    ERR_CORRUPT for a version or order that can't be; then the file is rebuilt from the log at the next recovery.
 * Ownership: results are appended to the caller's array.
 * Threads:   on an immutable part of a file. Blocking.
 * Source:    KIP-98; Kafka 4.3 TransactionIndex, AbortedTxn.
 */
#ifndef BROKER_STORAGE_TXN_INDEX_H
#define BROKER_STORAGE_TXN_INDEX_H

#include "broker/storage/log_types.h"

#define TXN_INDEX_ENTRY_BYTES 34u
#define TXN_INDEX_VERSION 0
#define TXN_INDEX_ENTRIES_MAX (UINT32_C(1) << 24)

struct file;

struct aborted_list {
    struct aborted_txn *items; /* mem_free */
    size_t count;
};

void txn_entry_encode(const struct aborted_txn *txn, uint8_t *ret_bytes);
enum err txn_entry_decode(const uint8_t *bytes, struct aborted_txn *ret_txn) MUST_USE;
void aborted_list_add(struct aborted_list *list, const struct aborted_txn *txn);

/* Adds the aborted transactions of the file's first `bytes` that reach into [first_offset, end_offset). *ret_is_complete: no
 * later segment can hold another one that does. */
enum err txn_index_collect(struct file *file, uint64_t bytes, int64_t first_offset, int64_t end_offset, bool may_block,
                           struct aborted_list *list, bool *ret_is_complete) MUST_USE;

#endif
