/* image_builder: the one way to a new image: changes on top of a base, then finished in one go or thrown away.
 *
 * Shape:     drafts of the topics, brokers and configs that were touched, found by hash; finish sorts them and merges them
 *            with the base's tables, so that a batch of n changes costs O(n log n + topics), not n copies of the tables, and
 *            the order of the hash tables never shows in the result.
 * Errors:    ERR_EXISTS, ERR_NOT_FOUND as each says; the builder is unchanged then.
 * Ownership: the base is borrowed; what is put in moves into the builder (one reference); what is looked up is borrowed
 *            until the next change.
 * Threads:   one at a time.
 */
#ifndef CONTROLLER_IMAGE_BUILDER_H
#define CONTROLLER_IMAGE_BUILDER_H

#include "controller/image_private.h"

struct draft_topic;
struct draft_broker;
struct draft_config;

struct image_builder {
    const struct image *base;
    struct image_facts facts; /* changed in place */
    struct draft_topic *topics;
    struct draft_topic *topic_names; /* those of `topics` that were added, by name */
    struct draft_broker *brokers;
    struct draft_config *configs;
};

void image_builder_init(struct image_builder *builder, const struct image *base);
void image_builder_done(struct image_builder *builder);

/* ERR_EXISTS: the name or the id is in use. */
enum err image_builder_add_topic(struct image_builder *builder, struct uuid id, struct span name,
                                 bool is_internal) MUST_USE;
enum err image_builder_remove_topic(struct image_builder *builder, struct uuid id) MUST_USE;
/* Name of a topic that exists, or the null span. */
struct span image_builder_topic_name(struct image_builder *builder, struct uuid id);
const struct image_partition *image_builder_find_partition(struct image_builder *builder, struct uuid topic_id,
                                                           uint32_t partition_index);
/* Replaces the partition, or adds it when its index is the next one: otherwise ERR_NOT_FOUND (and it is still the caller's). */
enum err image_builder_put_partition(struct image_builder *builder, struct uuid topic_id,
                                     const struct image_partition *partition) MUST_USE;
const struct image_broker *image_builder_find_broker(struct image_builder *builder, int32_t broker_id);
void image_builder_put_broker(struct image_builder *builder, const struct image_broker *broker);
/* Of a broker that exists. */
void image_builder_remove_broker(struct image_builder *builder, int32_t broker_id);
const struct image_config *image_builder_find_config(struct image_builder *builder, enum image_config_type type,
                                                     struct span name);
/* config == NULL: nothing is set any more. */
void image_builder_put_config(struct image_builder *builder, enum image_config_type type, struct span name,
                              const struct image_config *config);

/* The new image, with one reference. The builder is then only good for image_builder_done. */
struct image *image_builder_finish(struct image_builder *builder);

#endif
