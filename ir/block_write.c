// SPDX-License-Identifier: Apache-2.0
//
// Graph to graph block (ptqc/graph_block.h). Values are numbered as they are
// met, dims keep their order (operands come before users in the table), all
// symbols keep their index unless only the used ones are asked for.
#include <assert.h>
#include <string.h>

#include "base/checked.h"
#include "ir/block.h"
#include "ir/graph_internal.h"

typedef struct section {
    char *p; // owned
    size_t bytes, capacity;
    uint32_t count;
} section;

typedef struct block_writer {
    pq_graph *g;
    const pq_block_desc *desc;
    section sections[PTQC_GB_SECTION_COUNT];
    // Index in the block + 1; 0 = not there. All owned.
    uint32_t *values, *quants, *constants, *dims, *symbols;
    bool *is_mine; // [ops] to be written
} block_writer;

static const uint32_t strides[PTQC_GB_SECTION_COUNT] = {
    [PTQC_GB_STRINGS] = 1,
    [PTQC_GB_SYMBOLS] = sizeof(ptqc_gb_symbol),
    [PTQC_GB_DIMS] = sizeof(ptqc_gb_dim),
    [PTQC_GB_DIM_LISTS] = sizeof(uint32_t),
    [PTQC_GB_VALUES] = sizeof(ptqc_gb_value),
    [PTQC_GB_QUANTS] = sizeof(ptqc_gb_quant),
    [PTQC_GB_CONSTANTS] = sizeof(ptqc_gb_constant),
    [PTQC_GB_NODES] = sizeof(ptqc_gb_node),
    [PTQC_GB_OPERANDS] = sizeof(uint32_t),
    [PTQC_GB_ATTRS] = sizeof(ptqc_gb_attr),
    [PTQC_GB_I64S] = sizeof(int64_t),
    [PTQC_GB_F32S] = sizeof(float),
    [PTQC_GB_INPUTS] = sizeof(uint32_t),
    [PTQC_GB_STATES] = sizeof(uint32_t),
    [PTQC_GB_OUTPUTS] = sizeof(uint32_t),
};

// ---- sections -------------------------------------------------------------

// n > 0 zeroed elements at the end of a section; NULL when out of memory
// (said).
static void *
extend(block_writer *w, uint32_t which, uint32_t n)
{
    section *s = &w->sections[which];
    size_t more = (size_t)n * strides[which];
    size_t need;
    if (!pq_add_size(s->bytes, more, &need) || n > UINT32_MAX - s->count) {
        return pq_alloc(w->g->ctx, SIZE_MAX); // says it and fails
    }
    if (need > s->capacity) {
        size_t capacity = need < 512 ? 1024 : need * 2;
        char *p = pq_realloc_array(w->g->ctx, s->p, s->capacity, capacity, 1);
        if (p == NULL) {
            return NULL;
        }
        s->p = p;
        s->capacity = capacity;
    }
    void *at = s->p + s->bytes;
    s->bytes = need;
    s->count += n;
    return at;
}

static ptqc_status
append(block_writer *w, uint32_t which, const void *p, uint32_t n)
{
    if (n == 0) {
        return PTQC_OK;
    }
    void *at = extend(w, which, n);
    PQ_TRY_ALLOC(at);
    memcpy(at, p, (size_t)n * strides[which]);
    return PTQC_OK;
}

static ptqc_status
append_u32(block_writer *w, uint32_t which, uint32_t x)
{
    return append(w, which, &x, 1);
}

static ptqc_status
add_text(block_writer *w, pq_str s, ptqc_gb_text *out)
{
    uint32_t n;
    if (!pq_cast_u32(s.n, &n)) {
        return PQ_FAIL(w->g->ctx, PTQC_E_UNSUPPORTED, "a name of %zu bytes",
                       s.n);
    }
    out->offset = w->sections[PTQC_GB_STRINGS].count;
    out->bytes = n;
    return append(w, PTQC_GB_STRINGS, s.p, n);
}

