// SPDX-License-Identifier: Apache-2.0
//
// The normal form of dimensions: a sum of terms, each an integer coefficient
// times a product of atoms. An atom is a symbol or an operation that is no
// polynomial (DIV, CDIV, MOD, MIN, MAX). Rules, all exact for integers:
//   (c*A + R) / c = A + R / c             terms divisible by c leave a DIV
//   (g*P + k) / (g*c) = (P + k/g) / c     common factors leave it
//   (x / a + k) / b = (x + k*a) / (a*b)   divisions in a row become one
//   ceil(x / c) = (x + c-1) / c           for constants c >= 1
//   c * (M / c) = M                       when the multiples of symbols say
//                                         that c divides the monomial M
// Sums with too many terms keep the form they were written in.
#include <assert.h>
#include <string.h>

#include "base/checked.h"
#include "ir/dim_bounds.h"
#include "ir/graph_internal.h"

enum {
    MAX_TERMS = 24,
    MAX_ATOMS = 8, // with repetition: N*N has two
};

typedef struct term {
    int64_t coefficient;
    uint32_t n;
    pq_dim atoms[MAX_ATOMS]; // ascending by key
} term;

typedef struct poly {
    uint32_t n;
    term terms[MAX_TERMS]; // descending: higher degree first, constant last
} poly;

// Symbols in the order of the table, then the rest by structure: the same in
// every graph with the same symbols.
static uint64_t
atom_key(const pq_graph *g, pq_dim atom)
{
    const pq_dim_node *node = pq_dim_node_of(g, atom);
    if (node->expr.op == PQ_DIM_SYMBOL) {
        return (uint64_t)node->expr.value;
    }
    return node->hash >> 1 | UINT64_C(1) << 63;
}

// Graded lexicographic order of monomials: < 0 when a comes first.
static int
compare_monomials(const pq_graph *g, const term *a, const term *b)
{
    if (a->n != b->n) {
        return a->n > b->n ? -1 : 1;
    }
    for (uint32_t i = 0; i < a->n; i++) {
        uint64_t x = atom_key(g, a->atoms[i]);
        uint64_t y = atom_key(g, b->atoms[i]);
        if (x != y) {
            return x < y ? -1 : 1;
        }
    }
    return 0;
}

static void
remove_term(poly *p, uint32_t at)
{
    memmove(&p->terms[at], &p->terms[at + 1],
            (p->n - at - 1) * sizeof p->terms[0]);
    p->n--;
}

// false: too many terms or overflow; p is spoiled then.
static bool
add_term(const pq_graph *g, poly *p, const term *t)
{
    uint32_t at = 0;
    int order = 1;
    if (t->coefficient == 0) {
        return true;
    }
    while (at < p->n) {
        order = compare_monomials(g, t, &p->terms[at]);
        if (order <= 0) {
            break;
        }
        at++;
    }
    if (at < p->n && order == 0) {
        int64_t *sum = &p->terms[at].coefficient;
        if (!pq_add_i64(*sum, t->coefficient, sum)) {
            return false;
        }
        if (*sum == 0) {
            remove_term(p, at);
        }
        return true;
    }
    if (p->n == MAX_TERMS) {
        return false;
    }
    memmove(&p->terms[at + 1], &p->terms[at], (p->n - at) * sizeof p->terms[0]);
    p->terms[at] = *t;
    p->n++;
    return true;
}

static bool
add_constant(const pq_graph *g, poly *p, int64_t value)
{
    return add_term(g, p, &(term){.coefficient = value});
}

static bool
add_poly(const pq_graph *g, poly *p, const poly *q, int64_t factor)
{
    for (uint32_t i = 0; i < q->n; i++) {
        term t = q->terms[i];
        if (!pq_mul_i64(t.coefficient, factor, &t.coefficient) ||
            !add_term(g, p, &t)) {
            return false;
        }
    }
    return true;
}

