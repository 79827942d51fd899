// SPDX-License-Identifier: Apache-2.0
//
// Reading annotations, see plan.h.

#include "passes/plan.h"

#include "passes/match.h"

typedef struct pq_role_row {
    pq_opcode code;
    pq_role role;
} pq_role_row;

static const pq_role_row rows[] = {
#define ROLE(CODE, role) {PQ_OP_##CODE, PQ_ROLE_##role},
#include "passes/roles.def"
#undef ROLE
};

// Codes survive where elements move without being computed: nearest
// interpolation, padding by a number.
static bool
is_movable(const pq_op *op)
{
    if (op->code == PQ_OP_RESIZE) {
        return pq_op_i64(op, PQ_ATTR_MODE, PQ_RESIZE_NEAREST) ==
               PQ_RESIZE_NEAREST;
    }
    return true;
}

pq_role
pq_role_of(const pq_graph *g, const pq_op *op)
{
    if (op->output_count != 1 || !pq_is_float(g, op->outputs[0])) {
        return PQ_ROLE_FLOAT;
    }
    if (pq_op_info_of(op->code)->cls == PQ_CLASS_SAME) {
        return pq_is_constant(g, op->inputs[0]) ? PQ_ROLE_FLOAT
                                                : PQ_ROLE_SHARING;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].code == op->code) {
            return is_movable(op) ? rows[i].role : PQ_ROLE_FLOAT;
        }
    }
    return PQ_ROLE_FLOAT;
}

// ---- plan -----------------------------------------------------------------

bool
pq_is_data_operand(const pq_graph *g, const pq_op *op, uint32_t i)
{
    pq_value_id v = op->inputs[i];
    if (!pq_is_float(g, v) || pq_is_constant(g, v)) {
        return false;
    }
    if (pq_is_product(op->code)) {
        return i == 0 || i == 3;
    }
    return pq_op_info_of(op->code)->cls != PQ_CLASS_SAME || i == 0;
}

const pq_quant *
pq_annotation(const pq_graph *g, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    return pq_is_real(g, v) ? pq_graph_quant(g, value->quant) : NULL;
}

static pq_mode
product_mode(const pq_graph *g, const pq_op *op)
{
    const pq_quant *x = pq_annotation(g, op->inputs[0]);
    if (!pq_is_constant(g, op->inputs[1]) ||
        pq_annotation(g, op->inputs[1]) == NULL) {
        return PQ_MODE_FLOAT;
    }
    if (x == NULL) {
        return PQ_MODE_WEIGHT_ONLY;
    }
    if (!x->scheme.dynamic) {
        return PQ_MODE_STATIC;
    }
    return op->code == PQ_OP_MATMUL ? PQ_MODE_DYNAMIC : PQ_MODE_WEIGHT_ONLY;
}

// An operand that comes as codes: from an op on codes, or an input of the
// graph that is only moved.
static bool
comes_as_codes(const pq_graph *g, const pq_mode *modes, pq_value_id v,
               pq_role user)
{
    const pq_quant *q = pq_annotation(g, v);
    pq_op_id producer = pq_producer_id(g, v);
    if (q == NULL || q->scheme.dynamic) {
        return false;
    }
    return pq_op_is_none(producer) ? user == PQ_ROLE_SHARING
                                   : modes[producer.index] == PQ_MODE_STATIC;
}

static pq_mode
follower_mode(const pq_graph *g, const pq_recipe *recipe, const pq_op *op,
              const pq_mode *modes)
{
    pq_role role = pq_role_of(g, op);
    const pq_quant *y = pq_annotation(g, op->outputs[0]);
    if (role == PQ_ROLE_FLOAT || y == NULL || y->scheme.dynamic ||
        pq_recipe_settings(recipe, g, op).is_float) {
        return PQ_MODE_FLOAT;
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (pq_is_data_operand(g, op, i) &&
            !comes_as_codes(g, modes, op->inputs[i], role)) {
            return PQ_MODE_FLOAT;
        }
    }
    return PQ_MODE_STATIC;
}

ptqc_status
pq_plan_modes(const pq_graph *g, const pq_recipe *recipe, pq_arena *arena,
              pq_mode **out_modes)
{
    pq_mode *modes = pq_arena_array(arena, pq_graph_op_count(g), sizeof *modes);
    PQ_TRY_ALLOC(modes);
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        modes[id.index] = pq_is_product(op->code)
                              ? product_mode(g, op)
                              : follower_mode(g, recipe, op, modes);
    }
    *out_modes = modes;
    return PTQC_OK;
}

void
pq_drop_annotations(pq_graph *g)
{
    for (uint32_t i = 1; i < pq_graph_value_count(g); i++) {
        if (pq_is_real(g, (pq_value_id){i})) {
            pq_graph_value(g, (pq_value_id){i})->quant = (pq_quant_id){0};
        }
    }
}

void
pq_product_scheme_print(const pq_scheme *weights, pq_mode mode, pq_strbuf *out)
{
    pq_scheme_request r = {.weights = *weights};
    if (mode == PQ_MODE_STATIC) {
        r.activations = (pq_scheme){.format = PTQC_U8};
    }
    if (mode == PQ_MODE_DYNAMIC) {
        r.activations = (pq_scheme){.format = PTQC_I8, .dynamic = true};
    }
    pq_scheme_request_print(&r, out);
}
