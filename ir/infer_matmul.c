// SPDX-License-Identifier: Apache-2.0
//
// Inference of matmul and recurrent cells.
#include "ir/infer.h"

// The last two dims of an operand, transposed when asked; a vector is a row
// on the left and a column on the right.
static void
matrix_dims(pq_infer *c, uint32_t i, bool is_transposed, pq_dim *out_rows,
            pq_dim *out_columns)
{
    const pq_type *t = &pq_infer_in(c, i)->type;
    if (t->rank == 1) {
        pq_dim one = pq_dim_const(c->g, 1);
        *out_rows = i == 0 ? one : t->dims[0];
        *out_columns = i == 0 ? t->dims[0] : one;
        return;
    }
    pq_dim a = t->dims[t->rank - 2];
    pq_dim b = t->dims[t->rank - 1];
    *out_rows = is_transposed ? b : a;
    *out_columns = is_transposed ? a : b;
}

static ptqc_status
batch_dims(pq_infer *c, uint32_t batch)
{
    const pq_type *a = &pq_infer_in(c, 0)->type;
    const pq_type *b = &pq_infer_in(c, 1)->type;
    uint32_t a_batch = a->rank > 2 ? a->rank - 2 : 0;
    uint32_t b_batch = b->rank > 2 ? b->rank - 2 : 0;
    for (uint32_t i = 0; i < batch; i++) {
        bool in_a = i + a_batch >= batch;
        bool in_b = i + b_batch >= batch;
        pq_dim x = in_a ? a->dims[i + a_batch - batch] : (pq_dim){0};
        pq_dim y = in_b ? b->dims[i + b_batch - batch] : (pq_dim){0};
        if (in_a && in_b) {
            PQ_TRY(pq_infer_broadcast_dim(c, 1, x, y, &c->out[0].dims[i]));
        } else {
            c->out[0].dims[i] = in_a ? x : y;
        }
    }
    return PTQC_OK;
}

// x_scale: one per row of x.
static ptqc_status
check_row_scale(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    PQ_TRY(pq_infer_rank(c, 4, t->rank, t->rank));
    for (uint32_t i = 0; i + 1 < t->rank; i++) {
        PQ_TRY(pq_infer_dim(c, 4, i, t->dims[i]));
    }
    return pq_infer_dim(c, 4, t->rank - 1, pq_dim_const(c->g, 1));
}

ptqc_status
pq_infer_matmul(pq_infer *c)
{
    pq_dim m;
    pq_dim k;
    pq_dim k_of_w;
    pq_dim n;
    pq_infer_out *out = &c->out[0];
    PQ_TRY(pq_infer_rank(c, 0, 1, PTQC_MAX_RANK));
    PQ_TRY(pq_infer_rank(c, 1, 1, PTQC_MAX_RANK));
    uint32_t x_rank = pq_infer_in(c, 0)->type.rank;
    uint32_t w_rank = pq_infer_in(c, 1)->type.rank;
    bool trans_b = pq_op_i64(c->op, PQ_ATTR_TRANS_B, 0) != 0;
    matrix_dims(c, 0, pq_op_i64(c->op, PQ_ATTR_TRANS_A, 0) != 0, &m, &k);
    matrix_dims(c, 1, trans_b, &k_of_w, &n);
    PQ_TRY(pq_infer_dim(
        c, 1, w_rank == 1 ? 0 : (trans_b ? w_rank - 1 : w_rank - 2), k));
    uint32_t rank = x_rank > w_rank ? x_rank : w_rank;
    uint32_t batch = rank > 2 ? rank - 2 : 0;
    PQ_TRY(batch_dims(c, batch));
    out->dtype = pq_infer_product_dtype(c);
    out->rank = batch;
    if (x_rank > 1) {
        out->dims[out->rank++] = m;
    }
    if (w_rank > 1) {
        out->dims[out->rank++] = n;
    }
    PQ_TRY(pq_infer_vector(c, 2, n));
    PQ_TRY(pq_infer_like_output(c, 3));
    return check_row_scale(c);
}

// x: [t, b, i] or, BATCH_FIRST, [b, t, i]. d directions, h hidden, g gates:
// w [d, g*h, i], r [d, g*h, h], b [d, 2*g*h], seq_lens [b], h0 and c0
// [d, b, h] or [b, d, h], p [d, 3*h]. Outputs: y [t, d, b, h] or [b, t, d, h],
// last h, last c.
typedef struct recurrence {
    pq_dim time, batch, hidden, directions;
    bool is_batch_first;
    int64_t gates;
} recurrence;

