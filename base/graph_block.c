// SPDX-License-Identifier: Apache-2.0
//
// Reading graph blocks: the one check of a whole block, after which the
// accessors of ptqc/graph_block.h are safe, and evaluation of dimensions.
// Standard headers only: part of the SDK that plugins link. Topological
// order and unique names are the writer's promise and not checked here.
#include "ptqc/graph_block.h"

#include <stdbool.h>

// ---- sections -------------------------------------------------------------

static const struct {
    uint32_t bytes; // of one element
    bool is_flat;   // read as a C array: the stride is exactly that
} section_infos[PTQC_GB_SECTION_COUNT] = {
    [PTQC_GB_STRINGS] = {1, true},
    [PTQC_GB_SYMBOLS] = {sizeof(ptqc_gb_symbol), false},
    [PTQC_GB_DIMS] = {sizeof(ptqc_gb_dim), false},
    [PTQC_GB_DIM_LISTS] = {sizeof(uint32_t), true},
    [PTQC_GB_VALUES] = {sizeof(ptqc_gb_value), false},
    [PTQC_GB_QUANTS] = {sizeof(ptqc_gb_quant), false},
    [PTQC_GB_CONSTANTS] = {sizeof(ptqc_gb_constant), false},
    [PTQC_GB_NODES] = {sizeof(ptqc_gb_node), false},
    [PTQC_GB_OPERANDS] = {sizeof(uint32_t), true},
    [PTQC_GB_ATTRS] = {sizeof(ptqc_gb_attr), false},
    [PTQC_GB_I64S] = {sizeof(int64_t), true},
    [PTQC_GB_F32S] = {sizeof(float), true},
    [PTQC_GB_INPUTS] = {sizeof(uint32_t), true},
    [PTQC_GB_STATES] = {sizeof(uint32_t), true},
    [PTQC_GB_OUTPUTS] = {sizeof(uint32_t), true},
};

static const char *
check_section(const ptqc_gb_header *h, uint32_t i)
{
    const ptqc_gb_section *s = &h->sections[i];
    uint64_t bytes = (uint64_t)s->count * s->stride;
    if (s->stride < section_infos[i].bytes ||
        (section_infos[i].is_flat && s->stride != section_infos[i].bytes)) {
        return "a section's stride is too small";
    }
    if (s->offset % 8 != 0 ||
        (!section_infos[i].is_flat && s->stride % 8 != 0)) {
        return "a section is misaligned";
    }
    if (s->offset < sizeof *h || s->offset > h->total_bytes ||
        bytes > h->total_bytes - s->offset) {
        return "a section lies outside the block";
    }
    return NULL;
}

static const char *
check_header(const void *bytes, uint64_t count)
{
    const ptqc_gb_header *h = bytes;
    if (bytes == NULL || (uintptr_t)bytes % 8 != 0) {
        return "the block is not 8-byte aligned";
    }
    if (count < sizeof *h) {
        return "the block is shorter than its header";
    }
    if (h->magic != PTQC_GB_MAGIC) {
        return "no graph block";
    }
    if (h->version != PTQC_GB_VERSION ||
        h->section_count != PTQC_GB_SECTION_COUNT) {
        return "another version of the graph block";
    }
    if (h->total_bytes != count) {
        return "the block is truncated";
    }
    for (uint32_t i = 0; i < PTQC_GB_SECTION_COUNT; i++) {
        const char *reason = check_section(h, i);
        if (reason != NULL) {
            return reason;
        }
    }
    return NULL;
}

// ---- records ----------------------------------------------------------------

static bool
in_range(const ptqc_gb *g, uint32_t section, uint32_t first, uint32_t count)
{
    uint32_t size = ptqc_gb_count(g, section);
    return first <= size && count <= size - first;
}

static bool
is_index(const ptqc_gb *g, uint32_t section, uint32_t index)
{
    return index < ptqc_gb_count(g, section);
}

static bool
is_index_or_none(const ptqc_gb *g, uint32_t section, uint32_t index)
{
    return index == PTQC_GB_NONE || is_index(g, section, index);
}

static bool
is_text(const ptqc_gb *g, ptqc_gb_text t)
{
    return in_range(g, PTQC_GB_STRINGS, t.offset, t.bytes);
}

static const char *
check_symbol(const ptqc_gb *g, uint32_t i)
{
    const ptqc_gb_symbol *s = ptqc_gb_symbol_at(g, i);
    return is_text(g, s->name) && s->min <= s->max && s->multiple >= 1
               ? NULL
               : "a symbol is malformed";
}

