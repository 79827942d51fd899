// SPDX-License-Identifier: Apache-2.0
//
// kv_update: rows of x go into the rows of the state that their positions
// name; kv_update_codes: as codes, with a scale per row. An output usually is
// the state's own memory; when it is not, it starts as a copy.
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

// Rows of x [batch][heads][tokens][d] for states [batch][heads][capacity]...
typedef struct update {
    const float *x;
    const int64_t *positions; // [batch][tokens]
    int64_t batch, heads, tokens, capacity, d;
} update;

typedef void (*write_fn)(pq_eval *e, const float *x, int64_t row, int64_t d);

static void
write_rounded(pq_eval *e, const float *x, int64_t row, int64_t d)
{
    pq_tensor to = row_of(&e->out[0], row, d);
    pq_store_f32s(&to, x);
}

static void
write_codes(pq_eval *e, const float *x, int64_t row, int64_t d)
{
    float *scales = e->out[1].p;
    scales[row] = pq_quantize_row(x, d, (int8_t *)e->out[0].p + row * d);
}

static void
write_rows(pq_eval *e, const update *u, write_fn write)
{
    for (int64_t head = 0; head < u->batch * u->heads; head++) {
        const int64_t *p = u->positions + head / u->heads * u->tokens;
        for (int64_t t = 0; t < u->tokens; t++) {
            if (p[t] >= 0 && p[t] < u->capacity) {
                write(e, u->x + (head * u->tokens + t) * u->d,
                      head * u->capacity + p[t], u->d);
            }
        }
    }
}

// x is input i, positions follow it.
static ptqc_status
init_update(pq_eval *e, uint32_t i, update *out)
{
    const pq_tensor *state = &e->in[0], *x = &e->in[i], *at = &e->in[i + 1];
    bool fits = state->rank == 4 && x->rank == 4 && at->rank == 2 &&
                state->dims[0] == x->dims[0] && state->dims[1] == x->dims[1] &&
                state->dims[3] == x->dims[3] && at->dims[0] == x->dims[0] &&
                at->dims[1] == x->dims[2];
    for (uint32_t k = 0; k < e->op->output_count; k++) {
        fits = fits && e->out[k].bytes == e->in[k].bytes;
    }
    if (!fits) {
        return pq_eval_fail(e, PTQC_E_INPUT, "shapes do not match");
    }
    *out = (update){.batch = x->dims[0],
                    .heads = x->dims[1],
                    .tokens = x->dims[2],
                    .capacity = state->dims[2],
                    .d = x->dims[3]};
    PQ_TRY(pq_in_f32(e, i, &out->x));
    return pq_in_i64(e, i + 1, &out->positions);
}

static void
begin_states(pq_eval *e)
{
    for (uint32_t k = 0; k < e->op->output_count; k++) {
        if (e->out[k].p != e->in[k].p && e->in[k].bytes != 0) {
            memcpy(e->out[k].p, e->in[k].p, e->in[k].bytes);
        }
    }
}

ptqc_status
pq_eval_kv_update(pq_eval *e)
{
    update u;
    PQ_TRY(init_update(e, 1, &u));
    begin_states(e);
    write_rows(e, &u, write_rounded);
    return PTQC_OK;
}

const char *
pq_rule_kv_update_codes(pq_graph *g, const pq_op *op)
{
    bool fits = pq_graph_value(g, op->inputs[0])->type.dtype == PTQC_I8 &&
                pq_graph_value(g, op->inputs[1])->type.dtype == PTQC_F32 &&
                pq_value_kind(g, op->inputs[2]) != PQ_KIND_INT &&
                pq_value_kind(g, op->inputs[3]) == PQ_KIND_INT;
    return fits ? NULL : "states are i8 and f32, x is real, positions integer";
}

ptqc_status
pq_eval_kv_update_codes(pq_eval *e)
{
    const pq_tensor *codes = &e->in[0], *scales = &e->in[1];
    update u;
    PQ_TRY(init_update(e, 2, &u));
    if (scales->rank != 3 || scales->dims[0] != codes->dims[0] ||
        scales->dims[1] != codes->dims[1] ||
        scales->dims[2] != codes->dims[2]) {
        return pq_eval_fail(e, PTQC_E_INPUT, "scales do not match");
    }
    begin_states(e);
    write_rows(e, &u, write_codes);
    return PTQC_OK;
}
