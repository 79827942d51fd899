// SPDX-License-Identifier: Apache-2.0
//
// The runner: symbols from the inputs' shapes, ops in order, intermediates
// freed after their last use, states kept; and the entry for a single op.
#include "ir/interp/interp.h"

#include <string.h>

#include "base/dtype.h"
#include "ir/interp/eval.h"

// ---- one op ---------------------------------------------------------------

// Mapped constants may lie at any address, and empty tensors have none: the
// ops read whole elements, and take NULL for an absent operand.
static ptqc_status
settle_input(pq_eval *e, uint32_t i, pq_tensor *t)
{
    size_t size = pq_dtype_bits(t->dtype) / 8;
    bool is_empty = t->p == NULL && !pq_value_is_none(e->op->inputs[i]);
    bool is_odd = t->p != NULL && size > 1 && (uintptr_t)t->p % size != 0;
    if (!is_empty && !is_odd) {
        return PTQC_OK;
    }
    if (is_empty && t->bytes != 0) {
        return pq_eval_fail(e, PTQC_E_INTERNAL, "input %u has no data", i);
    }
    void *copy = pq_scratch(e, (int64_t)t->bytes, 1);
    PQ_TRY_ALLOC(copy);
    if (is_odd) {
        memcpy(copy, t->p, t->bytes);
    }
    t->p = copy;
    return PTQC_OK;
}

static ptqc_status
run_op(pq_eval *e, const pq_tensor *inputs)
{
    const char *reason = pq_interp_declines(e->g, e->op);
    if (reason != NULL) {
        return pq_eval_fail(e, PTQC_E_UNSUPPORTED,
                            "the interpreter cannot run it: %s", reason);
    }
    uint32_t n = e->op->input_count;
    pq_tensor *in = pq_scratch(e, n, sizeof *in);
    PQ_TRY_ALLOC(in);
    for (uint32_t i = 0; i < n; i++) {
        in[i] = inputs[i];
        PQ_TRY(settle_input(e, i, &in[i]));
    }
    e->in = in;
    return pq_eval_info_of(e->op->code)->run(e);
}

ptqc_status
pq_interp_op(pq_graph *g, const pq_op *op, const int64_t *symbols,
             const pq_tensor *inputs, pq_tensor *outputs)
{
    pq_eval e = {.ctx = pq_graph_ctx(g),
                 .g = g,
                 .op = op,
                 .symbols = symbols,
                 .out = outputs};
    pq_arena_init(&e.arena, e.ctx);
    ptqc_status st = run_op(&e, inputs);
    pq_arena_deinit(&e.arena);
    return st;
}

// ---- runner ---------------------------------------------------------------

typedef struct interp {
    pq_runner runner;
    ptqc_ctx *ctx;       // borrowed
    pq_graph *g;         // borrowed
    bool *is_shown;      // owned, [values]
    uint32_t *uses;      // owned, [values]: operands that read the value
    uint32_t *uses_left; // owned, [values], of the current run
    pq_tensor *tensors;  // owned, [values]
    bool *is_owned;      // owned, [values]: tensors[i].p is ours
    int64_t *symbols;    // owned, [symbols]
    bool *is_bound;      // owned, [symbols]
    bool *is_unknown;    // owned, [dims]: needs an unbound symbol
    int64_t *presets;    // owned, [symbols]: for unbound ones; < 0: none
    pq_tensor *states;   // owned, [states], their memory too
    uint32_t state_count;
    uint32_t value_count;
} interp;

// What the current run shows its values to.
typedef struct observer {
    pq_observe_fn fn;
    void *user;
} observer;

static pq_str
symbol_name(interp *r, int64_t index)
{
    return pq_graph_symbol(r->g, (uint32_t)index)->name;
}