static bool
push_atom(const pq_graph *g, term *t, pq_dim atom)
{
    uint32_t at = t->n;
    uint64_t key = atom_key(g, atom);
    if (t->n == MAX_ATOMS) {
        return false;
    }
    while (at > 0 && atom_key(g, t->atoms[at - 1]) > key) {
        t->atoms[at] = t->atoms[at - 1];
        at--;
    }
    t->atoms[at] = atom;
    t->n++;
    return true;
}

// ---- reading an expression --------------------------------------------------

// Products are written MUL(MUL(atom, atom), constant).
static bool
read_term(const pq_graph *g, pq_dim d, term *out)
{
    *out = (term){.coefficient = 1};
    for (;;) {
        const pq_dim_node *node = pq_dim_node_of(g, d);
        bool is_product = node->expr.op == PQ_DIM_MUL && !node->is_opaque;
        pq_dim factor = is_product ? node->expr.b : d;
        int64_t value;
        if (pq_dim_is_const(g, factor, &value)) {
            if (!pq_mul_i64(out->coefficient, value, &out->coefficient)) {
                return false;
            }
        } else if (!push_atom(g, out, factor)) {
            return false;
        }
        if (!is_product) {
            return true;
        }
        d = node->expr.a;
    }
}

// Adds factor * d. Sums are written ADD or SUB(ADD(term, term), term).
static bool
read_sum(const pq_graph *g, pq_dim d, int64_t factor, poly *p)
{
    for (;;) {
        const pq_dim_node *node = pq_dim_node_of(g, d);
        bool is_sum =
            (node->expr.op == PQ_DIM_ADD || node->expr.op == PQ_DIM_SUB) &&
            !node->is_opaque;
        int64_t sign = is_sum && node->expr.op == PQ_DIM_SUB ? -1 : 1;
        term t;
        if (!read_term(g, is_sum ? node->expr.b : d, &t) ||
            !pq_mul_i64(t.coefficient, factor * sign, &t.coefficient) ||
            !add_term(g, p, &t)) {
            return false;
        }
        if (!is_sum) {
            return true;
        }
        d = node->expr.a;
    }
}

static bool
read_poly(const pq_graph *g, pq_dim d, poly *out)
{
    out->n = 0;
    return read_sum(g, d, 1, out);
}

// ---- exact divisions -------------------------------------------------------

static int64_t
gcd(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a < 0 ? -a : a;
}

// A number that divides the product of the atoms, from symbols' multiples.
static int64_t
known_multiple(const pq_graph *g, const term *t)
{
    int64_t product = 1;
    for (uint32_t i = 0; i < t->n; i++) {
        const pq_dim_expr *e = pq_dim_get(g, t->atoms[i]);
        if (e->op == PQ_DIM_SYMBOL) {
            const pq_symbol *s = g->symbols.items[e->value];
            int64_t next;
            if (pq_mul_i64(product, s->multiple, &next)) {
                product = next;
            }
        }
    }
    return product;
}

static pq_dim build_term(pq_graph *g, const term *t);

// atoms / divisor as factors of t, where divisor > 1 divides the atoms.
static bool
push_exact(pq_graph *g, term *t, const term *atoms, int64_t divisor)
{
    if (divisor == 1) {
        for (uint32_t i = 0; i < atoms->n; i++) {
            if (!push_atom(g, t, atoms->atoms[i])) {
                return false;
            }
        }
        return true;
    }
    term monomial = *atoms;
    monomial.coefficient = 1;
    pq_dim d = pq_dim_intern(g, PQ_DIM_DIV, build_term(g, &monomial),
                             pq_dim_const(g, divisor), 0, false);
    return !pq_dim_is_none(d) && push_atom(g, t, d);
}

