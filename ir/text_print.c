// SPDX-License-Identifier: Apache-2.0
//
// Printing .ptir (docs/ptir.md). Constants and quantization parameters are
// numbered in the text in the order of their ids, those that nothing printed
// refers to are left out; so the text says nothing about a graph's past.
#include <string.h>

#include "base/dtype.h"
#include "ir/graph_internal.h"
#include "ir/text.h"
#include "ir/text_data.h"

typedef struct printer {
    const pq_graph *g;
    pq_strbuf *out;
    unsigned flags;
    uint32_t *const_number; // owned, [constants]; 0 = not printed
    uint32_t *quant_number; // owned, [quants]
} printer;

// ---- names -----------------------------------------------------------------

static bool
is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '.';
}

static bool
is_word(pq_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_word_char(s.p[i])) {
            return false;
        }
    }
    return s.n != 0;
}

static void
print_quoted(const printer *p, pq_str s)
{
    pq_strbuf_add_z(p->out, "\"");
    pq_strbuf_add_escaped(p->out, s);
    pq_strbuf_add_z(p->out, "\"");
}

static void
print_value_name(const printer *p, pq_value_id id)
{
    const pq_value *v = pq_graph_value(p->g, id);
    if (v == NULL) {
        pq_strbuf_add_z(p->out, "_");
        return;
    }
    pq_strbuf_add_z(p->out, "%");
    if (is_word(v->name)) {
        pq_strbuf_add(p->out, v->name);
    } else {
        print_quoted(p, v->name);
    }
}

static void
print_symbol_name(const printer *p, pq_str name)
{
    bool is_plain = is_word(name) && !(name.p[0] >= '0' && name.p[0] <= '9') &&
                    !pq_str_equal_z(name, "min") &&
                    !pq_str_equal_z(name, "max") &&
                    !pq_str_equal_z(name, "cdiv");
    if (is_plain) {
        pq_strbuf_add(p->out, name);
    } else {
        print_quoted(p, name);
    }
}

// ---- dims -----------------------------------------------------------------

enum { LEVEL_SUM = 1, LEVEL_PRODUCT = 2, LEVEL_ATOM = 3 };

static int
level_of(pq_dim_op op)
{
    switch (op) {
    case PQ_DIM_ADD:
    case PQ_DIM_SUB:
        return LEVEL_SUM;
    case PQ_DIM_MUL:
    case PQ_DIM_DIV:
    case PQ_DIM_MOD:
        return LEVEL_PRODUCT;
    case PQ_DIM_CONST:
    case PQ_DIM_SYMBOL:
    case PQ_DIM_CDIV:
    case PQ_DIM_MIN:
    case PQ_DIM_MAX:
        break;
    }
    return LEVEL_ATOM;
}

static const char *
sign_of(pq_dim_op op)
{
    switch (op) {
    case PQ_DIM_ADD:
        return " + ";
    case PQ_DIM_SUB:
        return " - ";
    case PQ_DIM_MUL:
        return "*";
    case PQ_DIM_DIV:
        return "/";
    case PQ_DIM_MOD:
        return "%";
    case PQ_DIM_CDIV:
        return "cdiv";
    case PQ_DIM_MIN:
        return "min";
    case PQ_DIM_MAX:
        return "max";
    case PQ_DIM_CONST:
    case PQ_DIM_SYMBOL:
        break;
    }
    return "?";
}

// Operators bind as in C; parentheses where the level is below `least`.
// Depth is bounded by the weight of expressions.
static void
print_dim(const printer *p, pq_dim d, int least)
{
    const pq_dim_expr *e = pq_dim_get(p->g, d);
    int level = level_of(e->op);
    if (e->op == PQ_DIM_CONST) {
        pq_strbuf_addf(p->out, "%lld", (long long)e->value);
    } else if (e->op == PQ_DIM_SYMBOL) {
        const pq_symbol *s = p->g->symbols.items[e->value];
        print_symbol_name(p, s->name);
    } else if (level == LEVEL_ATOM) {
        pq_strbuf_addf(p->out, "%s(", sign_of(e->op));
        print_dim(p, e->a, LEVEL_SUM);
        pq_strbuf_add_z(p->out, ", ");
        print_dim(p, e->b, LEVEL_SUM);
        pq_strbuf_add_z(p->out, ")");
    } else {
        pq_strbuf_add_z(p->out, level < least ? "(" : "");
        print_dim(p, e->a, level);
        pq_strbuf_add_z(p->out, sign_of(e->op));
        print_dim(p, e->b, level + 1);
        pq_strbuf_add_z(p->out, level < least ? ")" : "");
    }
}