static ptqc_status
bind_symbol(interp *r, const pq_value *v, uint32_t axis, int64_t found)
{
    const pq_dim_expr *d = pq_dim_get(r->g, v->type.dims[axis]);
    if (d->op != PQ_DIM_SYMBOL) {
        return PTQC_OK;
    }
    int64_t s = d->value;
    if (r->is_bound[s] && r->symbols[s] != found) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "input '%.*s': dimension %u ('%.*s') is %lld, expected "
                       "%lld as in another input",
                       PQ_STR_ARG(v->name), axis, PQ_STR_ARG(symbol_name(r, s)),
                       (long long)found, (long long)r->symbols[s]);
    }
    r->symbols[s] = found;
    r->is_bound[s] = true;
    return PTQC_OK;
}

static ptqc_status
check_type(interp *r, const pq_value *v, const pq_tensor *t)
{
    if (t->dtype != v->type.dtype) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "input '%.*s': type is %s, expected %s",
                       PQ_STR_ARG(v->name), pq_dtype_name(t->dtype),
                       pq_dtype_name(v->type.dtype));
    }
    if (t->rank != v->type.rank) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "input '%.*s': rank is %u, expected %u",
                       PQ_STR_ARG(v->name), t->rank, v->type.rank);
    }
    size_t bytes;
    if (!pq_dtype_bytes(t->dtype, t->dims, t->rank, &bytes) ||
        bytes != t->bytes || (t->p == NULL && bytes != 0)) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "input '%.*s': %zu bytes do not hold its shape",
                       PQ_STR_ARG(v->name), t->bytes);
    }
    return PTQC_OK;
}

// Expressions have larger ids than their operands.
static void
find_unknown_dims(interp *r)
{
    for (uint32_t i = 1; i < pq_graph_dim_count(r->g); i++) {
        const pq_dim_expr *d = pq_dim_get(r->g, (pq_dim){i});
        if (d->op == PQ_DIM_SYMBOL) {
            r->is_unknown[i] = !r->is_bound[d->value];
        } else if (d->op != PQ_DIM_CONST) {
            r->is_unknown[i] =
                r->is_unknown[d->a.index] || r->is_unknown[d->b.index];
        }
    }
}

static ptqc_status
eval_dim(interp *r, const pq_value *v, uint32_t axis, int64_t *out)
{
    pq_dim d = v->type.dims[axis];
    if (r->is_unknown[d.index]) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "value '%.*s': dimension %u needs a symbol that no "
                       "input's shape gives",
                       PQ_STR_ARG(v->name), axis);
    }
    return pq_dim_eval(r->g, d, r->symbols, out);
}

static ptqc_status
check_dims(interp *r, const pq_value *v, const pq_tensor *t)
{
    for (uint32_t a = 0; a < t->rank; a++) {
        int64_t expected;
        PQ_TRY(eval_dim(r, v, a, &expected));
        if (expected != t->dims[a]) {
            return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                           "input '%.*s': dimension %u is %lld, expected %lld",
                           PQ_STR_ARG(v->name), a, (long long)t->dims[a],
                           (long long)expected);
        }
    }
    return PTQC_OK;
}

// What no input's shape gives: the preset or, of a state, the largest value.
static void
bind_preset(interp *r, int64_t s, bool is_of_state)
{
    const pq_symbol *symbol = pq_graph_symbol(r->g, (uint32_t)s);
    if (r->is_bound[s]) {
        return;
    }
    if (r->presets[s] >= 0) {
        r->is_bound[s] = true;
        r->symbols[s] = r->presets[s];
    } else if (is_of_state && symbol->max < INT64_MAX) {
        r->is_bound[s] = true;
        r->symbols[s] = symbol->max - symbol->max % symbol->multiple;
    }
}

static void
bind_presets(interp *r)
{
    for (uint32_t i = 0; i < r->state_count; i++) {
        const pq_value *v = pq_graph_value(r->g, pq_graph_state(r->g, i));
        for (uint32_t a = 0; a < v->type.rank; a++) {
            const pq_dim_expr *d = pq_dim_get(r->g, v->type.dims[a]);
            if (d->op == PQ_DIM_SYMBOL) {
                bind_preset(r, d->value, true);
            }
        }
    }
    for (uint32_t i = 0; i < pq_graph_symbol_count(r->g); i++) {
        bind_preset(r, i, false);
    }
}