// Finds in t an atom M / c with c dividing the monomial M and a common factor
// of c and the coefficient; rewrites t without that factor.
static bool
cancel_one(pq_graph *g, term *t, bool *out_changed)
{
    *out_changed = false;
    for (uint32_t i = 0; i < t->n; i++) {
        const pq_dim_expr *e = pq_dim_get(g, t->atoms[i]);
        term monomial;
        int64_t c;
        if (e->op != PQ_DIM_DIV || !pq_dim_is_const(g, e->b, &c) ||
            t->coefficient == INT64_MIN || c <= 1 ||
            !read_term(g, e->a, &monomial) || monomial.coefficient != 1 ||
            known_multiple(g, &monomial) % c != 0) {
            continue;
        }
        int64_t common = gcd(t->coefficient, c);
        if (common == 1) {
            continue;
        }
        term next = {.coefficient = t->coefficient / common};
        for (uint32_t j = 0; j < t->n; j++) {
            if (j != i && !push_atom(g, &next, t->atoms[j])) {
                return false;
            }
        }
        if (!push_exact(g, &next, &monomial, c / common)) {
            return false;
        }
        *t = next;
        *out_changed = true;
        return true;
    }
    return true;
}

// c * (M / c) = M in all terms of p.
static bool
cancel_divisions(pq_graph *g, poly *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        term t = p->terms[i];
        bool changed;
        if (!cancel_one(g, &t, &changed)) {
            return false;
        }
        if (changed) { // each time a divisor gets smaller: this ends
            remove_term(p, i);
            if (!add_term(g, p, &t)) {
                return false;
            }
            i = UINT32_MAX; // from the start
        }
    }
    return true;
}

// ---- writing an expression -------------------------------------------------

// The product without its sign.
static pq_dim
build_magnitude(pq_graph *g, const term *t, int64_t coefficient)
{
    const pq_dim none = {0};
    if (t->n == 0) {
        return pq_dim_const(g, coefficient);
    }
    pq_dim d = t->atoms[0];
    for (uint32_t i = 1; i < t->n && !pq_dim_is_none(d); i++) {
        d = pq_dim_intern(g, PQ_DIM_MUL, d, t->atoms[i], 0, false);
    }
    if (coefficient != 1 && !pq_dim_is_none(d)) {
        pq_dim c = pq_dim_const(g, coefficient);
        d = pq_dim_is_none(c) ? none
                              : pq_dim_intern(g, PQ_DIM_MUL, d, c, 0, false);
    }
    return d;
}

static pq_dim
build_term(pq_graph *g, const term *t)
{
    return build_magnitude(g, t, t->coefficient);
}

// Positive terms first, in order; then what is subtracted.
static pq_dim
build_poly(pq_graph *g, poly *p)
{
    pq_dim sum = {0};
    uint32_t first = 0;
    if (p->n == 0) {
        return pq_dim_const(g, 0);
    }
    while (first < p->n - 1 && p->terms[first].coefficient < 0) {
        first++;
    }
    if (p->terms[first].coefficient < 0) {
        first = 0;
    }
    sum = build_term(g, &p->terms[first]);
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < p->n && !pq_dim_is_none(sum); i++) {
            int64_t c = p->terms[i].coefficient;
            bool is_minus = c < 0 && c != INT64_MIN;
            if (i == first || is_minus != (pass == 1)) {
                continue;
            }
            pq_dim d = build_magnitude(g, &p->terms[i], is_minus ? -c : c);
            if (pq_dim_is_none(d)) {
                return d;
            }
            sum = pq_dim_intern(g, is_minus ? PQ_DIM_SUB : PQ_DIM_ADD, sum, d,
                                0, false);
        }
    }
    return sum;
}

static pq_dim
finish(pq_graph *g, poly *p, bool is_good, pq_dim_op op, pq_dim a, pq_dim b)
{
    if (is_good && cancel_divisions(g, p)) {
        return build_poly(g, p);
    }
    return pq_dim_intern(g, op, a, b, 0, true);
}

// ---- rules ----------------------------------------------------------------

