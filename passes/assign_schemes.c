// SPDX-License-Identifier: Apache-2.0
//
// Annotates which values become codes, and how; computes nothing. Products
// with constant weights take the scheme that the recipe, or the first of its
// rules that matches them, says, unless that is float or no target runs it.
// With static activations the ops between products (roles.def) run on codes
// when all their operands come as codes and some product behind them wants
// codes: so convolution chains stay integer from end to end, while float
// streams (residuals between norms) stay float and only the operands of
// products are quantized.

#include <assert.h>

#include "ir/builder.h"
#include "passes/admit.h"
#include "passes/match.h"
#include "passes/plan.h"
#include "passes/registry.h"

// One kind of deviation that the user is warned of.
// Room for all: the texts of this file times the kinds of products.
#define PQ_DEVIATION_KINDS 32

typedef struct pq_deviation {
    const char *what, *why; // why: compared by address, texts of this file
    pq_opcode code;
    pq_str first; // where
    uint32_t count;
} pq_deviation;

typedef struct pq_assign {
    pq_graph *g;
    pq_pass_env *env;
    pq_mode *modes;        // [ops that were there] of products
    bool *is_candidate;    // [ops] may run on codes
    pq_value_id *views[2]; // [values that were there] copies of activations
    pq_deviation deviations[PQ_DEVIATION_KINDS];
    uint32_t deviation_count;
} pq_assign;

static void
note(const pq_assign *a, const pq_op *op, const char *what, const char *why)
{
    if (a->env->note != NULL) {
        a->env->note(a->env->note_user, pq_op_label(a->g, op), what, why);
    }
}

// A note that is also summed up in a warning.
static void
warn(pq_assign *a, const pq_op *op, const char *what, const char *why)
{
    uint32_t i = 0;
    note(a, op, what, why);
    while (i < a->deviation_count &&
           (a->deviations[i].why != why || a->deviations[i].code != op->code)) {
        i++;
    }
    assert(i < PQ_DEVIATION_KINDS);
    if (i == a->deviation_count) {
        a->deviation_count++;
        a->deviations[i] =
            (pq_deviation){what, why, op->code, pq_op_label(a->g, op), 0};
    }
    a->deviations[i].count++;
}

static void
say_deviations(const pq_assign *a)
{
    for (uint32_t i = 0; i < a->deviation_count; i++) {
        const pq_deviation *d = &a->deviations[i];
        pq_say(pq_graph_ctx(a->g), PTQC_SEVERITY_WARNING,
               "%u %s %s: %s (first: '%.*s')", d->count,
               pq_op_info_of(d->code)->name, d->what, d->why,
               PQ_STR_ARG(d->first));
    }
}

// ---- products -------------------------------------------------------------

// Whether there is what gives scales to static activations.
static bool
has_ranges(const pq_pass_env *env)
{
    return env->samples != NULL || env->stats != NULL;
}

static bool
is_dynamic(const pq_assign *a, const pq_settings *s)
{
    const pq_scheme *x = &s->scheme.activations;
    return x->format != PTQC_DTYPE_NONE && (x->dynamic || !has_ranges(a->env));
}

// Scheme of w as asked, fitted to the product: axis, and groups only along K
// of a matmul. *out_why: set when it had to deviate.
static pq_scheme
weight_scheme(const pq_assign *a, const pq_op *op, const pq_settings *settings,
              const char **out_why)
{
    pq_scheme s = settings->scheme.weights;
    uint32_t w_axis = 0;
    uint32_t y_axis;
    *out_why = NULL;
    bool has_channels = pq_channel_axes(a->g, op, &w_axis, &y_axis);
    int64_t k = pq_static_dim(a->g, op->inputs[1], 1);
    if (s.granularity == PQ_GRAN_GROUP &&
        (op->code != PQ_OP_MATMUL || w_axis != 0)) {
        *out_why = "groups go along K of matmul only: one scale per channel";
        s.granularity = PQ_GRAN_CHANNEL;
    }
    if (s.granularity == PQ_GRAN_GROUP && k % (int64_t)s.group != 0) {
        bool is_one = k < (int64_t)s.group;
        note(a, op, is_one ? "one scale per channel" : "a shorter last group",
             "the group does not divide K");
        s.granularity = is_one ? PQ_GRAN_CHANNEL : PQ_GRAN_GROUP;
    }
    if (s.granularity == PQ_GRAN_CHANNEL && !has_channels) {
        *out_why = "no single channel axis: one scale per tensor";
        s.granularity = PQ_GRAN_TENSOR;
    }
    s.group = s.granularity == PQ_GRAN_GROUP ? s.group : 0;
    s.axis = s.granularity == PQ_GRAN_GROUP ? 1 : w_axis;
    if (s.granularity == PQ_GRAN_TENSOR) {
        s.axis = 0;
    }
    return s;
}