static ptqc_status
bind_inputs(interp *r, const pq_tensor *inputs)
{
    uint32_t n = pq_graph_input_count(r->g);
    uint32_t symbols = pq_graph_symbol_count(r->g);
    memset(r->is_bound, 0, symbols * sizeof *r->is_bound);
    for (uint32_t i = 0; i < n; i++) {
        const pq_value *v = pq_graph_value(r->g, pq_graph_input(r->g, i));
        PQ_TRY(check_type(r, v, &inputs[i]));
        for (uint32_t a = 0; a < v->type.rank; a++) {
            PQ_TRY(bind_symbol(r, v, a, inputs[i].dims[a]));
        }
    }
    bind_presets(r);
    find_unknown_dims(r);
    for (uint32_t i = 0; i < n; i++) {
        pq_value_id id = pq_graph_input(r->g, i);
        PQ_TRY(check_dims(r, pq_graph_value(r->g, id), &inputs[i]));
        r->tensors[id.index] = inputs[i];
    }
    return PTQC_OK;
}

static ptqc_status
bind_constants(interp *r)
{
    for (uint32_t i = 1; i < r->value_count; i++) {
        const pq_value *v = pq_graph_value(r->g, (pq_value_id){i});
        if (pq_const_is_none(v->constant)) {
            continue;
        }
        const pq_constant *c = pq_graph_constant(r->g, v->constant);
        const void *p = pq_graph_constant_bytes(r->g, v->constant);
        pq_tensor *t = &r->tensors[i];
        if (p == NULL && c->bytes > 0) {
            return PTQC_E_RESOURCE;
        }
        *t = (pq_tensor){.dtype = c->dtype,
                         .rank = c->rank,
                         .p = (void *)(uintptr_t)p, // only read
                         .bytes = c->bytes};
        memcpy(t->dims, c->dims, c->rank * sizeof *c->dims);
    }
    return PTQC_OK;
}

static ptqc_status
show(const interp *r, const observer *o, pq_value_id v)
{
    return r->is_shown[v.index] ? o->fn(o->user, v, &r->tensors[v.index])
                                : PTQC_OK;
}

static ptqc_status
measure(interp *r, const pq_value *v, pq_tensor *out)
{
    *out = (pq_tensor){.dtype = v->type.dtype, .rank = v->type.rank};
    for (uint32_t a = 0; a < out->rank; a++) {
        PQ_TRY(eval_dim(r, v, a, &out->dims[a]));
    }
    if (!pq_dtype_bytes(out->dtype, out->dims, out->rank, &out->bytes)) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "value '%.*s': its shape has no size",
                       PQ_STR_ARG(v->name));
    }
    return PTQC_OK;
}

// States keep their contents as long as they keep their shape.
static ptqc_status
bind_states(interp *r)
{
    for (uint32_t i = 0; i < r->state_count; i++) {
        pq_value_id id = pq_graph_state(r->g, i);
        pq_tensor *t = &r->states[i];
        pq_tensor now;
        PQ_TRY(measure(r, pq_graph_value(r->g, id), &now));
        if (t->p == NULL ||
            memcmp(t->dims, now.dims, now.rank * sizeof *now.dims) != 0) {
            pq_free(r->ctx, t->p);
            *t = now;
            t->p = pq_alloc(r->ctx, t->bytes); // zeroed
            PQ_TRY_ALLOC(t->p);
        }
        r->tensors[id.index] = *t;
    }
    return PTQC_OK;
}

static ptqc_status
make_output(interp *r, const pq_op *op, uint32_t i)
{
    pq_value_id id = op->outputs[i];
    pq_tensor *t = &r->tensors[id.index];
    if (i < pq_op_updates(op->code) &&
        pq_graph_value(r->g, op->inputs[i])->is_state) {
        *t = r->tensors[op->inputs[i].index]; // in place
        return PTQC_OK;
    }
    PQ_TRY(measure(r, pq_graph_value(r->g, id), t));
    t->p = pq_alloc(r->ctx, t->bytes);
    PQ_TRY_ALLOC(t->p);
    r->is_owned[id.index] = true;
    return PTQC_OK;
}

