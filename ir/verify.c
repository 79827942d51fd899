// SPDX-License-Identifier: Apache-2.0
//
// The verifier. One walk over the ops in order, with what is defined so far
// and the uses counted on the way.
#include "ir/verify.h"

#include <string.h>

#include "base/dtype.h"
#include "ir/graph_internal.h"
#include "ir/infer.h"
#include "quant/format.h"

typedef struct verifier {
    pq_graph *g; // inference may intern dims; nothing else changes
    ptqc_status wrong;
    bool *is_defined;    // owned, [values]
    bool *is_changed;    // owned, [values]: states that were updated
    uint32_t *use_count; // owned, [values]
} verifier;

static ptqc_status
op_error(const verifier *v, pq_op_id id, const char *rule)
{
    const pq_op *op = pq_graph_op(v->g, id);
    return PQ_FAIL(v->g->ctx, v->wrong, "graph: op %u %s '%.*s': %s", id.index,
                   op != NULL ? pq_op_info_of(op->code)->name : "?",
                   op != NULL ? (int)op->name.n : 0,
                   op != NULL ? op->name.p : "", rule);
}

static ptqc_status
value_error(const verifier *v, const pq_value *value, const char *rule)
{
    return PQ_FAIL(v->g->ctx, v->wrong, "graph: value '%.*s': %s",
                   PQ_STR_ARG(value->name), rule);
}

// ---- quantization parameters ------------------------------------------------

// Scales that a value of this type needs; false when the axes do not fit.
static bool
scale_count(const pq_graph *g, const pq_type *t, const pq_scheme *s,
            int64_t *out)
{
    int64_t channels;
    int64_t size;
    *out = 1;
    if (s->granularity == PQ_GRAN_TENSOR) {
        return true;
    }
    if (s->axis >= t->rank || !pq_dim_is_const(g, t->dims[s->axis], &size) ||
        size < 0) {
        return false;
    }
    *out = size;
    if (s->granularity == PQ_GRAN_CHANNEL) {
        return true;
    }
    if (s->group == 0 || !pq_dim_is_const(g, t->dims[0], &channels) ||
        channels < 0) {
        return false;
    }
    int64_t groups = size / s->group + (size % s->group != 0);
    return !__builtin_mul_overflow(channels, groups, out);
}

static bool
is_array_of(const pq_constant *c, ptqc_dtype dtype, int64_t count)
{
    return c != NULL && c->dtype == dtype && c->bytes / 4 == (uint64_t)count;
}

// Codes that a solver chose stand for all elements of a weight that is still
// real.
static bool
fits_codes(const verifier *v, const pq_value *value, const pq_quant *q)
{
    const pq_constant *codes = pq_graph_constant(v->g, q->codes);
    const pq_constant *w = pq_graph_constant(v->g, value->constant);
    if (pq_const_is_none(q->codes)) {
        return true;
    }
    return codes != NULL && w != NULL && codes->dtype == q->scheme.format &&
           codes->rank == w->rank && v->g->stage == PQ_STAGE_ANNOTATED &&
           memcmp(codes->dims, w->dims, w->rank * sizeof *w->dims) == 0;
}

