// SPDX-License-Identifier: Apache-2.0
//
// A model file, imported: what it is, its inputs and outputs, whether a
// target can run it.
#ifndef PTQC_MODEL_H
#define PTQC_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/context.h"
#include "ptqc/types.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct ptqc_model ptqc_model;

// One input or output. Text is borrowed from its model, artifact or session.
typedef struct ptqc_tensor_info {
    const char *name;
    ptqc_dtype dtype;
    uint32_t rank;
    int64_t dims[PTQC_MAX_RANK];          // -1: symbolic
    const char *dim_names[PTQC_MAX_RANK]; // of symbolic dims ("N", "H/2")
} ptqc_tensor_info;

// Reads a model file (ONNX). PTQC_E_INPUT: malformed; PTQC_E_UNSUPPORTED:
// names the first op, type or feature it cannot take.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_model_open(ptqc_ctx *ctx,
                                                   const char *path,
                                                   ptqc_model **out);
// As open, but what is unsupported does not matter: for looking only (such a
// model cannot be compiled).
PTQC_API PTQC_MUST_USE ptqc_status ptqc_model_inspect(ptqc_ctx *ctx,
                                                      const char *path,
                                                      ptqc_model **out);
PTQC_API void ptqc_model_close(ptqc_model *model); // NULL allowed

PTQC_API uint32_t ptqc_model_input_count(const ptqc_model *model);
PTQC_API uint32_t ptqc_model_output_count(const ptqc_model *model);
// i below the count.
PTQC_API void ptqc_model_input(const ptqc_model *model, uint32_t i,
                               ptqc_tensor_info *out);
PTQC_API void ptqc_model_output(const ptqc_model *model, uint32_t i,
                                ptqc_tensor_info *out);

// Called once per row of a histogram.
typedef void (*ptqc_count_fn)(void *user, const char *what, uint64_t count);

typedef struct ptqc_model_facts {
    const char *format;   // "onnx"
    const char *producer; // may be ""
    uint64_t op_count;
    uint64_t tensor_count; // weights
    uint64_t weight_bytes;
    uint64_t parameter_count; // elements of float and quantized weights
    const char *architecture; // of language models ("llama"); may be ""
    uint64_t context_length;  // of language models, tokens; 0: not said
} ptqc_model_facts;

PTQC_API void ptqc_model_get_facts(const ptqc_model *model,
                                   ptqc_model_facts *out);
// Ops by name; storage schemes of quantized tensors ("i8 channel").
PTQC_API void ptqc_model_ops(const ptqc_model *model, ptqc_count_fn fn,
                             void *user);
PTQC_API void ptqc_model_schemes(const ptqc_model *model, ptqc_count_fn fn,
                                 void *user);

// One reason why a model cannot be (wholly) used.
typedef struct ptqc_problem {
    const char *code; // "unsupported-op", "non-finite", "placed-elsewhere"
    const char *what; // op or feature
    const char *reason;
    uint64_t count;           // nodes
    const char *const *where; // [where_count] node names (the first 16)
    uint32_t where_count;
    uint32_t is_fatal; // 0: works, but not as asked
} ptqc_problem;
typedef void (*ptqc_problem_fn)(void *user, const ptqc_problem *problem);

// Reads the file and reports everything unsupported at once, then what the
// target would not run itself. PTQC_OK: compilable; PTQC_E_UNSUPPORTED: some
// problem is fatal (nothing more is said through diagnostics);
// PTQC_E_INPUT: malformed.
PTQC_API PTQC_MUST_USE ptqc_status
ptqc_model_check(ptqc_ctx *ctx, const char *path, const char *target,
                 const char *const *backend_dirs, uint32_t backend_dir_count,
                 ptqc_problem_fn fn, void *user);

#if defined(__cplusplus)
}
#endif
#endif
