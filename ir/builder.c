// SPDX-License-Identifier: Apache-2.0
//
// Making ops: collects, checks arity and attribute kinds, infers, inserts.
// Nothing is inserted unless everything succeeded.
#include "ir/builder.h"

#include <assert.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/graph_internal.h"
#include "ir/infer.h"

enum {
    MAX_ATTRS = sizeof((pq_builder *)0)->attrs / sizeof(pq_attr),
};

static void
fail(pq_builder *b, const char *what)
{
    if (b->st == PTQC_OK) {
        b->st =
            PQ_FAIL(b->g->ctx, PTQC_E_INTERNAL, "%s '%.*s': %s",
                    pq_op_info_of(b->code)->name, PQ_STR_ARG(b->name), what);
    }
}

void
pq_build_begin(pq_builder *b, pq_graph *g, pq_op_id before, pq_opcode code,
               pq_str name)
{
    b->g = g;
    b->before = before;
    b->code = code;
    b->name = name;
    b->input_count = 0;
    b->attr_count = 0;
    b->st = PTQC_OK;
    if (code <= PQ_OP_NONE || code >= PQ_OP_COUNT) {
        fail(b, "no such op");
    }
}

void
pq_build_input(pq_builder *b, pq_value_id v)
{
    if (b->st != PTQC_OK) {
        return;
    }
    if (b->input_count == PQ_MAX_INPUTS || v.index >= b->g->values.count) {
        fail(b, "too many inputs or no such value");
        return;
    }
    b->inputs[b->input_count++] = v;
}

bool
pq_dtype_is_number(int64_t i)
{
    return i > 0 && i <= UINT8_MAX && pq_dtype_bits((ptqc_dtype)i) != 0;
}

// Place for an attribute of that kind, in ascending order; NULL on failure.
static pq_attr *
place_attr(pq_builder *b, pq_attr_name name, pq_attr_kind kind)
{
    uint32_t at = 0;
    if (b->st != PTQC_OK) {
        return NULL;
    }
    pq_attr_kind actual = pq_attr_kind_of(name);
    bool is_number = actual == PQ_KIND_OP || actual == PQ_KIND_DTYPE;
    if (actual != kind && !(kind == PQ_KIND_I64 && is_number)) {
        fail(b, "an attribute has another kind");
        return NULL;
    }
    while (at < b->attr_count && b->attrs[at].name < name) {
        at++;
    }
    if (at < b->attr_count && b->attrs[at].name == name) {
        return &b->attrs[at];
    }
    if (b->attr_count == MAX_ATTRS) {
        fail(b, "too many attributes");
        return NULL;
    }
    memmove(&b->attrs[at + 1], &b->attrs[at],
            (b->attr_count - at) * sizeof b->attrs[0]);
    b->attr_count++;
    b->attrs[at] = (pq_attr){.name = name};
    return &b->attrs[at];
}

static const void *
copy_array(pq_builder *b, const void *p, uint32_t n, size_t size)
{
    void *copy = pq_arena_array(&b->g->arena, n, size);
    if (copy == NULL) {
        b->st = PTQC_E_RESOURCE;
    } else if (n != 0) {
        memcpy(copy, p, n * size);
    }
    return copy;
}

void
pq_build_i64(pq_builder *b, pq_attr_name name, int64_t i)
{
    pq_attr *a = place_attr(b, name, PQ_KIND_I64);
    pq_attr_kind kind = pq_attr_kind_of(name);
    if (a == NULL) {
        return;
    }
    a->i = i;
    if ((kind == PQ_KIND_OP && (i <= PQ_OP_NONE || i >= PQ_OP_COUNT)) ||
        (kind == PQ_KIND_DTYPE && !pq_dtype_is_number(i))) {
        fail(b, "an attribute is no op or no element type");
    }
}

void
pq_build_f32(pq_builder *b, pq_attr_name name, float f)
{
    pq_attr *a = place_attr(b, name, PQ_KIND_F32);
    if (a != NULL) {
        a->f = f;
    }
}

void
pq_build_i64s(pq_builder *b, pq_attr_name name, const int64_t *p, uint32_t n)
{
    pq_attr *a = place_attr(b, name, PQ_KIND_I64S);
    if (a != NULL) {
        a->ints.p = copy_array(b, p, n, sizeof *p);
        a->ints.n = n;
    }
}

void
pq_build_f32s(pq_builder *b, pq_attr_name name, const float *p, uint32_t n)
{
    pq_attr *a = place_attr(b, name, PQ_KIND_F32S);
    if (a != NULL) {
        a->floats.p = copy_array(b, p, n, sizeof *p);
        a->floats.n = n;
    }
}

void
pq_build_dims(pq_builder *b, pq_attr_name name, const pq_dim *p, uint32_t n)
{
    pq_attr *a = place_attr(b, name, PQ_KIND_DIMS);
    for (uint32_t i = 0; a != NULL && i < n; i++) {
        if (pq_dim_is_none(p[i])) { // said by who made it
            b->st = pq_graph_failure(b->g);
            return;
        }
    }
    if (a != NULL) {
        a->dims.p = copy_array(b, p, n, sizeof *p);
        a->dims.n = n;
    }
}