static pq_mode
wanted_mode(const pq_assign *a, const pq_op *op, const pq_settings *s)
{
    if (s->scheme.activations.format == PTQC_DTYPE_NONE) {
        return PQ_MODE_WEIGHT_ONLY;
    }
    if (!is_dynamic(a, s)) {
        return PQ_MODE_STATIC;
    }
    return op->code == PQ_OP_MATMUL ? PQ_MODE_DYNAMIC : PQ_MODE_WEIGHT_ONLY;
}

static const pq_scheme static_codes = {.format = PTQC_U8,
                                       .granularity = PQ_GRAN_TENSOR};
static const pq_scheme token_codes = {.format = PTQC_I8,
                                      .granularity = PQ_GRAN_TOKEN,
                                      .symmetric = true,
                                      .dynamic = true};

static bool
is_admitted(const pq_assign *a, const pq_op *op, pq_mode mode,
            const pq_scheme *w)
{
    const pq_scheme real = {.format = PTQC_F32};
    const pq_scheme none = {0};
    bool has_bias = !pq_value_is_none(pq_op_input(op, 2));
    bool has_residual = !pq_value_is_none(pq_op_input(op, 3));
    pq_product_schemes s = {.x = real, .w = *w, .y = real};
    s.bias = has_bias ? real : none;
    s.residual = has_residual ? real : none;
    if (mode == PQ_MODE_STATIC) {
        s.x = static_codes;
    }
    if (mode == PQ_MODE_DYNAMIC) {
        s.x = token_codes;
        s.x_scale = real;
    }
    return pq_admits_product(a->g, a->env->caps, op, &s);
}

// A weight that several ops share is annotated once per op.
static ptqc_status
own_weight(pq_graph *g, pq_op_id id)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_value *w = pq_graph_value(g, op->inputs[1]);
    if (w->use_count == 1) {
        return PTQC_OK;
    }
    pq_value_id copy = pq_graph_add_constant_value(g, w->name, w->constant);
    return pq_value_is_none(copy) ? pq_graph_failure(g)
                                  : pq_set_input(g, id, 1, copy);
}

static ptqc_status
annotate(pq_graph *g, pq_value_id v, const pq_scheme *scheme)
{
    pq_value *value = pq_graph_value(g, v);
    if (!pq_quant_is_none(value->quant)) {
        return PTQC_OK;
    }
    const pq_quant q = {.scheme = *scheme};
    value->quant = pq_graph_add_quant(g, &q);
    return pq_quant_is_none(value->quant) ? pq_graph_failure(g) : PTQC_OK;
}

// Weight schemes nearer and nearer to what every target runs, each with what
// was given up.
static bool
fit_to_targets(const pq_assign *a, const pq_op *op, pq_mode mode, pq_scheme *w,
               const char **why)
{
    if (is_admitted(a, op, mode, w)) {
        return true;
    }
    if (!w->symmetric) {
        *w = pq_scheme_symmetric(w);
        *why = "no target runs zero points of its weights: symmetric";
        if (is_admitted(a, op, mode, w)) {
            return true;
        }
    }
    if (w->granularity == PQ_GRAN_GROUP) {
        w->granularity = PQ_GRAN_CHANNEL;
        w->group = 0;
        w->axis = 0;
        *why = "no target runs these groups: one scale per channel";
        if (is_admitted(a, op, mode, w)) {
            return true;
        }
    }
    w->granularity = PQ_GRAN_TENSOR;
    w->axis = 0;
    *why = "no target runs scales per channel: one scale per tensor";
    return is_admitted(a, op, mode, w);
}

