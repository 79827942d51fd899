// SPDX-License-Identifier: Apache-2.0
//
// Reading .ptir (docs/ptir.md): hostile text to a verified graph. Ops go
// through the builder, so whatever inference refuses is refused here; at the
// end the verifier looks at the whole. Parentheses nest at most
// PQ_DIM_MAX_WEIGHT deep.
#include <string.h>

#include "base/checked.h"
#include "base/dtype.h"
#include "ir/builder.h"
#include "ir/graph_internal.h"
#include "ir/infer.h"
#include "ir/text.h"
#include "ir/text_data.h"
#include "ir/text_lex.h"

typedef struct parser {
    pq_lexer x;
    pq_graph *g;
    union parser_item {
        int64_t i;
        float f;
        pq_dim d;
    } *items; // owned: the list that is being read
    uint32_t item_count, item_capacity;
    uint32_t depth; // of parentheses
} parser;

// What the graph refused gets its place; internal errors cannot be the
// caller's fault here: everything was checked before.
static ptqc_status
refused(parser *p, ptqc_status st)
{
    pq_lex_note(&p->x);
    return st;
}

static ptqc_status
push_item(parser *p, union parser_item item)
{
    if (p->item_count == p->item_capacity) {
        uint32_t more = p->item_capacity == 0 ? 64 : 2 * p->item_capacity;
        union parser_item *items = pq_realloc_array(
            p->x.ctx, p->items, p->item_capacity, more, sizeof *items);
        PQ_TRY_ALLOC(items);
        p->items = items;
        p->item_capacity = more;
    }
    p->items[p->item_count++] = item;
    return PTQC_OK;
}

// ---- dims -----------------------------------------------------------------

static ptqc_status parse_sum(parser *p, pq_dim *out);

static ptqc_status
make_dim(parser *p, pq_dim_op op, pq_dim a, pq_dim b, pq_dim *out)
{
    *out = pq_dim_make(p->g, op, a, b);
    return pq_dim_is_none(*out) ? refused(p, pq_graph_failure(p->g)) : PTQC_OK;
}

static ptqc_status
parse_call(parser *p, pq_dim_op op, pq_dim *out)
{
    pq_dim a;
    pq_dim b;
    PQ_TRY(pq_lex_expect(&p->x, '('));
    PQ_TRY(parse_sum(p, &a));
    PQ_TRY(pq_lex_expect(&p->x, ','));
    PQ_TRY(parse_sum(p, &b));
    PQ_TRY(pq_lex_expect(&p->x, ')'));
    return make_dim(p, op, a, b, out);
}

static ptqc_status
find_symbol(parser *p, pq_str name, pq_dim *out)
{
    uint64_t index;
    if (!pq_strmap_find(&p->g->symbol_names, name, &index)) {
        return pq_lex_fail(&p->x, "no symbol '%.*s'",
                           (int)(name.n < 200 ? name.n : 200), name.p);
    }
    *out = pq_dim_intern(p->g, PQ_DIM_SYMBOL, (pq_dim){0}, (pq_dim){0},
                         (int64_t)index, false);
    return pq_dim_is_none(*out) ? pq_graph_failure(p->g) : PTQC_OK;
}

static ptqc_status
parse_number(parser *p, pq_dim *out)
{
    int64_t value;
    const char *start = p->x.text.p + p->x.at; // the caller has peeked
    (void)pq_lex_accept(&p->x, '-');
    pq_str digits = pq_lex_word(&p->x);
    digits.n += (size_t)(digits.p - start);
    digits.p = start;
    if (!pq_str_to_i64(digits, &value)) {
        return pq_lex_fail(&p->x, "expected an integer");
    }
    *out = pq_dim_const(p->g, value);
    return pq_dim_is_none(*out) ? pq_graph_failure(p->g) : PTQC_OK;
}

