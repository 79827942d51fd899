// SPDX-License-Identifier: Apache-2.0
//
// What to do to a model: schemes, method, observer, what stays float. Built
// from the command line now; the same struct is what recipe files fill.
#ifndef PTQC_PASSES_RECIPE_H
#define PTQC_PASSES_RECIPE_H

#include "base/str.h"
#include "quant/observer.h"
#include "quant/quantize.h"
#include "quant/scheme.h"

typedef enum pq_kv_type { // of key and value states
    PQ_KV_AS_IS,
    PQ_KV_F16,
    PQ_KV_F32,
    PQ_KV_INT8,
} pq_kv_type;

typedef struct pq_recipe {
    bool has_scheme; // false: the model stays as it is
    pq_scheme_request scheme;
    pq_str method; // as method.h: "rtn"
    pq_observer_kind observer;
    pq_scale_search scale_search; // of weights
    double percentile;            // of PQ_OBSERVER_PERCENTILE, e.g. 99.99
    const pq_str *keep; // [keep_count] globs (* ?) over op and value names
    uint32_t keep_count;
    pq_kv_type kv;
    uint64_t seed;
} pq_recipe;

// The expanded recipe as JSON members, for the artifact's metadata.
struct pq_json_writer;
void pq_recipe_write(const pq_recipe *r, struct pq_json_writer *w);
// Whether passes/method.h has such a method.
bool pq_method_is_known(pq_str name);

// "f16", "f32", "int8".
bool pq_kv_type_parse(pq_str text, pq_kv_type *out);

#endif
