// SPDX-License-Identifier: Apache-2.0
//
// See columns.h. Sums are in double, in the order of rows.

#include "passes/calib/columns.h"

#include "passes/match.h"
#include "passes/plan.h"

// A matmul whose weights become codes and whose x has its columns last.
static bool
has_columns(const pq_graph *g, const pq_op *op)
{
    return op->code == PQ_OP_MATMUL && pq_is_constant(g, op->inputs[1]) &&
           pq_annotation(g, op->inputs[1]) != NULL &&
           pq_op_i64(op, PQ_ATTR_TRANS_A, 0) == 0 &&
           pq_graph_value(g, op->inputs[0])->type.rank > 0;
}

static int64_t
columns_of(const pq_graph *g, pq_value_id x)
{
    return pq_static_dim(g, x, pq_graph_value(g, x)->type.rank - 1);
}

static ptqc_status
watch(pq_columns *c, const pq_graph *g, pq_value_id x, pq_arena *arena)
{
    int64_t n = columns_of(g, x);
    if (n < 1 || c->slot_of[x.index] != 0) {
        return PTQC_OK;
    }
    c->sums[c->count] = pq_arena_array(arena, (size_t)n, sizeof **c->sums);
    PQ_TRY_ALLOC(c->sums[c->count]);
    c->column_counts[c->count] = n;
    c->watched[c->count++] = x;
    c->slot_of[x.index] = c->count;
    return PTQC_OK;
}

ptqc_status
pq_columns_init(pq_columns *c, const pq_graph *g, pq_arena *arena)
{
    uint32_t n = pq_graph_value_count(g);
    *c = (pq_columns){0};
    c->watched = pq_arena_array(arena, n, sizeof *c->watched);
    c->sums = pq_arena_array(arena, n, sizeof *c->sums);
    c->column_counts = pq_arena_array(arena, n, sizeof *c->column_counts);
    c->row_counts = pq_arena_array(arena, n, sizeof *c->row_counts);
    c->slot_of = pq_arena_array(arena, n, sizeof *c->slot_of);
    PQ_TRY_ALLOC(c->watched);
    PQ_TRY_ALLOC(c->sums);
    PQ_TRY_ALLOC(c->column_counts);
    PQ_TRY_ALLOC(c->row_counts);
    PQ_TRY_ALLOC(c->slot_of);
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (has_columns(g, op)) {
            PQ_TRY(watch(c, g, op->inputs[0], arena));
        }
    }
    return PTQC_OK;
}

bool
pq_columns_take(pq_columns *c, pq_value_id v, const pq_tensor *t)
{
    uint32_t slot = c->slot_of[v.index];
    const float *x = t->p;
    if (slot == 0 || t->dtype != PTQC_F32) {
        return false;
    }
    int64_t n = c->column_counts[slot - 1];
    double *sums = c->sums[slot - 1];
    int64_t rows = (int64_t)(t->bytes / sizeof *x) / n;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < n; k++) {
            sums[k] += (double)x[r * n + k] * (double)x[r * n + k];
        }
    }
    c->row_counts[slot - 1] += (double)rows;
    c->sample_count += slot == 1;
    return true;
}

void
pq_columns_state(pq_columns *c, pq_value_id v, pq_state *s)
{
    uint32_t slot = c->slot_of[v.index];
    if (slot == 0) {
        return;
    }
    size_t n = (size_t)c->column_counts[slot - 1];
    pq_state_bytes(s, c->sums[slot - 1], n * sizeof **c->sums);
    PQ_STATE(s, c->row_counts[slot - 1]);
    if (slot == 1) {
        PQ_STATE(s, c->sample_count);
    }
}

static ptqc_status
keep_op(const pq_columns *c, const pq_graph *g, const pq_op *op, pq_stats *out)
{
    pq_stat *stat;
    uint32_t i = c->slot_of[op->inputs[0].index];
    if (i == 0 || !(c->row_counts[i - 1] > 0)) {
        return PTQC_OK;
    }
    int64_t n = c->column_counts[i - 1];
    PQ_TRY(pq_stats_get(out, pq_op_label(g, op), &stat));
    stat->squares =
        pq_arena_array(&out->arena, (size_t)n, sizeof *stat->squares);
    PQ_TRY_ALLOC(stat->squares);
    stat->column_count = n;
    stat->row_count = c->row_counts[i - 1];
    for (int64_t k = 0; k < n; k++) {
        stat->squares[k] = (float)(c->sums[i - 1][k] / stat->row_count);
    }
    return PTQC_OK;
}

ptqc_status
pq_columns_keep(const pq_columns *c, const pq_graph *g, pq_stats *out)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (has_columns(g, op)) {
            PQ_TRY(keep_op(c, g, op, out));
        }
    }
    return PTQC_OK;
}