static ptqc_status
parse_named(parser *p, pq_dim *out)
{
    pq_str word = pq_lex_word(&p->x);
    if (word.n == 0) {
        return pq_lex_fail(&p->x, "expected a dimension");
    }
    if (pq_str_equal_z(word, "min")) {
        return parse_call(p, PQ_DIM_MIN, out);
    }
    if (pq_str_equal_z(word, "max")) {
        return parse_call(p, PQ_DIM_MAX, out);
    }
    if (pq_str_equal_z(word, "cdiv")) {
        return parse_call(p, PQ_DIM_CDIV, out);
    }
    return find_symbol(p, word, out);
}

static ptqc_status
parse_atom(parser *p, pq_dim *out)
{
    char c = pq_lex_peek(&p->x);
    if ((c >= '0' && c <= '9') || c == '-') {
        return parse_number(p, out);
    }
    if (c == '"') {
        pq_str name;
        PQ_TRY(pq_lex_string(&p->x, &p->g->arena, &name));
        return find_symbol(p, name, out);
    }
    if (c != '(') {
        return parse_named(p, out);
    }
    PQ_TRY(pq_lex_expect(&p->x, '('));
    PQ_TRY(parse_sum(p, out));
    return pq_lex_expect(&p->x, ')');
}

static ptqc_status
parse_product(parser *p, pq_dim *out)
{
    PQ_TRY(parse_atom(p, out));
    for (;;) {
        pq_dim b;
        char c = pq_lex_peek(&p->x);
        if (c != '*' && c != '/' && c != '%') {
            return PTQC_OK;
        }
        PQ_TRY(pq_lex_expect(&p->x, c));
        PQ_TRY(parse_atom(p, &b));
        PQ_TRY(make_dim(p,
                        c == '*'   ? PQ_DIM_MUL
                        : c == '/' ? PQ_DIM_DIV
                                   : PQ_DIM_MOD,
                        *out, b, out));
    }
}

static ptqc_status
parse_terms(parser *p, pq_dim *out)
{
    PQ_TRY(parse_product(p, out));
    for (;;) {
        pq_dim b;
        char c = pq_lex_peek(&p->x);
        if (c != '+' && c != '-') {
            return PTQC_OK;
        }
        PQ_TRY(pq_lex_expect(&p->x, c));
        PQ_TRY(parse_product(p, &b));
        PQ_TRY(make_dim(p, c == '+' ? PQ_DIM_ADD : PQ_DIM_SUB, *out, b, out));
    }
}

static ptqc_status
parse_sum(parser *p, pq_dim *out)
{
    if (p->depth >= PQ_DIM_MAX_WEIGHT) {
        return pq_lex_fail(&p->x, "parentheses nest too deeply");
    }
    p->depth++;
    ptqc_status st = parse_terms(p, out);
    p->depth--;
    return st;
}

// ---- lists ------------------------------------------------------------------

typedef ptqc_status (*item_fn)(parser *p, union parser_item *out);

static ptqc_status
parse_i64_item(parser *p, union parser_item *out)
{
    return pq_lex_i64(&p->x, &out->i);
}

static ptqc_status
parse_f32_item(parser *p, union parser_item *out)
{
    return pq_lex_f32(&p->x, &out->f);
}

static ptqc_status
parse_dim_item(parser *p, union parser_item *out)
{
    return parse_sum(p, &out->d);
}

static ptqc_status
parse_list(parser *p, item_fn parse_item)
{
    p->item_count = 0;
    PQ_TRY(pq_lex_expect(&p->x, '['));
    if (pq_lex_accept(&p->x, ']')) {
        return PTQC_OK;
    }
    do {
        union parser_item item;
        PQ_TRY(parse_item(p, &item));
        PQ_TRY(push_item(p, item));
    } while (pq_lex_accept(&p->x, ','));
    return pq_lex_expect(&p->x, ']');
}

// ---- types -----------------------------------------------------------------

static ptqc_status
parse_dtype(parser *p, ptqc_dtype *out)
{
    pq_str word = pq_lex_word(&p->x);
    if (!pq_dtype_parse(word.p, word.n, out) || pq_dtype_bits(*out) == 0) {
        return pq_lex_fail(&p->x, "expected an element type");
    }
    return PTQC_OK;
}