// ---- dims -----------------------------------------------------------------

static ptqc_status
write_symbols(block_writer *w)
{
    for (uint32_t i = 0; i < pq_graph_symbol_count(w->g); i++) {
        if (w->desc->only_used_symbols && w->desc->ops != NULL &&
            w->symbols[i] == 0) {
            continue;
        }
        w->symbols[i] = w->sections[PTQC_GB_SYMBOLS].count + 1;
        const pq_symbol *s = pq_graph_symbol(w->g, i);
        ptqc_gb_symbol out = {
            .min = s->min, .max = s->max, .multiple = s->multiple};
        PQ_TRY(add_text(w, s->name, &out.name));
        PQ_TRY(append(w, PTQC_GB_SYMBOLS, &out, 1));
    }
    return PTQC_OK;
}

static void
mark_dims(block_writer *w, const pq_dim *dims, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        w->dims[dims[i].index] = 1;
    }
}

static void
mark_value_dims(block_writer *w, pq_value_id id)
{
    const pq_value *v = pq_graph_value(w->g, id);
    if (v != NULL) {
        mark_dims(w, v->type.dims, v->type.rank);
    }
}

static void
mark_op_dims(block_writer *w, const pq_op *op)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        mark_value_dims(w, op->inputs[i]);
    }
    for (uint32_t i = 0; i < op->output_count; i++) {
        mark_value_dims(w, op->outputs[i]);
    }
    for (uint32_t i = 0; i < op->attr_count; i++) {
        if (pq_attr_kind_of(op->attrs[i].name) == PQ_KIND_DIMS) {
            mark_dims(w, op->attrs[i].dims.p, op->attrs[i].dims.n);
        }
    }
}

// Marks what marked dims need, symbols too.
static void
mark_operands(block_writer *w)
{
    for (uint32_t i = pq_graph_dim_count(w->g); i-- > 1;) {
        const pq_dim_expr *e = pq_dim_get(w->g, (pq_dim){i});
        if (w->dims[i] == 0) {
            continue;
        }
        if (!pq_dim_is_none(e->a)) {
            w->dims[e->a.index] = 1;
            w->dims[e->b.index] = 1;
        }
        if (e->op == PQ_DIM_SYMBOL) {
            w->symbols[e->value] = 1;
        }
    }
}

// Numbers what is marked.
static ptqc_status
write_dims(block_writer *w)
{
    uint32_t count = pq_graph_dim_count(w->g);
    for (uint32_t i = 1; i < count; i++) {
        const pq_dim_expr *e = pq_dim_get(w->g, (pq_dim){i});
        ptqc_gb_dim out = {.op = (uint32_t)e->op, .value = e->value};
        if (w->dims[i] == 0) {
            continue;
        }
        if (!pq_dim_is_none(e->a)) {
            out.a = w->dims[e->a.index] - 1;
            out.b = w->dims[e->b.index] - 1;
        }
        if (e->op == PQ_DIM_SYMBOL) {
            out.value = w->symbols[e->value] - 1;
        }
        PQ_TRY(append(w, PTQC_GB_DIMS, &out, 1));
        w->dims[i] = w->sections[PTQC_GB_DIMS].count;
    }
    return PTQC_OK;
}

static ptqc_status
write_dim_list(block_writer *w, const pq_dim *dims, uint32_t n,
               uint32_t *out_first)
{
    *out_first = w->sections[PTQC_GB_DIM_LISTS].count;
    for (uint32_t i = 0; i < n; i++) {
        PQ_TRY(append_u32(w, PTQC_GB_DIM_LISTS, w->dims[dims[i].index] - 1));
    }
    return PTQC_OK;
}

// ---- constants, quantization, values ---------------------------------------

