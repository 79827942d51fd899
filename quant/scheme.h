// SPDX-License-Identifier: Apache-2.0
//
// A scheme says how a tensor's numbers are stored as codes:
// real = scale * (code - zero_point). ARCHITECTURE "quantization annotation".
#ifndef PTQC_QUANT_SCHEME_H
#define PTQC_QUANT_SCHEME_H

#include <stdbool.h>
#include <stdint.h>

#include "ptqc/types.h"

#include "base/str.h"

typedef enum pq_granularity { // numbers as PTQC_GRAN_* of backend.h
    PQ_GRAN_NONE,
    PQ_GRAN_TENSOR,  // one scale
    PQ_GRAN_CHANNEL, // one per index of axis
    PQ_GRAN_GROUP,   // one per (index of axis 0, `group` indices of axis)
    PQ_GRAN_TOKEN,   // one per row of the last axis, dynamic
    PQ_GRAN_COUNT
} pq_granularity;

const char *pq_granularity_name(pq_granularity granularity); // "channel"
bool pq_granularity_parse(pq_str text, pq_granularity *out);

typedef struct pq_scheme {
    ptqc_dtype format; // of the codes: I8 U8 I4 U4 I32 F8E4M3 ...
    uint32_t bits;     // that codes use of the format's; 0: all
    pq_granularity granularity;
    uint32_t axis;
    uint32_t group;
    bool symmetric; // zero point is 0, or the middle code of unsigned formats
    bool dynamic;   // scales are computed while running
    // What scales can be: F32, F16, BF16 or F8E8M0; NONE: F16 for groups (as
    // every common file format has it), else F32.
    ptqc_dtype scale_format;
} pq_scheme;

ptqc_dtype pq_scheme_scale_format(const pq_scheme *scheme); // never NONE

// What the user asked for: weights and activations of a model. Parsed from
// "w8a8", "w4a8:dyn", "w4a16:g128:sym", "w3a16:ch", "fp8:e5m2", "nf4:g64",
// "mxfp4", ":t" per tensor, ":scale=bf16".
typedef struct pq_scheme_request {
    pq_scheme weights;     // axis and format signedness final
    pq_scheme activations; // format NONE: stay float
} pq_scheme_request;

// PTQC_E_USAGE with the accepted spellings when the text is none;
// PTQC_E_UNSUPPORTED for a well-formed scheme nothing executes yet.
PTQC_MUST_USE ptqc_status pq_scheme_parse(ptqc_ctx *ctx, pq_str text,
                                          pq_scheme_request *out);
// Words that something runs, with what else there is of each ("w8a8:dyn",
// "fp8:e5m2"); NULL past the end.
const char *pq_scheme_word_at(uint32_t i);
// Canonical spelling of what was asked.
void pq_scheme_request_print(const pq_scheme_request *r, pq_strbuf *out);
// The scheme with zero points that are no parameter: its format changes where
// that needs it.
pq_scheme pq_scheme_symmetric(const pq_scheme *scheme);

#endif