// Whether w is a constant that is codes already, as such or (GGUF, Q/DQ) what
// dequantize makes of it.
static bool
is_stored_codes(const pq_graph *g, pq_value_id w)
{
    const pq_op *dequantize = pq_producer(g, w, PQ_OP_DEQUANTIZE);
    w = dequantize != NULL ? dequantize->inputs[0] : w;
    return pq_is_constant(g, w) && pq_is_codes(g, w);
}

// What block formats with minima (Q4_1) have beside their codes: a product of
// sums that is added to the product of the codes. It is part of them.
static bool
completes_codes(const pq_graph *g, const pq_op *op)
{
    const pq_op *user = pq_graph_op(g, pq_single_user(g, op->outputs[0]));
    return user != NULL && pq_is_product(user->code) &&
           pq_value_equal(pq_op_input(user, 3), op->outputs[0]) &&
           is_stored_codes(g, user->inputs[1]);
}

static bool
is_empty(const pq_graph *g, pq_value_id w)
{
    const pq_value *value = pq_graph_value(g, w);
    return pq_element_count(pq_graph_constant(g, value->constant)) == 0;
}

// Why a product stays as it is, whatever is asked; NULL: it need not.
static const char *
reason_to_leave(const pq_assign *a, const pq_op *op)
{
    if (completes_codes(a->g, op)) {
        return "it belongs to weights that are codes already";
    }
    if (!pq_is_real_constant(a->g, op->inputs[1]) ||
        !pq_is_float(a->g, op->inputs[0])) {
        return "its weights are not constant";
    }
    return is_empty(a->g, op->inputs[1]) ? "its weights have no elements"
                                         : NULL;
}

// Why the recipe leaves a product float; NULL: it does not. The output matrix
// of a language model only becomes codes when a rule names it: its errors go
// straight into the scores, and it often is the embedding.
static const char *
reason_of_recipe(const pq_assign *a, const pq_op *op, const pq_settings *s)
{
    pq_str name = pq_graph_value(a->g, op->outputs[0])->name;
    const pq_op_rule *rule = pq_rules_find(a->env->recipe->rules, name);
    bool is_named = rule != NULL && (rule->sets & PQ_SETS_SCHEME) != 0;
    if (s->is_float) {
        return is_named ? "kept by the recipe"
                        : "the recipe has no scheme for it";
    }
    bool is_output_matrix = pq_graph_state_count(a->g) > 0 &&
                            pq_value_is_output(a->g, op->outputs[0]);
    return is_output_matrix && !is_named
               ? "the output matrix of a language model"
               : NULL;
}

// The weights' part; sets the mode of the op.
static ptqc_status
assign_weights(pq_assign *a, pq_op_id id, const pq_settings *s)
{
    const pq_op *op = pq_graph_op(a->g, id);
    const char *why;
    pq_mode mode = wanted_mode(a, op, s);
    pq_scheme w = weight_scheme(a, op, s, &why);
    if (!fit_to_targets(a, op, mode, &w, &why)) {
        warn(a, op, "float", "no preferred target runs this scheme");
        return PTQC_OK;
    }
    if (why != NULL) {
        warn(a, op, "in another form", why);
    }
    if (is_dynamic(a, s) && mode == PQ_MODE_WEIGHT_ONLY) {
        warn(a, op, "weights only",
             "dynamic activations exist for matmul only");
    }
    a->modes[id.index] = mode;
    PQ_TRY(own_weight(a->g, id));
    return annotate(a->g, op->inputs[1], &w);
}