static ptqc_status
write_constant(block_writer *w, pq_const_id id, uint32_t *out)
{
    const pq_constant *c = pq_graph_constant(w->g, id);
    const pq_sha256 *hash;
    if (c == NULL) {
        *out = PTQC_GB_NONE;
        return PTQC_OK;
    }
    if (w->constants[id.index] == 0) {
        ptqc_gb_constant record = {.id = id.index, .bytes = c->bytes};
        PQ_TRY(pq_graph_constant_hash(w->g, id, &hash));
        memcpy(record.sha256, hash->bytes, sizeof record.sha256);
        PQ_TRY(append(w, PTQC_GB_CONSTANTS, &record, 1));
        w->constants[id.index] = w->sections[PTQC_GB_CONSTANTS].count;
    }
    *out = w->constants[id.index] - 1;
    return PTQC_OK;
}

static ptqc_status
write_quant(block_writer *w, pq_quant_id id, uint32_t *out)
{
    const pq_quant *q = pq_graph_quant(w->g, id);
    if (q == NULL) {
        *out = PTQC_GB_NONE;
        return PTQC_OK;
    }
    if (w->quants[id.index] == 0) {
        ptqc_gb_quant record = {.granularity = (uint32_t)q->scheme.granularity,
                                .axis = q->scheme.axis,
                                .group = q->scheme.group};
        record.flags |= q->scheme.symmetric ? PTQC_GB_QUANT_SYMMETRIC : 0;
        record.flags |= q->scheme.dynamic ? PTQC_GB_QUANT_DYNAMIC : 0;
        record.flags |= q->scheme.bits << PTQC_GB_QUANT_BITS_SHIFT;
        PQ_TRY(write_constant(w, q->scale, &record.scale));
        PQ_TRY(write_constant(w, q->zero_point, &record.zero_point));
        PQ_TRY(append(w, PTQC_GB_QUANTS, &record, 1));
        w->quants[id.index] = w->sections[PTQC_GB_QUANTS].count;
    }
    *out = w->quants[id.index] - 1;
    return PTQC_OK;
}

// The record of a value under a name; always a new one.
static ptqc_status
write_record(block_writer *w, const pq_value *v, pq_str name)
{
    ptqc_gb_value record = {.dtype = (uint32_t)v->type.dtype,
                            .rank = v->type.rank};
    PQ_TRY(add_text(w, name, &record.name));
    PQ_TRY(write_dim_list(w, v->type.dims, v->type.rank, &record.first_dim));
    PQ_TRY(write_quant(w, v->quant, &record.quant));
    PQ_TRY(write_constant(w, v->constant, &record.constant));
    return append(w, PTQC_GB_VALUES, &record, 1);
}

// The name under which v goes out, its own unless it is renamed.
static pq_str
name_of(const block_writer *w, pq_value_id v)
{
    const pq_block_desc *d = w->desc;
    for (uint32_t i = 0; d->output_names != NULL && i < d->output_count; i++) {
        if (pq_value_equal(d->outputs[i], v)) {
            return d->output_names[i];
        }
    }
    return pq_graph_value(w->g, v)->name;
}

static ptqc_status
write_value(block_writer *w, pq_value_id id, pq_str name, uint32_t *out)
{
    const pq_value *v = pq_graph_value(w->g, id);
    if (v == NULL) {
        *out = PTQC_GB_NONE;
        return PTQC_OK;
    }
    if (w->values[id.index] == 0) {
        PQ_TRY(write_record(w, v, name));
        w->values[id.index] = w->sections[PTQC_GB_VALUES].count;
    }
    *out = w->values[id.index] - 1;
    return PTQC_OK;
}

// ---- nodes ----------------------------------------------------------------

