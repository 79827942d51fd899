// SPDX-License-Identifier: Apache-2.0
//
// Einsum of one or two operands: sums and transposes, or one matrix product
//   [batch, rows, inner] x [batch, inner, columns] -> [batch, rows, columns]
// with transposes and reshapes around it. Labels are the letters of the
// equation; an axis whose label is in one operand only and not in the result
// is summed first. Without ellipses and repeated labels in an operand.
#include <string.h>

#include "frontend/onnx/ops.h"

enum {
    LABELS = 128, // ASCII
};

// Labels of one operand or of the result, in order.
typedef struct term {
    char labels[PTQC_MAX_RANK];
    uint32_t n;
} term;

typedef struct einsum {
    term in[2], out;
    uint32_t operands;
    pq_dim sizes[LABELS]; // of a label, from the operands
} einsum;

static bool
has(const term *t, char label)
{
    return memchr(t->labels, label, t->n) != NULL;
}

static void
append(term *t, char label)
{
    t->labels[t->n++] = label;
}

static ptqc_status
not_supported(pq_onnx_call *c, pq_str equation)
{
    return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                        "the equation '%.*s' is not supported",
                        PQ_STR_ARG(equation));
}

static bool
parse_term(pq_str text, term *out)
{
    out->n = 0;
    for (size_t i = 0; i < text.n; i++) {
        char x = text.p[i];
        if (x == ' ') {
            continue;
        }
        bool is_letter = (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z');
        if (!is_letter || out->n == PTQC_MAX_RANK || has(out, x)) {
            return false;
        }
        append(out, x);
    }
    return true;
}

// Without "->" the result has the labels that occur once, in order.
static void
implied_result(einsum *e)
{
    for (int x = 'A'; x <= 'z'; x++) {
        bool a = has(&e->in[0], (char)x);
        bool b = e->operands == 2 && has(&e->in[1], (char)x);
        if (a != b && e->out.n < PTQC_MAX_RANK) {
            append(&e->out, (char)x);
        }
    }
}

static ptqc_status
parse(pq_onnx_call *c, pq_str equation, einsum *e)
{
    pq_str left = equation, right = {0}, first, second = {0};
    bool is_explicit = false;
    for (size_t i = 0; i + 1 < equation.n && !is_explicit; i++) {
        if (equation.p[i] == '-' && equation.p[i + 1] == '>') {
            is_explicit = true;
            left.n = i;
            right = (pq_str){equation.p + i + 2, equation.n - i - 2};
        }
    }
    bool has_two = pq_str_split(left, ',', &first, &second);
    e->operands = has_two ? 2 : 1;
    if (e->operands != c->input_count || !parse_term(first, &e->in[0]) ||
        !parse_term(second, &e->in[1]) || !parse_term(right, &e->out)) {
        return not_supported(c, equation);
    }
    if (!is_explicit) {
        implied_result(e);
    }
    for (uint32_t i = 0; i < e->out.n; i++) {
        if (!has(&e->in[0], e->out.labels[i]) &&
            !has(&e->in[1], e->out.labels[i])) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected labels of the operands in the "
                                "result of '%.*s', found another",
                                PQ_STR_ARG(equation));
        }
    }
    return PTQC_OK;
}

static ptqc_status
read_sizes(pq_onnx_call *c, einsum *e)
{
    for (uint32_t k = 0; k < e->operands; k++) {
        const pq_type *type = pq_onnx_type_of(c, pq_onnx_input(c, k));
        if (type->rank != e->in[k].n) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "input %u: expected rank %u, found %u", k,
                                e->in[k].n, type->rank);
        }
        for (uint32_t i = 0; i < type->rank; i++) {
            pq_dim *size = &e->sizes[(int)e->in[k].labels[i]];
            if (!pq_dim_is_none(*size) && !pq_dim_equal(*size, type->dims[i])) {
                return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                    "different sizes of one label are not "
                                    "supported");
            }
            *size = type->dims[i];
        }
    }
    return PTQC_OK;
}

// Sums the axes of labels that are nowhere else; t loses them.
static ptqc_status
sum_alone(pq_onnx_call *c, const term *other, const term *out, term *t,
          pq_value_id *x)
{
    int64_t axes[PTQC_MAX_RANK];
    uint32_t n = 0;
    term kept = {.n = 0};
    for (uint32_t i = 0; i < t->n; i++) {
        if (has(other, t->labels[i]) || has(out, t->labels[i])) {
            append(&kept, t->labels[i]);
        } else {
            axes[n++] = i;
        }
    }
    *t = kept;
    if (n == 0) {
        return PTQC_OK;
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_REDUCE_SUM);
    pq_build_input(&b, *x);
    pq_build_i64s(&b, PQ_ATTR_AXES, axes, n);
    pq_build_i64(&b, PQ_ATTR_KEEPDIMS, 0);
    return pq_onnx_end(c, &b, x);
}