static ptqc_status
check_rank(parser *p)
{
    if (p->item_count > PTQC_MAX_RANK) {
        return pq_lex_fail(&p->x, "rank %u, at most %d is supported",
                           p->item_count, PTQC_MAX_RANK);
    }
    return PTQC_OK;
}

typedef struct typed_value {
    pq_str name;
    ptqc_dtype dtype;
    uint32_t rank;
    pq_dim dims[PTQC_MAX_RANK];
    pq_quant_id quant;
} typed_value;

static ptqc_status
parse_value_name(parser *p, pq_str *out)
{
    PQ_TRY(pq_lex_expect(&p->x, '%'));
    if (pq_lex_peek(&p->x) == '"') {
        PQ_TRY(pq_lex_string(&p->x, &p->g->arena, out));
    } else {
        *out = pq_lex_word(&p->x);
    }
    return out->n != 0 ? PTQC_OK : pq_lex_fail(&p->x, "expected a name");
}

static ptqc_status
parse_quant_ref(parser *p, pq_quant_id *out)
{
    PQ_TRY(pq_lex_index(&p->x, 'q', &out->index));
    if (out->index >= p->g->quants.count) {
        return pq_lex_fail(&p->x, "no quantization q%u", out->index);
    }
    return PTQC_OK;
}

static ptqc_status
parse_typed_value(parser *p, typed_value *out)
{
    uint64_t ignored;
    *out = (typed_value){0};
    PQ_TRY(parse_value_name(p, &out->name));
    if (pq_strmap_find(&p->g->value_names, out->name, &ignored)) {
        return pq_lex_fail(&p->x, "this name is defined already");
    }
    PQ_TRY(pq_lex_expect(&p->x, ':'));
    PQ_TRY(parse_dtype(p, &out->dtype));
    PQ_TRY(parse_list(p, parse_dim_item));
    PQ_TRY(check_rank(p));
    out->rank = p->item_count;
    for (uint32_t i = 0; i < out->rank; i++) {
        out->dims[i] = p->items[i].d;
    }
    return pq_lex_peek(&p->x) == 'q' ? parse_quant_ref(p, &out->quant)
                                     : PTQC_OK;
}

// ---- symbols, constants, quantization --------------------------------------

static ptqc_status
parse_symbol(parser *p)
{
    pq_str name;
    uint64_t ignored;
    int64_t min;
    int64_t max = INT64_MAX;
    int64_t multiple = 1;
    if (pq_lex_peek(&p->x) == '"') {
        PQ_TRY(pq_lex_string(&p->x, &p->g->arena, &name));
    } else {
        name = pq_lex_word(&p->x);
    }
    if (pq_strmap_find(&p->g->symbol_names, name, &ignored)) {
        return pq_lex_fail(&p->x, "this symbol is defined already");
    }
    PQ_TRY(pq_lex_expect(&p->x, '='));
    PQ_TRY(pq_lex_expect(&p->x, '['));
    PQ_TRY(pq_lex_i64(&p->x, &min));
    PQ_TRY(pq_lex_expect(&p->x, ','));
    pq_str text = pq_lex_number(&p->x);
    if (!pq_str_equal_z(text, "inf") && !pq_str_to_i64(text, &max)) {
        return pq_lex_fail(&p->x, "expected an integer or inf");
    }
    PQ_TRY(pq_lex_expect(&p->x, ']'));
    if (pq_lex_peek(&p->x) == 'm') {
        PQ_TRY(pq_lex_keyword(&p->x, "multiple"));
        PQ_TRY(pq_lex_i64(&p->x, &multiple));
    }
    if (min < 0 || min > max || multiple < 1) {
        return pq_lex_fail(&p->x, "the range of the symbol is empty or "
                                  "negative");
    }
    uint32_t index = pq_graph_symbol_count(p->g);
    if (pq_dim_is_none(pq_dim_symbol(p->g, name, min, max))) {
        return pq_graph_failure(p->g);
    }
    pq_graph_symbol(p->g, index)->multiple = multiple;
    return PTQC_OK;
}

