/* codec: turns Kafka messages into plain C structs and back, driven by the const tables that proto/gen/kmsg.py makes
 * from the files of proto/schema/. One interpreter serves every API and version.
 *
 * Shape:     a message is a struct of plain members: integers, `struct span` (string, bytes), `struct uuid`,
 *            `struct kmsg_records`, embedded structs, arrays as pointer and `_count`, and pointers for structs that may
 *            be null. A null span is Kafka's null. A null array is a NULL pointer; an empty one that must be told from
 *            null has any other pointer (CODEC_EMPTY_ARRAY).
 * Limits:    an element count is compared with the bytes that remain before anything is allocated;
 *            CODEC_NODES_MAX array elements per message; the arena's own maximum; depth is that of the schema.
 * Errors:    ERR_MALFORMED (bytes don't fit the schema, bytes are left over), ERR_LIMIT (nodes, arena, buffer),
 *            ERR_UNSUPPORTED (no such version; on encode also: a field is set that the version can't carry, and dropping
 *            it would change the meaning), ERR_INVALID (on encode: null where the version has no null).
 * Ownership: decoded spans borrow from the reader's bytes; arrays and nullable structs lie in the arena.
 * Threads:   pure functions.
 * Source:    kafka.apache.org/protocol; KIP-482 (flexible versions), KIP-893 (nullable structs); ADR-0002.
 */
#ifndef PROTO_WIRE_CODEC_H
#define PROTO_WIRE_CODEC_H

#include "common/arena.h"
#include "common/bytebuf.h"
#include "common/err.h"
#include "common/span.h"
#include "common/uuid.h"
#include "proto/wire/reader.h"
#include "proto/wire/writer.h"

#define CODEC_NODES_MAX (4u << 20)
#define CODEC_VERSION_NEVER INT16_MAX

/* Record batches. Decoded: `bytes` borrows from the frame. To encode: `bytes`, or `external` with `external_bytes` > 0,
 * for which the writer notes a cut. */
struct kmsg_records {
    struct span bytes;
    void *external;
    size_t external_bytes;
};

enum codec_kind {
    CODEC_BOOL,
    CODEC_INT8,
    CODEC_INT16,
    CODEC_INT32,
    CODEC_INT64,
    CODEC_UINT16,
    CODEC_UINT32,
    CODEC_FLOAT64,
    CODEC_UUID,
    CODEC_STRING,
    CODEC_BYTES,
    CODEC_RECORDS,
    CODEC_STRUCT,
};

enum codec_flag {
    CODEC_ARRAY = 1,        /* of the kind */
    CODEC_IGNORABLE = 2,    /* may be dropped silently by versions that can't carry it */
    CODEC_DEFAULT_NULL = 4, /* else the default is default_int, or empty */
    CODEC_POINTER = 8,      /* a struct that may be null is a pointer */
};

/* Inclusive; first > last never matches. */
struct codec_versions {
    int16_t first;
    int16_t last;
};

struct codec_struct;

struct codec_field {
    const char *name; /* Kafka's */
    const struct codec_struct *child;
    int64_t default_int;
    uint32_t offset;       /* of the member */
    uint32_t count_offset; /* of an array's count */
    uint32_t tag;
    struct codec_versions present;
    struct codec_versions nullable;
    struct codec_versions tagged;
    uint8_t kind;  /* enum codec_kind */
    uint8_t flags; /* enum codec_flag */
};

struct codec_struct {
    const char *name;
    const struct codec_field *fields; /* in wire order */
    const uint8_t *tagged_fields;     /* indexes of fields that are tagged in some version, by tag */
    uint16_t fields_count;
    uint16_t tagged_fields_count;
    uint32_t struct_bytes;
    uint32_t wire_bytes_min; /* the least that one takes in any version: at least 1 */
};

struct codec_message {
    const char *name;
    int16_t api_key;
    struct codec_versions versions;
    int16_t flexible_first; /* CODEC_VERSION_NEVER: no version is flexible */
    const struct codec_struct *body;
};

extern const uint64_t codec_empty[2];
/* Not NULL, for arrays without elements; never written through. */
#define CODEC_EMPTY_ARRAY ((void *)(uintptr_t)codec_empty)

/* Every member to its default. Do this before filling a message that is to be encoded. */
void codec_set_defaults(const struct codec_message *message, void *body);
/* The same for an array element or a nullable struct: its table is `<struct name>_layout`. */
void codec_struct_set_defaults(const struct codec_struct *type, void *value);
/* `count` elements with their defaults set; NULL when the arena's maximum would be passed. */
void *codec_array(const struct codec_struct *type, size_t count, struct arena *arena);

/* Reads one message that takes up all of what remains in the reader. Fields that the version lacks get their defaults.
 * On failure reader->error_pos tells where, and `body` is of no use. */
enum err codec_decode(const struct codec_message *message, int16_t version, struct reader *reader, struct arena *arena,
                      void *body) MUST_USE;
/* The same, but bytes may be left behind the message, where the reader then stands. Kafka takes requests with a tail, and
 * librdkafka 2.16 sends some (Metadata v13 of its admin client). */
enum err codec_decode_front(const struct codec_message *message, int16_t version, struct reader *reader,
                            struct arena *arena, void *body) MUST_USE;
/* Appends one message. */
enum err codec_encode(const struct codec_message *message, int16_t version, const void *body,
                      struct writer *writer) MUST_USE;
/* Appends the fields of `version` as JSON: Kafka's names in camelCase, bytes as base64, records as their size in bytes;
 * tagged fields only if set. The shape is that of Kafka's own JsonConverter classes. */
enum err codec_print_json(const struct codec_message *message, int16_t version, const void *body,
                          struct bytebuf *ret_text) MUST_USE;

#endif
