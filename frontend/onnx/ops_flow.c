// SPDX-License-Identifier: Apache-2.0
//
// Constant and If. An If whose condition is known is its branch; one whose
// condition is computed runs both branches and selects, which is allowed
// because ONNX nodes have no side effects. Where the shape of the result
// depends on a condition about one size of an input (exporters write so for
// squeeze), the condition is taken to hold and that size limited.
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

// ---- a condition on the size of an input ------------------------------------

enum {
    SEARCH_LIMIT = 1 << 16, // sizes that are tried
    WALK_LIMIT = 64,        // parts of an expression
};

// The only symbol of an expression.
static bool
find_symbol(const pq_graph *g, pq_dim d, uint32_t *out)
{
    pq_dim todo[WALK_LIMIT];
    uint32_t count = 0, found = 0;
    todo[count++] = d;
    for (uint32_t steps = 0; count != 0; steps++) {
        const pq_dim_expr *e = pq_dim_get(g, todo[--count]);
        if (steps == WALK_LIMIT || count + 2 > WALK_LIMIT) {
            return false;
        }
        if (e->op == PQ_DIM_SYMBOL) {
            if (found != 0 && *out != (uint32_t)e->value) {
                return false;
            }
            *out = (uint32_t)e->value;
            found++;
        } else if (e->op != PQ_DIM_CONST) {
            todo[count++] = e->a;
            todo[count++] = e->b;
        }
    }
    return found != 0;
}

// An equality of an expression of one symbol and a number.
typedef struct equality {
    pq_dim expression;
    int64_t number;
    uint32_t symbol;
    int64_t min, max; // of the symbol, where it holds
} equality;

static bool
read_equality(const pq_graph *g, pq_value_id condition, equality *out)
{
    const pq_value *v = pq_graph_value(g, condition);
    const pq_op *op = pq_graph_op(g, v->producer);
    if (op == NULL || op->code != PQ_OP_EQUAL) {
        return false;
    }
    for (uint32_t i = 0; i < 2; i++) {
        const pq_value *x = pq_graph_value(g, op->inputs[i]);
        const pq_value *y = pq_graph_value(g, op->inputs[1 - i]);
        if (x->element_count == 1 && y->element_count == 1 &&
            pq_dim_is_const(g, y->elements[0], &out->number) &&
            find_symbol(g, x->elements[0], &out->symbol)) {
            out->expression = x->elements[0];
            return true;
        }
    }
    return false;
}

// The first run of sizes for which the equality holds.
static ptqc_status
solve(pq_onnx_call *c, equality *e, bool *out_found)
{
    uint32_t count = pq_graph_symbol_count(c->g);
    const pq_symbol *symbol = pq_graph_symbol(c->g, e->symbol);
    int64_t *sizes = pq_arena_array(c->arena, count, sizeof *sizes);
    PQ_TRY_ALLOC(sizes);
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = pq_graph_symbol(c->g, i)->min;
    }
    *out_found = false;
    for (int64_t i = 0; i < SEARCH_LIMIT; i++) {
        int64_t value = 0;
        sizes[e->symbol] = symbol->min + i;
        bool is_inside = sizes[e->symbol] <= symbol->max;
        bool holds =
            is_inside &&
            pq_dim_eval(c->g, e->expression, sizes, &value) == PTQC_OK &&
            value == e->number;
        if (holds) {
            e->min = *out_found ? e->min : sizes[e->symbol];
            e->max = sizes[e->symbol];
            *out_found = true;
        } else if (*out_found || !is_inside) {
            break;
        }
    }
    return PTQC_OK;
}

// Takes the condition for true and holds the caller to it: the symbol's range
// becomes where it is, which every run checks. Said as a warning.
static ptqc_status
assume(pq_onnx_call *c, pq_value_id condition, bool *out_assumed)
{
    equality e = {0};
    *out_assumed = false;
    if (!read_equality(c->g, condition, &e)) {
        return PTQC_OK;
    }
    PQ_TRY(solve(c, &e, out_assumed));
    if (!*out_assumed) {
        return PTQC_OK;
    }
    pq_symbol *symbol = pq_graph_symbol(c->g, e.symbol);
    symbol->min = e.min;
    symbol->max = e.max;
    pq_str label = pq_onnx_node_label(c->node);
    pq_say(c->ctx, PTQC_SEVERITY_WARNING,
           "%s: node '%.*s' (If): the shape of its result depends on the "
           "size of '%.*s', which is limited to %lld to %lld, where the "
           "condition holds",
           c->im->path, PQ_STR_ARG(label), PQ_STR_ARG(symbol->name),
           (long long)e.min, (long long)e.max);
    return PTQC_OK;
}

// ---- both branches ----------------------------------------------------------

static ptqc_status
import_branches(pq_onnx_call *c, const pq_onnx_graph *const branches[2],
                pq_value_id *results[2], bool poisoned[2])
{
    for (int i = 0; i < 2; i++) {
        results[i] =
            pq_arena_array(c->arena, c->output_count, sizeof *results[i]);
        PQ_TRY_ALLOC(results[i]);
        c->im->guesses++;
        c->is_poisoned = false;
        ptqc_status st = pq_onnx_import_subgraph(c, branches[i], results[i],
                                                 c->output_count);
        c->im->guesses--;
        poisoned[i] = c->is_poisoned;
        PQ_TRY(st);
    }
    c->is_poisoned = poisoned[0] || poisoned[1];
    return PTQC_OK;
}

static bool
is_selectable(const pq_onnx_call *c, pq_value_id *const results[2])
{
    for (uint32_t i = 0; i < c->output_count; i++) {
        const pq_value *a = pq_graph_value(c->g, results[0][i]);
        const pq_value *b = pq_graph_value(c->g, results[1][i]);
        if (a == NULL || b == NULL || !is_same_type(&a->type, &b->type) ||
            !pq_quant_is_none(a->quant) || !pq_quant_is_none(b->quant)) {
            return false;
        }
    }
    return true;
}

static ptqc_status
import_both(pq_onnx_call *c, pq_value_id condition,
            const pq_onnx_graph *const branches[2])
{
    pq_value_id *results[2];
    bool poisoned[2], is_assumed = false;
    pq_onnx_problem *problems = c->im->problems;
    uint32_t problem_count = c->im->problem_count;
    PQ_TRY(import_branches(c, branches, results, poisoned));
    bool fits = !c->is_poisoned && is_selectable(c, results);
    if (!fits && !poisoned[0]) {
        PQ_TRY(assume(c, condition, &is_assumed));
    }
    if (is_assumed) { // what the other branch lacks does not matter
        c->is_poisoned = false;
        c->im->problems = problems;
        c->im->problem_count = problem_count;
        for (uint32_t i = 0; i < c->output_count; i++) {
            c->outputs[i] = results[0][i];
        }
        return PTQC_OK;
    }
    if (c->is_poisoned) {
        return PTQC_OK;
    }
    if (!fits) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "a condition that is only known while running, "
                            "over branches whose outputs differ in type or "
                            "shape, is not supported");
    }
    PQ_TRY(scalar_condition(c, &condition));
    for (uint32_t i = 0; i < c->output_count; i++) {
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
