// SPDX-License-Identifier: Apache-2.0
//
// Walks over rows (emit_row_scan.h).
#include "emit_row_scan.h"

#include <llvm-c/Core.h>
#include <math.h>
#include <stddef.h>

#include "emit_math.h"

typedef LLVMValueRef val;

static val
fold_two(pq_emitter *e, pq_scan_fold fold, val v_a, val v_b)
{
    switch (fold) {
    case PQ_SCAN_NONE:
        break;
    case PQ_SCAN_ADD:
        return LLVMBuildFAdd(e->builder, v_a, v_b, "");
    case PQ_SCAN_MUL:
        return LLVMBuildFMul(e->builder, v_a, v_b, "");
    case PQ_SCAN_MAX:
        return pq_emit_maxf(e, v_a, v_b);
    case PQ_SCAN_MIN:
        return pq_emit_minf(e, v_a, v_b);
    }
    return NULL;
}

static val
fold_start(pq_emitter *e, pq_scan_fold fold)
{
    double start = fold == PQ_SCAN_MUL   ? 1.0
                   : fold == PQ_SCAN_MAX ? -(double)INFINITY
                   : fold == PQ_SCAN_MIN ? (double)INFINITY
                                         : 0.0;
    return pq_emit_real(e->t_vf32, start);
}

static val
half(pq_emitter *e, val v_vector, uint32_t first, uint32_t lanes)
{
    int index[PQ_LANES];
    for (uint32_t i = 0; i < lanes; i++) {
        index[i] = (int)(first + i);
    }
    return pq_emit_shuffle(e, v_vector, LLVMGetPoison(LLVMTypeOf(v_vector)),
                           index, lanes);
}

static val
fold_lanes(pq_emitter *e, pq_scan_fold fold, val v_vector)
{
    for (uint32_t lanes = PQ_LANES / 2; lanes > 0; lanes /= 2) {
        v_vector = fold_two(e, fold, half(e, v_vector, 0, lanes),
                            half(e, v_vector, lanes, lanes));
    }
    return LLVMBuildExtractElement(e->builder, v_vector, pq_emit_i32(e, 0), "");
}

static val
at_element(pq_emitter *e, val v_base, val v_index, uint32_t bytes)
{
    val v_offset = LLVMBuildMul(e->builder, v_index, pq_emit_i64(e, bytes), "");
    return pq_emit_at(e, v_base, v_offset);
}

static val
load_f32(pq_emitter *e, val v_at, val v_mask)
{
    return v_mask == NULL ? pq_emit_load(e, e->t_vf32, v_at, 4)
                          : pq_emit_masked_load(e, e->t_vf32, v_at, v_mask, 4);
}

static void
store(pq_emitter *e, val v_value, val v_at, val v_mask, uint32_t align)
{
    if (v_mask == NULL) {
        pq_emit_store(e, v_value, v_at, align);
    } else {
        pq_emit_masked_store(e, v_value, v_at, v_mask, align);
    }
}

// ---- rows ----------------------------------------------------------------

// Elements index .. index+15; returns the accumulator after them.
static val
row_step(pq_emitter *e, const pq_scan *s, val v_index, val v_mask, val v_acc)
{
    val v_in[PQ_SCAN_SOURCES] = {NULL, NULL, NULL};
    for (uint32_t i = 0; i < PQ_SCAN_SOURCES; i++) {
        if (s->v_source[i] != NULL) {
            v_in[i] =
                load_f32(e, at_element(e, s->v_source[i], v_index, 4), v_mask);
        }
    }
    val v_new = v_acc, v_out = NULL;
    s->body(e, s->user, v_in, &v_new, &v_out);
    if (s->v_target != NULL) {
        store(e, v_out, at_element(e, s->v_target, v_index, s->target_bytes),
              v_mask, s->target_bytes);
    }
    return v_mask == NULL || s->fold == PQ_SCAN_NONE
               ? v_new
               : LLVMBuildSelect(e->builder, v_mask, v_new, v_acc, "");
}

