// SPDX-License-Identifier: Apache-2.0
//
// What to do to a model: schemes, method, observer, what stays float; for all
// ops, and by rules for single ones. Filled from recipe texts and from the
// command line alike; docs/recipes.md describes the text.
#ifndef PTQC_PASSES_RECIPE_H
#define PTQC_PASSES_RECIPE_H

#include "passes/rules.h"

typedef enum pq_kv_type { // of key and value states
    PQ_KV_AS_IS,
    PQ_KV_F16,
    PQ_KV_F32,
    PQ_KV_INT8,
} pq_kv_type;

// Cross-layer equalization (calib/equalize.c).
typedef enum pq_equalization {
    PQ_EQUALIZE_AUTO, // where weights have one scale per tensor
    PQ_EQUALIZE_ON,   // wherever weights become codes
    PQ_EQUALIZE_OFF,
} pq_equalization;

// What biases take back (calib/correct_bias.c).
typedef enum pq_bias_correction {
    PQ_BIAS_SEQUENTIAL, // mean shift of everything quantized so far
    PQ_BIAS_EMPIRICAL,  // of the layer's rounded weights, inputs measured
    PQ_BIAS_ANALYTIC,   // the same, inputs by the batch norm before
    PQ_BIAS_OFF,
} pq_bias_correction;

typedef struct pq_recipe {
    bool has_scheme; // false: no scheme but what rules say
    pq_scheme_request scheme;
    pq_str method; // as method.h: "rtn"
    pq_observer_kind observer;
    pq_scale_search scale_search; // of weights
    double percentile;            // of PQ_OBSERVER_PERCENTILE, e.g. 99.99
    pq_rules *rules; // NULL: none. Owned by whom made the recipe; bound by the
                     // pipeline
    pq_equalization equalize;
    bool absorbs_bias; // calib/absorb_bias.c
    pq_bias_correction bias_correction;
    pq_kv_type kv;
    uint64_t sample_limit; // of calibration; 0: all
    uint64_t seed;
} pq_recipe;

// What the preset "default" says.
void pq_recipe_init(pq_recipe *r);
void pq_recipe_deinit(pq_recipe *r);
// Whether any op may become codes: by the scheme or a rule.
bool pq_recipe_quantizes(const pq_recipe *r);
// Whether some op's activations may be codes with scales from samples.
bool pq_recipe_is_static(const pq_recipe *r);
// Whether the method of the recipe or of a rule needs samples; *out_method
// (NULL allowed): the first that does.
bool pq_recipe_streams(const pq_recipe *r, pq_str *out_method);
// The steps that the recipe or a rule asks for; of settings, is_asymmetric and
// learns_from_gram alone say something.
struct pq_method;
void pq_recipe_steps(const pq_recipe *r, struct pq_method *out);
// Whether the recipe or a rule asks for this observer.
bool pq_recipe_uses_observer(const pq_recipe *r, pq_observer_kind kind);
// What the recipe, bound to g, says of an op.
pq_settings pq_recipe_settings(const pq_recipe *r, const pq_graph *g,
                               const pq_op *op);
// Of the op that makes v, else of the input v.
pq_settings pq_recipe_settings_of_value(const pq_recipe *r, const pq_graph *g,
                                        pq_value_id v);

// What `sets` names becomes what the recipe says of all ops.
void pq_recipe_take(pq_recipe *r, const pq_settings *from, uint32_t sets);

// ---- text (recipe_read.c, recipe.c) ----------------------------------------

// Reads a recipe text (YAML or JSON) over what *r says: the given keys
// replace, rules go before those that were there. `what` names it in errors.
// PTQC_E_USAGE: "what:line:column: ...". Texts of the recipe live in arena.
PTQC_MUST_USE ptqc_status pq_recipe_read(ptqc_ctx *ctx, const char *what,
                                         pq_str text, pq_arena *arena,
                                         pq_recipe *r);
// A preset's name, or a file.
PTQC_MUST_USE ptqc_status pq_recipe_load(ptqc_ctx *ctx, const char *name,
                                         pq_arena *arena, pq_recipe *r);
// The expanded recipe as JSON members, for the artifact's metadata: an object
// of them is a recipe text that says the same.
struct pq_json_writer;
void pq_recipe_write(const pq_recipe *r, struct pq_json_writer *w);

typedef struct pq_preset {
    const char *name, *summary, *text; // text: YAML
} pq_preset;

const pq_preset *pq_preset_at(uint32_t i); // NULL past the end
const pq_preset *pq_preset_find(pq_str name);

// Whether passes/method.h has such a method.
bool pq_method_is_known(pq_str name);
// "auto", "on", "off".
bool pq_equalization_parse(pq_str text, pq_equalization *out);
// "sequential", "empirical", "analytic", "off".
bool pq_bias_correction_parse(pq_str text, pq_bias_correction *out);
// "f16", "f32", "int8".
bool pq_kv_type_parse(pq_str text, pq_kv_type *out);

#endif