static void
print_dims(const printer *p, const pq_dim *dims, uint32_t n)
{
    pq_strbuf_add_z(p->out, "[");
    for (uint32_t i = 0; i < n; i++) {
        pq_strbuf_add_z(p->out, i != 0 ? ", " : "");
        print_dim(p, dims[i], LEVEL_SUM);
    }
    pq_strbuf_add_z(p->out, "]");
}

// ---- values and ops --------------------------------------------------------

static void
print_typed_value(const printer *p, pq_value_id id)
{
    const pq_value *v = pq_graph_value(p->g, id);
    print_value_name(p, id);
    pq_strbuf_addf(p->out, ": %s", pq_dtype_name(v->type.dtype));
    print_dims(p, v->type.dims, v->type.rank);
    if (!pq_quant_is_none(v->quant)) {
        pq_strbuf_addf(p->out, " q%u", p->quant_number[v->quant.index]);
    }
}

static void
print_attr(const printer *p, const pq_attr *a)
{
    pq_strbuf *out = p->out;
    pq_strbuf_addf(out, "%s = ", pq_attr_text(a->name));
    switch (pq_attr_kind_of(a->name)) {
    case PQ_KIND_I64:
        pq_strbuf_addf(out, "%lld", (long long)a->i);
        return;
    case PQ_KIND_OP:
        pq_strbuf_add_z(out, pq_op_info_of((pq_opcode)a->i)->name);
        return;
    case PQ_KIND_DTYPE:
        pq_strbuf_add_z(out, pq_dtype_name((ptqc_dtype)a->i));
        return;
    case PQ_KIND_F32:
        pq_strbuf_add_f32(out, a->f);
        return;
    case PQ_KIND_DIMS:
        print_dims(p, a->dims.p, a->dims.n);
        return;
    case PQ_KIND_I64S:
    case PQ_KIND_F32S:
        break;
    }
    bool is_ints = pq_attr_kind_of(a->name) == PQ_KIND_I64S;
    uint32_t n = is_ints ? a->ints.n : a->floats.n;
    pq_strbuf_add_z(out, "[");
    for (uint32_t i = 0; i < n; i++) {
        pq_strbuf_add_z(out, i != 0 ? ", " : "");
        if (is_ints) {
            pq_strbuf_addf(out, "%lld", (long long)a->ints.p[i]);
        } else {
            pq_strbuf_add_f32(out, a->floats.p[i]);
        }
    }
    pq_strbuf_add_z(out, "]");
}

static void
print_op(const printer *p, const pq_op *op)
{
    pq_strbuf *out = p->out;
    for (uint32_t i = 0; i < op->output_count; i++) {
        pq_strbuf_add_z(out, i != 0 ? ", " : "");
        print_typed_value(p, op->outputs[i]);
    }
    pq_strbuf_addf(out, " = %s", pq_op_info_of(op->code)->name);
    if (op->name.n != 0) {
        pq_strbuf_add_z(out, " ");
        print_quoted(p, op->name);
    }
    pq_strbuf_add_z(out, "(");
    for (uint32_t i = 0; i < op->input_count; i++) {
        pq_strbuf_add_z(out, i != 0 ? ", " : "");
        print_value_name(p, op->inputs[i]);
    }
    pq_strbuf_add_z(out, ")");
    for (uint32_t i = 0; i < op->attr_count; i++) {
        pq_strbuf_add_z(out, i == 0 ? " {" : ", ");
        print_attr(p, &op->attrs[i]);
    }
    pq_strbuf_add_z(out, op->attr_count != 0 ? "}\n" : "\n");
}

// ---- tables ----------------------------------------------------------------

static void
print_symbols(const printer *p)
{
    for (uint32_t i = 0; i < p->g->symbols.count; i++) {
        const pq_symbol *s = p->g->symbols.items[i];
        pq_strbuf_add_z(p->out, "symbol ");
        print_symbol_name(p, s->name);
        pq_strbuf_addf(p->out, " = [%lld, ", (long long)s->min);
        if (s->max == INT64_MAX) {
            pq_strbuf_add_z(p->out, "inf]");
        } else {
            pq_strbuf_addf(p->out, "%lld]", (long long)s->max);
        }
        if (s->multiple != 1) {
            pq_strbuf_addf(p->out, " multiple %lld", (long long)s->multiple);
        }
        pq_strbuf_add_z(p->out, "\n");
    }
}