void
pq_build_attr(pq_builder *b, const pq_attr *attr)
{
    switch (pq_attr_kind_of(attr->name)) {
    case PQ_KIND_I64:
    case PQ_KIND_OP:
    case PQ_KIND_DTYPE:
        pq_build_i64(b, attr->name, attr->i);
        return;
    case PQ_KIND_F32:
        pq_build_f32(b, attr->name, attr->f);
        return;
    case PQ_KIND_I64S:
        pq_build_i64s(b, attr->name, attr->ints.p, attr->ints.n);
        return;
    case PQ_KIND_F32S:
        pq_build_f32s(b, attr->name, attr->floats.p, attr->floats.n);
        return;
    case PQ_KIND_DIMS:
        pq_build_dims(b, attr->name, attr->dims.p, attr->dims.n);
        return;
    }
}

// ---- checks -----------------------------------------------------------------

static ptqc_status
check_arity(pq_builder *b)
{
    const pq_op_info *info = pq_op_info_of(b->code);
    while (b->input_count > 0 &&
           pq_value_is_none(b->inputs[b->input_count - 1])) {
        b->input_count--;
    }
    if (b->input_count < info->min_inputs ||
        b->input_count > info->max_inputs) {
        return PQ_FAIL(b->g->ctx, PTQC_E_INPUT,
                       "%s '%.*s': expected %u to %u inputs, found %u",
                       info->name, PQ_STR_ARG(b->name), info->min_inputs,
                       info->max_inputs, b->input_count);
    }
    for (uint32_t i = 0; i < b->input_count; i++) {
        if (i < info->min_inputs && pq_value_is_none(b->inputs[i])) {
            return PQ_FAIL(b->g->ctx, PTQC_E_INPUT,
                           "%s '%.*s': input %u is absent", info->name,
                           PQ_STR_ARG(b->name), i);
        }
    }
    return PTQC_OK;
}

// Counts AXIS and AXES from the front. What is out of range stays: the rule
// of the op refuses it.
static void
normalize_axes(pq_builder *b)
{
    const pq_value *x = pq_graph_value(b->g, b->inputs[0]);
    if (b->input_count == 0 || x == NULL) {
        return;
    }
    int64_t rank = x->type.rank + (b->code == PQ_OP_ONE_HOT ? 1 : 0);
    for (uint32_t i = 0; i < b->attr_count; i++) {
        pq_attr *a = &b->attrs[i];
        if (a->name == PQ_ATTR_AXIS && a->i < 0 && a->i >= -rank) {
            a->i += rank;
        }
        if (a->name == PQ_ATTR_AXES) {
            int64_t *p = (int64_t *)a->ints.p; // the builder's own copy
            for (uint32_t j = 0; j < a->ints.n; j++) {
                p[j] += p[j] < 0 && p[j] >= -rank ? rank : 0;
            }
        }
    }
}

// ---- insertion -------------------------------------------------------------

static pq_value_id
add_output(pq_builder *b, const pq_infer_out *out, pq_str name, pq_op_id op,
           uint32_t index)
{
    pq_type type;
    if (!pq_type_make(b->g, out->dtype, out->dims, out->rank, &type)) {
        return PQ_NO_VALUE;
    }
    pq_value_id id = pq_graph_add_value(b->g, name, type);
    pq_value *v = pq_graph_value(b->g, id);
    if (v != NULL) {
        v->producer = op;
        v->output_index = index;
        v->quant = out->quant;
        v->elements = out->elements;
        v->element_count = out->element_count;
    }
    return id;
}

// Everything that can fail; the op is in the table but not in the list.
static ptqc_status
make_op(pq_builder *b, const pq_op *draft, pq_op_id *out, pq_use **out_uses)
{
    pq_graph *g = b->g;
    pq_op *op = pq_arena_memdup(&g->arena, draft, sizeof *draft);
    pq_use *uses = pq_arena_array(&g->arena, b->input_count, sizeof *uses);
    PQ_TRY_ALLOC(op);
    PQ_TRY_ALLOC(uses);
    op->inputs = pq_arena_array(&g->arena, b->input_count, sizeof *op->inputs);
    op->attrs = pq_arena_array(&g->arena, b->attr_count, sizeof *op->attrs);
    op->outputs =
        pq_arena_array(&g->arena, op->output_count, sizeof *op->outputs);
    PQ_TRY_ALLOC(op->inputs);
    PQ_TRY_ALLOC(op->attrs);
    PQ_TRY_ALLOC(op->outputs);
    if (!pq_copy_str(g, b->name, &op->name)) {
        return PTQC_E_RESOURCE;
    }
    memcpy(op->inputs, b->inputs, b->input_count * sizeof *op->inputs);
    memcpy(op->attrs, b->attrs, b->attr_count * sizeof *op->attrs);
    op->is_dead = true; // until it is linked
    if (!pq_table_push(g, &g->ops, op)) {
        return PTQC_E_RESOURCE;
    }
    *out = (pq_op_id){g->ops.count - 1};
    *out_uses = uses;
    return PTQC_OK;
}

