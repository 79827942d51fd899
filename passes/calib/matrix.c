// SPDX-License-Identifier: Apache-2.0
//
// Weights of matmul for solvers, see matrix.h.

#include "passes/calib/matrix.h"

#include "base/dtype.h"
#include "passes/match.h"
#include "passes/params.h"
#include "passes/plan.h"
#include "quant/pack.h"
#include "quant/quantize.h"

static const pq_constant *
weight_of(const pq_graph *g, const pq_op *op)
{
    return pq_graph_constant(g, pq_graph_value(g, op->inputs[1])->constant);
}

// Stored [cols][rows].
static bool
is_turned(const pq_op *op)
{
    return pq_op_i64(op, PQ_ATTR_TRANS_B, 0) == 0;
}

bool
pq_is_matrix_product(const pq_graph *g, const pq_op *op)
{
    uint32_t w_axis, y_axis;
    if (op->code != PQ_OP_MATMUL || !pq_is_real_constant(g, op->inputs[1]) ||
        pq_op_i64(op, PQ_ATTR_TRANS_A, 0) != 0 ||
        !pq_channel_axes(g, op, &w_axis, &y_axis)) {
        return false;
    }
    const pq_quant *q = pq_annotation(g, op->inputs[1]);
    const pq_constant *w = weight_of(g, op);
    return q != NULL && !q->scheme.dynamic && w->rank == 2 && w->bytes > 0;
}

pq_scheme
pq_matrix_scheme(const pq_graph *g, const pq_op *op)
{
    pq_scheme s = pq_annotation(g, op->inputs[1])->scheme;
    if (s.granularity == PQ_GRAN_CHANNEL) {
        s.axis = 0;
    }
    return s;
}

ptqc_status
pq_matrix_measure(const pq_graph *g, const pq_op *op, pq_matrix_size *out)
{
    const pq_constant *w = weight_of(g, op);
    bool turned = is_turned(op);
    *out = (pq_matrix_size){.rows = w->dims[turned ? 1 : 0],
                            .cols = w->dims[turned ? 0 : 1]};
    const pq_weights view = {.outer = 1,
                             .channels = out->rows,
                             .inner = out->cols,
                             .scheme = pq_matrix_scheme(g, op)};
    out->scale_count = (size_t)pq_weights_scale_count(&view);
    return pq_dtype_bytes(view.scheme.format, w->dims, 2, &out->code_bytes)
               ? PTQC_OK
               : PQ_FAIL(pq_graph_ctx(g), PTQC_E_INPUT, "codes: too many");
}

ptqc_status
pq_matrix_read(const pq_graph *g, const pq_op *op, pq_arena *arena,
               const float **out)
{
    const pq_constant *c = weight_of(g, op);
    float *w = pq_copy_floats(g, op->inputs[1], arena);
    PQ_TRY_ALLOC(w);
    *out = w;
    if (!is_turned(op)) {
        return PTQC_OK;
    }
    int64_t rows = c->dims[1];
    int64_t cols = c->dims[0];
    float *turned = pq_arena_array(arena, (size_t)(rows * cols), sizeof *w);
    PQ_TRY_ALLOC(turned);
    for (int64_t k = 0; k < cols; k++) {
        for (int64_t i = 0; i < rows; i++) {
            turned[i * cols + k] = w[k * rows + i];
        }
    }
    *out = turned;
    return PTQC_OK;
}

static ptqc_status
turn_codes(const pq_constant *c, const uint8_t *codes, pq_arena *arena,
           const uint8_t **out)
{
    int64_t rows = c->dims[1];
    int64_t cols = c->dims[0];
    uint8_t *turned = pq_arena_alloc(arena, (size_t)(rows * cols));
    PQ_TRY_ALLOC(turned);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < cols; k++) {
            turned[k * rows + i] = codes[i * cols + k];
        }
    }
    *out = turned;
    return PTQC_OK;
}

ptqc_status
pq_matrix_pack(const pq_graph *g, const pq_op *op, const uint8_t *codes,
               pq_arena *arena, const void **out)
{
    const pq_constant *c = weight_of(g, op);
    size_t rows = (size_t)c->dims[0]; // as stored
    size_t cols = (size_t)c->dims[1];
    pq_matrix_size size;
    unsigned bits =
        pq_dtype_bits(pq_annotation(g, op->inputs[1])->scheme.format);
    PQ_TRY(pq_matrix_measure(g, op, &size));
    uint8_t *packed = pq_arena_alloc(arena, size.code_bytes);
    PQ_TRY_ALLOC(packed);
    if (is_turned(op)) {
        PQ_TRY(turn_codes(c, codes, arena, &codes));
    }
    for (size_t i = 0; i < rows; i++) {
        pq_pack_row(codes + i * cols, cols, bits,
                    packed + i * (size.code_bytes / rows));
    }
    *out = packed;
    return PTQC_OK;
}

ptqc_status
pq_matrix_annotate(pq_graph *g, const pq_op *op, const float *scales,
                   const int32_t *zero_points)
{
    pq_value *value = pq_graph_value(g, op->inputs[1]);
    const pq_scheme scheme = pq_graph_quant(g, value->quant)->scheme;
    bool has_groups = scheme.granularity == PQ_GRAN_GROUP;
    pq_matrix_size size;
    PQ_TRY(pq_matrix_measure(g, op, &size));
    int64_t dims[2] = {(int64_t)size.scale_count, 1};
    if (has_groups) {
        dims[0] = weight_of(g, op)->dims[0];
        dims[1] = (int64_t)size.scale_count / dims[0];
    }
    return pq_make_quant(g, &scheme, scales, zero_points, dims,
                         has_groups ? 2 : 1, &value->quant);
}