static void
print_elements(pq_strbuf *out, const pq_constant *c)
{
    if (!pq_constant_is_list(c)) {
        pq_strbuf_add_z(out, "] = base64 \"");
        pq_base64_print(out, c->p, c->bytes);
        pq_strbuf_add_z(out, "\"\n");
        return;
    }
    size_t count = c->bytes / (pq_dtype_bits(c->dtype) / 8);
    pq_strbuf_add_z(out, "] = [");
    for (size_t i = 0; i < count; i++) {
        pq_strbuf_add_z(out, i != 0 ? ", " : "");
        pq_element_print(out, c, i);
    }
    pq_strbuf_add_z(out, "]\n");
}

static void
print_constant(const printer *p, uint32_t index)
{
    const pq_const_id id = {index};
    pq_constant c = *pq_graph_constant(p->g, id);
    pq_strbuf *out = p->out;
    pq_strbuf_addf(out, "const c%u: %s[", p->const_number[index],
                   pq_dtype_name(c.dtype));
    for (uint32_t i = 0; i < c.rank; i++) {
        pq_strbuf_addf(out, "%s%lld", i != 0 ? ", " : "", (long long)c.dims[i]);
    }
    c.p = pq_graph_constant_bytes(p->g, id);
    if (c.p == NULL && c.bytes > 0) {
        out->failed = true;
        return;
    }
    if ((p->flags & PQ_PRINT_NO_DATA) != 0) {
        pq_strbuf_addf(out, "] = hash %016llx\n",
                       (unsigned long long)pq_hash64(c.p, c.bytes));
    } else {
        print_elements(out, &c);
    }
    pq_graph_release_constant(p->g, id);
}

static void
print_quant(const printer *p, uint32_t index)
{
    const pq_quant *q = pq_graph_quant(p->g, (pq_quant_id){index});
    const pq_scheme *s = &q->scheme;
    pq_strbuf_addf(p->out, "quant q%u = {format = %s, granularity = %s",
                   p->quant_number[index], pq_dtype_name(s->format),
                   pq_granularity_name(s->granularity));
    pq_strbuf_addf(p->out, ", axis = %u, group = %u", s->axis, s->group);
    pq_strbuf_addf(p->out, ", symmetric = %d, dynamic = %d", s->symmetric,
                   s->dynamic);
    if (s->bits != 0) {
        pq_strbuf_addf(p->out, ", bits = %u", s->bits);
    }
    if (s->scale_format != PTQC_DTYPE_NONE) {
        pq_strbuf_addf(p->out, ", scale_format = %s",
                       pq_dtype_name(s->scale_format));
    }
    if (!pq_const_is_none(q->scale)) {
        pq_strbuf_addf(p->out, ", scale = c%u",
                       p->const_number[q->scale.index]);
    }
    if (!pq_const_is_none(q->zero_point)) {
        pq_strbuf_addf(p->out, ", zero_point = c%u",
                       p->const_number[q->zero_point.index]);
    }
    if (!pq_const_is_none(q->codes)) {
        pq_strbuf_addf(p->out, ", codes = c%u",
                       p->const_number[q->codes.index]);
    }
    pq_strbuf_add_z(p->out, "}\n");
}

// Constant values come before the ops, those that something uses.
static bool
is_printed_constant(const pq_value *v)
{
    return v != NULL && !pq_const_is_none(v->constant) && v->use_count != 0;
}

static void
mark_value(printer *p, const pq_value *v)
{
    const pq_quant *q = pq_graph_quant(p->g, v->quant);
    p->const_number[v->constant.index] = 1;
    if (q != NULL) {
        p->quant_number[v->quant.index] = 1;
        p->const_number[q->scale.index] = 1;
        p->const_number[q->zero_point.index] = 1;
        p->const_number[q->codes.index] = 1;
    }
}

static void
number(uint32_t *marks, uint32_t count)
{
    uint32_t next = 1;
    marks[0] = 0;
    for (uint32_t i = 1; i < count; i++) {
        if (marks[i] != 0) {
            marks[i] = next++;
        }
    }
}