static ptqc_status
write_attr(block_writer *w, const pq_attr *a)
{
    ptqc_gb_attr out = {0};
    ptqc_gb_text text = {0, 0};
    PQ_TRY(add_text(w, pq_str_of(pq_attr_text(a->name)), &out.name));
    switch (pq_attr_kind_of(a->name)) {
    case PQ_KIND_I64:
    case PQ_KIND_DTYPE:
        out.kind = PTQC_GB_ATTR_I64;
        out.i = a->i;
        break;
    case PQ_KIND_F32:
        out.kind = PTQC_GB_ATTR_F32;
        out.f = a->f;
        break;
    case PQ_KIND_OP:
        out.kind = PTQC_GB_ATTR_TEXT;
        PQ_TRY(add_text(w, pq_str_of(pq_op_info_of((pq_opcode)a->i)->name),
                        &text));
        out.first = text.offset;
        out.count = text.bytes;
        break;
    case PQ_KIND_I64S:
        out.kind = PTQC_GB_ATTR_I64S;
        out.first = w->sections[PTQC_GB_I64S].count;
        out.count = a->ints.n;
        PQ_TRY(append(w, PTQC_GB_I64S, a->ints.p, a->ints.n));
        break;
    case PQ_KIND_F32S:
        out.kind = PTQC_GB_ATTR_F32S;
        out.first = w->sections[PTQC_GB_F32S].count;
        out.count = a->floats.n;
        PQ_TRY(append(w, PTQC_GB_F32S, a->floats.p, a->floats.n));
        break;
    case PQ_KIND_DIMS:
        out.kind = PTQC_GB_ATTR_DIMS;
        out.count = a->dims.n;
        PQ_TRY(write_dim_list(w, a->dims.p, a->dims.n, &out.first));
        break;
    }
    return append(w, PTQC_GB_ATTRS, &out, 1);
}

// An operand that is neither constant nor made becomes an input or a state
// when the boundary is not given.
static ptqc_status
write_input(block_writer *w, pq_value_id id, uint32_t *out)
{
    const pq_value *v = pq_graph_value(w->g, id);
    bool is_there = v == NULL || w->values[id.index] != 0;
    if (!is_there && pq_const_is_none(v->constant)) {
        const void *given = v->is_state ? w->desc->states : w->desc->inputs;
        if (given != NULL || w->desc->ops == NULL) {
            return PQ_FAIL(w->g->ctx, PTQC_E_INTERNAL,
                           "block: '%.*s' is read but no input or state",
                           PQ_STR_ARG(v->name));
        }
        PQ_TRY(write_value(w, id, v->name, out));
        PQ_TRY(
            append_u32(w, v->is_state ? PTQC_GB_STATES : PTQC_GB_INPUTS, *out));
    }
    return write_value(w, id, v != NULL ? name_of(w, id) : (pq_str){NULL, 0},
                       out);
}

static ptqc_status
write_node(block_writer *w, pq_op_id id)
{
    const pq_op *op = pq_graph_op(w->g, id);
    ptqc_gb_node out = {.version = 1,
                        .input_count = op->input_count,
                        .output_count = op->output_count,
                        .attr_count = op->attr_count};
    uint32_t index;
    // Records first: the operands of a node are consecutive.
    for (uint32_t i = 0; i < op->input_count; i++) {
        PQ_TRY(write_input(w, op->inputs[i], &index));
    }
    out.first_input = w->sections[PTQC_GB_OPERANDS].count;
    for (uint32_t i = 0; i < op->input_count; i++) {
        uint32_t number = w->values[op->inputs[i].index];
        PQ_TRY(append_u32(w, PTQC_GB_OPERANDS,
                          number == 0 ? PTQC_GB_NONE : number - 1));
    }
    out.first_output = w->sections[PTQC_GB_OPERANDS].count;
    for (uint32_t i = 0; i < op->output_count; i++) {
        PQ_TRY(
            write_value(w, op->outputs[i], name_of(w, op->outputs[i]), &index));
        PQ_TRY(append_u32(w, PTQC_GB_OPERANDS, index));
    }
    out.first_attr = w->sections[PTQC_GB_ATTRS].count;
    for (uint32_t i = 0; i < op->attr_count; i++) {
        PQ_TRY(write_attr(w, &op->attrs[i]));
    }
    PQ_TRY(add_text(w, pq_str_of(pq_op_info_of(op->code)->name), &out.op));
    PQ_TRY(add_text(w, op->name, &out.name));
    return append(w, PTQC_GB_NODES, &out, 1);
}

