// SPDX-License-Identifier: Apache-2.0
//
// Graph block to graph. ptqc_gb_open has checked offsets and indices; here
// order, types and meaning are checked, through the builder and the
// verifier.
#include <string.h>

#include "base/dtype.h"
#include "ir/block.h"
#include "ir/builder.h"
#include "ir/graph_internal.h"
#include "ir/infer.h"

typedef struct block_reader {
    ptqc_ctx *ctx;
    pq_graph *g;
    ptqc_gb block;
    pq_constant_map_fn map;
    void *user;
    // By index in the block, all owned.
    pq_dim *dims;
    pq_value_id *values;    // none: not defined yet
    pq_const_id *constants; // none: not read yet
    pq_quant_id *quants;    // none: not read yet
} block_reader;

static pq_str
text(const block_reader *r, ptqc_gb_text t)
{
    ptqc_str s = ptqc_gb_str(&r->block, t);
    return (pq_str){s.p, (size_t)s.n};
}

static ptqc_status
bad(const block_reader *r, pq_str name, const char *rule)
{
    return PQ_FAIL(r->ctx, PTQC_E_INPUT, "graph block: '%.*s': %s",
                   (int)(name.n < 200 ? name.n : 200), name.p, rule);
}

// ---- dims -----------------------------------------------------------------

static ptqc_status
read_symbols(block_reader *r)
{
    for (uint32_t i = 0; i < ptqc_gb_count(&r->block, PTQC_GB_SYMBOLS); i++) {
        const ptqc_gb_symbol *s = ptqc_gb_symbol_at(&r->block, i);
        pq_str name = text(r, s->name);
        uint64_t ignored;
        if (pq_strmap_find(&r->g->symbol_names, name, &ignored) || s->min < 0) {
            return bad(r, name, "a symbol twice or with a negative range");
        }
        if (pq_dim_is_none(pq_dim_symbol(r->g, name, s->min, s->max))) {
            return pq_graph_failure(r->g);
        }
        pq_graph_symbol(r->g, i)->multiple = s->multiple;
    }
    return PTQC_OK;
}

static ptqc_status
read_dims(block_reader *r)
{
    const pq_dim none = {0};
    for (uint32_t i = 0; i < ptqc_gb_count(&r->block, PTQC_GB_DIMS); i++) {
        const ptqc_gb_dim *d = ptqc_gb_dim_at(&r->block, i);
        if (d->op == PTQC_GB_DIM_CONST) {
            r->dims[i] = pq_dim_const(r->g, d->value);
        } else if (d->op == PTQC_GB_DIM_SYMBOL) {
            r->dims[i] =
                pq_dim_intern(r->g, PQ_DIM_SYMBOL, none, none, d->value, false);
        } else {
            r->dims[i] = pq_dim_make(r->g, (pq_dim_op)d->op, r->dims[d->a],
                                     r->dims[d->b]);
        }
        if (pq_dim_is_none(r->dims[i])) {
            return pq_graph_failure(r->g);
        }
    }
    return PTQC_OK;
}

static pq_dim
listed_dim(const block_reader *r, uint32_t i)
{
    return r->dims[ptqc_gb_u32_at(&r->block, PTQC_GB_DIM_LISTS, i)];
}

// ---- constants --------------------------------------------------------------

// Constant `index` of the block with the type that its user gives it. Users
// that disagree get constants of their own over the same bytes.
static ptqc_status
read_constant(block_reader *r, uint32_t index, const pq_constant *type,
              pq_const_id *out)
{
    const ptqc_gb_constant *record = ptqc_gb_constant_at(&r->block, index);
    const pq_constant *seen = pq_graph_constant(r->g, r->constants[index]);
    if (seen != NULL && seen->dtype == type->dtype &&
        seen->rank == type->rank &&
        memcmp(seen->dims, type->dims, type->rank * sizeof *type->dims) == 0) {
        *out = r->constants[index];
        return PTQC_OK;
    }
    pq_constant c = *type;
    uint64_t bytes = 0;
    c.p = r->map != NULL ? r->map(r->user, record->id, &bytes) : NULL;
    if (c.p == NULL && bytes == 0) {
        c.p = ""; // an empty tensor
    }
    if (!pq_dtype_bytes(c.dtype, c.dims, c.rank, &c.bytes) || c.p == NULL ||
        bytes != record->bytes || bytes != c.bytes) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "graph block: constant %llu is not there or has "
                       "another size",
                       (unsigned long long)record->id);
    }
    *out = pq_graph_add_constant(r->g, &c);
    if (pq_const_is_none(*out)) {
        return pq_graph_failure(r->g);
    }
    r->constants[index] = *out;
    return PTQC_OK;
}

