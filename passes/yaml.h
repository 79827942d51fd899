// SPDX-License-Identifier: Apache-2.0
//
// A YAML text as a tree, through libyaml's events: mappings, lists and
// scalars, each with its place. JSON is read, too: it is YAML's flow style.
// Refused are anchors, aliases, tags, several documents, repeated keys and
// keys that are no text: no text of a few bytes can become a large tree.
#ifndef PTQC_PASSES_YAML_H
#define PTQC_PASSES_YAML_H

#include "base/arena.h"
#include "base/str.h"

#define PQ_YAML_DEPTH_MAX  16u
#define PQ_YAML_MEMBER_MAX 1024u // of one mapping

typedef enum pq_yaml_kind {
    PQ_YAML_SCALAR,
    PQ_YAML_LIST,
    PQ_YAML_MAP,
} pq_yaml_kind;

typedef struct pq_yaml {
    pq_yaml_kind kind;
    bool is_plain;         // SCALAR: written without quotes
    uint32_t line, column; // from 1; of members: of the value
    uint32_t key_line, key_column;
    pq_str key;                   // of members of a mapping
    pq_str text;                  // SCALAR
    uint32_t count;               // children
    struct pq_yaml *first, *last; // children
    struct pq_yaml *next;         // sibling
} pq_yaml;

typedef struct pq_yaml_desc {
    const char *what; // for errors: "what:line:column: ..."
    ptqc_status bad;  // of texts that are not read
    size_t bytes_max;
    uint32_t nodes_max; // keys count, too
} pq_yaml_desc;

// Reads the whole text. All memory is the arena's. desc->bad: not such a text,
// or over a limit. *out is never NULL on success: an empty text is an error.
PTQC_MUST_USE ptqc_status pq_yaml_parse(ptqc_ctx *ctx, const pq_yaml_desc *desc,
                                        pq_str text, pq_arena *arena,
                                        const pq_yaml **out);
// The member of a mapping; NULL: there is none.
const pq_yaml *pq_yaml_get(const pq_yaml *map, const char *key);
// A plain "null", "~" or nothing.
bool pq_yaml_is_null(const pq_yaml *node);

#endif
