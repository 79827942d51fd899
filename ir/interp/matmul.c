// SPDX-License-Identifier: Apache-2.0
//
// matmul: [..., m, k] x [..., k, n], numpy broadcasting of the leading axes,
// vectors on either side, either matrix transposed; float, weight-only codes,
// integer codes; and bare products of f64 and of plain integers.
#include <math.h>
#include <string.h>

#include "ir/interp/eval.h"
#include "ir/interp/families.h"

typedef struct matmul {
    int64_t batch, m, k, n;
    bool trans_a, trans_b;
    pq_tensor a, b; // shapes with two matrix axes
    pq_tensor y;    // shape of the batch axes only
} matmul;

// A vector is a row on the left, a column on the right.
static pq_tensor
as_matrix(const pq_tensor *t, bool is_left)
{
    pq_tensor m = *t;
    if (t->rank == 1) {
        m.rank = 2;
        m.dims[0] = is_left ? 1 : t->dims[0];
        m.dims[1] = is_left ? t->dims[0] : 1;
    }
    return m;
}

static ptqc_status
init_shape(pq_eval *e, matmul *mm)
{
    if (e->in[0].rank < 1 || e->in[1].rank < 1) {
        return pq_eval_fail(e, PTQC_E_INPUT, "an operand is a scalar");
    }
    mm->a = as_matrix(&e->in[0], true);
    mm->b = as_matrix(&e->in[1], false);
    mm->trans_a =
        e->in[0].rank > 1 && pq_op_i64(e->op, PQ_ATTR_TRANS_A, 0) != 0;
    mm->trans_b =
        e->in[1].rank > 1 && pq_op_i64(e->op, PQ_ATTR_TRANS_B, 0) != 0;
    const int64_t *da = mm->a.dims + mm->a.rank - 2;
    const int64_t *db = mm->b.dims + mm->b.rank - 2;
    mm->m = mm->trans_a ? da[1] : da[0];
    mm->k = mm->trans_a ? da[0] : da[1];
    mm->n = mm->trans_b ? db[0] : db[1];
    int64_t bk = mm->trans_b ? db[1] : db[0];
    mm->y = e->out[0];
    uint32_t matrix_axes =
        (uint32_t)(e->in[0].rank > 1) + (uint32_t)(e->in[1].rank > 1);
    mm->y.rank = mm->y.rank > matrix_axes ? mm->y.rank - matrix_axes : 0;
    mm->batch = pq_size_product(mm->y.dims, 0, mm->y.rank);
    if (bk != mm->k ||
        mm->batch * mm->m * mm->n != pq_tensor_count(&e->out[0])) {
        return pq_eval_fail(e, PTQC_E_INPUT, "%lld columns times %lld rows",
                            (long long)mm->k, (long long)bk);
    }
    return PTQC_OK;
}

// Which matrix of t the batch index `i` of the output takes.
static int64_t
matrix_of(const pq_tensor *t, const pq_tensor *y, int64_t i)
{
    int64_t at = 0, stride = 1;
    uint32_t batch_axes = t->rank - 2;
    for (uint32_t a = 0; a < y->rank; a++) {
        int64_t dim = y->dims[y->rank - 1 - a];
        if (a < batch_axes) {
            int64_t own = t->dims[batch_axes - 1 - a];
            at += own == 1 ? 0 : i % dim * stride;
            stride *= own;
        }
        i /= dim;
    }
    return at;
}

// Row-major copy of the transpose of a [rows][columns].
static void
transpose(const uint8_t *a, int64_t rows, int64_t columns, size_t size,
          uint8_t *out)
{
    for (int64_t c = 0; c < columns; c++) {
        pq_copy_strided(out, a + (size_t)c * size, rows, columns, size);
        out += (size_t)rows * size;
    }
}

// Operands and scratch of the packed product, f32 or i16.
typedef struct operands {
    const uint8_t *a, *b;
    uint8_t *a_rows; // transposed copy of a
    uint8_t *packed;
    void *acc;                 // [m][n] f32 or i32
    size_t size, b_size;       // of an element of a, of b
    bool is_integer, is_group; // a is i16; w has scales per group of k
    pq_group_product group;
    int16_t *row; // [k] scratch: a row of a f32 as fixed point numbers
} operands;