static void
release(interp *r, uint32_t index)
{
    if (r->is_owned[index]) {
        pq_free(r->ctx, r->tensors[index].p);
        r->is_owned[index] = false;
    }
    r->tensors[index] = (pq_tensor){0};
}

static ptqc_status
run_one(interp *r, const pq_op *op, const observer *o)
{
    pq_tensor *in = pq_alloc_array(r->ctx, op->input_count, sizeof *in);
    pq_tensor *out = pq_alloc_array(r->ctx, op->output_count, sizeof *out);
    ptqc_status st = in != NULL && out != NULL ? PTQC_OK : PTQC_E_RESOURCE;
    if (st != PTQC_OK) {
        goto done;
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        in[i] = r->tensors[op->inputs[i].index]; // 0: absent
    }
    for (uint32_t i = 0; i < op->output_count; i++) {
        PQ_TRY_OR(done, make_output(r, op, i));
        out[i] = r->tensors[op->outputs[i].index];
    }
    PQ_TRY_OR(done, pq_interp_op(r->g, op, r->symbols, in, out));
    for (uint32_t i = 0; i < op->output_count; i++) {
        PQ_TRY_OR(done, show(r, o, op->outputs[i]));
    }
done:
    pq_free(r->ctx, in);
    pq_free(r->ctx, out);
    return st;
}

static void
free_used(interp *r, const pq_op *op)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        uint32_t v = op->inputs[i].index;
        if (v != 0 && --r->uses_left[v] == 0) {
            release(r, v);
        }
    }
    for (uint32_t i = 0; i < op->output_count; i++) {
        uint32_t v = op->outputs[i].index;
        if (r->uses_left[v] == 0) {
            release(r, v);
        }
    }
}

static ptqc_status
run_graph(interp *r, const pq_tensor *inputs, const observer *o)
{
    PQ_TRY(bind_inputs(r, inputs));
    PQ_TRY(bind_states(r));
    PQ_TRY(bind_constants(r));
    for (uint32_t i = 1; i < r->value_count; i++) {
        const pq_value *v = pq_graph_value(r->g, (pq_value_id){i});
        r->uses_left[i] = r->uses[i];
        if (pq_op_is_none(v->producer) && r->tensors[i].dtype != 0) {
            PQ_TRY(show(r, o, (pq_value_id){i}));
        }
    }
    PQ_FOR_EACH_OP(r->g, id)
    {
        const pq_op *op = pq_graph_op(r->g, id);
        PQ_TRY(pq_check_cancelled(r->ctx));
        PQ_TRY(run_one(r, op, o));
        free_used(r, op);
    }
    return PTQC_OK;
}

static ptqc_status
interp_run(pq_runner *runner, const pq_tensor *inputs, pq_observe_fn observe,
           void *user)
{
    interp *r = (interp *)runner;
    observer o = {observe, user};
    ptqc_status st = run_graph(r, inputs, &o);
    for (uint32_t i = 0; i < r->value_count; i++) {
        release(r, i);
    }
    return st;
}

static void
interp_destroy(pq_runner *runner)
{
    interp *r = (interp *)runner;
    if (r == NULL) {
        return;
    }
    pq_free(r->ctx, r->is_shown);
    pq_free(r->ctx, r->uses);
    pq_free(r->ctx, r->uses_left);
    pq_free(r->ctx, r->tensors);
    pq_free(r->ctx, r->is_owned);
    pq_free(r->ctx, r->symbols);
    pq_free(r->ctx, r->is_bound);
    pq_free(r->ctx, r->is_unknown);
    pq_free(r->ctx, r->presets);
    for (uint32_t i = 0; r->states != NULL && i < r->state_count; i++) {
        pq_free(r->ctx, r->states[i].p);
    }
    pq_free(r->ctx, r->states);
    pq_free(r->ctx, r);
}

