// SPDX-License-Identifier: Apache-2.0
//
// Makes annotations real: weights become codes, annotated activations go
// through quantize and dequantize. Ops on codes (plan.h) still read and write
// reals between them; qdq-to-integer turns those sandwiches into integer
// arithmetic. Dynamic products read dynamic_quantize's codes at once, and
// weight-only ones the codes of the weights.
//
//   x --> producer --> quantize --> dequantize --> ops on codes
//              \-----------------------------------> ops in float (only when
//                                                    the producer is one)

#include "ir/builder.h"
#include "passes/match.h"
#include "passes/plan.h"
#include "passes/registry.h"

typedef struct pq_insert {
    pq_graph *g;
    pq_arena *scratch;
    const pq_mode *modes;      // [op_count]
    uint32_t op_count;         // ops that were there before
    pq_value_id *codes;        // [values] dynamic codes of x, made once
    pq_value_id *token_scales; // [values]
    pq_quant_id *quants;       // [values] annotations of activations
} pq_insert;

static pq_mode
mode_of(const pq_insert *in, pq_op_id id)
{
    return id.index != 0 && id.index < in->op_count ? in->modes[id.index]
                                                    : PQ_MODE_FLOAT;
}

// ---- weights --------------------------------------------------------------

static ptqc_status
encode_weight(pq_graph *g, pq_value_id w, pq_value_id *out)
{
    const pq_value *value = pq_graph_value(g, w);
    const pq_quant *q = pq_graph_quant(g, value->quant);
    pq_const_id id = q->codes;
    if (pq_const_is_none(id)) {
        id = pq_graph_add_codes(g, value->constant, value->quant);
    }
    if (pq_const_is_none(id)) {
        return pq_graph_failure(g);
    }
    *out = pq_graph_add_constant_value(g, value->name, id);
    if (pq_value_is_none(*out)) {
        return pq_graph_failure(g);
    }
    pq_value_set_quant(g, *out, pq_graph_constant(g, id)->dtype, value->quant);
    return PTQC_OK;
}

// ---- operands -------------------------------------------------------------

static ptqc_status
build_dequantize(pq_graph *g, pq_op_id before, pq_value_id codes,
                 pq_value_id *out)
{
    pq_builder b;
    pq_build_begin(&b, g, before, PQ_OP_DEQUANTIZE, (pq_str){0});
    pq_build_input(&b, codes);
    pq_build_i64(&b, PQ_ATTR_TO, PTQC_F32);
    return pq_build_end(&b, NULL, out, NULL);
}

static ptqc_status
build_quantize(pq_graph *g, pq_op_id before, pq_value_id x, pq_quant_id quant,
               pq_value_id *out)
{
    ptqc_dtype format = pq_graph_quant(g, quant)->scheme.format;
    pq_builder b;
    pq_build_begin(&b, g, before, PQ_OP_QUANTIZE, (pq_str){0});
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_TO, format);
    PQ_TRY(pq_build_end(&b, NULL, out, NULL));
    pq_value_set_quant(g, *out, format, quant);
    return PTQC_OK;
}

static ptqc_status
build_dynamic(pq_insert *in, pq_op_id before, pq_value_id x, pq_quant_id quant)
{
    pq_graph *g = in->g;
    ptqc_dtype format = pq_graph_quant(g, quant)->scheme.format;
    pq_value_id outputs[2];
    pq_builder b;
    pq_build_begin(&b, g, before, PQ_OP_DYNAMIC_QUANTIZE, (pq_str){0});
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_TO, format);
    PQ_TRY(pq_build_end(&b, NULL, outputs, NULL));
    pq_value_set_quant(g, outputs[0], format, quant);
    in->codes[x.index] = outputs[0];
    in->token_scales[x.index] = outputs[1];
    return PTQC_OK;
}

static ptqc_status
rewrite_product(pq_insert *in, pq_op_id id)
{
    pq_graph *g = in->g;
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id x = op->inputs[0];
    pq_value_id w;
    PQ_TRY(encode_weight(g, op->inputs[1], &w));
    if (in->modes[id.index] == PQ_MODE_STATIC) {
        pq_value_id real;
        PQ_TRY(build_dequantize(g, id, w, &real));
        return pq_set_input(g, id, 1, real);
    }
    PQ_TRY(pq_set_input(g, id, 1, w));
    if (in->modes[id.index] != PQ_MODE_DYNAMIC) {
        return PTQC_OK;
    }
    if (pq_value_is_none(in->codes[x.index])) {
        PQ_TRY(build_dynamic(in, id, x, in->quants[x.index]));
    }
    PQ_TRY(pq_set_input(g, id, 0, in->codes[x.index]));
    return pq_set_input(g, id, 4, in->token_scales[x.index]);
}

// ---- activations ----------------------------------------------------------

// The first op that may read v.
static pq_op_id
place_after(const pq_graph *g, pq_value_id v)
{
    pq_op_id producer = pq_producer_id(g, v);
    return pq_op_is_none(producer) ? pq_graph_first_op(g)
                                   : pq_graph_op(g, producer)->next;
}