static void
insert_op(pq_builder *b, pq_op_id id, pq_use *uses)
{
    pq_op *op = pq_graph_op(b->g, id);
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (!pq_value_is_none(op->inputs[i])) {
            pq_use_add(b->g, op->inputs[i], id, &uses[i]);
        }
    }
    op->is_dead = false;
    pq_op_link(b->g, id, b->before);
    b->g->live_ops++;
}

ptqc_status
pq_build_end(pq_builder *b, const pq_str *output_names, pq_value_id *outputs,
             pq_op_id *out_op)
{
    pq_op_id id;
    pq_use *uses;
    PQ_TRY(b->st);
    PQ_TRY(check_arity(b));
    normalize_axes(b);
    pq_op draft = {.code = b->code,
                   .name = b->name,
                   .input_count = b->input_count,
                   .output_count = pq_op_info_of(b->code)->outputs,
                   .attr_count = b->attr_count,
                   .inputs = b->inputs,
                   .attrs = b->attrs};
    pq_infer c = {.g = b->g, .op = &draft};
    PQ_TRY(pq_infer_run(&c));
    PQ_TRY(make_op(b, &draft, &id, &uses));
    pq_op *op = pq_graph_op(b->g, id);
    for (uint32_t i = 0; i < op->output_count; i++) {
        pq_str name =
            output_names != NULL ? output_names[i] : (pq_str){NULL, 0};
        op->outputs[i] = add_output(b, &c.out[i], name, id, i);
        if (pq_value_is_none(op->outputs[i])) {
            return pq_graph_failure(b->g);
        }
    }
    insert_op(b, id, uses);
    if (outputs != NULL) {
        memcpy(outputs, op->outputs, op->output_count * sizeof *outputs);
    }
    if (out_op != NULL) {
        *out_op = id;
    }
    return PTQC_OK;
}

// ---- shorthands -------------------------------------------------------------

ptqc_status
pq_build_unary(pq_graph *g, pq_op_id before, pq_opcode code, pq_value_id x,
               pq_value_id *out)
{
    pq_builder b;
    pq_build_begin(&b, g, before, code, (pq_str){NULL, 0});
    pq_build_input(&b, x);
    return pq_build_end(&b, NULL, out, NULL);
}

ptqc_status
pq_build_binary(pq_graph *g, pq_op_id before, pq_opcode code, pq_value_id x,
                pq_value_id y, pq_value_id *out)
{
    pq_builder b;
    pq_build_begin(&b, g, before, code, (pq_str){NULL, 0});
    pq_build_input(&b, x);
    pq_build_input(&b, y);
    return pq_build_end(&b, NULL, out, NULL);
}

ptqc_status
pq_build_constant(pq_graph *g, pq_str name, ptqc_dtype dtype,
                  const int64_t *dims, uint32_t rank, const void *elements,
                  pq_value_id *out)
{
    pq_constant c = {.dtype = dtype, .rank = rank, .dims = dims};
    if (rank > PTQC_MAX_RANK || !pq_dtype_bytes(dtype, dims, rank, &c.bytes)) {
        return PQ_FAIL(g->ctx, PTQC_E_INPUT,
                       "constant '%.*s': a %s shape that is too large",
                       PQ_STR_ARG(name), pq_dtype_name(dtype));
    }
    c.p = pq_arena_memdup(&g->arena, elements, c.bytes);
    PQ_TRY_ALLOC(c.p);
    pq_const_id id = pq_graph_add_constant(g, &c);
    if (pq_const_is_none(id)) {
        return pq_graph_failure(g);
    }
    pq_value_id v = pq_graph_add_constant_value(g, name, id);
    if (pq_value_is_none(v)) {
        return pq_graph_failure(g);
    }
    *out = v;
    return PTQC_OK;
}

void
pq_value_set_quant(pq_graph *g, pq_value_id v, ptqc_dtype dtype,
                   pq_quant_id quant)
{
    pq_value *value = pq_graph_value(g, v);
    assert(value != NULL);
    value->type.dtype = dtype;
    value->quant = quant;
}

ptqc_status
pq_reinfer(pq_graph *g, pq_op_id id)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_infer c = {.g = g, .op = op};
    PQ_TRY(pq_infer_run(&c));
    for (uint32_t i = 0; i < op->output_count; i++) {
        pq_value *v = pq_graph_value(g, op->outputs[i]);
        const pq_infer_out *out = &c.out[i];
        pq_type type;
        if (!pq_type_make(g, out->dtype, out->dims, out->rank, &type)) {
            return PTQC_E_RESOURCE;
        }
        v->type = type;
        v->elements = out->elements;
        v->element_count = out->element_count;
        if (!pq_quant_is_none(out->quant) && !pq_dtype_is_float(out->dtype)) {
            v->quant = out->quant;
        }
    }
    return PTQC_OK;
}