// Scale or zero point: [1], [channels] or [channels][groups].
static ptqc_status
read_parameter(block_reader *r, const ptqc_gb_quant *q, uint32_t index,
               ptqc_dtype dtype, int64_t channels, pq_const_id *out)
{
    int64_t dims[2];
    pq_constant type = {.dtype = dtype, .rank = 1, .dims = dims};
    *out = (pq_const_id){0};
    if (index == PTQC_GB_NONE) {
        return PTQC_OK;
    }
    uint64_t count = ptqc_gb_constant_at(&r->block, index)->bytes / 4;
    dims[0] = (int64_t)count;
    if (q->granularity == PTQC_GRAN_GROUP && channels > 0 &&
        count % (uint64_t)channels == 0) {
        type.rank = 2;
        dims[0] = channels;
        dims[1] = (int64_t)(count / (uint64_t)channels);
    }
    return read_constant(r, index, &type, out);
}

static ptqc_status
read_quant(block_reader *r, const ptqc_gb_value *v, pq_quant_id *out)
{
    *out = (pq_quant_id){0};
    if (v->quant == PTQC_GB_NONE) {
        return PTQC_OK;
    }
    const ptqc_gb_quant *q = ptqc_gb_quant_at(&r->block, v->quant);
    const pq_quant *seen = pq_graph_quant(r->g, r->quants[v->quant]);
    if (seen != NULL && seen->scheme.format == (ptqc_dtype)v->dtype) {
        *out = r->quants[v->quant];
        return PTQC_OK;
    }
    int64_t channels = 0;
    if (v->rank != 0) {
        (void)pq_dim_is_const(r->g, listed_dim(r, v->first_dim), &channels);
    }
    pq_quant quant = {
        .scheme = {.format = (ptqc_dtype)v->dtype,
                   .bits = (q->flags & PTQC_GB_QUANT_BITS_MASK) >>
                           PTQC_GB_QUANT_BITS_SHIFT,
                   .granularity = (pq_granularity)q->granularity,
                   .axis = q->axis,
                   .group = q->group,
                   .symmetric = (q->flags & PTQC_GB_QUANT_SYMMETRIC) != 0,
                   .dynamic = (q->flags & PTQC_GB_QUANT_DYNAMIC) != 0}};
    PQ_TRY(read_parameter(r, q, q->scale, PTQC_F32, channels, &quant.scale));
    PQ_TRY(read_parameter(r, q, q->zero_point, PTQC_I32, channels,
                          &quant.zero_point));
    *out = pq_graph_add_quant(r->g, &quant);
    if (pq_quant_is_none(*out)) {
        return pq_graph_failure(r->g);
    }
    r->quants[v->quant] = *out;
    return PTQC_OK;
}

// ---- values -----------------------------------------------------------------

static ptqc_status
check_name(block_reader *r, pq_str name)
{
    uint64_t ignored;
    if (name.n == 0 || pq_strmap_find(&r->g->value_names, name, &ignored)) {
        return bad(r, name, "a value without a name of its own");
    }
    return PTQC_OK;
}

static ptqc_status
read_constant_value(block_reader *r, uint32_t index)
{
    const ptqc_gb_value *v = ptqc_gb_value_at(&r->block, index);
    int64_t dims[PTQC_MAX_RANK];
    pq_constant type = {
        .dtype = (ptqc_dtype)v->dtype, .rank = v->rank, .dims = dims};
    pq_const_id constant;
    pq_quant_id quant;
    for (uint32_t i = 0; i < v->rank; i++) {
        if (!pq_dim_is_const(r->g, listed_dim(r, v->first_dim + i), &dims[i])) {
            return bad(r, text(r, v->name), "a constant of symbolic shape");
        }
    }
    PQ_TRY(check_name(r, text(r, v->name)));
    PQ_TRY(read_constant(r, v->constant, &type, &constant));
    PQ_TRY(read_quant(r, v, &quant));
    pq_value_id id =
        pq_graph_add_constant_value(r->g, text(r, v->name), constant);
    if (pq_value_is_none(id)) {
        return pq_graph_failure(r->g);
    }
    pq_graph_value(r->g, id)->quant = quant;
    r->values[index] = id;
    return PTQC_OK;
}