static ptqc_status
check_quant(const verifier *v, const pq_value *value)
{
    const pq_graph *g = v->g;
    const pq_quant *q = pq_graph_quant(g, value->quant);
    int64_t count;
    if (pq_quant_is_none(value->quant)) {
        return PTQC_OK;
    }
    if (q == NULL) {
        return value_error(v, value, "quantization out of range");
    }
    bool is_annotation =
        g->stage == PQ_STAGE_ANNOTATED && pq_dtype_is_float(value->type.dtype);
    if (value->type.dtype != q->scheme.format && !is_annotation) {
        return value_error(v, value,
                           "codes have another type than their "
                           "quantization says");
    }
    if (q->scheme.bits != 0 &&
        pq_format_find(q->scheme.format, q->scheme.bits) == NULL) {
        return value_error(v, value, "its codes have no such number of bits");
    }
    if (is_annotation && !fits_codes(v, value, q)) {
        return value_error(v, value, "the chosen codes do not fit the weight");
    }
    bool has_none =
        pq_const_is_none(q->scale) && pq_const_is_none(q->zero_point);
    bool may_have_none = g->stage == PQ_STAGE_ANNOTATED || q->scheme.dynamic ||
                         q->scheme.granularity == PQ_GRAN_TOKEN;
    if (has_none && may_have_none) {
        return PTQC_OK;
    }
    if (q->scheme.granularity == PQ_GRAN_NONE ||
        q->scheme.granularity > PQ_GRAN_GROUP ||
        !scale_count(g, &value->type, &q->scheme, &count)) {
        return value_error(v, value, "the granularity does not fit its shape");
    }
    if (!is_array_of(pq_graph_constant(g, q->scale), PTQC_F32, count) ||
        !is_array_of(pq_graph_constant(g, q->zero_point), PTQC_I32, count)) {
        return value_error(v, value,
                           "scales or zero points do not fit its "
                           "shape");
    }
    return PTQC_OK;
}

static ptqc_status
check_codes(const verifier *v, pq_op_id id)
{
    const pq_op *op = pq_graph_op(v->g, id);
    if (op->code == PQ_OP_QUANTIZE || op->code == PQ_OP_DYNAMIC_QUANTIZE) {
        if (!pq_value_has_codes(pq_graph_value(v->g, op->outputs[0]))) {
            return op_error(v, id, "its output has no quantization");
        }
    }
    if (op->code == PQ_OP_DEQUANTIZE &&
        !pq_value_has_codes(pq_graph_value(v->g, op->inputs[0]))) {
        return op_error(v, id, "its input has no quantization");
    }
    return PTQC_OK;
}

// ---- values -----------------------------------------------------------------

static ptqc_status
check_type(const verifier *v, const pq_value *value)
{
    const pq_type *t = &value->type;
    if (pq_dtype_bits(t->dtype) == 0 || t->rank > PTQC_MAX_RANK) {
        return value_error(v, value, "has no type or too large a rank");
    }
    for (uint32_t i = 0; i < t->rank; i++) {
        if (pq_dim_is_none(t->dims[i]) ||
            t->dims[i].index >= v->g->dims.count) {
            return value_error(v, value, "a dim is out of range");
        }
    }
    return check_quant(v, value);
}

static ptqc_status
check_constant_value(const verifier *v, const pq_value *value)
{
    const pq_constant *c = pq_graph_constant(v->g, value->constant);
    if (c == NULL || !pq_op_is_none(value->producer)) {
        return value_error(v, value,
                           "its constant is out of range or it has "
                           "a producer, too");
    }
    bool is_same = c->dtype == value->type.dtype && c->rank == value->type.rank;
    for (uint32_t i = 0; is_same && i < c->rank; i++) {
        int64_t size;
        is_same = pq_dim_is_const(v->g, value->type.dims[i], &size) &&
                  size == c->dims[i];
    }
    return is_same ? check_type(v, value)
                   : value_error(v, value, "type and constant differ");
}

static ptqc_status
define_source(verifier *v, pq_value_id id, const char *rule)
{
    const pq_value *value = pq_graph_value(v->g, id);
    if (!pq_op_is_none(value->producer) || v->is_defined[id.index]) {
        return value_error(v, value, rule);
    }
    v->is_defined[id.index] = true;
    return check_type(v, value);
}

// Constants, inputs and states, which are there before the first op.
static ptqc_status
define_sources(verifier *v)
{
    uint32_t marked = 0;
    for (uint32_t i = 1; i < v->g->values.count; i++) {
        const pq_value *value = pq_graph_value(v->g, (pq_value_id){i});
        if (!pq_const_is_none(value->constant)) {
            PQ_TRY(check_constant_value(v, value));
            v->is_defined[i] = true;
        }
        marked += value->is_state;
    }
    for (uint32_t i = 0; i < pq_graph_input_count(v->g); i++) {
        PQ_TRY(define_source(v, pq_graph_input(v->g, i),
                             "an input has another origin"));
    }
    for (uint32_t i = 0; i < pq_graph_state_count(v->g); i++) {
        pq_value_id id = pq_graph_state(v->g, i);
        const pq_value *value = pq_graph_value(v->g, id);
        PQ_TRY(define_source(v, id, "a state has another origin"));
        if (!value->is_state || pq_graph_state_count(v->g) != marked) {
            return value_error(v, value, "states are not marked as such");
        }
    }
    return PTQC_OK;
}