static const char *
check_dim(const ptqc_gb *g, uint32_t i)
{
    const ptqc_gb_dim *d = ptqc_gb_dim_at(g, i);
    bool is_good;
    if (d->op == PTQC_GB_DIM_CONST) {
        is_good = true;
    } else if (d->op == PTQC_GB_DIM_SYMBOL) {
        is_good = d->value >= 0 &&
                  d->value < (int64_t)ptqc_gb_count(g, PTQC_GB_SYMBOLS);
    } else {
        is_good = d->op <= PTQC_GB_DIM_MAX && d->a < i && d->b < i;
    }
    return is_good ? NULL : "a dimension expression is malformed";
}

static bool
is_dtype(uint32_t dtype)
{
    switch (dtype) {
#define IS_DTYPE(NAME, number, text, bits) case number:
        PTQC_DTYPES(IS_DTYPE)
#undef IS_DTYPE
        return true;
    default: // from outside
        return false;
    }
}

static const char *
check_value(const ptqc_gb *g, uint32_t i)
{
    const ptqc_gb_value *v = ptqc_gb_value_at(g, i);
    return is_text(g, v->name) && is_dtype(v->dtype) &&
                   v->rank <= PTQC_MAX_RANK &&
                   in_range(g, PTQC_GB_DIM_LISTS, v->first_dim, v->rank) &&
                   is_index_or_none(g, PTQC_GB_QUANTS, v->quant) &&
                   is_index_or_none(g, PTQC_GB_CONSTANTS, v->constant)
               ? NULL
               : "a value is malformed";
}

static const char *
check_quant(const ptqc_gb *g, uint32_t i)
{
    const ptqc_gb_quant *q = ptqc_gb_quant_at(g, i);
    return q->granularity <= PTQC_GRAN_TOKEN &&
                   is_index_or_none(g, PTQC_GB_CONSTANTS, q->scale) &&
                   is_index_or_none(g, PTQC_GB_CONSTANTS, q->zero_point)
               ? NULL
               : "quantization parameters are malformed";
}

static const char *
check_node(const ptqc_gb *g, uint32_t i)
{
    const ptqc_gb_node *n = ptqc_gb_node_at(g, i);
    return is_text(g, n->op) && is_text(g, n->name) &&
                   in_range(g, PTQC_GB_OPERANDS, n->first_input,
                            n->input_count) &&
                   in_range(g, PTQC_GB_OPERANDS, n->first_output,
                            n->output_count) &&
                   in_range(g, PTQC_GB_ATTRS, n->first_attr, n->attr_count)
               ? NULL
               : "a node is malformed";
}

static const char *
check_attr(const ptqc_gb *g, uint32_t i)
{
    static const struct {
        bool has_array;
        uint32_t section;
    } kinds[] = {
        [PTQC_GB_ATTR_I64] = {false, 0},
        [PTQC_GB_ATTR_F32] = {false, 0},
        [PTQC_GB_ATTR_I64S] = {true, PTQC_GB_I64S},
        [PTQC_GB_ATTR_F32S] = {true, PTQC_GB_F32S},
        [PTQC_GB_ATTR_DIMS] = {true, PTQC_GB_DIM_LISTS},
        [PTQC_GB_ATTR_TEXT] = {true, PTQC_GB_STRINGS},
    };
    const ptqc_gb_attr *a = ptqc_gb_attr_at(g, i);
    bool is_good = is_text(g, a->name) && a->kind >= PTQC_GB_ATTR_I64 &&
                   a->kind <= PTQC_GB_ATTR_TEXT;
    if (is_good && kinds[a->kind].has_array) {
        is_good = in_range(g, kinds[a->kind].section, a->first, a->count);
    }
    return is_good ? NULL : "an attribute is malformed";
}

static const char *
check_dim_list(const ptqc_gb *g, uint32_t i)
{
    return is_index(g, PTQC_GB_DIMS, ptqc_gb_u32_at(g, PTQC_GB_DIM_LISTS, i))
               ? NULL
               : "a dimension index is out of range";
}

static const char *
check_operand(const ptqc_gb *g, uint32_t i)
{
    return is_index_or_none(g, PTQC_GB_VALUES,
                            ptqc_gb_u32_at(g, PTQC_GB_OPERANDS, i))
               ? NULL
               : "an operand is out of range";
}