static ptqc_status
parse_elements(parser *p, const pq_constant *c, void *bytes)
{
    size_t size = pq_dtype_bits(c->dtype) / 8;
    size_t count = size != 0 ? c->bytes / size : 0;
    PQ_TRY(pq_lex_expect(&p->x, '['));
    for (size_t i = 0; i < count; i++) {
        if (i != 0) {
            PQ_TRY(pq_lex_expect(&p->x, ','));
        }
        if (!pq_element_parse(pq_lex_number(&p->x), c->dtype, bytes, i)) {
            return pq_lex_fail(&p->x, "expected a number of type %s",
                               pq_dtype_name(c->dtype));
        }
    }
    return pq_lex_expect(&p->x, ']');
}

// Every byte takes a character at least, in both forms: what the text is too
// short for is not allocated.
static ptqc_status
parse_constant_bytes(parser *p, pq_constant *c)
{
    bool is_list = pq_lex_peek(&p->x) == '[';
    size_t most = (p->x.text.n - p->x.at) * (is_list ? 8 : 1);
    if (c->bytes > most) {
        return pq_lex_fail(&p->x, "the text is too short for %zu bytes",
                           c->bytes);
    }
    void *bytes = pq_arena_alloc(&p->g->arena, c->bytes);
    PQ_TRY_ALLOC(bytes);
    c->p = bytes;
    if (is_list) {
        return parse_elements(p, c, bytes);
    }
    pq_str text;
    PQ_TRY(pq_lex_keyword(&p->x, "base64"));
    PQ_TRY(pq_lex_raw_string(&p->x, &text));
    if (!pq_base64_parse(text, bytes, c->bytes)) {
        return pq_lex_fail(&p->x, "expected base64 of %zu bytes", c->bytes);
    }
    return PTQC_OK;
}

static ptqc_status
parse_constant(parser *p)
{
    uint32_t index;
    int64_t dims[PTQC_MAX_RANK];
    pq_constant c = {.dims = dims};
    PQ_TRY(pq_lex_index(&p->x, 'c', &index));
    if (index != p->g->constants.count) {
        return pq_lex_fail(&p->x, "expected c%u", p->g->constants.count);
    }
    PQ_TRY(pq_lex_expect(&p->x, ':'));
    PQ_TRY(parse_dtype(p, &c.dtype));
    PQ_TRY(parse_list(p, parse_i64_item));
    PQ_TRY(check_rank(p));
    c.rank = p->item_count;
    for (uint32_t i = 0; i < c.rank; i++) {
        dims[i] = p->items[i].i;
    }
    if (!pq_dtype_bytes(c.dtype, dims, c.rank, &c.bytes)) {
        return pq_lex_fail(&p->x, "a dim is negative or the size overflows");
    }
    PQ_TRY(pq_lex_expect(&p->x, '='));
    PQ_TRY(parse_constant_bytes(p, &c));
    return pq_const_is_none(pq_graph_add_constant(p->g, &c))
               ? refused(p, pq_graph_failure(p->g))
               : PTQC_OK;
}

static ptqc_status
parse_granularity(parser *p, pq_granularity *out)
{
    if (pq_granularity_parse(pq_lex_word(&p->x), out)) {
        return PTQC_OK;
    }
    return pq_lex_fail(&p->x, "expected a granularity");
}

static ptqc_status
parse_quant_number(parser *p, int64_t max, int64_t *out)
{
    PQ_TRY(pq_lex_i64(&p->x, out));
    if (*out < 0 || *out > max) {
        return pq_lex_fail(&p->x, "expected 0 to %lld", (long long)max);
    }
    return PTQC_OK;
}