// ---- ops --------------------------------------------------------------------

// What may be done with states: graph.h says it.
static ptqc_status
check_state_operand(verifier *v, pq_op_id id, uint32_t i)
{
    const pq_op *op = pq_graph_op(v->g, id);
    uint32_t index = op->inputs[i].index;
    bool is_state = pq_graph_value(v->g, op->inputs[i])->is_state;
    bool is_update = i < pq_op_updates(op->code);
    if (is_update && !is_state) {
        return op_error(v, id, "it updates what is no state");
    }
    if (!is_state) {
        return PTQC_OK;
    }
    if (v->is_changed[index]) {
        return op_error(v, id, "it reads a state after its update");
    }
    v->is_changed[index] = is_update;
    bool is_attention =
        op->code == PQ_OP_ATTENTION && (i == 1 || i == 2 || i == 5 || i == 6);
    return is_update || is_attention
               ? PTQC_OK
               : op_error(v, id, "it reads a state as no op may");
}

static ptqc_status
check_operands(verifier *v, pq_op_id id)
{
    const pq_op *op = pq_graph_op(v->g, id);
    const pq_op_info *info = pq_op_info_of(op->code);
    if (op->input_count < info->min_inputs ||
        op->input_count > info->max_inputs ||
        op->output_count != info->outputs) {
        return op_error(v, id, "wrong number of inputs or outputs");
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        uint32_t index = op->inputs[i].index;
        if (index == 0) {
            if (i < info->min_inputs) {
                return op_error(v, id, "a required input is absent");
            }
            continue;
        }
        if (index >= v->g->values.count || !v->is_defined[index]) {
            return op_error(v, id, "an input is not defined before it");
        }
        v->use_count[index]++;
        PQ_TRY(check_state_operand(v, id, i));
    }
    return PTQC_OK;
}

static bool
is_good_attr(const verifier *v, const pq_attr *a)
{
    if (a->name <= PQ_ATTR_NONE || a->name >= PQ_ATTR_COUNT) {
        return false;
    }
    switch (pq_attr_kind_of(a->name)) {
    case PQ_KIND_OP:
        return a->i > PQ_OP_NONE && a->i < PQ_OP_COUNT;
    case PQ_KIND_DTYPE:
        return pq_dtype_bits((ptqc_dtype)a->i) != 0;
    case PQ_KIND_DIMS:
        for (uint32_t i = 0; i < a->dims.n; i++) {
            if (a->dims.p[i].index == 0 ||
                a->dims.p[i].index >= v->g->dims.count) {
                return false;
            }
        }
        return true;
    case PQ_KIND_I64:
    case PQ_KIND_F32:
    case PQ_KIND_I64S:
    case PQ_KIND_F32S:
        break;
    }
    return true;
}

static ptqc_status
check_attrs(const verifier *v, pq_op_id id)
{
    const pq_op *op = pq_graph_op(v->g, id);
    for (uint32_t i = 0; i < op->attr_count; i++) {
        if (!is_good_attr(v, &op->attrs[i]) ||
            (i > 0 && op->attrs[i - 1].name >= op->attrs[i].name)) {
            return op_error(v, id, "an attribute is malformed or out of order");
        }
    }
    return PTQC_OK;
}

static bool
is_inferred(const pq_graph *g, const pq_type *t, const pq_infer_out *out)
{
    bool is_same = t->dtype == out->dtype && t->rank == out->rank;
    for (uint32_t i = 0; is_same && i < t->rank; i++) {
        is_same = !pq_dim_differs(g, t->dims[i], out->dims[i]);
    }
    return is_same;
}