static ptqc_status
assign_product(pq_assign *a, pq_op_id id)
{
    const pq_op *op = pq_graph_op(a->g, id);
    const pq_settings s = pq_recipe_settings(a->env->recipe, a->g, op);
    if (is_stored_codes(a->g, op->inputs[1])) {
        warn(a, op, "as stored", "its weights are codes already");
        return PTQC_OK;
    }
    const char *why = reason_to_leave(a, op);
    if (why == NULL && op->code == PQ_OP_MATMUL &&
        pq_graph_value(a->g, op->inputs[1])->type.rank != 2) {
        warn(a, op, "float", "its weights are no matrix");
        return PTQC_OK;
    }
    why = why != NULL ? why : reason_of_recipe(a, op, &s);
    if (why != NULL) {
        note(a, op, "float", why);
        return PTQC_OK;
    }
    return assign_weights(a, id, &s);
}

// ---- activations of products ----------------------------------------------

// A copy of the op's activation that is annotated, or not, for itself: modes
// are read from annotations (plan.h), so products of different modes cannot
// share one value. Copies go when all is decided (canonicalize).
static ptqc_status
read_view(pq_assign *a, pq_op_id id)
{
    pq_value_id x = pq_graph_op(a->g, id)->inputs[0];
    bool is_per_token = a->modes[id.index] == PQ_MODE_DYNAMIC;
    pq_value_id *view = &a->views[is_per_token][x.index];
    if (pq_value_is_none(*view)) {
        pq_builder b;
        pq_build_begin(&b, a->g, id, PQ_OP_IDENTITY, (pq_str){0});
        pq_build_input(&b, x);
        PQ_TRY(pq_build_end(&b, NULL, view, NULL));
    }
    return pq_set_input(a->g, id, 0, *view);
}

static ptqc_status
make_views(pq_assign *a)
{
    uint32_t values = pq_graph_value_count(a->g);
    for (int i = 0; i < 2; i++) {
        a->views[i] =
            pq_arena_array(a->env->scratch, values, sizeof *a->views[i]);
        PQ_TRY_ALLOC(a->views[i]);
    }
    return PTQC_OK;
}

// Beside static products every other one reads a view; beside dynamic ones
// the matmuls with float activations do.
static ptqc_status
separate_readers(pq_assign *a, uint32_t op_count)
{
    bool has[PQ_MODE_STATIC + 1] = {false};
    for (uint32_t i = 1; i < op_count; i++) {
        has[a->modes[i]] = true;
    }
    if (has[PQ_MODE_STATIC] + has[PQ_MODE_DYNAMIC] + has[PQ_MODE_WEIGHT_ONLY] <
        2) {
        return PTQC_OK;
    }
    PQ_TRY(make_views(a));
    for (pq_op_id id = pq_graph_first_op(a->g); !pq_op_is_none(id);
         id = pq_graph_op(a->g, id)->next) {
        pq_mode mode = id.index < op_count ? a->modes[id.index] : PQ_MODE_FLOAT;
        bool is_matmul = pq_graph_op(a->g, id)->code == PQ_OP_MATMUL;
        bool needs_view =
            has[PQ_MODE_STATIC]
                ? mode == PQ_MODE_DYNAMIC || mode == PQ_MODE_WEIGHT_ONLY
                : mode == PQ_MODE_WEIGHT_ONLY && is_matmul;
        if (needs_view) {
            PQ_TRY(read_view(a, id));
        }
    }
    return PTQC_OK;
}

static ptqc_status
assign_activations(pq_assign *a, uint32_t op_count)
{
    PQ_TRY(separate_readers(a, op_count));
    a->is_candidate = pq_arena_array(a->env->scratch, pq_graph_op_count(a->g),
                                     sizeof *a->is_candidate);
    PQ_TRY_ALLOC(a->is_candidate);
    for (uint32_t i = 1; i < op_count; i++) {
        const pq_op *op = pq_graph_op(a->g, (pq_op_id){i});
        a->is_candidate[i] = a->modes[i] == PQ_MODE_STATIC;
        if (a->modes[i] == PQ_MODE_DYNAMIC) {
            PQ_TRY(annotate(a->g, op->inputs[0], &token_codes));
        }
    }
    return PTQC_OK;
}

