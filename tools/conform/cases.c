// SPDX-License-Identifier: Apache-2.0
//
// Reading cases.def: shapes and attributes as text.
#include <string.h>

#include "ir/builder.h"
#include "tools/conform/conform.h"

#define BASE  true
#define EXTRA false

static const pq_kit_case cases[] = {
#define ON_OP(op, level, shapes, attrs)                                        \
    {PQ_OP_##op, PQ_CLASS_OTHER, level, shapes, attrs},
#define ON_CLASS(cls, level, shapes, attrs)                                    \
    {PQ_OP_NONE, PQ_CLASS_##cls, level, shapes, attrs},
#include "tools/conform/cases.def"
#undef ON_OP
#undef ON_CLASS
};

#define CASE_COUNT (sizeof cases / sizeof *cases)

static bool
has_own_cases(pq_opcode op)
{
    for (size_t i = 0; i < CASE_COUNT; i++) {
        if (cases[i].op == op) {
            return true;
        }
    }
    return false;
}

const pq_kit_case *
pq_kit_case_at(pq_opcode op, uint32_t k)
{
    bool has_own = has_own_cases(op);
    pq_op_class cls = pq_op_info_of(op)->cls;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        bool is_for = has_own
                          ? cases[i].op == op
                          : cases[i].op == PQ_OP_NONE && cases[i].cls == cls;
        if (is_for && k-- == 0) {
            return &cases[i];
        }
    }
    return NULL;
}

uint32_t
pq_kit_case_count(pq_opcode op)
{
    uint32_t n = 0;
    while (pq_kit_case_at(op, n) != NULL) {
        n++;
    }
    return n;
}

static void
parse_shape(pq_str text, pq_kit_shape *out)
{
    pq_str dims, bound;
    *out = (pq_kit_shape){0};
    if (pq_str_equal_z(text, "-")) {
        return;
    }
    out->is_given = true;
    if (text.n > 0 && text.p[text.n - 1] == '@') {
        out->is_updated = true;
        text.n--;
    }
    if (pq_str_split(text, '<', &dims, &bound)) {
        (void)pq_str_to_i64(bound, &out->bound);
    }
    while (dims.n > 0 && !pq_str_equal_z(dims, ".")) {
        pq_str one;
        (void)pq_str_split(dims, ',', &one, &dims);
        if (!pq_str_to_i64(one, &out->dims[out->rank])) {
            out->dims[out->rank] = -1; // "n"
        }
        out->rank++;
    }
}

uint32_t
pq_kit_case_shapes(const pq_kit_case *c, pq_kit_shape out[PQ_KIT_OPERANDS])
{
    pq_str rest = pq_str_of(c->shapes);
    uint32_t n = 0;
    while (rest.n > 0 && n < PQ_KIT_OPERANDS) {
        pq_str one;
        (void)pq_str_split(rest, ' ', &one, &rest);
        parse_shape(one, &out[n++]);
    }
    return n;
}

// ---- attributes -----------------------------------------------------------

#define LIST_LIMIT (2 * PTQC_MAX_RANK)

static void
add_i64s(pq_builder *b, pq_attr_name name, pq_str text)
{
    int64_t list[LIST_LIMIT] = {0};
    uint32_t n = 0;
    while (text.n > 0 && n < LIST_LIMIT) {
        pq_str one;
        (void)pq_str_split(text, ',', &one, &text);
        (void)pq_str_to_i64(one, &list[n++]);
    }
    pq_build_i64s(b, name, list, n);
}

static void
add_f32s(pq_builder *b, pq_attr_name name, pq_str text)
{
    float list[LIST_LIMIT] = {0};
    uint32_t n = 0;
    while (text.n > 0 && n < LIST_LIMIT) {
        pq_str one;
        double x = 0.0;
        (void)pq_str_split(text, ',', &one, &text);
        (void)pq_str_to_f64(one, &x);
        list[n++] = (float)x;
    }
    pq_build_f32s(b, name, list, n);
}

static void
add_dims(pq_builder *b, pq_attr_name name, pq_str text)
{
    pq_dim list[LIST_LIMIT] = {{0}};
    uint32_t n = 0;
    while (text.n > 0 && n < LIST_LIMIT) {
        pq_str one;
        int64_t x = 0;
        (void)pq_str_split(text, ',', &one, &text);
        list[n++] = pq_str_to_i64(one, &x) ? pq_dim_const(b->g, x)
                                           : pq_dim_symbol(b->g, one, 1, 64);
    }
    pq_build_dims(b, name, list, n);
}

static void
add_attr(pq_builder *b, pq_attr_name name, pq_str text)
{
    int64_t i = 0;
    double x = 0.0;
    pq_opcode op = PQ_OP_NONE;
    switch (pq_attr_kind_of(name)) {
    case PQ_KIND_I64:
    case PQ_KIND_DTYPE:
        (void)pq_str_to_i64(text, &i);
        pq_build_i64(b, name, i);
        break;
    case PQ_KIND_F32:
        (void)pq_str_to_f64(text, &x);
        pq_build_f32(b, name, (float)x);
        break;
    case PQ_KIND_I64S:
        add_i64s(b, name, text);
        break;
    case PQ_KIND_F32S:
        add_f32s(b, name, text);
        break;
    case PQ_KIND_DIMS:
        add_dims(b, name, text);
        break;
    case PQ_KIND_OP:
        (void)pq_opcode_parse(text.p, text.n, &op);
        pq_build_i64(b, name, (int64_t)op);
        break;
    }
}

void
pq_kit_case_attrs(const pq_kit_case *c, pq_builder *b)
{
    pq_str rest = pq_str_of(c->attrs);
    while (rest.n > 0) {
        pq_str one, key, value;
        pq_attr_name name;
        (void)pq_str_split(rest, ' ', &one, &rest);
        (void)pq_str_split(one, '=', &key, &value);
        if (pq_attr_parse(key.p, key.n, &name)) {
            add_attr(b, name, value);
        }
    }
}
