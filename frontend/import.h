// SPDX-License-Identifier: Apache-2.0
//
// The door of the frontends: a model file of any known format becomes a graph
// and the facts about where it came from. Model files are hostile: whatever
// the bytes, the answer is a graph or one diagnostic that names file and
// place.
//
//   PTQC_E_INPUT        the file is malformed (or reaches outside its folder)
//   PTQC_E_UNSUPPORTED  it is well formed, and holds what nobody handles yet
//   PTQC_E_IO           it cannot be read
#ifndef PTQC_FRONTEND_IMPORT_H
#define PTQC_FRONTEND_IMPORT_H

#include "base/hash.h"
#include "ir/graph.h"
#include "tokenizer/tokenizer.h"

// A symbolic dimension that is to become a number: "batch" = 1.
typedef struct pq_import_dim {
    pq_str name;
    int64_t value;
} pq_import_dim;

// Zero = defaults. Borrowed during the call.
typedef struct pq_import_options {
    const pq_import_dim *dims; // E_USAGE when the model has no such dim
    uint32_t dim_count;
    bool no_hash; // file hashes stay zero (tests, fuzzing)
} pq_import_options;

// One kind of thing that is not supported, and all places where it occurs.
typedef struct pq_import_problem {
    ptqc_status status; // PTQC_E_UNSUPPORTED
    pq_str op;          // "Loop", "com.microsoft:Attention"; empty: no node
    pq_str reason;      // one line, without the op's name
    pq_str *nodes;      // [node_count], names in order of occurrence
    uint32_t node_count;
} pq_import_problem;

// Input or output as the file declares it.
typedef struct pq_import_io {
    pq_str name;
    pq_str dtype;       // "f32", or the format's own word when not ours
    const pq_str *dims; // [rank], numbers or names; empty text = not known
    uint32_t rank;
    bool has_shape;
} pq_import_io;

typedef struct pq_import_file {
    pq_str path; // as opened; relative ones of external data as in the file
    uint64_t bytes;
    pq_sha256 sha256;
} pq_import_file;

typedef struct pq_import_count { // "Conv" occurs 52 times
    pq_str name;
    uint64_t count;
} pq_import_count;

typedef struct pq_import_pair {
    pq_str key, value;
} pq_import_pair;

// All strings and arrays live as long as the model. Text from the file is
// not escaped: printers do.
typedef struct pq_model {
    ptqc_ctx *ctx;   // borrowed
    pq_arena arena;  // owned: everything below but the graph
    pq_graph *graph; // owned; NULL when there are problems

    pq_str format;   // "onnx", "gguf", "safetensors"
    pq_str producer; // "pytorch 2.1.0"; may be empty
    int64_t ir_version;
    pq_import_pair *opsets; // domain ("ai.onnx"), version as text
    uint32_t opset_count;
    pq_import_pair *metadata;
    uint32_t metadata_count;
    uint64_t tensor_count;      // weights in the file, those of subgraphs too
    uint64_t parameter_count;   // their elements
    uint64_t weight_bytes;      // as stored
    uint64_t node_count;        // of the file, subgraphs and functions too
    pq_import_count *op_counts; // descending by count
    uint32_t op_count;
    pq_import_io *inputs, *outputs;
    uint32_t input_count, output_count;
    pq_import_file *files; // the model first, then its external data
    uint32_t file_count;
    uint64_t non_finite_count; // weights that are NaN or infinite (warned of)
    // Language models and files of mere tensors.
    pq_str architecture;           // "llama"; empty: none is said
    uint64_t context_length;       // tokens; 0: none is said
    pq_import_count *tensor_types; // "Q4_0" 31 times, descending by count
    uint32_t tensor_type_count;
    pq_tokenizer *tokenizer; // owned; NULL: none, or of a kind not supported

    pq_import_problem *problems;
    uint32_t problem_count;
} pq_model;

// Fails with PTQC_E_UNSUPPORTED (one diagnostic that sums them up) when there
// are problems: on success the graph is there and complete, verified names,
// stage FLOAT, or QUANTIZED when the file holds quantized values.
PTQC_MUST_USE ptqc_status pq_import_model(ptqc_ctx *ctx, const char *path,
                                          const pq_import_options *options,
                                          pq_model **out);
// As pq_import_model, but what is unsupported is an answer, not a failure:
// PTQC_OK with problems filled and no graph. Malformed files still fail.
PTQC_MUST_USE ptqc_status pq_import_check(ptqc_ctx *ctx, const char *path,
                                          const pq_import_options *options,
                                          pq_model **out);
// The same from memory that outlives the model; `path` names it in
// diagnostics and external data is looked for beside it.
PTQC_MUST_USE ptqc_status pq_import_check_bytes(
    ptqc_ctx *ctx, const char *path, const void *bytes, size_t n,
    const pq_import_options *options, pq_model **out);
void pq_model_destroy(pq_model *model); // NULL allowed
// Hands the graph to the caller, who destroys it; the model keeps the facts.
pq_graph *pq_model_take_graph(pq_model *model);

#endif
