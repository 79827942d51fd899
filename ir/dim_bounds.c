// SPDX-License-Identifier: Apache-2.0
//
// Interval arithmetic over dimension expressions.
#include "ir/dim_bounds.h"

#include "ir/graph_internal.h"

static bool
is_infinite(int64_t x)
{
    return x == INT64_MAX || x == INT64_MIN;
}

// Unbounded ends stay unbounded; overflow becomes unbounded.
static int64_t
add_ends(int64_t a, int64_t b)
{
    int64_t sum;
    if (is_infinite(a)) {
        return a;
    }
    if (is_infinite(b)) {
        return b;
    }
    if (__builtin_add_overflow(a, b, &sum)) {
        return a < 0 ? INT64_MIN : INT64_MAX;
    }
    return sum;
}

static int64_t
negate_end(int64_t a)
{
    if (a == INT64_MIN) {
        return INT64_MAX;
    }
    return a == INT64_MAX ? INT64_MIN : -a;
}

static int64_t
mul_ends(int64_t a, int64_t b)
{
    int64_t product;
    if (a == 0 || b == 0) {
        return 0;
    }
    if (is_infinite(a) || is_infinite(b) ||
        __builtin_mul_overflow(a, b, &product)) {
        return (a < 0) != (b < 0) ? INT64_MIN : INT64_MAX;
    }
    return product;
}

// Floor; b >= 1.
static int64_t
div_ends(int64_t a, int64_t b)
{
    if (is_infinite(a)) {
        return a;
    }
    if (b == INT64_MAX) {
        return a < 0 ? -1 : 0;
    }
    return a / b - (a % b < 0);
}

pq_range
pq_range_add(pq_range a, pq_range b)
{
    return (pq_range){add_ends(a.min, b.min), add_ends(a.max, b.max)};
}

pq_range
pq_range_sub(pq_range a, pq_range b)
{
    return pq_range_add(a, (pq_range){negate_end(b.max), negate_end(b.min)});
}

static pq_range
widen(pq_range r, int64_t x)
{
    r.min = x < r.min ? x : r.min;
    r.max = x > r.max ? x : r.max;
    return r;
}

pq_range
pq_range_mul(pq_range a, pq_range b)
{
    int64_t first = mul_ends(a.min, b.min);
    pq_range r = {first, first};
    r = widen(r, mul_ends(a.min, b.max));
    r = widen(r, mul_ends(a.max, b.min));
    return widen(r, mul_ends(a.max, b.max));
}

// Divisors are not 0, so one that is not negative is at least 1.
static pq_range
range_div(pq_range a, pq_range b, bool is_ceiling)
{
    if (b.min < 0) {
        return (pq_range){INT64_MIN, INT64_MAX};
    }
    if (is_ceiling) { // ceil(a / b) = -floor(-a / b)
        pq_range minus = {negate_end(a.max), negate_end(a.min)};
        pq_range q = range_div(minus, b, false);
        return (pq_range){negate_end(q.max), negate_end(q.min)};
    }
    int64_t low = b.min < 1 ? 1 : b.min;
    int64_t high = b.max < 1 ? 1 : b.max;
    int64_t first = div_ends(a.min, low);
    pq_range r = {first, first};
    r = widen(r, div_ends(a.min, high));
    r = widen(r, div_ends(a.max, low));
    return widen(r, div_ends(a.max, high));
}

static pq_range
range_mod(pq_range a, pq_range b)
{
    if (b.min < 0) {
        return (pq_range){INT64_MIN, INT64_MAX};
    }
    if (a.min >= 0 && a.max < b.min) {
        return a;
    }
    int64_t max = is_infinite(b.max) ? b.max : b.max - 1;
    if (a.min >= 0 && a.max < max) {
        max = a.max;
    }
    return (pq_range){0, max < 0 ? 0 : max};
}

pq_range
pq_dim_range(const pq_graph *g, pq_dim d)
{
    const pq_dim_expr *e = pq_dim_get(g, d);
    if (e->op == PQ_DIM_CONST) {
        return (pq_range){e->value, e->value};
    }
    if (e->op == PQ_DIM_SYMBOL) {
        const pq_symbol *s = g->symbols.items[e->value];
        return (pq_range){s->min, s->max};
    }
    pq_range a = pq_dim_range(g, e->a);
    pq_range b = pq_dim_range(g, e->b);
    switch (e->op) {
    case PQ_DIM_ADD:
        return pq_range_add(a, b);
    case PQ_DIM_SUB:
        return pq_range_sub(a, b);
    case PQ_DIM_MUL:
        return pq_range_mul(a, b);
    case PQ_DIM_DIV:
        return range_div(a, b, false);
    case PQ_DIM_CDIV:
        return range_div(a, b, true);
    case PQ_DIM_MOD:
        return range_mod(a, b);
    case PQ_DIM_MIN:
        return (pq_range){a.min < b.min ? a.min : b.min,
                          a.max < b.max ? a.max : b.max};
    case PQ_DIM_MAX:
        return (pq_range){a.min > b.min ? a.min : b.min,
                          a.max > b.max ? a.max : b.max};
    case PQ_DIM_CONST:
    case PQ_DIM_SYMBOL:
        break;
    }
    return (pq_range){INT64_MIN, INT64_MAX};
}

void
pq_dim_bounds(const pq_graph *g, pq_dim d, int64_t *out_min, int64_t *out_max)
{
    pq_range r = pq_dim_range(g, d);
    *out_min = r.min;
    *out_max = r.max;
}