static void
number_tables(printer *p)
{
    const pq_graph *g = p->g;
    for (uint32_t i = 1; i < g->values.count; i++) {
        const pq_value *v = pq_graph_value(g, (pq_value_id){i});
        if (is_printed_constant(v)) {
            mark_value(p, v);
        }
    }
    for (uint32_t i = 0; i < pq_graph_input_count(g); i++) {
        mark_value(p, pq_graph_value(g, pq_graph_input(g, i)));
    }
    for (uint32_t i = 0; i < pq_graph_state_count(g); i++) {
        mark_value(p, pq_graph_value(g, pq_graph_state(g, i)));
    }
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        for (uint32_t i = 0; i < op->output_count; i++) {
            mark_value(p, pq_graph_value(g, op->outputs[i]));
        }
    }
    number(p->const_number, g->constants.count);
    number(p->quant_number, g->quants.count);
}

// ---- the graph -------------------------------------------------------------

static const char *const stage_names[] = {
    [PQ_STAGE_FLOAT] = "float",
    [PQ_STAGE_ANNOTATED] = "annotated",
    [PQ_STAGE_QUANTIZED] = "quantized",
    [PQ_STAGE_LEGAL] = "legal",
};

static void
print_tables(const printer *p)
{
    const pq_graph *g = p->g;
    print_symbols(p);
    for (uint32_t i = 1; i < g->constants.count; i++) {
        if (p->const_number[i] != 0) {
            print_constant(p, i);
        }
    }
    for (uint32_t i = 1; i < g->quants.count; i++) {
        if (p->quant_number[i] != 0) {
            print_quant(p, i);
        }
    }
}

static void
print_values(const printer *p)
{
    const pq_graph *g = p->g;
    for (uint32_t i = 0; i < pq_graph_input_count(g); i++) {
        pq_strbuf_add_z(p->out, "input ");
        print_typed_value(p, pq_graph_input(g, i));
        pq_strbuf_add_z(p->out, "\n");
    }
    for (uint32_t i = 0; i < pq_graph_state_count(g); i++) {
        pq_strbuf_add_z(p->out, "state ");
        print_typed_value(p, pq_graph_state(g, i));
        pq_strbuf_add_z(p->out, "\n");
    }
    for (uint32_t i = 1; i < g->values.count; i++) {
        const pq_value *v = pq_graph_value(g, (pq_value_id){i});
        if (is_printed_constant(v)) {
            print_typed_value(p, (pq_value_id){i});
            pq_strbuf_addf(p->out, " = c%u\n",
                           p->const_number[v->constant.index]);
        }
    }
}

static void
print_outputs(const printer *p)
{
    for (uint32_t i = 0; i < pq_graph_output_count(p->g); i++) {
        pq_value_id id = pq_graph_output(p->g, i);
        pq_str name = pq_graph_output_name(p->g, i);
        pq_strbuf_add_z(p->out, "output ");
        print_value_name(p, id);
        if (!pq_str_equal(name, pq_graph_value(p->g, id)->name)) {
            pq_strbuf_add_z(p->out, " as ");
            print_quoted(p, name);
        }
        pq_strbuf_add_z(p->out, "\n");
    }
}

static void
print_graph(printer *p)
{
    number_tables(p);
    pq_strbuf_add_z(p->out, "ptir 1\ngraph ");
    print_quoted(p, p->g->name);
    pq_strbuf_addf(p->out, " stage %s\n", stage_names[p->g->stage]);
    print_tables(p);
    print_values(p);
    PQ_FOR_EACH_OP(p->g, id)
    {
        print_op(p, pq_graph_op(p->g, id));
    }
    print_outputs(p);
}

ptqc_status
pq_graph_print(const pq_graph *g, unsigned flags, pq_strbuf *out)
{
    printer p = {.g = g, .out = out, .flags = flags};
    ptqc_status st = PTQC_E_RESOURCE;
    p.const_number =
        pq_alloc_array(g->ctx, g->constants.count, sizeof *p.const_number);
    p.quant_number =
        pq_alloc_array(g->ctx, g->quants.count, sizeof *p.quant_number);
    if (p.const_number != NULL && p.quant_number != NULL) {
        print_graph(&p);
        st = out->failed ? PTQC_E_RESOURCE : PTQC_OK;
    }
    pq_free(g->ctx, p.const_number);
    pq_free(g->ctx, p.quant_number);
    return st;
}
