// SPDX-License-Identifier: Apache-2.0
//
// Lowering of recurrent cells.
//
// RECURRENT: x, weights, h0, c0 -> y, y_h, y_c;
//     [0] kind  [1] direction  [2] linear_before_reset  [3] hidden
#include "lowering.h"
#include "recurrent.h"

static const float *
constant_f32(pq_lower *l, uint32_t i, int64_t expected)
{
    const ptqc_gb_value *v = pq_in(l, i);
    int64_t count;
    if (v == NULL) {
        return NULL;
    }
    const void *p = pq_gv_constant(l, v, &count);
    if (p != NULL && (v->dtype != PTQC_F32 || pq_gv_is_quantized(l, v) ||
                      count != expected)) {
        pq_decline(l, "weights have to be f32 constants");
    }
    return p;
}

static uint32_t
emit_cell(pq_lower *l, const pq_recurrent_desc *d,
          const pq_recurrent_weights *w)
{
    uint64_t bytes = pq_recurrent_weight_bytes(d);
    if (bytes == 0 || !pq_lower_ok(l)) {
        pq_decline(l, "size of the weights");
        return PQ_KG_NONE;
    }
    uint8_t *p = NULL;
    if (!l->dry) {
        p = pq_mem_array(&l->scratch, bytes + 64, 1);
        if (p == NULL) {
            pq_lower_no_memory(l);
            return PQ_KG_NONE;
        }
        p += -(uintptr_t)p & 63;
        pq_recurrent_weight_pack(d, w, p);
    }
    return pq_emit_packed(l, NULL, "cpu.recurrent.v1", p, bytes);
}

static uint32_t
use_state(pq_lower *l, uint32_t i)
{
    const ptqc_gb_value *v = pq_in(l, i);
    if (v == NULL) {
        return PQ_KG_NONE;
    }
    if (v->dtype != PTQC_F32 || pq_gv_is_quantized(l, v)) {
        pq_decline(l, "state type");
    }
    return pq_use_identity(l, pq_in_index(l, i)).value;
}

static void
read_cell(pq_lower *l, pq_recurrent_desc *d)
{
    const ptqc_gb_value *x = pq_in(l, 0);
    ptqc_gb_text op = pq_lower_node(l)->op;
    bool lstm = ptqc_gb_text_is(l->g, op, "lstm");
    bool gru = ptqc_gb_text_is(l->g, op, "gru");
    d->kind = lstm  ? PQ_RECURRENT_LSTM
              : gru ? PQ_RECURRENT_GRU
                    : PQ_RECURRENT_RNN;
    int64_t direction = pq_attr_i64(l, "direction", 0);
    d->hidden = pq_attr_i64(l, "hidden", 0);
    if (x == NULL || x->rank != 3 || x->dtype != PTQC_F32 ||
        pq_gv_is_quantized(l, x) || direction < 0 || direction > 2 ||
        d->hidden < 1 || d->hidden > INT32_MAX ||
        !pq_gv_dim_const(l, x, 2, &d->input)) {
        pq_decline(l, "operand");
        return;
    }
    d->direction = (uint32_t)direction;
    d->linear_before_reset = pq_attr_i64(l, "linear_before_reset", 0) != 0;
    d->steps = d->batch = 1; // do not count for packing
    if (pq_attr_i64(l, "batch_first", 0) != 0) {
        pq_decline(l, "batch first");
    }
    if (pq_in(l, 4) != NULL) {
        pq_decline(l, "sequence lengths");
    }
}

void
pq_cpu_lower_recurrent(pq_lower *l)
{
    pq_recurrent_desc d = {0};
    read_cell(l, &d);
    if (!pq_lower_ok(l)) {
        return;
    }
    int64_t gates = d.kind == PQ_RECURRENT_LSTM  ? 4
                    : d.kind == PQ_RECURRENT_GRU ? 3
                                                 : 1;
    int64_t rows = (d.direction == 2 ? 2 : 1) * gates * d.hidden;
    pq_recurrent_weights w = {
        .w = constant_f32(l, 1, rows * d.input),
        .r = constant_f32(l, 2, rows * d.hidden),
        .bias = constant_f32(l, 3, 2 * rows),
        .peephole = constant_f32(l, 7, rows / gates * 3),
    };
    if (w.w == NULL || w.r == NULL) {
        pq_decline(l, "weights have to be constants");
    }
    uint32_t args[4] = {
        pq_use_identity(l, pq_in_index(l, 0)).value,
        emit_cell(l, &d, &w),
        use_state(l, 5),
        use_state(l, 6),
    };
    uint32_t outs[3];
    for (uint32_t i = 0; i < 3; i++) {
        outs[i] = pq_define_identity(l, pq_out_index(l, i)).value;
    }
    ptqc_str name = ptqc_gb_str(l->g, pq_lower_node(l)->op);
    pq_step_begin(l, PQ_STEP_RECURRENT, "%.*s", (int)name.n, name.p);
    for (uint32_t i = 0; i < 4; i++) {
        pq_step_in(l, args[i]);
    }
    for (uint32_t i = 0; i < 3; i++) {
        pq_step_out(l, outs[i]);
    }
    pq_step_i64(l, d.kind);
    pq_step_i64(l, d.direction);
    pq_step_i64(l, d.linear_before_reset);
    pq_step_i64(l, d.hidden);
}