static ptqc_status
init_group(pq_eval *e, const matmul *mm, operands *o)
{
    pq_qview q;
    PQ_TRY(pq_qview_of(e, e->op->inputs[1], &q));
    o->group = (pq_group_product){.m = mm->m,
                                  .k = mm->k,
                                  .n = mm->n,
                                  .group = PQ_CHANNEL_GROUP,
                                  .scale = q.scale,
                                  .column_stride = q.count > 1};
    if (o->is_integer && mm->k > 0) {
        o->group.group = mm->k;
    }
    if (q.scheme.granularity == PQ_GRAN_GROUP) {
        int64_t group = (int64_t)q.scheme.group;
        o->group.group = group;
        o->group.column_stride = (mm->k + group - 1) / group;
        o->group.group_stride = 1;
    }
    o->row = pq_scratch(e, o->is_integer ? 0 : mm->k, sizeof *o->row);
    PQ_TRY_ALLOC(o->row);
    return PTQC_OK;
}

// Operand i as centered codes or as f32.
static ptqc_status
read_operand(pq_eval *e, uint32_t i, bool is_integer, const uint8_t **out,
             size_t *out_size)
{
    const int16_t *codes = NULL;
    const float *real = NULL;
    if (is_integer) {
        PQ_TRY(pq_centered_i16(e, i, &codes)); // also checks the scales
    } else {
        PQ_TRY(pq_in_f32(e, i, &real));
    }
    *out = is_integer ? (const uint8_t *)codes : (const uint8_t *)real;
    *out_size = is_integer ? sizeof *codes : sizeof *real;
    return PTQC_OK;
}

static ptqc_status
init_operands(pq_eval *e, const matmul *mm, operands *o)
{
    o->is_integer = pq_is_integer_product(e->g, e->op);
    o->is_group = pq_is_group_product(e->g, e->op);
    PQ_TRY(read_operand(e, 0, o->is_integer, &o->a, &o->size));
    PQ_TRY(read_operand(e, 1, o->is_integer || o->is_group, &o->b, &o->b_size));
    if (o->is_group) {
        PQ_TRY(init_group(e, mm, o));
    }
    o->a_rows = pq_scratch(e, mm->trans_a ? mm->m * mm->k : 0, o->size);
    PQ_TRY_ALLOC(o->a_rows);
    o->packed = pq_scratch(e, pq_panels(mm->n) * PQ_PANEL * mm->k, o->b_size);
    PQ_TRY_ALLOC(o->packed);
    o->acc = pq_scratch(e, mm->m * mm->n, 4);
    PQ_TRY_ALLOC(o->acc);
    return PTQC_OK;
}

static void
run_matrix(const matmul *mm, const operands *o, const uint8_t *a)
{
    if (mm->trans_a) {
        transpose(a, mm->k, mm->m, o->size, o->a_rows);
        a = o->a_rows;
    }
    const int16_t *codes = (const int16_t *)(const void *)o->packed;
    if (o->is_group && o->is_integer) {
        pq_product_groups(&o->group, (const int16_t *)(const void *)a, codes,
                          o->acc);
    } else if (o->is_group) {
        pq_product_fixed(&o->group, (const float *)(const void *)a, codes,
                         o->row, o->acc);
    } else if (o->is_integer) {
        pq_product_i16((const int16_t *)(const void *)a, codes, mm->m, mm->k,
                       mm->n, o->acc);
    } else {
        pq_product_f32((const float *)(const void *)a,
                       (const float *)(const void *)o->packed, mm->m, mm->k,
                       mm->n, o->acc);
    }
}

static void
pack_b(const matmul *mm, const operands *o, const uint8_t *b)
{
    if (o->b_size == sizeof(int16_t)) {
        pq_pack_i16((const int16_t *)(const void *)b, mm->k, mm->n, mm->trans_b,
                    (int16_t *)(void *)o->packed);
    } else {
        pq_pack_f32((const float *)(const void *)b, mm->k, mm->n, mm->trans_b,
                    (float *)(void *)o->packed);
    }
}