// Whether operand i of an op on codes reads codes: all but a residual that
// is added to a float result.
static bool
reads_codes(const pq_insert *in, const pq_op *op, uint32_t i)
{
    return !pq_is_product(op->code) || i != 3 ||
           !pq_quant_is_none(in->quants[op->outputs[0].index]);
}

static ptqc_status
redirect_op(const pq_insert *in, pq_op_id id, pq_value_id v, pq_value_id real,
            bool all)
{
    const pq_op *op = pq_graph_op(in->g, id);
    bool is_on_codes = mode_of(in, id) == PQ_MODE_STATIC;
    if (op->code == PQ_OP_QUANTIZE) {
        return PTQC_OK;
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (pq_value_equal(op->inputs[i], v) &&
            (all || (is_on_codes && reads_codes(in, op, i)))) {
            PQ_TRY(pq_set_input(in->g, id, i, real));
        }
    }
    return PTQC_OK;
}

// What ops on codes read of v becomes `real`; with `all` every use does.
static ptqc_status
redirect_uses(const pq_insert *in, pq_value_id v, pq_value_id real, bool all)
{
    pq_graph *g = in->g;
    uint32_t count = 0;
    pq_op_id *users = pq_arena_array(
        in->scratch, pq_graph_value(g, v)->use_count, sizeof *users);
    PQ_TRY_ALLOC(users);
    for (const pq_use *u = pq_value_uses(g, v); u != NULL; u = u->next) {
        users[count++] = u->op;
    }
    for (uint32_t i = 0; i < count; i++) {
        PQ_TRY(redirect_op(in, users[i], v, real, all));
    }
    for (uint32_t i = 0; all && i < pq_graph_output_count(g); i++) {
        if (pq_value_equal(pq_graph_output(g, i), v)) {
            pq_graph_set_output(g, i, real);
        }
    }
    return PTQC_OK;
}

static ptqc_status
insert_pair(const pq_insert *in, pq_value_id v)
{
    pq_graph *g = in->g;
    pq_quant_id quant = in->quants[v.index];
    pq_value_id codes, real;
    pq_op_id before = place_after(g, v);
    bool is_from_codes = mode_of(in, pq_producer_id(g, v)) == PQ_MODE_STATIC;
    PQ_TRY(build_quantize(g, before, v, quant, &codes));
    PQ_TRY(build_dequantize(g, before, codes, &real));
    return redirect_uses(in, v, real, is_from_codes);
}

static void
take_annotations(pq_insert *in, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        pq_value *value = pq_graph_value(in->g, (pq_value_id){i});
        if (value->type.dtype == PTQC_F32 &&
            !pq_is_constant(in->g, (pq_value_id){i})) {
            in->quants[i] = value->quant;
            value->quant = (pq_quant_id){0};
        }
    }
}

static ptqc_status
insert_all(pq_insert *in, uint32_t value_count)
{
    for (uint32_t i = 1; i < in->op_count; i++) {
        const pq_op *op = pq_graph_op(in->g, (pq_op_id){i});
        if (!op->is_dead && pq_is_product(op->code) &&
            in->modes[i] != PQ_MODE_FLOAT) {
            PQ_TRY(rewrite_product(in, (pq_op_id){i}));
        }
    }
    for (uint32_t i = 1; i < value_count; i++) {
        const pq_quant *q = pq_graph_quant(in->g, in->quants[i]);
        if (q != NULL && !q->scheme.dynamic) {
            PQ_TRY(insert_pair(in, (pq_value_id){i}));
        }
    }
    return PTQC_OK;
}

// Float weights that became codes lose their annotation with their use.
static void
drop_annotations(pq_graph *g, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        pq_value *value = pq_graph_value(g, (pq_value_id){i});
        if (pq_is_real(g, (pq_value_id){i})) {
            value->quant = (pq_quant_id){0};
        }
    }
}

ptqc_status
pq_pass_insert_qdq(pq_graph *g, pq_pass_env *env)
{
    pq_mode *modes;
    pq_insert in = {.g = g, .scratch = env->scratch};
    uint32_t values = pq_graph_value_count(g);
    PQ_TRY(pq_plan_modes(g, env->recipe, env->scratch, &modes));
    in.modes = modes;
    in.op_count = pq_graph_op_count(g);
    in.codes = pq_arena_array(env->scratch, values, sizeof *in.codes);
    in.token_scales =
        pq_arena_array(env->scratch, values, sizeof *in.token_scales);
    in.quants = pq_arena_array(env->scratch, values, sizeof *in.quants);
    PQ_TRY_ALLOC(in.codes);
    PQ_TRY_ALLOC(in.token_scales);
    PQ_TRY_ALLOC(in.quants);
    take_annotations(&in, values);
    PQ_TRY(insert_all(&in, values));
    drop_annotations(g, values);
    return PTQC_OK;
}