static ptqc_status
alloc_tables(interp *r)
{
    uint32_t values = r->value_count;
    uint32_t symbols = pq_graph_symbol_count(r->g);
    r->is_shown = pq_alloc_array(r->ctx, values, sizeof *r->is_shown);
    r->uses = pq_alloc_array(r->ctx, values, sizeof *r->uses);
    r->uses_left = pq_alloc_array(r->ctx, values, sizeof *r->uses_left);
    r->tensors = pq_alloc_array(r->ctx, values, sizeof *r->tensors);
    r->is_owned = pq_alloc_array(r->ctx, values, sizeof *r->is_owned);
    r->symbols = pq_alloc_array(r->ctx, symbols, sizeof *r->symbols);
    r->is_bound = pq_alloc_array(r->ctx, symbols, sizeof *r->is_bound);
    r->is_unknown =
        pq_alloc_array(r->ctx, pq_graph_dim_count(r->g), sizeof *r->is_unknown);
    r->presets = pq_alloc_array(r->ctx, symbols, sizeof *r->presets);
    r->states = pq_alloc_array(r->ctx, r->state_count, sizeof *r->states);
    for (uint32_t i = 0; r->presets != NULL && i < symbols; i++) {
        r->presets[i] = -1;
    }
    bool is_ok = r->is_shown != NULL && r->uses != NULL &&
                 r->uses_left != NULL && r->tensors != NULL &&
                 r->is_owned != NULL && r->symbols != NULL &&
                 r->is_bound != NULL && r->is_unknown != NULL &&
                 r->presets != NULL && r->states != NULL;
    return is_ok ? PTQC_OK : PTQC_E_RESOURCE;
}

ptqc_status
pq_interp_make(void *user, pq_graph *g, const pq_value_id *watched,
               uint32_t watched_count, pq_runner **out)
{
    ptqc_ctx *ctx = user;
    *out = NULL;
    interp *r = pq_alloc(ctx, sizeof *r);
    PQ_TRY_ALLOC(r);
    r->runner = (pq_runner){interp_run, interp_destroy};
    r->ctx = ctx;
    r->g = g;
    r->value_count = pq_graph_value_count(g);
    r->state_count = pq_graph_state_count(g);
    ptqc_status st;
    PQ_TRY_OR(fail, alloc_tables(r));
    for (uint32_t i = 0; i < pq_graph_output_count(g); i++) {
        r->is_shown[pq_graph_output(g, i).index] = true;
    }
    for (uint32_t i = 0; i < watched_count; i++) {
        r->is_shown[watched[i].index] = true;
    }
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        for (uint32_t i = 0; i < op->input_count; i++) {
            r->uses[op->inputs[i].index]++;
        }
    }
    *out = &r->runner;
    return PTQC_OK;
fail:
    interp_destroy(&r->runner);
    return st;
}

ptqc_status
pq_interp_set_symbol(pq_runner *runner, pq_str name, int64_t value)
{
    interp *r = (interp *)runner;
    for (uint32_t i = 0; i < pq_graph_symbol_count(r->g); i++) {
        const pq_symbol *s = pq_graph_symbol(r->g, i);
        if (!pq_str_equal(s->name, name)) {
            continue;
        }
        if (value < 0 || value < s->min || value > s->max ||
            value % s->multiple != 0) {
            return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                           "symbol '%.*s': %lld is out of range",
                           PQ_STR_ARG(name), (long long)value);
        }
        r->presets[i] = value;
        return PTQC_OK;
    }
    return PQ_FAIL(r->ctx, PTQC_E_INPUT, "the graph has no symbol '%.*s'",
                   PQ_STR_ARG(name));
}

void
pq_interp_clear_states(pq_runner *runner)
{
    interp *r = (interp *)runner;
    for (uint32_t i = 0; i < r->state_count; i++) {
        if (r->states[i].bytes != 0) {
            memset(r->states[i].p, 0, r->states[i].bytes);
        }
    }
}
