// SPDX-License-Identifier: Apache-2.0
//
// Constant and If. An If whose condition is known is its branch; one whose
// condition is computed runs both branches and selects, which is allowed
// because ONNX nodes have no side effects.
#include "base/dtype.h"
#include "frontend/onnx/ops.h"

// ---- Constant ---------------------------------------------------------------

static ptqc_status
constant_tensor(pq_onnx_call *c, pq_const_id id)
{
    c->outputs[0] =
        pq_graph_add_constant_value(c->g, c->node->outputs.p[0], id);
    return pq_value_is_none(c->outputs[0]) ? PTQC_E_RESOURCE : PTQC_OK;
}

// The forms that are plain numbers: value_int, value_ints, ...
static ptqc_status
constant_numbers(pq_onnx_call *c)
{
    const pq_onnx_attr *a;
    pq_str name = c->node->outputs.p[0];
    PQ_TRY(pq_onnx_attr_find(c, "value_int", PQ_ONNX_ATTR_INT, &a));
    if (a != NULL) {
        return pq_build_constant(c->g, name, PTQC_I64, NULL, 0, &a->i,
                                 &c->outputs[0]);
    }
    PQ_TRY(pq_onnx_attr_find(c, "value_float", PQ_ONNX_ATTR_FLOAT, &a));
    if (a != NULL) {
        return pq_build_constant(c->g, name, PTQC_F32, NULL, 0, &a->f,
                                 &c->outputs[0]);
    }
    PQ_TRY(pq_onnx_attr_find(c, "value_ints", PQ_ONNX_ATTR_INTS, &a));
    if (a != NULL) {
        int64_t n = (int64_t)a->ints.n;
        return pq_build_constant(c->g, name, PTQC_I64, &n, 1, a->ints.p,
                                 &c->outputs[0]);
    }
    PQ_TRY(pq_onnx_attr_find(c, "value_floats", PQ_ONNX_ATTR_FLOATS, &a));
    if (a != NULL) {
        int64_t n = (int64_t)a->floats.n;
        return pq_build_constant(c->g, name, PTQC_F32, &n, 1, a->floats.p,
                                 &c->outputs[0]);
    }
    return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                        "constants of this kind are not supported");
}

ptqc_status
pq_onnx_import_constant(pq_onnx_call *c)
{
    const pq_onnx_attr *a;
    pq_const_id id = {0};
    if (c->node->attrs.n != 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected one attribute, found %zu",
                            c->node->attrs.n);
    }
    PQ_TRY(pq_onnx_attr_find(c, "value", PQ_ONNX_ATTR_TENSOR, &a));
    pq_str name = c->node->outputs.p[0];
    if (a != NULL && a->t != NULL) {
        PQ_TRY(pq_onnx_tensor_constant(c->im, a->t, name, &id));
        return constant_tensor(c, id);
    }
    PQ_TRY(
        pq_onnx_attr_find(c, "sparse_value", PQ_ONNX_ATTR_SPARSE_TENSOR, &a));
    if (a != NULL && a->sparse != NULL) {
        PQ_TRY(pq_onnx_sparse_constant(c->im, a->sparse, name, &id));
        return constant_tensor(c, id);
    }
    return constant_numbers(c);
}

// ---- If ---------------------------------------------------------------------

static ptqc_status
find_branch(pq_onnx_call *c, const char *name, const pq_onnx_graph **out)
{
    const pq_onnx_attr *a;
    PQ_TRY(pq_onnx_attr_find(c, name, PQ_ONNX_ATTR_GRAPH, &a));
    if (a == NULL || a->g == NULL) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected the attribute '%s', found none", name);
    }
    *out = a->g;
    return PTQC_OK;
}

static bool
is_same_type(const pq_type *a, const pq_type *b)
{
    bool is_same = a->dtype == b->dtype && a->rank == b->rank;
    for (uint32_t i = 0; i < a->rank && is_same; i++) {
        is_same = pq_dim_equal(a->dims[i], b->dims[i]);
    }
    return is_same;
}

static ptqc_status
select_output(pq_onnx_call *c, pq_value_id condition, pq_value_id yes,
              pq_value_id no, pq_value_id *out)
{
    const pq_value *a = pq_graph_value(c->g, yes);
    const pq_value *b = pq_graph_value(c->g, no);
    if (!is_same_type(&a->type, &b->type) || !pq_quant_is_none(a->quant) ||
        !pq_quant_is_none(b->quant)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "a condition that is only known while running, "
                            "over branches whose outputs differ in type or "
                            "shape, is not supported");
    }
    pq_builder build;
    pq_onnx_begin(c, &build, PQ_OP_WHERE);
    pq_build_input(&build, condition);
    pq_build_input(&build, yes);
    pq_build_input(&build, no);
    return pq_onnx_end(c, &build, out);
}

// One condition for all elements: [1] becomes a scalar.
static ptqc_status
scalar_condition(pq_onnx_call *c, pq_value_id *condition)
{
    const pq_type *type = pq_onnx_type_of(c, *condition);
    int64_t size = 1;
    bool is_single =
        type->rank == 0 ||
        (type->rank == 1 &&
         (!pq_dim_is_const(c->g, type->dims[0], &size) || size == 1));
    if (type->dtype != PTQC_BOOL || !is_single) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected a condition of one bool, found %s of "
                            "rank %u",
                            pq_dtype_name(type->dtype), type->rank);
    }
    return type->rank == 0 ? PTQC_OK
                           : pq_onnx_reshape(c, *condition, NULL, 0, condition);
}

static ptqc_status
import_both(pq_onnx_call *c, pq_value_id condition,
            const pq_onnx_graph *const branches[2])
{
    pq_value_id *results[2];
    PQ_TRY(scalar_condition(c, &condition));
    for (int i = 0; i < 2; i++) {
        results[i] =
            pq_arena_array(c->arena, c->output_count, sizeof *results[i]);
        PQ_TRY_ALLOC(results[i]);
        c->im->guesses++;
        ptqc_status st = pq_onnx_import_subgraph(c, branches[i], results[i],
                                                 c->output_count);
        c->im->guesses--;
        PQ_TRY(st);
    }
    for (uint32_t i = 0; i < c->output_count && !c->is_poisoned; i++) {
        PQ_TRY(select_output(c, condition, results[0][i], results[1][i],
                             &c->outputs[i]));
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_if(pq_onnx_call *c)
{
    const pq_onnx_graph *branches[2];
    pq_value_id condition = pq_onnx_input(c, 0);
    PQ_TRY(find_branch(c, "then_branch", &branches[0]));
    PQ_TRY(find_branch(c, "else_branch", &branches[1]));
    if (!pq_onnx_is_known(c, condition)) {
        return import_both(c, condition, branches);
    }
    pq_onnx_i64s known;
    PQ_TRY(pq_onnx_known_i64s(c, condition, "conditions", &known));
    if (known.n != 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected a condition of one bool, found %zu",
                            known.n);
    }
    return pq_onnx_import_subgraph(c, branches[known.p[0] != 0 ? 0 : 1],
                                   c->outputs, c->output_count);
}
