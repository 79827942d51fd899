// SPDX-License-Identifier: Apache-2.0
//
// Scales and zero points in a graph, see params.h.

#include "passes/params.h"

#include <string.h>

static ptqc_status
add_array(pq_graph *g, ptqc_dtype dtype, const void *p, const int64_t *dims,
          uint32_t rank, pq_const_id *out)
{
    size_t count = 1;
    for (uint32_t i = 0; i < rank; i++) {
        count *= (size_t)dims[i];
    }
    pq_constant c = {.dtype = dtype, .rank = rank, .dims = dims};
    c.bytes = count * sizeof(float);
    c.p = pq_arena_memdup(pq_graph_arena(g), p, c.bytes);
    PQ_TRY_ALLOC(c.p);
    *out = pq_graph_add_constant(g, &c);
    return pq_const_is_none(*out) ? pq_graph_failure(g) : PTQC_OK;
}

// Zero points that the graph has already: those of symmetric weights of one
// shape are all the same.
static pq_const_id
find_zero_points(const pq_graph *g, const int32_t *zero_points,
                 const int64_t *dims, uint32_t rank)
{
    for (uint32_t i = 1; i < pq_graph_constant_count(g); i++) {
        const pq_constant *c = pq_graph_constant(g, (pq_const_id){i});
        if (c->dtype == PTQC_I32 && c->rank == rank && c->p != NULL &&
            memcmp(c->dims, dims, rank * sizeof *dims) == 0 &&
            memcmp(c->p, zero_points, c->bytes) == 0) {
            return (pq_const_id){i};
        }
    }
    return (pq_const_id){0};
}

ptqc_status
pq_make_quant(pq_graph *g, const pq_scheme *scheme, const float *scales,
              const int32_t *zero_points, const int64_t *dims, uint32_t rank,
              pq_quant_id *out)
{
    pq_quant q = {.scheme = *scheme};
    PQ_TRY(add_array(g, PTQC_F32, scales, dims, rank, &q.scale));
    if (scheme->symmetric) {
        q.zero_point = find_zero_points(g, zero_points, dims, rank);
    }
    if (pq_const_is_none(q.zero_point)) {
        PQ_TRY(add_array(g, PTQC_I32, zero_points, dims, rank, &q.zero_point));
    }
    *out = pq_graph_add_quant(g, &q);
    return pq_quant_is_none(*out) ? pq_graph_failure(g) : PTQC_OK;
}

ptqc_status
pq_annotate_params(pq_graph *g, pq_value_id v, pq_params p)
{
    pq_value *value = pq_graph_value(g, v);
    const pq_scheme scheme = pq_graph_quant(g, value->quant)->scheme;
    const int64_t one = 1;
    return pq_make_quant(g, &scheme, &p.scale, &p.zero_point, &one, 1,
                         &value->quant);
}

int64_t
pq_scale_count(const pq_graph *g, const pq_quant *q)
{
    const pq_constant *c = q != NULL ? pq_graph_constant(g, q->scale) : NULL;
    return c != NULL ? (int64_t)(c->bytes / sizeof(float)) : 0;
}

pq_params
pq_params_at(const pq_graph *g, const pq_quant *q, int64_t i)
{
    pq_params p;
    const uint8_t *scales = pq_graph_constant(g, q->scale)->p;
    const uint8_t *zeros = pq_graph_constant(g, q->zero_point)->p;
    memcpy(&p.scale, scales + (size_t)i * 4, 4);
    memcpy(&p.zero_point, zeros + (size_t)i * 4, 4);
    return p;
}

bool
pq_tensor_params(const pq_graph *g, const pq_quant *q, pq_params *out)
{
    if (pq_scale_count(g, q) != 1) {
        return false;
    }
    *out = pq_params_at(g, q, 0);
    return true;
}

bool
pq_same_params(const pq_graph *g, pq_quant_id a, pq_quant_id b)
{
    const pq_quant *p = pq_graph_quant(g, a);
    const pq_quant *q = pq_graph_quant(g, b);
    if (pq_quant_equal(a, b)) {
        return true;
    }
    int64_t n = pq_scale_count(g, p);
    if (n == 0 || n != pq_scale_count(g, q) ||
        p->scheme.format != q->scheme.format ||
        p->scheme.bits != q->scheme.bits ||
        p->scheme.granularity != q->scheme.granularity ||
        p->scheme.axis != q->scheme.axis ||
        p->scheme.group != q->scheme.group) {
        return false;
    }
    const pq_constant *sp = pq_graph_constant(g, p->scale);
    const pq_constant *sq = pq_graph_constant(g, q->scale);
    const pq_constant *zp = pq_graph_constant(g, p->zero_point);
    const pq_constant *zq = pq_graph_constant(g, q->zero_point);
    return memcmp(sp->p, sq->p, sp->bytes) == 0 &&
           memcmp(zp->p, zq->p, zp->bytes) == 0;
}
