// SPDX-License-Identifier: Apache-2.0
//
// Taking products apart, see factors.h.

#include "passes/factors.h"

// Values still to be looked at; a product of more parts is not taken apart.
#define PQ_FACTOR_LIMIT 8

typedef struct pq_factor_walk {
    pq_value_id pending[PQ_FACTOR_LIMIT];
    uint32_t count;
    pq_factors *f;
} pq_factor_walk;

static void
push(pq_factor_walk *w, pq_value_id v)
{
    if (w->count < PQ_FACTOR_LIMIT) {
        w->pending[w->count++] = v;
    } else {
        w->f->is_other = false;
    }
}

static void
add_other(pq_factors *f, pq_value_id v)
{
    f->is_other = f->is_other && pq_value_is_none(f->other);
    f->other = v;
}

// pow(x, n) for a small whole n counts as n factors x.
static bool
take_power(const pq_graph *g, const pq_op *op, pq_value_id x, pq_factors *f)
{
    float n;
    if (op->code != PQ_OP_POW || !pq_value_equal(op->inputs[0], x) ||
        !pq_scalar_of(g, op->inputs[1], &n)) {
        return false;
    }
    for (uint32_t i = 1; i <= 4; i++) {
        if (!(n < (float)i) && !(n > (float)i)) {
            f->power += i;
            return true;
        }
    }
    return false;
}

static void
take(const pq_graph *g, pq_factor_walk *w, pq_value_id v, pq_value_id x,
     bool is_root)
{
    float k;
    const pq_op *op = pq_graph_op(g, pq_producer_id(g, v));
    bool is_inside =
        op != NULL && (is_root || !pq_op_is_none(pq_single_user(g, v)) ||
                       pq_graph_value(g, v)->use_count == 1);
    if (pq_value_equal(v, x)) {
        w->f->power++;
    } else if (pq_scalar_of(g, v, &k)) {
        w->f->constant *= (double)k;
    } else if (op != NULL && take_power(g, op, x, w->f)) {
        return;
    } else if (op != NULL && op->code == PQ_OP_MUL &&
               pq_value_equal(op->inputs[0], x) &&
               pq_value_equal(op->inputs[1], x)) {
        w->f->power += 2; // x * x may be shared
    } else if (is_inside && op->code == PQ_OP_MUL) {
        push(w, op->inputs[0]);
        push(w, op->inputs[1]);
    } else if (is_inside && op->code == PQ_OP_DIV &&
               pq_scalar_of(g, op->inputs[1], &k) && (k > 0 || k < 0)) {
        w->f->constant /= (double)k;
        push(w, op->inputs[0]);
    } else {
        add_other(w->f, v);
    }
}

pq_factors
pq_factors_of(const pq_graph *g, pq_value_id v, pq_value_id x)
{
    pq_factors f = {.constant = 1, .is_other = true};
    pq_factor_walk w = {.f = &f};
    push(&w, v);
    bool is_root = true;
    while (w.count > 0) {
        pq_value_id next = w.pending[--w.count];
        take(g, &w, next, x, is_root);
        is_root = false;
    }
    return f;
}

bool
pq_is_affine_of(const pq_graph *g, pq_value_id v, pq_value_id x,
                double *out_slope, double *out_offset)
{
    float k;
    *out_offset = 0;
    const pq_op *add = pq_producer(g, v, PQ_OP_ADD);
    if (add != NULL && pq_scalar_of(g, add->inputs[1], &k)) {
        *out_offset = (double)k;
        v = add->inputs[0];
    }
    pq_factors f = pq_factors_of(g, v, x);
    *out_slope = f.constant;
    return f.power == 1 && f.is_other && pq_value_is_none(f.other);
}
