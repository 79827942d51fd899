// SPDX-License-Identifier: Apache-2.0
//
// GGUF files, versions 2 and 3 (ggml: docs/gguf.md, src/gguf.cpp): typed
// key-value pairs, then a table of tensors whose data lies behind it.
// Everything is borrowed from the file's bytes, which are hostile: read
// answers only when every length, count, type and extent is sound.
#ifndef PTQC_FRONTEND_GGUF_GGUF_H
#define PTQC_FRONTEND_GGUF_GGUF_H

#include "frontend/llm/llm.h"

typedef enum pq_gguf_kind { // of values, numbers of the format
    PQ_GGUF_U8,
    PQ_GGUF_I8,
    PQ_GGUF_U16,
    PQ_GGUF_I16,
    PQ_GGUF_U32,
    PQ_GGUF_I32,
    PQ_GGUF_F32,
    PQ_GGUF_BOOL,
    PQ_GGUF_STRING,
    PQ_GGUF_ARRAY,
    PQ_GGUF_U64,
    PQ_GGUF_I64,
    PQ_GGUF_F64,
    PQ_GGUF_KIND_COUNT,
} pq_gguf_kind;

typedef struct pq_gguf_pair {
    pq_str key;
    pq_gguf_kind kind;    // ARRAY: see element
    pq_gguf_kind element; // of arrays, never ARRAY
    uint64_t count;       // elements of an array, else 1
    const uint8_t *p;     // the value, of a string and an array its elements
    size_t bytes;         // that they take
} pq_gguf_pair;

typedef struct pq_gguf {
    ptqc_ctx *ctx;    // borrowed
    const char *path; // borrowed, for messages
    uint32_t version;
    pq_gguf_pair *pairs; // [pair_count], in the caller's arena
    uint32_t pair_count;
    pq_strmap by_key; // indices into pairs
    pq_llm_tensors tensors;
} pq_gguf;

// Tables live in `arena`. deinit also after a failure.
PTQC_MUST_USE ptqc_status pq_gguf_read(ptqc_ctx *ctx, pq_arena *arena,
                                       const char *path, const uint8_t *p,
                                       size_t n, pq_gguf *out);
void pq_gguf_deinit(pq_gguf *f);

// How elements of a type lie. NULL: the format has no such type.
typedef struct pq_gguf_type {
    pq_llm_block block; // its name is the type's; plain types: elements 1
    ptqc_dtype dtype;   // of plain types, else NONE
} pq_gguf_type;
const pq_gguf_type *pq_gguf_type_of(uint32_t number);

// Values by key, kinds checked: PTQC_E_INPUT when the value is of another
// kind. Absent keys leave *out as it is.
const pq_gguf_pair *pq_gguf_find(const pq_gguf *f, const char *key); // or NULL
PTQC_MUST_USE ptqc_status pq_gguf_get_string(const pq_gguf *f, const char *key,
                                             pq_str *out);
// Any integer kind, at most INT64_MAX.
PTQC_MUST_USE ptqc_status pq_gguf_get_integer(const pq_gguf *f, const char *key,
                                              int64_t *out);
PTQC_MUST_USE ptqc_status pq_gguf_get_real(const pq_gguf *f, const char *key,
                                           double *out);
PTQC_MUST_USE ptqc_status pq_gguf_get_bool(const pq_gguf *f, const char *key,
                                           bool *out);
// Arrays of exactly that kind of elements; *out is the pair or NULL.
PTQC_MUST_USE ptqc_status pq_gguf_get_array(const pq_gguf *f, const char *key,
                                            pq_gguf_kind element,
                                            const pq_gguf_pair **out);
// The texts of an array of strings, in `arena`.
PTQC_MUST_USE ptqc_status pq_gguf_strings(pq_arena *arena,
                                          const pq_gguf_pair *pair,
                                          pq_str **out);

// Facts, parameters, tokenizer and graph of a GGUF file into the model.
// `bytes` must outlive the graph.
PTQC_MUST_USE ptqc_status pq_gguf_import(pq_model *model, const char *path,
                                         const void *bytes, size_t n,
                                         const pq_import_options *options);

#endif
