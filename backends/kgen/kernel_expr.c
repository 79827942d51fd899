// SPDX-License-Identifier: Apache-2.0
//
// EXPR and LOOKUP steps (skeletons/expr.kg). The iteration space is collapsed
// at launch, so most chains divide no index.
#include <stdio.h>

#include "expr_text.h"

// A statement for each operand, its number for $.
static const char *
operand_lines(pq_kg_module *m, uint32_t count, const char *format)
{
    pq_kg_text t = {.mem = m->mem};
    for (uint32_t i = 0; i < count; i++) {
        pq_kg_text_numbered(&t, format, i);
    }
    return pq_kg_module_text(m, &t);
}

// How results are gathered into words and stored.
void
pq_kg_module_store(pq_kg_module *m, uint32_t dtype, const char *result)
{
    uint32_t bytes = pq_kg_element_bytes(dtype);
    pq_kg_text gather = {.mem = m->mem};
    pq_kg_text_add(&gather, "bits |= BITS_%s(%s) << (lane * %uu);\n",
                   pq_kg_dtype_name(dtype), result, bytes < 4 ? 8 * bytes : 0);
    pq_kg_module_define(m, "LANES", "%uu", bytes < 4 ? 4 / bytes : 1);
    pq_kg_module_hook(m, "gather", pq_kg_module_text(m, &gather));
    pq_kg_module_hook(m, "store",
                      dtype == PTQC_I64
                          ? "y[2u * word] = bits;\n"
                            "y[2u * word + 1u] = U32(I32(bits) >> 31);\n"
                      : dtype == PTQC_U64 ? "y[2u * word] = bits;\n"
                                            "y[2u * word + 1u] = 0u;\n"
                                          : "y[word] = bits;\n");
}

void
pq_kg_module_store_row(pq_kg_module *m, uint32_t dtype, int64_t row,
                       const char *result)
{
    uint32_t bytes = pq_kg_element_bytes(dtype);
    uint32_t lanes = bytes < 4 ? 4 / bytes : 1;
    if (row % lanes == 0) {
        pq_kg_module_store(m, dtype, result);
        return;
    }
    pq_kg_text gather = {.mem = m->mem}, store = {.mem = m->mem};
    pq_kg_text_add(&gather, "bits = BITS_%s(%s);\n", pq_kg_dtype_name(dtype),
                   result);
    pq_kg_text_add(&store,
                   "u32 shift = (at & %uu) * %uu;\n"
                   "ATOMIC_AND(y, at >> %u, ~(0x%xu << shift));\n"
                   "ATOMIC_OR(y, at >> %u, bits << shift);\n",
                   lanes - 1, 8 * bytes, lanes == 4 ? 2 : 1,
                   bytes == 1 ? 0xffu : 0xffffu, lanes == 4 ? 2 : 1);
    pq_kg_module_define(m, "LANES", "1u");
    pq_kg_module_hook(m, "gather", pq_kg_module_text(m, &gather));
    pq_kg_module_hook(m, "store", pq_kg_module_text(m, &store));
}

static uint32_t
space_rank(uint32_t rank)
{
    return rank > 0 ? rank : 1;
}

// Registers of 64 bits are two words (wide.kg).
static void
store_result(pq_kg_module *m, uint32_t dtype, const char *result)
{
    if (dtype != PTQC_I64 && dtype != PTQC_U64) {
        pq_kg_module_store(m, dtype, result);
        return;
    }
    pq_kg_text gather = {.mem = m->mem};
    pq_kg_text_add(&gather, "y[2u * word] = %s.x;\ny[2u * word + 1u] = %s.y;\n",
                   result, result);
    pq_kg_module_define(m, "LANES", "1u");
    pq_kg_module_hook(m, "gather", pq_kg_module_text(m, &gather));
    pq_kg_module_hook(m, "store", "");
}