static ptqc_status
parse_quant_field(parser *p, pq_str key, pq_quant *q)
{
    int64_t value;
    pq_const_id *id = pq_str_equal_z(key, "scale")        ? &q->scale
                      : pq_str_equal_z(key, "zero_point") ? &q->zero_point
                      : pq_str_equal_z(key, "codes")      ? &q->codes
                                                          : NULL;
    if (id != NULL) {
        PQ_TRY(pq_lex_index(&p->x, 'c', &id->index));
        return id->index < p->g->constants.count
                   ? PTQC_OK
                   : pq_lex_fail(&p->x, "no constant c%u", id->index);
    }
    if (pq_str_equal_z(key, "format")) {
        return parse_dtype(p, &q->scheme.format);
    }
    if (pq_str_equal_z(key, "scale_format")) {
        return parse_dtype(p, &q->scheme.scale_format);
    }
    if (pq_str_equal_z(key, "granularity")) {
        return parse_granularity(p, &q->scheme.granularity);
    }
    uint32_t *number = pq_str_equal_z(key, "axis")    ? &q->scheme.axis
                       : pq_str_equal_z(key, "group") ? &q->scheme.group
                       : pq_str_equal_z(key, "bits")  ? &q->scheme.bits
                                                      : NULL;
    if (number != NULL) {
        PQ_TRY(parse_quant_number(p, INT32_MAX, &value));
        *number = (uint32_t)value;
        return PTQC_OK;
    }
    bool is_symmetric = pq_str_equal_z(key, "symmetric");
    if (is_symmetric || pq_str_equal_z(key, "dynamic")) {
        PQ_TRY(parse_quant_number(p, 1, &value));
        *(is_symmetric ? &q->scheme.symmetric : &q->scheme.dynamic) =
            value != 0;
        return PTQC_OK;
    }
    return pq_lex_fail(&p->x, "no such field of a quantization");
}

static ptqc_status
parse_quant(parser *p)
{
    uint32_t index;
    pq_quant q = {0};
    PQ_TRY(pq_lex_index(&p->x, 'q', &index));
    if (index != p->g->quants.count) {
        return pq_lex_fail(&p->x, "expected q%u", p->g->quants.count);
    }
    PQ_TRY(pq_lex_expect(&p->x, '='));
    PQ_TRY(pq_lex_expect(&p->x, '{'));
    do {
        pq_str key = pq_lex_word(&p->x);
        PQ_TRY(pq_lex_expect(&p->x, '='));
        PQ_TRY(parse_quant_field(p, key, &q));
    } while (pq_lex_accept(&p->x, ','));
    PQ_TRY(pq_lex_expect(&p->x, '}'));
    return pq_quant_is_none(pq_graph_add_quant(p->g, &q))
               ? pq_graph_failure(p->g)
               : PTQC_OK;
}

// ---- values and ops --------------------------------------------------------

// The value of an input or a state, which no op makes.
static ptqc_status
parse_source(parser *p, pq_value_id *out)
{
    typed_value t;
    pq_type type;
    PQ_TRY(parse_typed_value(p, &t));
    if (!pq_type_make(p->g, t.dtype, t.dims, t.rank, &type)) {
        return pq_graph_failure(p->g);
    }
    ptqc_status st = pq_type_check(p->g, &type, t.name);
    if (st != PTQC_OK) {
        return refused(p, st);
    }
    *out = pq_graph_add_value(p->g, t.name, type);
    if (pq_value_is_none(*out)) {
        return pq_graph_failure(p->g);
    }
    pq_graph_value(p->g, *out)->quant = t.quant;
    return PTQC_OK;
}

static ptqc_status
parse_input(parser *p)
{
    pq_value_id v;
    PQ_TRY(parse_source(p, &v));
    return pq_graph_add_input(p->g, v);
}

static ptqc_status
parse_state(parser *p)
{
    pq_value_id v;
    PQ_TRY(parse_source(p, &v));
    return pq_graph_add_state(p->g, v);
}