static ptqc_status
read_cell(pq_infer *c, recurrence *out)
{
    int64_t direction;
    for (uint32_t i = 0; i < 3; i++) {
        PQ_TRY(pq_infer_rank(c, i, 3, 3));
    }
    const pq_type *x = &pq_infer_in(c, 0)->type;
    const pq_type *r = &pq_infer_in(c, 2)->type;
    PQ_TRY(pq_infer_int(c, PQ_ATTR_DIRECTION, 0, 2, 0, &direction));
    out->is_batch_first = pq_op_i64(c->op, PQ_ATTR_BATCH_FIRST, 0) != 0;
    out->time = x->dims[out->is_batch_first ? 1 : 0];
    out->batch = x->dims[out->is_batch_first ? 0 : 1];
    out->directions = pq_dim_const(c->g, direction == 2 ? 2 : 1);
    out->hidden = r->dims[2];
    if (pq_op_attr(c->op, PQ_ATTR_HIDDEN) != NULL) {
        int64_t hidden;
        PQ_TRY(pq_infer_int(c, PQ_ATTR_HIDDEN, 1, INT32_MAX, 1, &hidden));
        out->hidden = pq_dim_const(c->g, hidden);
    }
    out->gates = c->op->code == PQ_OP_LSTM  ? 4
                 : c->op->code == PQ_OP_GRU ? 3
                                            : 1;
    return pq_infer_dim(c, 2, 2, out->hidden);
}

static ptqc_status
check_state(pq_infer *c, uint32_t i, const recurrence *cell)
{
    PQ_TRY(pq_infer_rank(c, i, 3, 3));
    PQ_TRY(pq_infer_dim(c, i, cell->is_batch_first ? 1 : 0, cell->directions));
    PQ_TRY(pq_infer_dim(c, i, cell->is_batch_first ? 0 : 1, cell->batch));
    return pq_infer_dim(c, i, 2, cell->hidden);
}

static ptqc_status
check_cell(pq_infer *c, const recurrence *cell)
{
    pq_dim rows = pq_dim_with(c->g, PQ_DIM_MUL, cell->hidden, cell->gates);
    PQ_TRY(pq_infer_dim(c, 1, 0, cell->directions));
    PQ_TRY(pq_infer_dim(c, 1, 1, rows));
    PQ_TRY(pq_infer_dim(c, 1, 2, pq_infer_in(c, 0)->type.dims[2]));
    PQ_TRY(pq_infer_dim(c, 2, 0, cell->directions));
    PQ_TRY(pq_infer_dim(c, 2, 1, rows));
    PQ_TRY(pq_infer_rank(c, 3, 2, 2));
    PQ_TRY(pq_infer_dim(c, 3, 0, cell->directions));
    PQ_TRY(pq_infer_dim(c, 3, 1, pq_dim_with(c->g, PQ_DIM_MUL, rows, 2)));
    PQ_TRY(pq_infer_vector(c, 4, cell->batch));
    PQ_TRY(check_state(c, 5, cell));
    if (c->op->code != PQ_OP_LSTM) {
        return PTQC_OK;
    }
    PQ_TRY(check_state(c, 6, cell));
    PQ_TRY(pq_infer_rank(c, 7, 2, 2));
    PQ_TRY(pq_infer_dim(c, 7, 0, cell->directions));
    return pq_infer_dim(c, 7, 1,
                        pq_dim_with(c->g, PQ_DIM_MUL, cell->hidden, 3));
}

ptqc_status
pq_infer_recurrent(pq_infer *c)
{
    recurrence cell;
    PQ_TRY(read_cell(c, &cell));
    PQ_TRY(check_cell(c, &cell));
    for (uint32_t o = 0; o < c->op->output_count; o++) {
        pq_infer_out *out = &c->out[o];
        out->dtype = pq_infer_in(c, 0)->type.dtype;
        if (pq_value_has_codes(pq_infer_in(c, 0))) {
            out->dtype = PTQC_F32;
        }
        if (cell.is_batch_first) {
            out->dims[out->rank++] = cell.batch;
        }
        if (o == 0) {
            out->dims[out->rank++] = cell.time;
        }
        out->dims[out->rank++] = cell.directions;
        if (!cell.is_batch_first) {
            out->dims[out->rank++] = cell.batch;
        }
        out->dims[out->rank++] = cell.hidden;
    }
    return PTQC_OK;
}