void
pq_kg_source_expr(pq_kg_module *m)
{
    pq_kg_expression e;
    const char *why = pq_kg_expression_read(m->job, 0, PTQC_DTYPE_NONE, 0, &e);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    uint32_t rank = space_rank(e.rank), n = pq_kg_expression_operands(&e);
    char result[16];
    pq_kg_module_name(m, "expr");
    pq_kg_expression_name(m, &e);
    pq_kg_module_word(m, "count");
    pq_kg_module_word(m, "words_out");
    pq_kg_module_word(m, "rank");
    pq_kg_module_words(m, "dims", rank);
    for (uint32_t i = 0; i < n; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "stride%u", i);
        pq_kg_module_words(m, name, rank);
    }
    pq_kg_expression_declare(m, &e);
    pq_kg_module_buffer(m, m->job->input_count, "y", PQ_KG_WRITES);
    pq_kg_module_hook(m, "places", operand_lines(m, n, "u32 at$ = 0u;\n"));
    pq_kg_module_hook(m, "steps",
                      operand_lines(m, n, "at$ += i * stride$(d);\n"));
    pq_kg_module_hook(m, "starts",
                      operand_lines(m, n, "at$ += rest * stride$(0u);\n"));
    pq_kg_module_hook(m, "expression",
                      pq_kg_expression_text(m, &e, "", result));
    store_result(m, pq_kg_out(m->job, 0)->dtype, result);
    pq_kg_module_body(m, pq_kg_text_expr);
}

// ---- launch ----------------------------------------------------------------

typedef struct space {
    uint32_t rank; // >= 1
    int64_t dims[PTQC_MAX_RANK];
    int64_t strides[PQ_EXPR_MAX_INPUTS][PTQC_MAX_RANK];
} space;

// Takes axis `from` of y in: as an axis of its own, or as part of the last.
static void
add_axis(space *s, const int64_t (*strides)[PTQC_MAX_RANK], uint32_t inputs,
         uint32_t from, int64_t n)
{
    bool joins = s->rank > 0;
    for (uint32_t i = 0; i < inputs && joins; i++) {
        joins = s->strides[i][s->rank - 1] == strides[i][from] * n;
    }
    uint32_t at = joins ? s->rank - 1 : s->rank;
    s->dims[at] = joins ? s->dims[at] * n : n;
    for (uint32_t i = 0; i < inputs; i++) {
        s->strides[i][at] = strides[i][from];
    }
    s->rank = at + 1;
}

void
pq_kg_launch_expr(pq_kg_launcher *l)
{
    pq_kg_expression e;
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    space s = {0};
    int64_t strides[PQ_EXPR_MAX_INPUTS][PTQC_MAX_RANK], count;
    const char *why = pq_kg_expression_read(l->job, 0, PTQC_DTYPE_NONE, 0, &e);
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    uint32_t rank = space_rank(y->rank), n = pq_kg_expression_operands(&e);
    for (uint32_t i = 0; i < n; i++) {
        pq_kg_expression_view(l, &e, i, y, strides[i]);
    }
    for (uint32_t d = 0; d < y->rank && l->st == PTQC_BE_OK; d++) {
        if (y->dims[d] != 1) {
            add_axis(&s, strides, n, d, y->dims[d]);
        }
    }
    if (s.rank == 0) {
        s.rank = 1;
        s.dims[0] = 1;
    }
    (void)pq_kg_count(y, &count);
    int64_t words = pq_kg_words_of(y->dtype, count);
    pq_kg_put(l, count);
    pq_kg_put(l, words);
    pq_kg_put(l, s.rank);
    for (uint32_t d = 0; d < rank; d++) {
        pq_kg_put(l, d < s.rank ? s.dims[d] : 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t d = 0; d < rank; d++) {
            pq_kg_put(l, d < s.rank ? s.strides[i][d] : 0);
        }
    }
    pq_kg_expression_put(l, &e);
    pq_kg_launch_items(l, words, pq_kg_flat_local(l->limits));
    l->out->work_ops = (uint64_t)count * e.d.op_count;
}

// ---- lookup ----------------------------------------------------------------

void
pq_kg_source_lookup(pq_kg_module *m)
{
    const pq_kg_tensor *x = pq_kg_in(m->job, 0), *y = pq_kg_out(m->job, 0);
    if (x == NULL || y == NULL || pq_kg_in(m->job, 1) == NULL ||
        pq_kg_element_bytes(x->dtype) != 1 ||
        pq_kg_element_bytes(y->dtype) != 1) {
        pq_kg_module_decline(m, "lookup of elements that are not bytes");
        return;
    }
    pq_kg_module_name(m, "lookup");
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_module_buffer(m, 1, "entries", PQ_KG_READS);
    pq_kg_module_buffer(m, 2, "y", PQ_KG_WRITES);
    pq_kg_module_word(m, "words_out");
    pq_kg_module_body(m, pq_kg_text_lookup);
}

void
pq_kg_launch_lookup(pq_kg_launcher *l)
{
    int64_t count;
    (void)pq_kg_count(pq_kg_out(l->job, 0), &count);
    int64_t words = pq_kg_words_of(PTQC_U8, count);
    pq_kg_put(l, words);
    pq_kg_launch_items(l, words, pq_kg_flat_local(l->limits));
}