// ---- the ops between ------------------------------------------------------

static bool
can_follow(const pq_assign *a, const pq_op *op)
{
    pq_role role = pq_role_of(a->g, op);
    uint32_t data_count = 0;
    if (role == PQ_ROLE_FLOAT || pq_is_product(op->code) ||
        pq_recipe_settings(a->env->recipe, a->g, op).is_float) {
        return false;
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        pq_op_id producer = pq_producer_id(a->g, op->inputs[i]);
        if (!pq_is_data_operand(a->g, op, i)) {
            continue;
        }
        data_count++;
        if (pq_op_is_none(producer) ? role != PQ_ROLE_SHARING
                                    : !a->is_candidate[producer.index]) {
            return false;
        }
    }
    return data_count > 0;
}

// What an op on codes wants as codes. A product's residual only when its
// result is codes and the residual can be: else it is added in float.
static ptqc_status
want_operands(pq_assign *a, const pq_op *op)
{
    bool is_product = pq_is_product(op->code);
    const pq_quant *y = pq_annotation(a->g, op->outputs[0]);
    bool has_codes = y != NULL && !y->scheme.dynamic;
    if (!is_product && !has_codes) {
        return PTQC_OK;
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        pq_op_id producer = pq_producer_id(a->g, op->inputs[i]);
        bool can_be =
            !pq_op_is_none(producer) && a->is_candidate[producer.index];
        bool is_residual = is_product && i == 3;
        if (pq_is_data_operand(a->g, op, i) &&
            (!is_residual || (has_codes && can_be))) {
            PQ_TRY(annotate(a->g, op->inputs[i], &static_codes));
        }
    }
    return PTQC_OK;
}

static ptqc_status
assign_static(pq_assign *a)
{
    pq_graph *g = a->g;
    PQ_FOR_EACH_OP(g, id)
    {
        if (can_follow(a, pq_graph_op(g, id))) {
            a->is_candidate[id.index] = true;
        }
    }
    for (pq_op_id id = pq_graph_last_op(g); !pq_op_is_none(id);
         id = pq_graph_op(g, id)->prev) {
        if (a->is_candidate[id.index]) {
            PQ_TRY(want_operands(a, pq_graph_op(g, id)));
        }
    }
    return PTQC_OK;
}

// ---- all ------------------------------------------------------------------

// Without samples, products other than matmul have no dynamic form.
static ptqc_status
check_samples(const pq_assign *a)
{
    if (has_ranges(a->env)) {
        return PTQC_OK;
    }
    PQ_FOR_EACH_OP(a->g, id)
    {
        const pq_op *op = pq_graph_op(a->g, id);
        if (!pq_is_product(op->code) || op->code == PQ_OP_MATMUL ||
            !pq_is_constant(a->g, op->inputs[1])) {
            continue;
        }
        const pq_settings s = pq_recipe_settings(a->env->recipe, a->g, op);
        if (!s.is_float && is_dynamic(a, &s) && !s.scheme.activations.dynamic) {
            return PQ_FAIL(pq_graph_ctx(a->g), PTQC_E_USAGE,
                           "static 8-bit activations of %s '%.*s' need "
                           "calibration samples (or :dyn: its weights alone "
                           "in 8 bits)",
                           pq_op_info_of(op->code)->name,
                           PQ_STR_ARG(pq_op_label(a->g, op)));
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_pass_assign_schemes(pq_graph *g, pq_pass_env *env)
{
    pq_assign a = {.g = g, .env = env};
    uint32_t op_count = pq_graph_op_count(g);
    a.modes = pq_arena_array(env->scratch, op_count, sizeof *a.modes);
    PQ_TRY_ALLOC(a.modes);
    PQ_TRY(check_samples(&a));
    PQ_FOR_EACH_OP(g, id)
    {
        if (pq_is_product(pq_graph_op(g, id)->code)) {
            PQ_TRY(assign_product(&a, id));
        }
    }
    say_deviations(&a);
    PQ_TRY(assign_activations(&a, op_count));
    return assign_static(&a);
}
