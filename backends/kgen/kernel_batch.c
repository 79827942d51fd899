// SPDX-License-Identifier: Apache-2.0
//
// BATCH_MATMUL: both operands of this run (skeletons/batch_matmul.kg).
#include <stdio.h>
#include <string.h>

#include "expr_text.h"

#define NO_AXIS 15u

typedef struct batch {
    uint32_t axes; // logical: batch axes, row, column
    bool has_codes;
    pq_kg_expression e;
} batch;

static const char *
read_step(const pq_kg_job *job, batch *b)
{
    const pq_kg_tensor *x = pq_kg_in(job, 0), *w = pq_kg_in(job, 1);
    const pq_kg_tensor *y = pq_kg_out(job, 0);
    int64_t batches = pq_kg_i64(job, 0);
    memset(b, 0, sizeof *b);
    if (x == NULL || w == NULL || y == NULL || batches < 0 ||
        batches > PTQC_MAX_RANK - 2 || y->rank == 0) {
        return "batch matmul: operands";
    }
    bool has_x = x->dtype == PTQC_U8 || x->dtype == PTQC_I8;
    bool has_w = w->dtype == PTQC_U8 || w->dtype == PTQC_I8;
    if (has_x != has_w ||
        (!has_x && !(pq_kg_is_float(x->dtype) && pq_kg_is_float(w->dtype)))) {
        return "batch matmul: types";
    }
    b->has_codes = has_x;
    b->axes = (uint32_t)batches + 2;
    return pq_kg_expression_read(job, 6, has_x ? PTQC_I32 : PTQC_F32, 2, &b->e);
}

static const char *
operand_lines(pq_kg_module *m, const batch *b, const char *format)
{
    pq_kg_text t = {.mem = m->mem};
    for (uint32_t i = 0; i < pq_kg_expression_operands(&b->e); i++) {
        pq_kg_text_numbered(&t, format, i);
    }
    return pq_kg_module_text(m, &t);
}

