/* broker_checker: what clients were promised and what they saw, and whether it fits: R1, R3 and R4 of correctness.md on one
 * topic. It lives outside of all nodes.
 *
 * Shape:     per partition a growing array by offset: which record (producer, number) was acknowledged or read there.
 *            Producers number their records per partition from 0 without gaps; so in the order of offsets the numbers of one
 *            producer must be 0, 1, 2, ...: a gap is a lost record, a repetition a duplicate, a step back a wrong order.
 * Errors:    the first violation is kept as a sentence; later ones are counted.
 * Threads:   one.
 * Source:    correctness.md 1 (R1, R3, R4), testing.md 7.
 */
#ifndef TESTS_SIM_BROKER_CHECKER_H
#define TESTS_SIM_BROKER_CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECKER_PARTITIONS_MAX 8
#define CHECKER_PRODUCERS_MAX 4
#define CHECKER_SENTENCE_BYTES 256

/* What is known of one offset. */
struct checker_slot {
    bool is_known;
    bool is_acknowledged;
    bool is_read;
    uint8_t producer;
    uint64_t number;
};

struct checker_partition {
    struct checker_slot *slots; /* by offset */
    size_t slot_capacity;
    int64_t known_end_offset;                         /* behind the highest that is known */
    uint64_t acknowledged_end[CHECKER_PRODUCERS_MAX]; /* numbers below were acknowledged (without an offset, too) */
};

/* One reader's walk from offset 0 upwards. */
struct checker_reader {
    int64_t next_offset[CHECKER_PARTITIONS_MAX];
    uint64_t next_number[CHECKER_PARTITIONS_MAX][CHECKER_PRODUCERS_MAX];
};

struct broker_checker {
    unsigned partition_count;
    struct checker_partition partitions[CHECKER_PARTITIONS_MAX];
    uint64_t acknowledged_count;
    uint64_t read_count;
    uint64_t violation_count;
    char sentence[CHECKER_SENTENCE_BYTES]; /* of the first violation */
};

void broker_checker_init(struct broker_checker *checker, unsigned partition_count);
void broker_checker_done(struct broker_checker *checker);
void broker_checker_violation(struct broker_checker *checker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Records [first_number, +count) of `producer` were acknowledged at base_offset (-1: the reply named none). */
void broker_checker_acknowledged(struct broker_checker *checker, unsigned partition, unsigned producer,
                                 uint64_t first_number, unsigned count, int64_t base_offset);
/* The reader, which has read everything below, sees this record now. */
void broker_checker_read(struct broker_checker *checker, struct checker_reader *reader, unsigned partition,
                         int64_t offset, int64_t high_watermark, unsigned producer, uint64_t number);
/* After a reader has read to the ends: everything acknowledged must have been there. */
void broker_checker_finish(struct broker_checker *checker, const struct checker_reader *reader);

#endif