// The value of an input or a state, which no node makes.
static ptqc_status
read_source(block_reader *r, uint32_t index)
{
    const ptqc_gb_value *v = ptqc_gb_value_at(&r->block, index);
    pq_dim dims[PTQC_MAX_RANK];
    pq_type type;
    pq_quant_id quant;
    if (!pq_value_is_none(r->values[index])) {
        return bad(r, text(r, v->name),
                   "an input or state twice, or a constant");
    }
    for (uint32_t i = 0; i < v->rank; i++) {
        dims[i] = listed_dim(r, v->first_dim + i);
    }
    PQ_TRY(check_name(r, text(r, v->name)));
    PQ_TRY(read_quant(r, v, &quant));
    if (!pq_type_make(r->g, (ptqc_dtype)v->dtype, dims, v->rank, &type)) {
        return pq_graph_failure(r->g);
    }
    PQ_TRY(pq_type_check(r->g, &type, text(r, v->name)));
    pq_value_id id = pq_graph_add_value(r->g, text(r, v->name), type);
    if (pq_value_is_none(id)) {
        return pq_graph_failure(r->g);
    }
    pq_graph_value(r->g, id)->quant = quant;
    r->values[index] = id;
    return PTQC_OK;
}

static ptqc_status
read_sources(block_reader *r)
{
    for (uint32_t i = 0; i < ptqc_gb_count(&r->block, PTQC_GB_VALUES); i++) {
        if (ptqc_gb_value_at(&r->block, i)->constant != PTQC_GB_NONE) {
            PQ_TRY(read_constant_value(r, i));
        }
    }
    for (uint32_t i = 0; i < ptqc_gb_count(&r->block, PTQC_GB_INPUTS); i++) {
        uint32_t index = ptqc_gb_u32_at(&r->block, PTQC_GB_INPUTS, i);
        PQ_TRY(read_source(r, index));
        PQ_TRY(pq_graph_add_input(r->g, r->values[index]));
    }
    for (uint32_t i = 0; i < ptqc_gb_count(&r->block, PTQC_GB_STATES); i++) {
        uint32_t index = ptqc_gb_u32_at(&r->block, PTQC_GB_STATES, i);
        PQ_TRY(read_source(r, index));
        PQ_TRY(pq_graph_add_state(r->g, r->values[index]));
    }
    return PTQC_OK;
}

// ---- nodes ----------------------------------------------------------------

static const uint32_t kinds[] = {
    [PQ_KIND_I64] = PTQC_GB_ATTR_I64,   [PQ_KIND_F32] = PTQC_GB_ATTR_F32,
    [PQ_KIND_I64S] = PTQC_GB_ATTR_I64S, [PQ_KIND_F32S] = PTQC_GB_ATTR_F32S,
    [PQ_KIND_DIMS] = PTQC_GB_ATTR_DIMS, [PQ_KIND_OP] = PTQC_GB_ATTR_TEXT,
    [PQ_KIND_DTYPE] = PTQC_GB_ATTR_I64,
};

static ptqc_status
read_op_attr(block_reader *r, pq_builder *b, pq_attr_name name,
             const ptqc_gb_attr *a)
{
    pq_opcode code;
    pq_str s = text(r, (ptqc_gb_text){a->first, a->count});
    if (!pq_opcode_parse(s.p, s.n, &code)) {
        return bad(r, s, "no such op");
    }
    pq_build_i64(b, name, code);
    return b->st;
}

static ptqc_status
read_dims_attr(block_reader *r, pq_builder *b, pq_attr_name name,
               const ptqc_gb_attr *a)
{
    pq_dim *dims = pq_arena_array(&r->g->arena, a->count, sizeof *dims);
    PQ_TRY_ALLOC(dims);
    for (uint32_t i = 0; i < a->count; i++) {
        dims[i] = listed_dim(r, a->first + i);
    }
    pq_build_dims(b, name, dims, a->count);
    return b->st;
}