// ---- boundary -------------------------------------------------------------

static ptqc_status
write_boundary_value(block_writer *w, uint32_t which, pq_value_id id)
{
    uint32_t index;
    PQ_TRY(write_value(w, id, pq_graph_value(w->g, id)->name, &index));
    return append_u32(w, which, index);
}

static ptqc_status
write_inputs(block_writer *w)
{
    const pq_block_desc *d = w->desc;
    for (uint32_t i = 0; d->inputs != NULL && i < d->input_count; i++) {
        PQ_TRY(write_boundary_value(w, PTQC_GB_INPUTS, d->inputs[i]));
    }
    if (d->inputs == NULL && d->ops == NULL) {
        for (uint32_t i = 0; i < pq_graph_input_count(w->g); i++) {
            PQ_TRY(write_boundary_value(w, PTQC_GB_INPUTS,
                                        pq_graph_input(w->g, i)));
        }
    }
    return PTQC_OK;
}

static ptqc_status
write_states(block_writer *w)
{
    const pq_block_desc *d = w->desc;
    for (uint32_t i = 0; d->states != NULL && i < d->state_count; i++) {
        PQ_TRY(write_boundary_value(w, PTQC_GB_STATES, d->states[i]));
    }
    if (d->states == NULL && d->ops == NULL) {
        for (uint32_t i = 0; i < pq_graph_state_count(w->g); i++) {
            PQ_TRY(write_boundary_value(w, PTQC_GB_STATES,
                                        pq_graph_state(w->g, i)));
        }
    }
    return PTQC_OK;
}

// A value that is there under another name (an input, or an output given
// twice) gets a record of its own, which only a block without nodes may have.
static ptqc_status
write_output(block_writer *w, pq_value_id id, pq_str name)
{
    uint32_t index;
    const pq_value *v = pq_graph_value(w->g, id);
    PQ_TRY(write_value(w, id, name, &index));
    const ptqc_gb_value *record =
        (const ptqc_gb_value *)(const void *)w->sections[PTQC_GB_VALUES].p +
        index;
    pq_str written = {w->sections[PTQC_GB_STRINGS].p + record->name.offset,
                      record->name.bytes};
    if (!pq_str_equal(written, name) && w->desc->values_only) {
        PQ_TRY(write_record(w, v, name));
        index = w->sections[PTQC_GB_VALUES].count - 1;
    }
    return append_u32(w, PTQC_GB_OUTPUTS, index);
}

static bool
is_used_outside(const block_writer *w, pq_value_id id)
{
    if (pq_value_is_output(w->g, id)) {
        return true;
    }
    for (const pq_use *use = pq_value_uses(w->g, id); use != NULL;
         use = use->next) {
        if (!w->is_mine[use->op.index]) {
            return true;
        }
    }
    return false;
}

static ptqc_status
write_derived_outputs(block_writer *w)
{
    for (uint32_t i = 0; i < w->desc->op_count; i++) {
        const pq_op *op = pq_graph_op(w->g, w->desc->ops[i]);
        for (uint32_t j = 0; j < op->output_count; j++) {
            pq_value_id v = op->outputs[j];
            if (is_used_outside(w, v)) {
                PQ_TRY(write_output(w, v, pq_graph_value(w->g, v)->name));
            }
        }
    }
    return PTQC_OK;
}