static val
scan_row(pq_emitter *e, const pq_scan *s)
{
    LLVMBuilderRef b = e->builder;
    uint32_t carried = s->fold == PQ_SCAN_NONE ? 0 : 1;
    val v_acc = fold_start(e, s->fold);
    val v_n = s->v_length;
    val v_whole = LLVMBuildAnd(b, v_n, pq_emit_i64(e, -(int64_t)PQ_LANES), "");
    // for (i = 0; i < n / 16 * 16; i += 16) step(i)
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_whole, PQ_LANES, &v_acc,
                       carried);
    val v_next =
        row_step(e, s, loop.v_index, NULL, carried ? loop.v_carried[0] : v_acc);
    pq_emit_loop_end(e, &loop, &v_next);
    v_acc = carried ? loop.v_carried[0] : v_acc;
    // if (i < n) step of the first n - i lanes
    pq_branch branch;
    pq_emit_if_begin(e, &branch,
                     LLVMBuildICmp(b, LLVMIntSLT, v_whole, v_n, ""));
    val v_mask = pq_emit_mask(e, LLVMBuildSub(b, v_n, v_whole, ""));
    v_next = row_step(e, s, v_whole, v_mask, v_acc);
    pq_emit_if_end(e, &branch, &v_acc, &v_next, carried, &v_acc);
    return carried ? fold_lanes(e, s->fold, v_acc) : NULL;
}

// ---- columns -------------------------------------------------------------

// Element k of 16 columns. v_inside (NULL = yes): all lanes k < length. Lanes
// beyond the columns read zeros; what they give is never stored.
static val
column_step(pq_emitter *e, const pq_scan *s, val v_k, val v_inside, val v_acc)
{
    LLVMBuilderRef b = e->builder;
    val v_mask =
        v_inside == NULL ? s->v_mask : LLVMBuildAnd(b, s->v_mask, v_inside, "");
    val v_offset = LLVMBuildMul(b, v_k, s->v_stride, "");
    val v_in[PQ_SCAN_SOURCES] = {NULL, NULL, NULL};
    v_in[0] = load_f32(e, pq_emit_at(e, s->v_source[0], v_offset), v_mask);
    val v_new = v_acc, v_out = NULL;
    s->body(e, s->user, v_in, &v_new, &v_out);
    if (s->v_target != NULL) {
        store(e, v_out, pq_emit_at(e, s->v_target, v_offset), v_mask,
              s->target_bytes);
    }
    return v_inside == NULL ? v_new
                            : LLVMBuildSelect(b, v_inside, v_new, v_acc, "");
}

static void
scan_column_map(pq_emitter *e, const pq_scan *s)
{
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), s->v_length, 1, NULL, 0);
    column_step(e, s, loop.v_index, NULL, NULL);
    pq_emit_loop_end(e, &loop, NULL);
}

static val
scan_column(pq_emitter *e, const pq_scan *s)
{
    LLVMBuilderRef b = e->builder;
    val v_acc[PQ_LANES];
    for (uint32_t l = 0; l < PQ_LANES; l++) {
        v_acc[l] = fold_start(e, s->fold);
    }
    // for (k = 0; k < n; k += 16) for (l = 0; l < 16; l++) if (k + l < n) ...
    // One checked copy of the 16 steps: bodies may be long (exp).
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), s->v_length, PQ_LANES,
                       v_acc, PQ_LANES);
    for (uint32_t l = 0; l < PQ_LANES; l++) {
        val v_k = LLVMBuildAdd(b, loop.v_index, pq_emit_i64(e, l), "");
        val v_inside = LLVMBuildICmp(b, LLVMIntSLT, v_k, s->v_length, "");
        v_acc[l] = column_step(e, s, v_k, pq_emit_splat(e, v_inside),
                               loop.v_carried[l]);
    }
    pq_emit_loop_end(e, &loop, v_acc);
    for (uint32_t l = 0; l < PQ_LANES; l++) {
        v_acc[l] = loop.v_carried[l];
    }
    for (uint32_t lanes = PQ_LANES / 2; lanes > 0; lanes /= 2) {
        for (uint32_t l = 0; l < lanes; l++) {
            v_acc[l] = fold_two(e, s->fold, v_acc[l], v_acc[l + lanes]);
        }
    }
    return v_acc[0];
}

LLVMValueRef
pq_emit_scan(pq_emitter *e, const pq_scan *scan)
{
    if (!scan->is_column) {
        return scan_row(e, scan);
    }
    if (scan->fold != PQ_SCAN_NONE) {
        return scan_column(e, scan);
    }
    scan_column_map(e, scan);
    return NULL;
}