// Axes in the order of `to`; nothing when they are.
static ptqc_status
arrange(pq_onnx_call *c, pq_value_id x, const term *from, const term *to,
        pq_value_id *out)
{
    int64_t perm[PTQC_MAX_RANK];
    bool is_same = true;
    for (uint32_t i = 0; i < to->n; i++) {
        const char *at = memchr(from->labels, to->labels[i], from->n);
        perm[i] = at - from->labels;
        is_same = is_same && perm[i] == i;
    }
    *out = x;
    return is_same ? PTQC_OK : pq_onnx_transpose(c, x, perm, to->n, out);
}

static ptqc_status
size_of(pq_onnx_call *c, const einsum *e, const term *t, pq_dim *out)
{
    pq_dim dims[PTQC_MAX_RANK];
    for (uint32_t i = 0; i < t->n; i++) {
        dims[i] = e->sizes[(int)t->labels[i]];
    }
    return pq_onnx_product(c, dims, t->n, out);
}

static term
join(const term *a, const term *b, const term *c)
{
    const term *parts[3] = {a, b, c};
    term all = {.n = 0};
    for (int k = 0; k < 3; k++) {
        for (uint32_t i = 0; i < parts[k]->n && all.n < PTQC_MAX_RANK; i++) {
            append(&all, parts[k]->labels[i]);
        }
    }
    return all;
}

// Groups of labels as three axes.
static ptqc_status
as_matrices(pq_onnx_call *c, const einsum *e, pq_value_id x, const term *from,
            const term *parts[3], pq_value_id *out)
{
    pq_dim dims[3];
    term all = join(parts[0], parts[1], parts[2]);
    for (int k = 0; k < 3; k++) {
        PQ_TRY(size_of(c, e, parts[k], &dims[k]));
    }
    PQ_TRY(arrange(c, x, from, &all, out));
    bool is_plain = parts[0]->n == 1 && parts[1]->n == 1 && parts[2]->n == 1;
    return is_plain ? PTQC_OK : pq_onnx_reshape(c, *out, dims, 3, out);
}

static ptqc_status
multiply(pq_onnx_call *c, const einsum *e, pq_value_id a, pq_value_id b)
{
    term batch = {.n = 0}, rows = {.n = 0}, inner = {.n = 0};
    term columns = {.n = 0};
    for (uint32_t i = 0; i < e->in[0].n; i++) {
        char x = e->in[0].labels[i];
        append(!has(&e->in[1], x) ? &rows
               : has(&e->out, x)  ? &batch
                                  : &inner,
               x);
    }
    for (uint32_t i = 0; i < e->in[1].n; i++) {
        if (!has(&e->in[0], e->in[1].labels[i])) {
            append(&columns, e->in[1].labels[i]);
        }
    }
    const term *left[3] = {&batch, &rows, &inner};
    const term *right[3] = {&batch, &inner, &columns};
    pq_value_id product, spread;
    PQ_TRY(as_matrices(c, e, a, &e->in[0], left, &a));
    PQ_TRY(as_matrices(c, e, b, &e->in[1], right, &b));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MATMUL, a, b, &product));
    term all = join(&batch, &rows, &columns);
    pq_dim dims[PTQC_MAX_RANK];
    for (uint32_t i = 0; i < all.n; i++) {
        dims[i] = e->sizes[(int)all.labels[i]];
    }
    spread = product;
    if (batch.n != 1 || rows.n != 1 || columns.n != 1) {
        PQ_TRY(pq_onnx_reshape(c, product, dims, all.n, &spread));
    }
    return arrange(c, spread, &all, &e->out, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_einsum(pq_onnx_call *c)
{
    einsum e = {0};
    pq_str equation = {0};
    PQ_TRY(pq_onnx_attr_str(c, "equation", &equation));
    PQ_TRY(parse(c, equation, &e));
    PQ_TRY(read_sizes(c, &e));
    pq_value_id x = pq_onnx_input(c, 0), y = pq_onnx_input(c, 1);
    PQ_TRY(sum_alone(c, &e.in[1], &e.out, &e.in[0], &x));
    if (e.operands == 1) {
        return arrange(c, x, &e.in[0], &e.out, &c->outputs[0]);
    }
    PQ_TRY(sum_alone(c, &e.in[0], &e.out, &e.in[1], &y));
    return multiply(c, &e, x, y);
}