static ptqc_status
write_outputs(block_writer *w)
{
    const pq_block_desc *d = w->desc;
    if (d->outputs != NULL) {
        for (uint32_t i = 0; i < d->output_count; i++) {
            PQ_TRY(
                write_output(w, d->outputs[i],
                             d->output_names != NULL
                                 ? d->output_names[i]
                                 : pq_graph_value(w->g, d->outputs[i])->name));
        }
        return PTQC_OK;
    }
    if (d->ops != NULL) {
        return write_derived_outputs(w);
    }
    for (uint32_t i = 0; i < pq_graph_output_count(w->g); i++) {
        pq_value_id v = pq_graph_output(w->g, i);
        PQ_TRY(write_output(w, v, pq_graph_value(w->g, v)->name));
    }
    return PTQC_OK;
}

// ---- the block -------------------------------------------------------------

static void
mark_boundary_dims(block_writer *w)
{
    const pq_block_desc *d = w->desc;
    for (uint32_t i = 0; d->inputs != NULL && i < d->input_count; i++) {
        mark_value_dims(w, d->inputs[i]);
    }
    for (uint32_t i = 0; d->states != NULL && i < d->state_count; i++) {
        mark_value_dims(w, d->states[i]);
    }
    for (uint32_t i = 0; d->outputs != NULL && i < d->output_count; i++) {
        mark_value_dims(w, d->outputs[i]);
    }
    for (uint32_t i = 0; i < d->value_count; i++) {
        mark_value_dims(w, d->values[i]);
    }
    if (d->only_used_symbols && d->ops != NULL) {
        return; // the graph's own boundary is not written
    }
    for (uint32_t i = 0; i < pq_graph_input_count(w->g); i++) {
        mark_value_dims(w, pq_graph_input(w->g, i));
    }
    for (uint32_t i = 0; i < pq_graph_state_count(w->g); i++) {
        mark_value_dims(w, pq_graph_state(w->g, i));
    }
    for (uint32_t i = 0; i < pq_graph_output_count(w->g); i++) {
        mark_value_dims(w, pq_graph_output(w->g, i));
    }
}

static void
mark_all(block_writer *w)
{
    const pq_block_desc *d = w->desc;
    mark_boundary_dims(w);
    for (uint32_t i = 0; d->ops != NULL && i < d->op_count; i++) {
        w->is_mine[d->ops[i].index] = true;
        mark_op_dims(w, pq_graph_op(w->g, d->ops[i]));
    }
    if (d->ops == NULL && !d->values_only) {
        PQ_FOR_EACH_OP(w->g, id)
        {
            w->is_mine[id.index] = true;
            mark_op_dims(w, pq_graph_op(w->g, id));
        }
    }
}

static ptqc_status
write_nodes(block_writer *w)
{
    const pq_block_desc *d = w->desc;
    if (d->values_only) {
        return PTQC_OK;
    }
    if (d->ops != NULL) {
        for (uint32_t i = 0; i < d->op_count; i++) {
            PQ_TRY(write_node(w, d->ops[i]));
        }
        return PTQC_OK;
    }
    PQ_FOR_EACH_OP(w->g, id)
    {
        PQ_TRY(write_node(w, id));
    }
    return PTQC_OK;
}

static ptqc_status
write_sections(block_writer *w)
{
    uint32_t ignored;
    mark_all(w);
    mark_operands(w);
    PQ_TRY(write_symbols(w));
    PQ_TRY(write_dims(w));
    PQ_TRY(write_inputs(w));
    PQ_TRY(write_states(w));
    PQ_TRY(write_nodes(w));
    for (uint32_t i = 0; i < w->desc->value_count; i++) {
        pq_value_id v = w->desc->values[i];
        PQ_TRY(write_value(w, v, pq_graph_value(w->g, v)->name, &ignored));
    }
    return write_outputs(w);
}

