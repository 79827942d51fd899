// SPDX-License-Identifier: Apache-2.0
//
// Methods as text, see method.h. The defaults are measured
// (docs/accuracy.md).

#include "passes/method.h"

#include "passes/recipe.h"
#include "quant/gptq.h"

// Weight of a sink token in the Gram matrix: see calib/sinks.h.
#define PQ_DEFAULT_SINK 128.0

typedef enum method_step {
    STEP_RTN,
    STEP_SMOOTH,
    STEP_AWQ,
    STEP_GPTQ,
    STEP_ADAROUND,
    STEP_COUNT,
} method_step;

static const char *const step_names[STEP_COUNT] = {
    [STEP_RTN] = "rtn",   [STEP_SMOOTH] = "smoothquant", [STEP_AWQ] = "awq",
    [STEP_GPTQ] = "gptq", [STEP_ADAROUND] = "adaround",
};

static bool
parse_number(pq_str text, double min, double max, double *out)
{
    double x;
    if (!pq_str_to_f64(text, &x) || !(x >= min && x <= max)) {
        return false;
    }
    *out = x;
    return true;
}

static bool
parse_order(pq_str text, uint32_t *out)
{
    static const pq_column_order all[] = {PQ_ORDER_GROUP, PQ_ORDER_GIVEN,
                                          PQ_ORDER_DIAGONAL};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (pq_str_equal_z(text, pq_column_order_name(all[i]))) {
            *out = (uint32_t)all[i];
            return true;
        }
    }
    return false;
}

static bool
parse_switch(pq_str text, bool *out)
{
    *out = pq_str_equal_z(text, "on");
    return *out || pq_str_equal_z(text, "off");
}

static bool
parse_smooth_setting(pq_str key, pq_str value, pq_method *m)
{
    if (pq_str_equal_z(key, "inputs")) {
        m->smooths_all = pq_str_equal_z(value, "all");
        return m->smooths_all || pq_str_equal_z(value, "norms");
    }
    if (!pq_str_equal_z(key, "alpha")) {
        return false;
    }
    if (pq_str_equal_z(value, "search")) {
        m->alpha = PQ_ALPHA_SEARCH;
        return true;
    }
    return parse_number(value, 0, 1, &m->alpha);
}

static bool
parse_gptq_setting(pq_str key, pq_str value, pq_method *m)
{
    double sweeps;
    if (pq_str_equal_z(key, "damping")) {
        return parse_number(value, 1e-6, 1, &m->damping);
    }
    if (pq_str_equal_z(key, "order")) {
        return parse_order(value, &m->order);
    }
    if (pq_str_equal_z(key, "polish") && parse_number(value, 0, 100, &sweeps)) {
        m->polish = (uint32_t)sweeps;
        return true;
    }
    if (pq_str_equal_z(key, "clip")) {
        return parse_switch(value, &m->gptq_clips);
    }
    if (pq_str_equal_z(key, "target")) {
        m->is_asymmetric = pq_str_equal_z(value, "asymmetric");
        return m->is_asymmetric || pq_str_equal_z(value, "weights");
    }
    if (pq_str_equal_z(key, "blend")) {
        return parse_number(value, 1e-6, 1, &m->blend);
    }
    return pq_str_equal_z(key, "sink") && parse_number(value, 0, 1e6, &m->sink);
}

static bool
parse_setting(method_step step, pq_str text, pq_method *m)
{
    pq_str key, value;
    if (!pq_str_split(text, '=', &key, &value)) {
        return false;
    }
    if (step == STEP_SMOOTH) {
        return parse_smooth_setting(key, value, m);
    }
    if (step == STEP_AWQ && pq_str_equal_z(key, "clip")) {
        return parse_switch(value, &m->clips);
    }
    if (step == STEP_ADAROUND && pq_str_equal_z(key, "from")) {
        m->learns_from_gram = pq_str_equal_z(value, "gram");
        return m->learns_from_gram || pq_str_equal_z(value, "outputs");
    }
    return step == STEP_GPTQ && parse_gptq_setting(key, value, m);
}

static bool
parse_step(pq_str text, bool is_alone, pq_method *m)
{
    pq_str name, rest, setting;
    bool has_settings = pq_str_split(text, ':', &name, &rest);
    method_step step = STEP_RTN;
    while (step < STEP_COUNT && !pq_str_equal_z(name, step_names[step])) {
        step++;
    }
    bool *does = step == STEP_SMOOTH     ? &m->does_smooth
                 : step == STEP_AWQ      ? &m->does_awq
                 : step == STEP_GPTQ     ? &m->does_gptq
                 : step == STEP_ADAROUND ? &m->does_adaround
                                         : NULL;
    if (step == STEP_COUNT || (step == STEP_RTN && !is_alone) ||
        (does != NULL && *does)) {
        return false;
    }
    if (does != NULL) {
        *does = true;
    }
    while (has_settings) {
        has_settings = pq_str_split(rest, ':', &setting, &rest);
        if (!parse_setting(step, setting, m)) {
            return false;
        }
    }
    return true;
}

bool
pq_method_parse(pq_str text, pq_method *out)
{
    pq_method m = {.alpha = PQ_ALPHA_SEARCH,
                   .clips = true,
                   .gptq_clips = true,
                   .blend = 1,
                   .damping = (double)PQ_DAMPING,
                   .sink = PQ_DEFAULT_SINK};
    pq_str step, rest;
    bool has_more = pq_str_split(text, '+', &step, &rest);
    if (text.n > 0 && !parse_step(step, !has_more, &m)) {
        return false;
    }
    while (has_more) {
        has_more = pq_str_split(rest, '+', &step, &rest);
        if (!parse_step(step, false, &m)) {
            return false;
        }
    }
    if (m.does_gptq && m.does_adaround) {
        return false; // both choose the codes
    }
    if (out != NULL) {
        *out = m;
    }
    return true;
}

bool
pq_method_streams(const pq_method *m)
{
    return m->does_smooth || m->does_awq || m->does_gptq || m->does_adaround;
}

bool
pq_method_has_same_settings(const pq_method *a, const pq_method *b)
{
    // Equal spellings give equal numbers.
    return !(a->alpha < b->alpha) && !(b->alpha < a->alpha) &&
           !(a->damping < b->damping) && !(b->damping < a->damping) &&
           !(a->sink < b->sink) && !(b->sink < a->sink) &&
           a->order == b->order && a->polish == b->polish &&
           !(a->blend < b->blend) && !(b->blend < a->blend) &&
           a->is_asymmetric == b->is_asymmetric && a->clips == b->clips &&
           a->gptq_clips == b->gptq_clips && a->smooths_all == b->smooths_all;
}

bool
pq_method_of_op(const pq_graph *g, const pq_recipe *recipe, const pq_op *op,
                pq_method *out)
{
    return pq_method_parse(pq_recipe_settings(recipe, g, op).method, out);
}