static bool
multiply(const pq_graph *g, const poly *x, const poly *y, poly *out)
{
    out->n = 0;
    for (uint32_t i = 0; i < x->n; i++) {
        for (uint32_t j = 0; j < y->n; j++) {
            term t = x->terms[i];
            if (!pq_mul_i64(t.coefficient, y->terms[j].coefficient,
                            &t.coefficient)) {
                return false;
            }
            for (uint32_t k = 0; k < y->terms[j].n; k++) {
                if (!push_atom(g, &t, y->terms[j].atoms[k])) {
                    return false;
                }
            }
            if (!add_term(g, out, &t)) {
                return false;
            }
        }
    }
    return true;
}

static pq_dim
make_polynomial(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b)
{
    poly x;
    poly y;
    poly result = {0};
    bool is_good = read_poly(g, a, &x) && read_poly(g, b, &y);
    if (op == PQ_DIM_MUL) {
        is_good = is_good && multiply(g, &x, &y, &result);
    } else {
        is_good = is_good && add_poly(g, &result, &x, 1) &&
                  add_poly(g, &result, &y, op == PQ_DIM_SUB ? -1 : 1);
    }
    return finish(g, &result, is_good, op, a, b);
}

// Splits p = c * whole + rest, where whole may hold exact divisions; c > 1.
static bool
split_by(pq_graph *g, const poly *p, int64_t c, poly *whole, poly *rest)
{
    for (uint32_t i = 0; i < p->n; i++) {
        term t = p->terms[i];
        if (t.coefficient == INT64_MIN) {
            return false;
        }
        int64_t common = gcd(t.coefficient, c);
        if (t.n != 0 && known_multiple(g, &t) % (c / common) == 0) {
            term exact = {.coefficient = t.coefficient / common};
            if (!push_exact(g, &exact, &t, c / common) ||
                !add_term(g, whole, &exact)) {
                return false;
            }
            continue;
        }
        if (t.n == 0 || t.coefficient > c) {
            term part = t;
            part.coefficient = pq_floor_div(t.coefficient, c);
            t.coefficient -= part.coefficient * c;
            if (!add_term(g, whole, &part)) {
                return false;
            }
        }
        if (!add_term(g, rest, &t)) {
            return false;
        }
    }
    return true;
}

static int64_t
content(const poly *p, int64_t c)
{
    for (uint32_t i = 0; i < p->n; i++) {
        if (p->terms[i].n != 0) {
            c = gcd(p->terms[i].coefficient, c);
        }
    }
    return c;
}

static pq_range
poly_range(const pq_graph *g, const poly *p)
{
    pq_range sum = {0, 0};
    for (uint32_t i = 0; i < p->n; i++) {
        const term *t = &p->terms[i];
        pq_range r = {t->coefficient, t->coefficient};
        for (uint32_t j = 0; j < t->n; j++) {
            r = pq_range_mul(r, pq_dim_range(g, t->atoms[j]));
        }
        sum = pq_range_add(sum, r);
    }
    return sum;
}

// rest = x / a + k with one DIV atom: rest becomes x + k*a, *c becomes a*c.
static bool
merge_divisions(const pq_graph *g, poly *rest, int64_t *c)
{
    int64_t a;
    int64_t k = 0;
    if (rest->n == 0 || rest->n > 2 || rest->terms[0].n != 1 ||
        rest->terms[0].coefficient != 1) {
        return false;
    }
    if (rest->n == 2) {
        if (rest->terms[1].n != 0) {
            return false;
        }
        k = rest->terms[1].coefficient;
    }
    const pq_dim_expr *e = pq_dim_get(g, rest->terms[0].atoms[0]);
    poly inner;
    if (e->op != PQ_DIM_DIV || !pq_dim_is_const(g, e->b, &a) || a < 1 ||
        !read_poly(g, e->a, &inner) || !pq_mul_i64(k, a, &k) ||
        !pq_mul_i64(a, *c, &a) || !add_constant(g, &inner, k)) {
        return false;
    }
    *rest = inner;
    *c = a;
    return true;
}