static ptqc_status
parse_constant_value(parser *p, const typed_value *t, pq_str word)
{
    uint64_t index;
    if (!pq_str_to_u64((pq_str){word.p + 1, word.n - 1}, &index) ||
        index == 0 || index >= p->g->constants.count) {
        return pq_lex_fail(&p->x, "no such constant");
    }
    pq_value_id id = pq_graph_add_constant_value(
        p->g, t->name, (pq_const_id){(uint32_t)index});
    if (pq_value_is_none(id)) {
        return refused(p, pq_graph_failure(p->g));
    }
    pq_value *v = pq_graph_value(p->g, id);
    bool is_same = v->type.dtype == t->dtype && v->type.rank == t->rank;
    for (uint32_t i = 0; is_same && i < t->rank; i++) {
        is_same = pq_dim_equal(v->type.dims[i], t->dims[i]);
    }
    if (!is_same) {
        return pq_lex_fail(&p->x, "the constant has another type");
    }
    v->quant = t->quant;
    return PTQC_OK;
}

static ptqc_status
parse_operand(parser *p, pq_value_id *out)
{
    pq_str name;
    *out = PQ_NO_VALUE;
    if (pq_lex_accept(&p->x, '_')) {
        return PTQC_OK;
    }
    PQ_TRY(parse_value_name(p, &name));
    *out = pq_graph_find_value(p->g, name);
    return pq_value_is_none(*out)
               ? pq_lex_fail(&p->x, "this value is not defined")
               : PTQC_OK;
}

static ptqc_status
parse_operands(parser *p, pq_builder *b)
{
    PQ_TRY(pq_lex_expect(&p->x, '('));
    if (pq_lex_accept(&p->x, ')')) {
        return PTQC_OK;
    }
    do {
        pq_value_id v;
        PQ_TRY(parse_operand(p, &v));
        if (b->input_count == sizeof b->inputs / sizeof b->inputs[0]) {
            return pq_lex_fail(&p->x, "too many inputs");
        }
        pq_build_input(b, v);
    } while (pq_lex_accept(&p->x, ','));
    return pq_lex_expect(&p->x, ')');
}

static ptqc_status
parse_list_attr(parser *p, pq_builder *b, pq_attr_name name)
{
    pq_attr_kind kind = pq_attr_kind_of(name);
    PQ_TRY(parse_list(p, kind == PQ_KIND_I64S   ? parse_i64_item
                         : kind == PQ_KIND_F32S ? parse_f32_item
                                                : parse_dim_item));
    // Elements of the union are 8 bytes: pack them where they are.
    uint32_t n = p->item_count;
    if (kind == PQ_KIND_I64S) {
        pq_build_i64s(b, name, (const int64_t *)p->items, n);
        return b->st;
    }
    char *packed = (char *)p->items;
    for (uint32_t i = 0; i < n; i++) {
        memmove(packed + 4 * i, &p->items[i], 4);
    }
    if (kind == PQ_KIND_F32S) {
        pq_build_f32s(b, name, (const float *)(const void *)packed, n);
    } else {
        pq_build_dims(b, name, (const pq_dim *)(const void *)packed, n);
    }
    return b->st;
}

static ptqc_status
parse_attr_value(parser *p, pq_builder *b, pq_attr_name name)
{
    int64_t i;
    float f;
    pq_opcode code;
    ptqc_dtype dtype;
    pq_str word;
    switch (pq_attr_kind_of(name)) {
    case PQ_KIND_I64:
        PQ_TRY(pq_lex_i64(&p->x, &i));
        pq_build_i64(b, name, i);
        return b->st;
    case PQ_KIND_F32:
        PQ_TRY(pq_lex_f32(&p->x, &f));
        pq_build_f32(b, name, f);
        return b->st;
    case PQ_KIND_OP:
        word = pq_lex_word(&p->x);
        if (!pq_opcode_parse(word.p, word.n, &code)) {
            return pq_lex_fail(&p->x, "no such op");
        }
        pq_build_i64(b, name, code);
        return b->st;
    case PQ_KIND_DTYPE:
        PQ_TRY(parse_dtype(p, &dtype));
        pq_build_i64(b, name, dtype);
        return b->st;
    case PQ_KIND_I64S:
    case PQ_KIND_F32S:
    case PQ_KIND_DIMS:
        break;
    }
    return parse_list_attr(p, b, name);
}

