// SPDX-License-Identifier: Apache-2.0
//
// Layers of adaround, see layer.h.

#include "passes/calib/layer.h"

#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "passes/match.h"
#include "quant/pack.h"

static bool
is_rounded(const pq_graph *g, const pq_op *op, pq_mode mode)
{
    const pq_quant *q =
        pq_is_product(op->code) ? pq_annotation(g, op->inputs[1]) : NULL;
    uint32_t w_axis, y_axis;
    return q != NULL && mode != PQ_MODE_FLOAT &&
           op->code != PQ_OP_CONV_TRANSPOSE &&
           !pq_dtype_is_float(q->scheme.format) &&
           pq_is_real_constant(g, op->inputs[1]) &&
           pq_channel_axes(g, op, &w_axis, &y_axis) &&
           pq_op_i64(op, PQ_ATTR_TRANS_A, 0) == 0 &&
           !pq_const_is_none(q->scale) && pq_const_is_none(q->codes);
}

bool
pq_layer_of(const pq_graph *g, const pq_recipe *recipe, pq_op_id id,
            pq_mode mode, pq_layer *out, pq_method *out_method)
{
    const pq_op *op = pq_graph_op(g, id);
    if (!pq_method_of_op(g, recipe, op, out_method) ||
        !out_method->does_adaround || !is_rounded(g, op, mode)) {
        return false;
    }
    const pq_constant *w =
        pq_graph_constant(g, pq_graph_value(g, op->inputs[1])->constant);
    int64_t rows = pq_channel_count(g, op);
    *out = (pq_layer){
        .op = id, .mode = mode, .groups = pq_op_i64(op, PQ_ATTR_GROUP, 1)};
    out->is_turned =
        op->code == PQ_OP_MATMUL && pq_op_i64(op, PQ_ATTR_TRANS_B, 0) == 0;
    out->d = rows > 0 ? pq_element_count(w) / rows : 0;
    out->rows = rows / out->groups;
    return out->rows > 0 && out->d > 0;
}

// Between [rows][cols] and [cols][rows].
static ptqc_status
turn(const void *from, int64_t rows, int64_t cols, size_t bytes,
     pq_arena *arena, void **out)
{
    uint8_t *to = pq_arena_alloc(arena, (size_t)(rows * cols) * bytes);
    PQ_TRY_ALLOC(to);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < cols; k++) {
            memcpy(to + (size_t)(k * rows + i) * bytes,
                   (const uint8_t *)from + (size_t)(i * cols + k) * bytes,
                   bytes);
        }
    }
    *out = to;
    return PTQC_OK;
}

ptqc_status
pq_layer_read(const pq_graph *g, const pq_layer *l, pq_arena *arena,
              pq_layer_weight *out)
{
    pq_value_id id = pq_graph_op(g, l->op)->inputs[1];
    const pq_quant *q = pq_annotation(g, id);
    const pq_constant *scale = pq_graph_constant(g, q->scale);
    int64_t scales = (int64_t)(scale->bytes / sizeof(float));
    pq_str label = pq_op_label(g, pq_graph_op(g, l->op));
    const char *name = pq_arena_strndup(arena, label.p, label.n);
    void *w = pq_copy_floats(g, id, arena);
    PQ_TRY_ALLOC(name);
    PQ_TRY_ALLOC(w);
    if (l->is_turned) {
        PQ_TRY(turn(w, l->d, l->groups * l->rows, sizeof(float), arena, &w));
    }
    *out =
        (pq_layer_weight){.name = name,
                          .w = w,
                          .scheme = q->scheme,
                          .scales = scale->p,
                          .zero_points = pq_graph_constant(g, q->zero_point)->p,
                          .scale_step = scales > 1 ? scales / l->groups : 0};
    out->scheme.axis = q->scheme.granularity == PQ_GRAN_GROUP ? 1 : 0;
    return PTQC_OK;
}

// Codes in the order of the weight become its annotation's.
static ptqc_status
annotate(pq_graph *g, pq_value_id w, const uint8_t *codes)
{
    pq_value *value = pq_graph_value(g, w);
    pq_quant q = *pq_graph_quant(g, value->quant);
    pq_constant c = *pq_graph_constant(g, value->constant);
    size_t row = (size_t)c.dims[c.rank - 1];
    size_t count = (size_t)pq_element_count(&c);
    unsigned bits = pq_dtype_bits(q.scheme.format);
    c.dtype = q.scheme.format;
    if (!pq_dtype_bytes(c.dtype, c.dims, c.rank, &c.bytes)) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_INPUT, "codes: too many");
    }
    uint8_t *packed = pq_arena_alloc(pq_graph_arena(g), c.bytes);
    PQ_TRY_ALLOC(packed);
    c.p = packed;
    for (size_t i = 0; i < count; i += row) {
        pq_pack_row(codes + i, row, bits, packed);
        packed += pq_packed_bytes(row, bits);
    }
    q.codes = pq_graph_add_constant(g, &c);
    value->quant = pq_graph_add_quant(g, &q);
    return pq_const_is_none(q.codes) || pq_quant_is_none(value->quant)
               ? pq_graph_failure(g)
               : PTQC_OK;
}

ptqc_status
pq_layer_annotate(pq_graph *g, const pq_layer *l, uint8_t *codes,
                  pq_arena *arena)
{
    void *turned = codes;
    if (l->is_turned) {
        PQ_TRY(turn(codes, l->groups * l->rows, l->d, 1, arena, &turned));
    }
    return annotate(g, pq_graph_op(g, l->op)->inputs[1], turned);
}

const char *
pq_layer_describe(const pq_adaround_report *report, double places,
                  pq_arena *arena)
{
    char text[96];
    double rounding = report->rounding_loss;
    int n = snprintf(text, sizeof text,
                     "output error %.3f of rounding's, on %.0f places",
                     rounding > 0 ? report->loss / rounding : 1, places);
    return pq_arena_strndup(arena, text, n > 0 ? (size_t)n : 0);
}

void
pq_layer_tell(const pq_graph *g, const pq_pass_env *env, const pq_layer *l,
              const char *text)
{
    if (env->note != NULL) {
        env->note(env->note_user, pq_op_label(g, pq_graph_op(g, l->op)),
                  "adaround", text);
    }
}
