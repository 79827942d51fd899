// SPDX-License-Identifier: Apache-2.0
//
// kv_update: rows of x go into the rows of the state that their positions
// name. The output usually is the state's own memory; when it is not, it
// starts as a copy.
#include <string.h>

#include "base/dtype.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// Row `row` of `row_size` elements of t as a tensor of its own.
static pq_tensor
row_of(const pq_tensor *t, int64_t row, int64_t row_size)
{
    size_t bytes = (size_t)row_size * (pq_dtype_bits(t->dtype) / 8);
    pq_tensor out = {.dtype = t->dtype,
                     .rank = 1,
                     .dims = {row_size},
                     .p = (uint8_t *)t->p + (size_t)row * bytes,
                     .bytes = bytes};
    return out;
}

// x is [batch][heads][tokens][d], the state [batch][heads][capacity][d].
static void
update(pq_eval *e, const float *x, const int64_t *positions)
{
    pq_tensor *state = &e->out[0];
    const int64_t *dims = e->in[1].dims;
    int64_t tokens = dims[2], d = dims[3];
    int64_t capacity = state->dims[2];
    for (int64_t head = 0; head < dims[0] * dims[1]; head++) {
        const int64_t *p = positions + head / dims[1] * tokens;
        for (int64_t t = 0; t < tokens; t++) {
            if (p[t] >= 0 && p[t] < capacity) {
                pq_tensor row = row_of(state, head * capacity + p[t], d);
                pq_store_f32s(&row, x + (head * tokens + t) * d);
            }
        }
    }
}

ptqc_status
pq_eval_kv_update(pq_eval *e)
{
    const pq_tensor *state = &e->in[0], *x = &e->in[1], *positions = &e->in[2];
    const float *rows;
    const int64_t *at;
    bool fits =
        state->rank == 4 && x->rank == 4 && positions->rank == 2 &&
        state->dims[0] == x->dims[0] && state->dims[1] == x->dims[1] &&
        state->dims[3] == x->dims[3] && positions->dims[0] == x->dims[0] &&
        positions->dims[1] == x->dims[2] && e->out[0].bytes == state->bytes;
    if (!fits) {
        return pq_eval_fail(e, PTQC_E_INPUT, "shapes do not match");
    }
    PQ_TRY(pq_in_f32(e, 1, &rows));
    PQ_TRY(pq_in_i64(e, 2, &at));
    if (e->out[0].p != state->p && state->bytes != 0) {
        memcpy(e->out[0].p, state->p, state->bytes);
    }
    update(e, rows, at);
    return PTQC_OK;
}
