/* stream_limits: the named limits and times of replication by streams, both sides.
 *
 * Limits:    all of them.
 * Threads:   constants.
 * Source:    design.md 6 and 11.
 */
#ifndef BROKER_STREAM_STREAM_LIMITS_H
#define BROKER_STREAM_STREAM_LIMITS_H

/* Part of the protocol: bodies that may be under way on a link before the follower gives credit. */
#define STREAM_WINDOW_BYTES (8u << 20)
/* Bodies of one DATA frame; one batch that is larger goes alone, in pieces of STREAM_PIECE_BYTES. */
#define STREAM_FRAME_BYTES (1u << 20)
#define STREAM_PIECE_BYTES (4u << 20)
/* What one partition gives in its turn while others wait. */
#define STREAM_SHARE_BYTES (256u << 10)
/* A range at least so long goes out of the page cache by sendfile; shorter ones are copied together. */
#define STREAM_SENDFILE_BYTES (64u << 10)
/* Beyond this the leader hands nothing more to the link, until it has drained to the low mark. */
#define STREAM_QUEUED_BYTES_MAX (2u << 20)
#define STREAM_QUEUED_LOW_BYTES (512u << 10)
/* Beyond this (answers that the follower does not take) the link is not read any more. */
#define STREAM_UNREAD_BYTES_MAX (16u << 20)

#define STREAM_HANDLES_MAX 200000u     /* of one link at a time */
#define STREAM_LINKS_MAX 4096u         /* of one worker of a leader */
#define STREAM_SUBSCRIPTIONS_MAX 1000u /* of one frame, likewise of answers, ends, handles */
#define STREAM_ACKS_MAX 4000u          /* of one frame */
#define STREAM_PARTS_MAX 1000u         /* of one frame */
#define STREAM_READS_MAX 8u            /* of one link in the pool */
#define STREAM_HEADER_ARENA_BYTES (4u << 20)
#define STREAM_BATCH_BYTES_MAX (100u << 20) /* BATCH_BYTES_MAX of proto/record/batch.h */

/* Marks (high watermark, log start) that no data takes along wait so long for company. */
#define STREAM_MARKS_DELAY_US 10000u
#define STREAM_PING_US 500000u
#define STREAM_DEAD_US 3000000u    /* a follower that hears nothing for so long connects anew */
#define STREAM_SILENCE_US 4000000u /* a leader closes a link on which nothing comes for so long */
#define STREAM_BACKOFF_MIN_US 5000u
#define STREAM_BACKOFF_MAX_US 1000000u

/* A partition this far behind moves to the catch-up lane, and back when it is as near as that. */
#define STREAM_FAR_BYTES (4u << 20)
#define STREAM_NEAR_BYTES (512u << 10)

#endif