static ptqc_status
parse_attrs(parser *p, pq_builder *b)
{
    if (!pq_lex_accept(&p->x, '{')) {
        return PTQC_OK;
    }
    do {
        pq_attr_name name;
        pq_str word = pq_lex_word(&p->x);
        if (!pq_attr_parse(word.p, word.n, &name)) {
            return pq_lex_fail(&p->x, "no such attribute");
        }
        for (uint32_t i = 0; i < b->attr_count; i++) {
            if (b->attrs[i].name == name) {
                return pq_lex_fail(&p->x, "this attribute is given twice");
            }
        }
        if (b->attr_count == sizeof b->attrs / sizeof b->attrs[0]) {
            return pq_lex_fail(&p->x, "too many attributes");
        }
        PQ_TRY(pq_lex_expect(&p->x, '='));
        PQ_TRY(parse_attr_value(p, b, name));
    } while (pq_lex_accept(&p->x, ','));
    return pq_lex_expect(&p->x, '}');
}

// What the text says about an output against what was inferred.
static ptqc_status
check_output(parser *p, const typed_value *t, pq_value_id id)
{
    const pq_value *v = pq_graph_value(p->g, id);
    bool is_same = v->type.rank == t->rank;
    for (uint32_t i = 0; is_same && i < t->rank; i++) {
        is_same = !pq_dim_differs(p->g, v->type.dims[i], t->dims[i]);
    }
    if (!is_same || (pq_quant_is_none(t->quant) && v->type.dtype != t->dtype)) {
        return pq_lex_fail(&p->x, "output '%.*s' of the op has another type",
                           (int)(t->name.n < 200 ? t->name.n : 200), t->name.p);
    }
    pq_value_set_quant(p->g, id, t->dtype, t->quant);
    return PTQC_OK;
}

static ptqc_status
parse_op(parser *p, const typed_value *outputs, uint32_t count, pq_str word)
{
    pq_opcode code;
    pq_builder b;
    pq_str name = {NULL, 0};
    pq_str names[PQ_MAX_OUTPUTS];
    pq_value_id values[PQ_MAX_OUTPUTS];
    if (!pq_opcode_parse(word.p, word.n, &code)) {
        return pq_lex_fail(&p->x, "no such op");
    }
    if (pq_op_info_of(code)->outputs != count) {
        return pq_lex_fail(&p->x, "%s has %u outputs",
                           pq_op_info_of(code)->name,
                           pq_op_info_of(code)->outputs);
    }
    size_t start = p->x.token;
    if (pq_lex_peek(&p->x) == '"') {
        PQ_TRY(pq_lex_string(&p->x, &p->g->arena, &name));
    }
    pq_build_begin(&b, p->g, (pq_op_id){0}, code, name);
    PQ_TRY(parse_operands(p, &b));
    PQ_TRY(parse_attrs(p, &b));
    for (uint32_t i = 0; i < count; i++) {
        names[i] = outputs[i].name;
    }
    p->x.token = start;
    ptqc_status st = pq_build_end(&b, names, values, NULL);
    if (st != PTQC_OK) {
        return refused(p, st);
    }
    for (uint32_t i = 0; i < count; i++) {
        PQ_TRY(check_output(p, &outputs[i], values[i]));
    }
    return PTQC_OK;
}

// "c" and digits names a constant; no op is called so.
static bool
is_constant_word(pq_str word)
{
    return word.n >= 2 && word.p[0] == 'c' && word.p[1] >= '0' &&
           word.p[1] <= '9';
}

static ptqc_status
parse_definition(parser *p)
{
    typed_value outputs[PQ_MAX_OUTPUTS];
    uint32_t count = 0;
    do {
        if (count == PQ_MAX_OUTPUTS) {
            return pq_lex_fail(&p->x, "too many outputs");
        }
        PQ_TRY(parse_typed_value(p, &outputs[count]));
        for (uint32_t i = 0; i < count; i++) {
            if (pq_str_equal(outputs[i].name, outputs[count].name)) {
                return pq_lex_fail(&p->x, "two outputs have one name");
            }
        }
        count++;
    } while (pq_lex_accept(&p->x, ','));
    PQ_TRY(pq_lex_expect(&p->x, '='));
    pq_str word = pq_lex_word(&p->x);
    if (count == 1 && is_constant_word(word)) {
        return parse_constant_value(p, &outputs[0], word);
    }
    return parse_op(p, outputs, count, word);
}