static ptqc_status
join_sections(block_writer *w, void **out_bytes, size_t *out_count)
{
    ptqc_gb_header header = {.magic = PTQC_GB_MAGIC,
                             .version = PTQC_GB_VERSION,
                             .section_count = PTQC_GB_SECTION_COUNT};
    size_t at = sizeof header;
    for (uint32_t i = 0; i < PTQC_GB_SECTION_COUNT; i++) {
        header.sections[i] = (ptqc_gb_section){
            .offset = at, .count = w->sections[i].count, .stride = strides[i]};
        size_t end;
        if (!pq_add_size(at, w->sections[i].bytes, &end) ||
            !pq_align_size(end, 8, &at)) {
            return PTQC_E_RESOURCE; // more than the sections' own memory
        }
    }
    header.total_bytes = at;
    char *bytes = pq_alloc(w->g->ctx, at);
    PQ_TRY_ALLOC(bytes);
    memcpy(bytes, &header, sizeof header);
    for (uint32_t i = 0; i < PTQC_GB_SECTION_COUNT; i++) {
        if (w->sections[i].bytes != 0) {
            memcpy(bytes + header.sections[i].offset, w->sections[i].p,
                   w->sections[i].bytes);
        }
    }
    *out_bytes = bytes;
    *out_count = at;
    return PTQC_OK;
}

static ptqc_status
make_tables(block_writer *w)
{
    pq_graph *g = w->g;
    w->values = pq_alloc_array(g->ctx, g->values.count, sizeof *w->values);
    w->quants = pq_alloc_array(g->ctx, g->quants.count, sizeof *w->quants);
    w->constants =
        pq_alloc_array(g->ctx, g->constants.count, sizeof *w->constants);
    w->dims = pq_alloc_array(g->ctx, g->dims.count, sizeof *w->dims);
    w->is_mine = pq_alloc_array(g->ctx, g->ops.count, sizeof *w->is_mine);
    PQ_TRY_ALLOC(w->values);
    PQ_TRY_ALLOC(w->quants);
    PQ_TRY_ALLOC(w->constants);
    w->symbols = pq_alloc_array(g->ctx, (size_t)g->symbols.count + 1,
                                sizeof *w->symbols);
    PQ_TRY_ALLOC(w->dims);
    PQ_TRY_ALLOC(w->symbols);
    PQ_TRY_ALLOC(w->is_mine);
    return PTQC_OK;
}

ptqc_status
pq_block_write(pq_graph *g, const pq_block_desc *desc, void **out_bytes,
               size_t *out_count)
{
    const pq_block_desc all = {0};
    block_writer w = {.g = g, .desc = desc != NULL ? desc : &all};
    ptqc_status st;
    *out_bytes = NULL;
    *out_count = 0;
    PQ_TRY_OR(done, make_tables(&w));
    PQ_TRY_OR(done, write_sections(&w));
    st = join_sections(&w, out_bytes, out_count);
done:
    for (uint32_t i = 0; i < PTQC_GB_SECTION_COUNT; i++) {
        pq_free(g->ctx, w.sections[i].p);
    }
    pq_free(g->ctx, w.values);
    pq_free(g->ctx, w.quants);
    pq_free(g->ctx, w.constants);
    pq_free(g->ctx, w.dims);
    pq_free(g->ctx, w.symbols);
    pq_free(g->ctx, w.is_mine);
    return st;
}

const void *
pq_block_constant(void *user, uint64_t id, uint64_t *out_bytes)
{
    const pq_graph *g = user;
    if (id == 0 || id >= pq_graph_constant_count(g)) {
        return NULL;
    }
    const pq_const_id constant = {(uint32_t)id};
    *out_bytes = pq_graph_constant(g, constant)->bytes;
    return pq_graph_constant_bytes(g, constant);
}

void
pq_block_release(void *user, uint64_t id)
{
    const pq_graph *g = user;
    if (id != 0 && id < pq_graph_constant_count(g)) {
        pq_graph_release_constant(g, (pq_const_id){(uint32_t)id});
    }
}