static ptqc_status
read_attr(block_reader *r, pq_builder *b, const ptqc_gb_attr *a)
{
    pq_attr_name name;
    pq_str s = text(r, a->name);
    if (!pq_attr_parse(s.p, s.n, &name) ||
        a->kind != kinds[pq_attr_kind_of(name)] ||
        b->attr_count == sizeof b->attrs / sizeof b->attrs[0] ||
        (b->attr_count != 0 && b->attrs[b->attr_count - 1].name >= name)) {
        return bad(r, s, "no such attribute, or not in order");
    }
    switch (pq_attr_kind_of(name)) {
    case PQ_KIND_DTYPE:
        if (!pq_dtype_is_number(a->i)) {
            return bad(r, s, "no element type");
        }
        pq_build_i64(b, name, a->i);
        break;
    case PQ_KIND_I64:
        pq_build_i64(b, name, a->i);
        break;
    case PQ_KIND_F32:
        pq_build_f32(b, name, a->f);
        break;
    case PQ_KIND_I64S:
        pq_build_i64s(b, name, ptqc_gb_at(&r->block, PTQC_GB_I64S, a->first),
                      a->count);
        break;
    case PQ_KIND_F32S:
        pq_build_f32s(b, name, ptqc_gb_at(&r->block, PTQC_GB_F32S, a->first),
                      a->count);
        break;
    case PQ_KIND_DIMS:
        return read_dims_attr(r, b, name, a);
    case PQ_KIND_OP:
        return read_op_attr(r, b, name, a);
    }
    return b->st;
}

static ptqc_status
read_operands(block_reader *r, pq_builder *b, const ptqc_gb_node *n)
{
    if (n->input_count > sizeof b->inputs / sizeof b->inputs[0]) {
        return bad(r, b->name, "too many inputs");
    }
    for (uint32_t i = 0; i < n->input_count; i++) {
        uint32_t index = ptqc_gb_input(&r->block, n, i);
        pq_value_id v = index == PTQC_GB_NONE ? PQ_NO_VALUE : r->values[index];
        if (index != PTQC_GB_NONE && pq_value_is_none(v)) {
            return bad(r, b->name, "an input is not defined before it");
        }
        pq_build_input(b, v);
    }
    return b->st;
}

static ptqc_status
read_output(block_reader *r, const ptqc_gb_value *record, pq_value_id id)
{
    const pq_value *v = pq_graph_value(r->g, id);
    pq_quant_id quant;
    bool is_same = v->type.rank == record->rank;
    for (uint32_t i = 0; is_same && i < record->rank; i++) {
        is_same = !pq_dim_differs(r->g, v->type.dims[i],
                                  listed_dim(r, record->first_dim + i));
    }
    PQ_TRY(read_quant(r, record, &quant));
    if (!is_same || (pq_quant_is_none(quant) &&
                     v->type.dtype != (ptqc_dtype)record->dtype)) {
        return bad(r, v->name, "its op gives another type");
    }
    pq_value_set_quant(r->g, id, (ptqc_dtype)record->dtype, quant);
    return PTQC_OK;
}

static ptqc_status
read_output_names(block_reader *r, const ptqc_gb_node *n, pq_str name,
                  pq_str *out_names)
{
    if (n->output_count > PQ_MAX_OUTPUTS) {
        return bad(r, name, "too many outputs");
    }
    for (uint32_t i = 0; i < n->output_count; i++) {
        uint32_t index = ptqc_gb_output(&r->block, n, i);
        if (index == PTQC_GB_NONE || !pq_value_is_none(r->values[index])) {
            return bad(r, name, "an output is absent or has another origin");
        }
        out_names[i] = text(r, ptqc_gb_value_at(&r->block, index)->name);
        PQ_TRY(check_name(r, out_names[i]));
        for (uint32_t j = 0; j < i; j++) {
            if (pq_str_equal(out_names[i], out_names[j])) {
                return bad(r, name, "two outputs have one name");
            }
        }
    }
    return PTQC_OK;
}