static ptqc_status
parse_output(parser *p)
{
    pq_value_id v;
    pq_str name;
    PQ_TRY(parse_operand(p, &v));
    if (pq_value_is_none(v)) {
        return pq_lex_fail(&p->x, "expected a value");
    }
    PQ_TRY(pq_graph_add_output(p->g, v));
    if (pq_lex_peek(&p->x) != 'a') {
        return PTQC_OK;
    }
    PQ_TRY(pq_lex_keyword(&p->x, "as"));
    PQ_TRY(pq_lex_string(&p->x, &p->g->arena, &name));
    return pq_graph_set_output_name(p->g, pq_graph_output_count(p->g) - 1,
                                    name);
}

// ---- the graph -------------------------------------------------------------

static ptqc_status
parse_stage(parser *p)
{
    static const char *const names[] = {
        [PQ_STAGE_FLOAT] = "float",
        [PQ_STAGE_ANNOTATED] = "annotated",
        [PQ_STAGE_QUANTIZED] = "quantized",
        [PQ_STAGE_LEGAL] = "legal",
    };
    pq_str word = pq_lex_word(&p->x);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (pq_str_equal_z(word, names[i])) {
            pq_graph_set_stage(p->g, (pq_stage)i);
            return PTQC_OK;
        }
    }
    return pq_lex_fail(&p->x, "expected a stage");
}

static ptqc_status
parse_header(parser *p)
{
    pq_str name;
    int64_t version;
    PQ_TRY(pq_lex_keyword(&p->x, "ptir"));
    PQ_TRY(pq_lex_i64(&p->x, &version));
    if (version != 1) {
        return pq_lex_fail(&p->x, "version %lld of .ptir, expected 1",
                           (long long)version);
    }
    PQ_TRY(pq_lex_keyword(&p->x, "graph"));
    PQ_TRY(pq_lex_string(&p->x, &p->g->arena, &name));
    PQ_TRY(pq_graph_set_name(p->g, name));
    PQ_TRY(pq_lex_keyword(&p->x, "stage"));
    return parse_stage(p);
}

static ptqc_status
parse_line(parser *p)
{
    static const struct {
        const char *word;
        ptqc_status (*parse)(parser *p);
    } lines[] = {
        {"symbol", parse_symbol}, {"const", parse_constant},
        {"quant", parse_quant},   {"input", parse_input},
        {"state", parse_state},   {"output", parse_output},
    };
    if (pq_lex_peek(&p->x) == '%') {
        return parse_definition(p);
    }
    pq_str word = pq_lex_word(&p->x);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (pq_str_equal_z(word, lines[i].word)) {
            return lines[i].parse(p);
        }
    }
    return pq_lex_fail(&p->x, "expected symbol, const, quant, input, state, "
                              "output or a value");
}

static ptqc_status
parse_graph(parser *p)
{
    PQ_TRY(parse_header(p));
    while (pq_lex_peek(&p->x) != '\0' || p->x.at < p->x.text.n) {
        PQ_TRY(parse_line(p));
    }
    return pq_graph_check(p->g, PTQC_E_INPUT);
}

ptqc_status
pq_graph_parse(ptqc_ctx *ctx, const char *what, pq_str text, pq_graph **out)
{
    parser p = {.x = {.ctx = ctx, .what = what, .text = text}};
    *out = NULL;
    PQ_TRY(pq_graph_create(ctx, &p.g));
    ptqc_status st = parse_graph(&p);
    pq_free(ctx, p.items);
    if (st != PTQC_OK) {
        pq_graph_destroy(p.g);
        return st;
    }
    *out = p.g;
    return PTQC_OK;
}