static ptqc_status
check_outputs(verifier *v, pq_op_id id)
{
    const pq_op *op = pq_graph_op(v->g, id);
    pq_infer c = {.g = v->g, .op = op};
    for (uint32_t i = 0; i < op->output_count; i++) {
        const pq_value *value = pq_graph_value(v->g, op->outputs[i]);
        if (value == NULL || !pq_op_equal(value->producer, id) ||
            value->output_index != i || !pq_const_is_none(value->constant) ||
            v->is_defined[op->outputs[i].index]) {
            return op_error(v, id, "an output does not belong to it");
        }
        PQ_TRY(check_type(v, value));
    }
    ptqc_status st = pq_infer_types(&c); // says what it refuses
    if (st != PTQC_OK) {
        return st == PTQC_E_RESOURCE ? st : v->wrong;
    }
    for (uint32_t i = 0; i < op->output_count; i++) {
        const pq_value *value = pq_graph_value(v->g, op->outputs[i]);
        if (!is_inferred(v->g, &value->type, &c.out[i])) {
            return op_error(v, id,
                            "the type of an output is not what "
                            "inference gives");
        }
        v->is_defined[op->outputs[i].index] = true;
    }
    return check_codes(v, id);
}

static ptqc_status
check_ops(verifier *v)
{
    const pq_graph *g = v->g;
    pq_op_id prev = {0};
    uint32_t count = 0;
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (op->is_dead || !pq_op_equal(op->prev, prev) ||
            ++count > g->live_ops) {
            return op_error(v, id, "the list of ops is broken");
        }
        PQ_TRY(check_operands(v, id));
        PQ_TRY(check_attrs(v, id));
        PQ_TRY(check_outputs(v, id));
        prev = id;
    }
    if (count != g->live_ops || !pq_op_equal(g->last_op, prev)) {
        return op_error(v, prev, "the list of ops is broken");
    }
    return PTQC_OK;
}

static ptqc_status
check_uses(verifier *v)
{
    for (uint32_t i = 0; i < pq_graph_output_count(v->g); i++) {
        pq_value_id id = pq_graph_output(v->g, i);
        if (!v->is_defined[id.index]) {
            return value_error(v, pq_graph_value(v->g, id),
                               "a graph output that nothing defines");
        }
        if (pq_graph_value(v->g, id)->is_state) {
            return value_error(v, pq_graph_value(v->g, id),
                               "a state that is a graph output");
        }
        v->use_count[id.index]++;
    }
    for (uint32_t i = 1; i < v->g->values.count; i++) {
        const pq_value *value = pq_graph_value(v->g, (pq_value_id){i});
        if (value->use_count != v->use_count[i]) {
            return value_error(v, value, "its uses are miscounted");
        }
    }
    return PTQC_OK;
}

static ptqc_status
run(verifier *v)
{
    PQ_TRY(define_sources(v));
    PQ_TRY(check_ops(v));
    return check_uses(v);
}

ptqc_status
pq_graph_check(const pq_graph *g, ptqc_status wrong)
{
    verifier v = {.g = (pq_graph *)g, .wrong = wrong};
    uint32_t count = g->values.count;
    ptqc_status st = PTQC_E_RESOURCE;
    v.is_defined = pq_alloc_array(g->ctx, count, sizeof *v.is_defined);
    v.is_changed = pq_alloc_array(g->ctx, count, sizeof *v.is_changed);
    v.use_count = pq_alloc_array(g->ctx, count, sizeof *v.use_count);
    if (v.is_defined != NULL && v.is_changed != NULL && v.use_count != NULL) {
        st = run(&v);
    }
    pq_free(g->ctx, v.is_defined);
    pq_free(g->ctx, v.is_changed);
    pq_free(g->ctx, v.use_count);
    return st;
}

ptqc_status
pq_graph_verify(const pq_graph *g)
{
    return pq_graph_check(g, PTQC_E_INTERNAL);
}