static ptqc_status
run_packed(pq_eval *e, const matmul *mm)
{
    operands o = {0};
    pq_epilogue ep;
    PQ_TRY(init_operands(e, mm, &o));
    PQ_TRY(pq_epilogue_init(e, mm->n, mm->n, &ep));
    int64_t packed = -1;
    for (int64_t i = 0; i < mm->batch; i++) {
        int64_t ia = matrix_of(&mm->a, &mm->y, i);
        int64_t ib = matrix_of(&mm->b, &mm->y, i);
        if (ib != packed) {
            pack_b(mm, &o, o.b + (size_t)(ib * mm->k * mm->n) * o.b_size);
            packed = ib;
        }
        run_matrix(mm, &o, o.a + (size_t)(ia * mm->m * mm->k) * o.size);
        for (int64_t r = 0; r < mm->m; r++) {
            pq_span s = {.acc_f32 = (const float *)o.acc + r * mm->n,
                         .acc_i32 = (const int32_t *)o.acc + r * mm->n,
                         .stride = 1,
                         .out = (i * mm->m + r) * mm->n,
                         .n = mm->n,
                         .channel_step = 1,
                         .row = ia * mm->m + r};
            pq_epilogue_run(&ep, &s);
        }
    }
    return pq_epilogue_end(&ep);
}

// ---- f64 and plain integers -----------------------------------------------

// Strides of matrices a, b of one batch index.
typedef struct strides {
    int64_t am, ak, bk, bn;
} strides;

static void
product_f64(const matmul *mm, strides s, const double *a, const double *b,
            double *y)
{
    for (int64_t i = 0; i < mm->m * mm->n; i++) {
        double acc = 0.0;
        const double *pa = a + i / mm->n * s.am;
        const double *pb = b + i % mm->n * s.bn;
        for (int64_t k = 0; k < mm->k; k++) {
            acc = fma(pa[k * s.ak], pb[k * s.bk], acc);
        }
        y[i] = acc;
    }
}

static void
product_i64(const matmul *mm, strides s, const int64_t *a, const int64_t *b,
            int64_t *y)
{
    for (int64_t i = 0; i < mm->m * mm->n; i++) {
        uint64_t acc = 0;
        const int64_t *pa = a + i / mm->n * s.am;
        const int64_t *pb = b + i % mm->n * s.bn;
        for (int64_t k = 0; k < mm->k; k++) {
            acc += (uint64_t)pa[k * s.ak] * (uint64_t)pb[k * s.bk];
        }
        y[i] = (int64_t)acc;
    }
}

static ptqc_status
run_exact(pq_eval *e, const matmul *mm, bool is_f64)
{
    strides s = {mm->trans_a ? 1 : mm->k, mm->trans_a ? mm->m : 1,
                 mm->trans_b ? 1 : mm->n, mm->trans_b ? mm->k : 1};
    const int64_t *a = NULL, *b = NULL;
    int64_t *y = NULL;
    if (!is_f64) {
        PQ_TRY(pq_in_i64(e, 0, &a));
        PQ_TRY(pq_in_i64(e, 1, &b));
        PQ_TRY(pq_out_i64(e, 0, &y));
    }
    for (int64_t i = 0; i < mm->batch; i++) {
        int64_t ia = matrix_of(&mm->a, &mm->y, i) * mm->m * mm->k;
        int64_t ib = matrix_of(&mm->b, &mm->y, i) * mm->k * mm->n;
        int64_t iy = i * mm->m * mm->n;
        if (is_f64) {
            product_f64(mm, s, (const double *)e->in[0].p + ia,
                        (const double *)e->in[1].p + ib,
                        (double *)e->out[0].p + iy);
        } else {
            product_i64(mm, s, a + ia, b + ib, y + iy);
        }
    }
    return is_f64 ? PTQC_OK : pq_end_i64(e, 0, y);
}

ptqc_status
pq_eval_matmul(pq_eval *e)
{
    matmul mm = {0};
    PQ_TRY(init_shape(e, &mm));
    uint32_t kind = pq_value_kind(e->g, e->op->inputs[0]);
    if (pq_is_integer_product(e->g, e->op) ||
        (kind & (PQ_KIND_INT | PQ_KIND_F64)) == 0) {
        return run_packed(e, &mm);
    }
    return run_exact(e, &mm, kind == PQ_KIND_F64);
}