void
pq_kg_source_batch_matmul(pq_kg_module *m)
{
    batch b;
    char result[16], name[32];
    const char *why = read_step(m->job, &b);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    const pq_kg_tensor *y = pq_kg_out(m->job, 0);
    const char *types[2] = {pq_kg_dtype_name(pq_kg_in(m->job, 0)->dtype),
                            pq_kg_dtype_name(pq_kg_in(m->job, 1)->dtype)};
    pq_kg_module_name(m, "batch_matmul_%s_%s", types[0], types[1]);
    pq_kg_expression_name(m, &b.e);
    pq_kg_module_buffer(m, 0, "a", PQ_KG_READS);
    pq_kg_module_buffer(m, 1, "b", PQ_KG_READS);
    static const char *const WORDS[] = {
        "count", "words_out", "depth", "a_step", "b_step", "a_zero", "b_zero"};
    for (uint32_t i = 0; i < 7; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    pq_kg_module_words(m, "dims", y->rank);
    pq_kg_module_words(m, "a_stride", y->rank);
    pq_kg_module_words(m, "b_stride", y->rank);
    for (uint32_t i = 0; i < pq_kg_expression_operands(&b.e); i++) {
        (void)snprintf(name, sizeof name, "stride%u", i);
        pq_kg_module_words(m, name, y->rank);
    }
    pq_kg_expression_declare(m, &b.e);
    pq_kg_module_buffer(m, m->job->input_count, "y", PQ_KG_WRITES);
    pq_kg_module_define(m, "RANK", "%uu", y->rank);
    pq_kg_module_define(m, "SUM", b.has_codes ? "i32" : "f32");
    pq_kg_module_define(m, "MAC(u, v, sum)",
                        b.has_codes ? "sum + u * v" : "FMA(u, v, sum)");
    for (uint32_t i = 0; i < 2; i++) {
        const char *operand = i == 0 ? "a" : "b";
        pq_kg_module_define(m, i == 0 ? "LOAD_A(at)" : "LOAD_B(at)",
                            b.has_codes ? "(I32(LD_%s(%s, at)) - I32(%s_zero))"
                                        : "LD_%s(%s, at)",
                            types[i], operand, operand);
    }
    pq_kg_module_hook(m, "places", operand_lines(m, &b, "u32 at$ = 0u;\n"));
    pq_kg_module_hook(m, "steps",
                      operand_lines(m, &b, "at$ += i * stride$(d);\n"));
    pq_kg_module_hook(m, "starts",
                      operand_lines(m, &b, "at$ += rest * stride$(0u);\n"));
    pq_kg_module_hook(m, "expression",
                      pq_kg_expression_text(m, &b.e, "sum", result));
    pq_kg_module_store(m, y->dtype, result);
    pq_kg_module_body(m, pq_kg_text_batch_matmul);
}

// ---- launch ----------------------------------------------------------------

// Physical axis of logical axis i by the map; NO_AXIS.
static uint32_t
axis_of(int64_t map, uint32_t i)
{
    return (uint32_t)((uint64_t)map >> (4 * i)) & 15u;
}

// Strides of operand a (side 0: batches and row) or b (side 1: batches and
// column) along the axes of y, and along K.
static void
read_side(pq_kg_launcher *l, const batch *b, uint32_t side, int64_t *out,
          int64_t *out_step, int64_t *out_depth)
{
    const pq_kg_tensor *t = pq_kg_in(l->job, side), *y = pq_kg_out(l->job, 0);
    int64_t map = pq_kg_i64(l->job, 1 + side), y_map = pq_kg_i64(l->job, 3);
    int64_t dense[PTQC_MAX_RANK];
    uint32_t seen = 0;
    memset(out, 0, sizeof *out * PTQC_MAX_RANK);
    pq_kg_strides(t, dense);
    for (uint32_t i = 0; i < b->axes; i++) {
        uint32_t from = axis_of(map, i), to = axis_of(y_map, i);
        bool is_depth = i == (side == 0 ? b->axes - 1 : b->axes - 2);
        if (from == NO_AXIS) {
            PQ_KG_NEED(l, !is_depth);
            continue;
        }
        if (!PQ_KG_NEED(l, from < t->rank && (seen >> from & 1) == 0)) {
            return;
        }
        seen |= 1u << from;
        if (is_depth) {
            *out_step = dense[from];
            *out_depth = t->dims[from];
        } else if (PQ_KG_NEED(l, to < y->rank || t->dims[from] == 1) &&
                   t->dims[from] != 1) {
            PQ_KG_NEED(l, t->dims[from] == y->dims[to]);
            out[to] = dense[from];
        }
    }
}

void
pq_kg_launch_batch_matmul(pq_kg_launcher *l)
{
    batch b;
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    const char *why = read_step(l->job, &b);
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    int64_t strides[2][PTQC_MAX_RANK], steps[2] = {0}, depth[2] = {0}, count;
    for (uint32_t i = 0; i < 2; i++) {
        read_side(l, &b, i, strides[i], &steps[i], &depth[i]);
    }
    PQ_KG_NEED(l, depth[0] == depth[1]);
    (void)pq_kg_count(y, &count);
    int64_t words = pq_kg_words_of(y->dtype, count);
    const int64_t own[] = {count, words, depth[0], steps[0], steps[1]};
    for (uint32_t i = 0; i < 5; i++) {
        pq_kg_put(l, own[i]);
    }
    pq_kg_put_i32(l, pq_kg_i64(l->job, 4));
    pq_kg_put_i32(l, pq_kg_i64(l->job, 5));
    for (uint32_t d = 0; d < y->rank; d++) {
        pq_kg_put(l, y->dims[d]);
    }
    for (uint32_t i = 0; i < 2 * y->rank; i++) {
        pq_kg_put(l, strides[i / y->rank][i % y->rank]);
    }
    for (uint32_t i = 0; i < pq_kg_expression_operands(&b.e); i++) {
        int64_t view[PTQC_MAX_RANK];
        pq_kg_expression_view(l, &b.e, i, y, view);
        for (uint32_t d = 0; d < y->rank; d++) {
            pq_kg_put(l, view[d]);
        }
    }
    pq_kg_expression_put(l, &b.e);
    pq_kg_launch_items(l, words, l->limits->is_cpu ? 32 : 64);
    l->out->work_ops = 2 * (uint64_t)count * (uint64_t)depth[0];
}