static ptqc_status
read_node(block_reader *r, const ptqc_gb_node *n)
{
    pq_builder b;
    pq_opcode code;
    pq_str op = text(r, n->op);
    pq_str names[PQ_MAX_OUTPUTS];
    pq_value_id values[PQ_MAX_OUTPUTS];
    if (!pq_opcode_parse(op.p, op.n, &code) || n->version != 1) {
        return PQ_FAIL(r->ctx, PTQC_E_UNSUPPORTED,
                       "graph block: no op '%.*s' of version %u",
                       (int)(op.n < 200 ? op.n : 200), op.p, n->version);
    }
    if (n->output_count != pq_op_info_of(code)->outputs) {
        return bad(r, text(r, n->name), "wrong number of outputs");
    }
    PQ_TRY(read_output_names(r, n, text(r, n->name), names));
    pq_build_begin(&b, r->g, (pq_op_id){0}, code, text(r, n->name));
    PQ_TRY(read_operands(r, &b, n));
    for (uint32_t i = 0; i < n->attr_count; i++) {
        PQ_TRY(read_attr(r, &b, ptqc_gb_attr_at(&r->block, n->first_attr + i)));
    }
    PQ_TRY(pq_build_end(&b, names, values, NULL));
    for (uint32_t i = 0; i < n->output_count; i++) {
        uint32_t index = ptqc_gb_output(&r->block, n, i);
        r->values[index] = values[i];
        PQ_TRY(read_output(r, ptqc_gb_value_at(&r->block, index), values[i]));
    }
    return PTQC_OK;
}

// ---- the block -------------------------------------------------------------

static ptqc_status
read_outputs(block_reader *r)
{
    for (uint32_t i = 0; i < ptqc_gb_count(&r->block, PTQC_GB_OUTPUTS); i++) {
        uint32_t index = ptqc_gb_u32_at(&r->block, PTQC_GB_OUTPUTS, i);
        if (pq_value_is_none(r->values[index])) {
            return bad(r, text(r, ptqc_gb_value_at(&r->block, index)->name),
                       "an output that nothing defines");
        }
        PQ_TRY(pq_graph_add_output(r->g, r->values[index]));
    }
    return PTQC_OK;
}

static ptqc_status
read_sections(block_reader *r)
{
    pq_graph_set_stage(r->g, PQ_STAGE_LEGAL);
    PQ_TRY(read_symbols(r));
    PQ_TRY(read_dims(r));
    PQ_TRY(read_sources(r));
    for (uint32_t i = 0; i < ptqc_gb_count(&r->block, PTQC_GB_NODES); i++) {
        PQ_TRY(read_node(r, ptqc_gb_node_at(&r->block, i)));
    }
    PQ_TRY(read_outputs(r));
    return pq_graph_check(r->g, PTQC_E_INPUT);
}

static ptqc_status
make_tables(block_reader *r)
{
    const ptqc_gb *b = &r->block;
    r->dims =
        pq_alloc_array(r->ctx, ptqc_gb_count(b, PTQC_GB_DIMS), sizeof *r->dims);
    r->values = pq_alloc_array(r->ctx, ptqc_gb_count(b, PTQC_GB_VALUES),
                               sizeof *r->values);
    r->constants = pq_alloc_array(r->ctx, ptqc_gb_count(b, PTQC_GB_CONSTANTS),
                                  sizeof *r->constants);
    r->quants = pq_alloc_array(r->ctx, ptqc_gb_count(b, PTQC_GB_QUANTS),
                               sizeof *r->quants);
    PQ_TRY_ALLOC(r->dims);
    PQ_TRY_ALLOC(r->values);
    PQ_TRY_ALLOC(r->constants);
    PQ_TRY_ALLOC(r->quants);
    return PTQC_OK;
}

ptqc_status
pq_block_read(ptqc_ctx *ctx, const void *bytes, size_t count,
              pq_constant_map_fn map, void *user, pq_graph **out)
{
    block_reader r = {.ctx = ctx, .map = map, .user = user};
    const char *reason;
    ptqc_status st;
    *out = NULL;
    if (!ptqc_gb_open(bytes, count, &r.block, &reason)) {
        return PQ_FAIL(ctx, PTQC_E_INPUT, "graph block: %s", reason);
    }
    PQ_TRY_OR(done, pq_graph_create(ctx, &r.g));
    PQ_TRY_OR(done, make_tables(&r));
    PQ_TRY_OR(done, read_sections(&r));
    *out = r.g;
    r.g = NULL;
done:
    pq_graph_destroy(r.g);
    pq_free(ctx, r.dims);
    pq_free(ctx, r.values);
    pq_free(ctx, r.constants);
    pq_free(ctx, r.quants);
    return st;
}
