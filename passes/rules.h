// SPDX-License-Identifier: Apache-2.0
//
// Rules of a recipe: what is said of single ops. The first rule that matches
// an op decides about it. Rules are bound to a graph once, when names are what
// the model's file says; afterwards the binding is looked up by the name of
// the op's first output, which passes do not change.
#ifndef PTQC_PASSES_RULES_H
#define PTQC_PASSES_RULES_H

#include "base/arena.h"
#include "base/strmap.h"
#include "ir/graph.h"
#include "quant/observer.h"
#include "quant/quantize.h"
#include "quant/scheme.h"

struct pq_tok_regex;

// What is said of one op (or, by a recipe itself, of all).
typedef struct pq_settings {
    bool is_float; // stays as it is; the rest says nothing then
    pq_scheme_request scheme;
    pq_str method;
    pq_observer_kind observer;
    double percentile; // of PQ_OBSERVER_PERCENTILE
    pq_scale_search scale_search;
} pq_settings;

// Numbers of the flags below.
enum {
    PQ_SETTING_SCHEME,
#define SETTING(FLAG, field) PQ_SETTING_##FLAG,
#include "passes/settings.def"
#undef SETTING
};

enum {
    PQ_SETS_SCHEME = 1 << PQ_SETTING_SCHEME, // scheme and is_float
#define SETTING(FLAG, field) PQ_SETS_##FLAG = 1 << PQ_SETTING_##FLAG,
#include "passes/settings.def"
#undef SETTING
};

// Those of `from` that `sets` names.
void pq_settings_take(pq_settings *to, const pq_settings *from, uint32_t sets);

typedef struct pq_op_rule {
    // Over names of op, outputs and constant operands: a glob (* ?) for the
    // whole name, or "re:" and a regular expression found anywhere in it;
    // empty: any.
    pq_str match;
    bool has_op, is_optional; // optional: may match nothing
    pq_opcode op;             // only ops of this code, when has_op
    uint32_t sets;            // PQ_SETS_*: which settings count
    pq_settings settings;
    pq_str place; // for messages: "recipe.yaml:12:5", "--keep"
} pq_op_rule;

typedef struct pq_rules {
    ptqc_ctx *ctx;               // borrowed
    pq_arena arena;              // texts
    pq_op_rule *rules;           // owned, [count]
    struct pq_tok_regex **regex; // owned, [count]; NULL: a glob
    uint32_t count, capacity;
    pq_arena names;  // keys of the binding
    pq_strmap bound; // name of an op's first output, or input -> rule
} pq_rules;

PTQC_MUST_USE ptqc_status pq_rules_create(ptqc_ctx *ctx, pq_rules **out);
void pq_rules_destroy(pq_rules *rules); // NULL allowed
// Texts are copied. PTQC_E_USAGE: a regular expression is none.
PTQC_MUST_USE ptqc_status pq_rules_add(pq_rules *rules, const pq_op_rule *rule);
// Finds the rule of every op and input of g, and forgets earlier bindings.
// PTQC_E_USAGE: a rule that is not optional matches nothing, or a regular
// expression takes too long.
PTQC_MUST_USE ptqc_status pq_rules_bind(pq_rules *rules, const pq_graph *g);
// NULL: none, or not bound; rules NULL: none.
const pq_op_rule *pq_rules_find(const pq_rules *rules, pq_str name);

#endif
