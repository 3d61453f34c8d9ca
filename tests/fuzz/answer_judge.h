/* answer_judge: what a request has coming, and whether an answer is one: the rules of fuzz_node for single messages.
 *
 * Errors:    lone_node_problem.
 * Threads:   one.
 */
#ifndef TESTS_FUZZ_ANSWER_JUDGE_H
#define TESTS_FUZZ_ANSWER_JUDGE_H

#include "tests/fuzz/frame_link.h"

/* Reads a request (a frame without its size) as the broker must. */
void answer_judge_ask(struct span frame, struct frame_asked *ret_asked);
/* The body of an answer whose header is read. */
void answer_judge_body(const struct lone_node *node, const struct frame_asked *asked, struct reader *reader,
                       struct frame_notes *notes);

#endif