static const char *
check_boundary(const ptqc_gb *g, uint32_t section)
{
    for (uint32_t i = 0; i < ptqc_gb_count(g, section); i++) {
        if (!is_index(g, PTQC_GB_VALUES, ptqc_gb_u32_at(g, section, i))) {
            return "a boundary value is out of range";
        }
    }
    return NULL;
}

static const char *
check_records(const ptqc_gb *g)
{
    static const struct {
        uint32_t section;
        const char *(*check)(const ptqc_gb *g, uint32_t i);
    } checks[] = {
        {PTQC_GB_SYMBOLS, check_symbol}, {PTQC_GB_DIMS, check_dim},
        {PTQC_GB_VALUES, check_value},   {PTQC_GB_DIM_LISTS, check_dim_list},
        {PTQC_GB_QUANTS, check_quant},   {PTQC_GB_NODES, check_node},
        {PTQC_GB_ATTRS, check_attr},     {PTQC_GB_OPERANDS, check_operand},
    };
    for (size_t k = 0; k < sizeof checks / sizeof checks[0]; k++) {
        uint32_t count = ptqc_gb_count(g, checks[k].section);
        for (uint32_t i = 0; i < count; i++) {
            const char *reason = checks[k].check(g, i);
            if (reason != NULL) {
                return reason;
            }
        }
    }
    for (uint32_t s = PTQC_GB_INPUTS; s <= PTQC_GB_OUTPUTS; s++) {
        const char *reason = check_boundary(g, s);
        if (reason != NULL) {
            return reason;
        }
    }
    return NULL;
}

int
ptqc_gb_open(const void *bytes, uint64_t count, ptqc_gb *out,
             const char **out_reason)
{
    const char *reason = check_header(bytes, count);
    if (reason == NULL) {
        ptqc_gb g = {bytes, bytes};
        reason = check_records(&g);
        if (reason == NULL) {
            *out = g;
            return 1;
        }
    }
    if (out_reason != NULL) {
        *out_reason = reason;
    }
    return 0;
}

// ---- dimensions -------------------------------------------------------------

static bool
floor_div(int64_t a, int64_t b, int64_t *out_quotient, int64_t *out_rest)
{
    if (b == 0 || (a == INT64_MIN && b == -1)) {
        return false;
    }
    *out_quotient = a / b;
    *out_rest = a % b;
    if (*out_rest != 0 && (*out_rest < 0) != (b < 0)) {
        *out_quotient -= 1;
        *out_rest += b;
    }
    return true;
}

static bool
eval_operation(uint32_t op, int64_t a, int64_t b, int64_t *out)
{
    int64_t quotient;
    int64_t rest;
    switch (op) {
    case PTQC_GB_DIM_ADD:
        return !__builtin_add_overflow(a, b, out);
    case PTQC_GB_DIM_SUB:
        return !__builtin_sub_overflow(a, b, out);
    case PTQC_GB_DIM_MUL:
        return !__builtin_mul_overflow(a, b, out);
    case PTQC_GB_DIM_MIN:
        *out = a < b ? a : b;
        return true;
    case PTQC_GB_DIM_MAX:
        *out = a > b ? a : b;
        return true;
    default: // the divisions
        break;
    }
    if (!floor_div(a, b, &quotient, &rest)) {
        return false;
    }
    *out = op == PTQC_GB_DIM_MOD
               ? rest
               : quotient + (op == PTQC_GB_DIM_CDIV && rest != 0);
    return true;
}

static bool
eval_dim(const ptqc_gb *g, const ptqc_gb_dim *d, const int64_t *symbols,
         int64_t *out, uint32_t index)
{
    if (d->op == PTQC_GB_DIM_CONST) {
        out[index] = d->value;
        return true;
    }
    if (d->op == PTQC_GB_DIM_SYMBOL) {
        const ptqc_gb_symbol *s = ptqc_gb_symbol_at(g, (uint32_t)d->value);
        out[index] = symbols[d->value];
        return out[index] >= s->min && out[index] <= s->max &&
               out[index] % s->multiple == 0;
    }
    return eval_operation(d->op, out[d->a], out[d->b], &out[index]);
}

int
ptqc_gb_eval_dims(const ptqc_gb *g, const int64_t *symbols, int64_t *out,
                  uint32_t *out_bad)
{
    uint32_t count = ptqc_gb_count(g, PTQC_GB_DIMS);
    for (uint32_t i = 0; i < count; i++) {
        if (!eval_dim(g, ptqc_gb_dim_at(g, i), symbols, out, i)) {
            if (out_bad != NULL) {
                *out_bad = i;
            }
            return 0;
        }
    }
    return 1;
}
