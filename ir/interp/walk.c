// SPDX-License-Identifier: Apache-2.0
//
// Broadcast iteration over row-major index spaces.
#include <string.h>

#include "ir/interp/eval.h"

void
pq_dense_strides(const int64_t *dims, uint32_t rank, int64_t *out)
{
    int64_t stride = 1;
    for (uint32_t i = rank; i-- > 0;) {
        out[i] = stride;
        stride *= dims[i];
    }
}

// Whether axis `outer` of the walk steps exactly over axis (dim, s).
static bool
can_merge(const pq_walk *w, uint32_t outer, int64_t dim, const int64_t *s,
          uint32_t operands)
{
    for (uint32_t o = 0; o < operands; o++) {
        if (w->strides[o][outer] != s[o] * dim) {
            return false;
        }
    }
    return true;
}

void
pq_walk_init(pq_walk *w, const int64_t *dims, uint32_t rank,
             const int64_t *strides, uint32_t operand_count)
{
    memset(w, 0, sizeof *w);
    w->rows = 1;
    w->n = 1;
    uint32_t used = 0;
    for (uint32_t a = 0; a < rank; a++) {
        int64_t s[PQ_WALK_OPERANDS] = {0};
        for (uint32_t o = 0; o < operand_count; o++) {
            s[o] = strides[o * PQ_WALK_RANK + a];
        }
        if (dims[a] == 0) {
            w->rows = 0;
            w->n = 0;
            return;
        }
        if (dims[a] == 1) {
            continue;
        }
        bool merge =
            used > 0 && can_merge(w, used - 1, dims[a], s, operand_count);
        uint32_t to = merge ? used - 1 : used++;
        w->dims[to] = merge ? w->dims[to] * dims[a] : dims[a];
        for (uint32_t o = 0; o < operand_count; o++) {
            w->strides[o][to] = s[o];
        }
    }
    if (used > 0) {
        used--;
        w->n = w->dims[used];
        for (uint32_t o = 0; o < operand_count; o++) {
            w->step[o] = w->strides[o][used];
        }
    }
    w->rank = used;
    for (uint32_t a = 0; a < used; a++) {
        w->rows *= w->dims[a];
    }
}

void
pq_walk_broadcast(pq_walk *w, const pq_tensor *out, const pq_tensor *const *in,
                  uint32_t operand_count)
{
    int64_t strides[PQ_WALK_OPERANDS * PQ_WALK_RANK] = {0};
    for (uint32_t o = 0; o < operand_count; o++) {
        int64_t dense[PTQC_MAX_RANK];
        pq_dense_strides(in[o]->dims, in[o]->rank, dense);
        for (uint32_t a = 0; a < in[o]->rank; a++) {
            uint32_t at = out->rank - in[o]->rank + a;
            strides[o * PQ_WALK_RANK + at] = in[o]->dims[a] == 1 ? 0 : dense[a];
        }
    }
    pq_walk_init(w, out->dims, out->rank, strides, operand_count);
}

bool
pq_walk_next(pq_walk *w)
{
    for (uint32_t a = w->rank; a-- > 0;) {
        for (uint32_t o = 0; o < PQ_WALK_OPERANDS; o++) {
            w->at[o] += w->strides[o][a];
        }
        if (++w->index[a] < w->dims[a]) {
            return true;
        }
        for (uint32_t o = 0; o < PQ_WALK_OPERANDS; o++) {
            w->at[o] -= w->strides[o][a] * w->dims[a];
        }
        w->index[a] = 0;
    }
    return false;
}