// floor(p / c) for c >= 1 as a polynomial with at most one new atom.
static bool
divide_poly(pq_graph *g, poly p, int64_t c, poly *out)
{
    poly rest;
    out->n = 0;
    for (;;) {
        rest.n = 0;
        if (c == 1) {
            return add_poly(g, out, &p, 1);
        }
        if (!split_by(g, &p, c, out, &rest)) {
            return false;
        }
        int64_t common = content(&rest, c);
        if (rest.n != 0 && common > 1) {
            for (uint32_t i = 0; i < rest.n; i++) {
                int64_t *k = &rest.terms[i].coefficient;
                *k = pq_floor_div(*k, common);
            }
            if (rest.terms[rest.n - 1].coefficient == 0) {
                rest.n--;
            }
            c /= common;
            p = rest;
            continue;
        }
        if (!merge_divisions(g, &rest, &c)) {
            break;
        }
        p = rest;
    }
    pq_range r = poly_range(g, &rest);
    if (r.min >= 0 && r.max < c) {
        return true; // what is left is below 1
    }
    term t = {.coefficient = 1};
    pq_dim numerator = build_poly(g, &rest);
    pq_dim divisor = pq_dim_const(g, c);
    if (pq_dim_is_none(numerator) || pq_dim_is_none(divisor)) {
        return false;
    }
    pq_dim atom = pq_dim_intern(g, PQ_DIM_DIV, numerator, divisor, 0, false);
    return !pq_dim_is_none(atom) && push_atom(g, &t, atom) &&
           add_term(g, out, &t);
}

// t / lead as a monomial, when it is one.
static bool
divide_term(const pq_graph *g, const term *t, const term *lead, term *out)
{
    uint32_t at = 0;
    if (lead->coefficient == -1 || t->coefficient % lead->coefficient != 0) {
        return false;
    }
    *out = (term){.coefficient = t->coefficient / lead->coefficient};
    for (uint32_t i = 0; i < t->n; i++) {
        if (at < lead->n && pq_dim_equal(t->atoms[i], lead->atoms[at])) {
            at++;
        } else if (!push_atom(g, out, t->atoms[i])) {
            return false;
        }
    }
    return at == lead->n;
}

// Exact polynomial division by long division; false when it leaves a rest.
static bool
divide_exactly(const pq_graph *g, poly p, const poly *by, poly *out)
{
    out->n = 0;
    for (int step = 0; step < MAX_TERMS && p.n != 0; step++) {
        term quotient;
        if (!divide_term(g, &p.terms[0], &by->terms[0], &quotient) ||
            !add_term(g, out, &quotient)) {
            return false;
        }
        poly q = {.n = 1, .terms = {quotient}};
        poly product;
        if (!multiply(g, &q, by, &product) || !add_poly(g, &p, &product, -1)) {
            return false;
        }
    }
    return p.n == 0;
}

static pq_dim
make_division_by_constant(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b,
                          int64_t c)
{
    poly p;
    poly result;
    bool is_good = read_poly(g, a, &p);
    if (op == PQ_DIM_CDIV) {
        is_good = is_good && add_constant(g, &p, c - 1);
    }
    is_good = is_good && divide_poly(g, p, c, &result);
    return finish(g, &result, is_good, op, a, b);
}

// Terms that c divides vanish; coefficients are taken modulo c.
static pq_dim
make_modulus_by_constant(pq_graph *g, pq_dim a, pq_dim b, int64_t c)
{
    poly p;
    poly whole = {0};
    poly rest = {0};
    if (c == 1) {
        return pq_dim_const(g, 0);
    }
    if (!read_poly(g, a, &p) || !split_by(g, &p, c, &whole, &rest)) {
        return pq_dim_intern(g, PQ_DIM_MOD, a, b, 0, true);
    }
    pq_range r = poly_range(g, &rest);
    pq_dim d = build_poly(g, &rest);
    if (pq_dim_is_none(d) || (r.min >= 0 && r.max < c)) {
        return d;
    }
    return pq_dim_intern(g, PQ_DIM_MOD, d, b, 0, false);
}

static pq_dim
make_division(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b)
{
    int64_t c;
    poly x;
    poly y;
    poly result;
    if (pq_dim_is_const(g, b, &c) && c >= 1) {
        return op == PQ_DIM_MOD ? make_modulus_by_constant(g, a, b, c)
                                : make_division_by_constant(g, op, a, b, c);
    }
    if (pq_dim_is_const(g, b, &c) && c == 0) {
        pq_graph_note(
            g, PQ_FAIL(g->ctx, PTQC_E_INPUT, "dimension divides by zero"));
        return (pq_dim){0};
    }
    if (pq_dim_range(g, b).min >= 1 && read_poly(g, a, &x) &&
        read_poly(g, b, &y) && divide_exactly(g, x, &y, &result)) {
        return op == PQ_DIM_MOD ? pq_dim_const(g, 0)
                                : finish(g, &result, true, op, a, b);
    }
    return pq_dim_intern(g, op, a, b, 0, true);
}

// a - b as far as bounds tell.
static pq_range
difference_range(const pq_graph *g, pq_dim a, pq_dim b)
{
    poly difference = {0};
    pq_range plain = pq_range_sub(pq_dim_range(g, a), pq_dim_range(g, b));
    if (!read_sum(g, a, 1, &difference) || !read_sum(g, b, -1, &difference)) {
        return plain;
    }
    pq_range r = poly_range(g, &difference);
    r.min = r.min > plain.min ? r.min : plain.min;
    r.max = r.max < plain.max ? r.max : plain.max;
    return r;
}

static pq_dim
make_extremum(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b)
{
    pq_range r = difference_range(g, a, b);
    if (r.max <= 0) {
        return op == PQ_DIM_MIN ? a : b;
    }
    if (r.min >= 0) {
        return op == PQ_DIM_MIN ? b : a;
    }
    const pq_dim_expr *e = pq_dim_get(g, a);
    const pq_dim_expr *f = pq_dim_get(g, b);
    if (e->op == op && (pq_dim_equal(e->a, b) || pq_dim_equal(e->b, b))) {
        return a;
    }
    if (f->op == op && (pq_dim_equal(f->a, a) || pq_dim_equal(f->b, a))) {
        return b;
    }
    bool is_swapped =
        pq_dim_is_const(g, a, NULL) ||
        (!pq_dim_is_const(g, b, NULL) && atom_key(g, a) > atom_key(g, b));
    return is_swapped ? pq_dim_intern(g, op, b, a, 0, false)
                      : pq_dim_intern(g, op, a, b, 0, false);
}

bool
pq_dim_differs(const pq_graph *g, pq_dim a, pq_dim b)
{
    pq_range r = difference_range(g, a, b);
    return r.min > 0 || r.max < 0;
}

bool
pq_dim_is_le(const pq_graph *g, pq_dim a, pq_dim b)
{
    return pq_dim_equal(a, b) || difference_range(g, a, b).max <= 0;
}

pq_dim
pq_dim_simplify(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b)
{
    switch (op) {
    case PQ_DIM_ADD:
    case PQ_DIM_SUB:
    case PQ_DIM_MUL:
        return make_polynomial(g, op, a, b);
    case PQ_DIM_DIV:
    case PQ_DIM_CDIV:
    case PQ_DIM_MOD:
        return make_division(g, op, a, b);
    case PQ_DIM_MIN:
    case PQ_DIM_MAX:
        return make_extremum(g, op, a, b);
    case PQ_DIM_CONST:
    case PQ_DIM_SYMBOL:
        break;
    }
    assert(false && "not an operation");
    return (pq_dim){0};
}
