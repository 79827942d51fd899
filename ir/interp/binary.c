// SPDX-License-Identifier: Apache-2.0
//
// Elementwise ops of two inputs, comparisons, where: numpy broadcasting.
#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// ---- scalar functions -----------------------------------------------------

static double
min64(double a, double b)
{
    double m = a < b ? a : b;
    return a != a ? a : m;
}

static double
max64(double a, double b)
{
    double m = a > b ? a : b;
    return a != a ? a : m;
}

// Remainder with the divisor's sign.
static double
floor_mod64(double a, double b)
{
    double r = fmod(a, b);
    return r != 0.0 && (r < 0.0) != (b < 0.0) ? r + b : r;
}

static int64_t
wrap(uint64_t x)
{
    return (int64_t)x;
}

static uint64_t
shift_left(uint64_t a, uint64_t b)
{
    return b < 64 ? a << b : 0;
}

static uint64_t
shift_right(uint64_t a, uint64_t b)
{
    return b < 64 ? a >> b : 0;
}

static int64_t
int_mod(int64_t a, int64_t b)
{
    if (b == 0 || b == -1) {
        return 0;
    }
    int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static uint64_t
uint_pow(uint64_t a, uint64_t b)
{
    uint64_t r = 1;
    for (; b != 0; b >>= 1) {
        r *= (b & 1u) != 0 ? a : 1;
        a *= a;
    }
    return r;
}

// A negative power of anything but 1 and -1 truncates to 0.
static int64_t
int_pow(int64_t a, int64_t b)
{
    if (b >= 0) {
        return wrap(uint_pow((uint64_t)a, (uint64_t)b));
    }
    if (a == 1) {
        return 1;
    }
    return a == -1 ? (b % 2 == 0 ? 1 : -1) : 0;
}

// ---- rows -----------------------------------------------------------------

// One row of n results from two strided rows.
typedef struct row {
    int64_t n, sa, sb;
} row;

static void
row_f32(pq_opcode code, row r, const float *pa, const float *pb, float *y)
{
    switch ((int)code) {
#define BINARY_REAL(OP, f32_expr, f64_expr)                                    \
    case PQ_OP_##OP:                                                           \
        for (int64_t i = 0; i < r.n; i++) {                                    \
            float a = pa[i * r.sa];                                            \
            float b = pb[i * r.sb];                                            \
            y[i] = (f32_expr);                                                 \
        }                                                                      \
        break;
#include "ir/interp/elementwise.def"
    default:
        break;
    }
}

static void
row_f64(pq_opcode code, row r, const double *pa, const double *pb, double *y)
{
    switch ((int)code) {
#define BINARY_REAL(OP, f32_expr, f64_expr)                                    \
    case PQ_OP_##OP:                                                           \
        for (int64_t i = 0; i < r.n; i++) {                                    \
            double a = pa[i * r.sa];                                           \
            double b = pb[i * r.sb];                                           \
            y[i] = (f64_expr);                                                 \
        }                                                                      \
        break;
#include "ir/interp/elementwise.def"
    default:
        break;
    }
}

// mask: the bits of the stored type, for logical right shifts.
static void
row_i64(pq_opcode code, row r, const int64_t *pa, const int64_t *pb, int64_t *y,
        uint64_t mask)
{
    switch ((int)code) {
#define BINARY_INT(OP, signed_expr, unsigned_expr)                             \
    case PQ_OP_##OP:                                                           \
        for (int64_t i = 0; i < r.n; i++) {                                    \
            int64_t a = pa[i * r.sa];                                          \
            int64_t b = pb[i * r.sb];                                          \
            uint64_t ua = (uint64_t)a;                                         \
            uint64_t ub = (uint64_t)b;                                         \
            (void)ua, (void)ub;                                                \
            y[i] = (signed_expr);                                              \
        }                                                                      \
        break;
#include "ir/interp/elementwise.def"
    default:
        break;
    }
}

static void
row_u64(pq_opcode code, row r, const int64_t *pa, const int64_t *pb, int64_t *y)
{
    switch ((int)code) {
#define BINARY_INT(OP, signed_expr, unsigned_expr)                             \
    case PQ_OP_##OP:                                                           \
        for (int64_t i = 0; i < r.n; i++) {                                    \
            uint64_t ua = (uint64_t)pa[i * r.sa];                              \
            uint64_t ub = (uint64_t)pb[i * r.sb];                              \
            (void)ub;                                                          \
            y[i] = (int64_t)(unsigned_expr);                                   \
        }                                                                      \
        break;
#include "ir/interp/elementwise.def"
    default:
        break;
    }
}

#define COMPARE_ROW(name, type)                                                \
    static void name(pq_opcode code, row r, const type *pa, const type *pb,    \
                     uint8_t *y)                                               \
    {                                                                          \
        switch ((int)code) {                                                   \
            COMPARE_CASES                                                      \
        default:                                                               \
            break;                                                             \
        }                                                                      \
    }
#define COMPARE_CASE(OP, operator)                                             \
    case PQ_OP_##OP:                                                           \
        for (int64_t i = 0; i < r.n; i++) {                                    \
            y[i] = pa[i * r.sa] operator pb[i * r.sb];                         \
        }                                                                      \
        break;
#define COMPARE_CASES                                                          \
    COMPARE_CASE(EQUAL, ==)                                                    \
    COMPARE_CASE(LESS, <)                                                      \
    COMPARE_CASE(LESS_EQUAL, <=)                                               \
    COMPARE_CASE(GREATER, >)                                                   \
    COMPARE_CASE(GREATER_EQUAL, >=)

COMPARE_ROW(compare_f32, float)
COMPARE_ROW(compare_f64, double)
COMPARE_ROW(compare_i64, int64_t)
COMPARE_ROW(compare_u64, uint64_t)

// ---- ops ------------------------------------------------------------------

static bool
in_list(pq_opcode code, bool is_real)
{
    switch ((int)code) {
#define BINARY_REAL(OP, f32_expr, f64_expr)                                    \
    case PQ_OP_##OP:                                                           \
        if (is_real) {                                                         \
            return true;                                                       \
        }                                                                      \
        break;
#include "ir/interp/elementwise.def"
    default:
        break;
    }
    switch ((int)code) {
#define BINARY_INT(OP, signed_expr, unsigned_expr)                             \
    case PQ_OP_##OP:                                                           \
        return !is_real;
#include "ir/interp/elementwise.def"
    default:
        return false;
    }
}

const char *
pq_rule_binary(pq_graph *g, const pq_op *op)
{
    uint32_t kind = pq_value_kind(g, op->inputs[0]);
    bool is_int = (kind & (PQ_KIND_INT | PQ_KIND_BOOL)) != 0;
    if (!in_list(op->code, !is_int)) {
        return is_int ? "not defined for integers" : "not defined for floats";
    }
    pq_act act = pq_act_fused(op);
    bool has_act_type = !is_int && kind != PQ_KIND_F64;
    if (act.code != PQ_OP_NONE && (!has_act_type || !pq_act_is_f32(act.code))) {
        return "the fused activation is not defined for the type";
    }
    const pq_value *a = pq_graph_value(g, op->inputs[0]);
    const pq_value *b = pq_graph_value(g, op->inputs[1]);
    return is_int && a->type.dtype != b->type.dtype
               ? "integer operands differ in type"
               : NULL;
}

// Both real, or both of one stored type.
static bool
are_alike(const pq_graph *g, pq_value_id a, pq_value_id b)
{
    const uint32_t real = PQ_KIND_FLOAT | PQ_KIND_QUANT;
    if (((pq_value_kind(g, a) | pq_value_kind(g, b)) & ~real) == 0) {
        return true;
    }
    return pq_value_kind(g, a) == pq_value_kind(g, b) &&
           pq_graph_value(g, a)->type.dtype == pq_graph_value(g, b)->type.dtype;
}

const char *
pq_rule_compare(pq_graph *g, const pq_op *op)
{
    return are_alike(g, op->inputs[0], op->inputs[1])
               ? NULL
               : "operands differ in type";
}

const char *
pq_rule_where(pq_graph *g, const pq_op *op)
{
    return are_alike(g, op->inputs[1], op->inputs[2]) &&
                   are_alike(g, op->inputs[1], op->outputs[0])
               ? NULL
               : "operands differ in type";
}

const char *
pq_rule_scatter(pq_graph *g, const pq_op *op)
{
    return are_alike(g, op->inputs[0], op->inputs[2]) &&
                   are_alike(g, op->inputs[0], op->outputs[0])
               ? NULL
               : "operands differ in type";
}

static void
begin_walk(const pq_eval *e, pq_walk *w)
{
    const pq_tensor *in[2] = {&e->in[0], &e->in[1]};
    pq_walk_broadcast(w, &e->out[0], in, 2);
}

static row
row_of(const pq_walk *w)
{
    return (row){w->n, w->step[0], w->step[1]};
}

static ptqc_status
binary_f32(pq_eval *e)
{
    const float *a, *b;
    float *y;
    PQ_TRY(pq_in_f32(e, 0, &a));
    PQ_TRY(pq_in_f32(e, 1, &b));
    PQ_TRY(pq_out_f32(e, 0, &y));
    pq_walk w;
    begin_walk(e, &w);
    float *at = y;
    for (bool more = w.rows > 0; more; more = pq_walk_next(&w)) {
        row_f32(e->op->code, row_of(&w), a + w.at[0], b + w.at[1], at);
        at += w.n;
    }
    pq_act act = pq_act_fused(e->op);
    if (act.code != PQ_OP_NONE) {
        pq_act_row(&act, y, y, pq_tensor_count(&e->out[0]));
    }
    return pq_end_f32(e, 0, y);
}

static ptqc_status
binary_f64(pq_eval *e)
{
    const double *a = e->in[0].p;
    const double *b = e->in[1].p;
    double *y = e->out[0].p;
    pq_walk w;
    begin_walk(e, &w);
    for (bool more = w.rows > 0; more; more = pq_walk_next(&w)) {
        row_f64(e->op->code, row_of(&w), a + w.at[0], b + w.at[1], y);
        y += w.n;
    }
    return PTQC_OK; // the rule lets no fused activation come here
}

ptqc_status
pq_eval_binary(pq_eval *e)
{
    pq_work work = pq_in_work(e, 0);
    if (work == PQ_WORK_F32) {
        return binary_f32(e);
    }
    if (work == PQ_WORK_F64) {
        return binary_f64(e);
    }
    const int64_t *a, *b;
    int64_t *y;
    PQ_TRY(pq_in_i64(e, 0, &a));
    PQ_TRY(pq_in_i64(e, 1, &b));
    PQ_TRY(pq_out_i64(e, 0, &y));
    unsigned bits = pq_dtype_bits(e->in[0].dtype);
    uint64_t mask = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    pq_walk w;
    begin_walk(e, &w);
    int64_t *at = y;
    for (bool more = w.rows > 0; more; more = pq_walk_next(&w)) {
        if (work == PQ_WORK_U64) {
            row_u64(e->op->code, row_of(&w), a + w.at[0], b + w.at[1], at);
        } else {
            row_i64(e->op->code, row_of(&w), a + w.at[0], b + w.at[1], at,
                    mask);
        }
        at += w.n;
    }
    return pq_end_i64(e, 0, y);
}

// ---- pow: the exponent may have another type ------------------------------

static bool
is_integer_work(pq_work work)
{
    return work == PQ_WORK_I64 || work == PQ_WORK_U64;
}

// Whole powers of integers are exact, all else is computed in floats.
static ptqc_status
pow_f64(pq_eval *e)
{
    const double *a, *b;
    int64_t n = pq_tensor_count(&e->out[0]);
    double *y = pq_scratch(e, n, sizeof *y);
    PQ_TRY_ALLOC(y);
    PQ_TRY(pq_in_as_f64(e, 0, &a));
    PQ_TRY(pq_in_as_f64(e, 1, &b));
    pq_walk w;
    begin_walk(e, &w);
    double *at = y;
    for (bool more = w.rows > 0; more; more = pq_walk_next(&w)) {
        row_f64(PQ_OP_POW, row_of(&w), a + w.at[0], b + w.at[1], at);
        at += w.n;
    }
    return pq_store_f64_as(e, 0, y);
}

static ptqc_status
pow_f32(pq_eval *e)
{
    const float *a;
    const double *wide;
    float *y;
    PQ_TRY(pq_in_f32(e, 0, &a));
    PQ_TRY(pq_in_as_f64(e, 1, &wide));
    PQ_TRY(pq_out_f32(e, 0, &y));
    int64_t n = pq_tensor_count(&e->in[1]);
    float *b = pq_scratch(e, n, sizeof *b);
    PQ_TRY_ALLOC(b);
    for (int64_t i = 0; i < n; i++) {
        b[i] = (float)wide[i];
    }
    pq_walk w;
    begin_walk(e, &w);
    float *at = y;
    for (bool more = w.rows > 0; more; more = pq_walk_next(&w)) {
        row_f32(PQ_OP_POW, row_of(&w), a + w.at[0], b + w.at[1], at);
        at += w.n;
    }
    return pq_end_f32(e, 0, y);
}

const char *
pq_rule_pow(pq_graph *g, const pq_op *op)
{
    uint32_t x = pq_value_kind(g, op->inputs[0]);
    uint32_t y = pq_value_kind(g, op->outputs[0]);
    const uint32_t real = PQ_KIND_FLOAT | PQ_KIND_QUANT;
    if (pq_act_fused(op).code != PQ_OP_NONE) {
        return "pow takes no fused activation";
    }
    return x == y || ((x | y) & ~real) == 0 ? NULL
                                            : "base and result differ in type";
}

ptqc_status
pq_eval_pow(pq_eval *e)
{
    pq_work a = pq_in_work(e, 0), b = pq_in_work(e, 1);
    if (a == PQ_WORK_F32 && b != PQ_WORK_F32) {
        return pow_f32(e);
    }
    if (a == b || (is_integer_work(a) && is_integer_work(b))) {
        return pq_eval_binary(e);
    }
    return pow_f64(e);
}

// Work arrays of input i, whatever the type.
static ptqc_status
any_in(pq_eval *e, uint32_t i, pq_work work, const void **out)
{
    if (work == PQ_WORK_F32) {
        const float *p;
        PQ_TRY(pq_in_f32(e, i, &p));
        *out = p;
    } else if (work == PQ_WORK_F64) {
        *out = e->in[i].p;
    } else {
        const int64_t *p;
        PQ_TRY(pq_in_i64(e, i, &p));
        *out = p;
    }
    return PTQC_OK;
}

ptqc_status
pq_eval_compare(pq_eval *e)
{
    pq_work work = pq_in_work(e, 0);
    const void *a, *b;
    PQ_TRY(any_in(e, 0, work, &a));
    PQ_TRY(any_in(e, 1, work, &b));
    uint8_t *y = e->out[0].p;
    pq_walk w;
    begin_walk(e, &w);
    for (bool more = w.rows > 0; more; more = pq_walk_next(&w), y += w.n) {
        row r = row_of(&w);
        switch (work) {
        case PQ_WORK_F32:
            compare_f32(e->op->code, r, (const float *)a + w.at[0],
                        (const float *)b + w.at[1], y);
            break;
        case PQ_WORK_F64:
            compare_f64(e->op->code, r, (const double *)a + w.at[0],
                        (const double *)b + w.at[1], y);
            break;
        case PQ_WORK_I64:
            compare_i64(e->op->code, r, (const int64_t *)a + w.at[0],
                        (const int64_t *)b + w.at[1], y);
            break;
        case PQ_WORK_U64:
            compare_u64(e->op->code, r, (const uint64_t *)a + w.at[0],
                        (const uint64_t *)b + w.at[1], y);
            break;
        }
    }
    return PTQC_OK;
}

// Elements of `size` bytes of inputs 1 and 2 chosen by input 0.
static void
choose(const pq_eval *e, const uint8_t *a, const uint8_t *b, uint8_t *y,
       size_t size)
{
    const pq_tensor *in[3] = {&e->in[0], &e->in[1], &e->in[2]};
    const uint8_t *condition = e->in[0].p;
    pq_walk w;
    pq_walk_broadcast(&w, &e->out[0], in, 3);
    for (bool more = w.rows > 0; more; more = pq_walk_next(&w)) {
        for (int64_t i = 0; i < w.n; i++, y += size) {
            bool first = condition[w.at[0] + i * w.step[0]] != 0;
            int64_t at =
                first ? w.at[1] + i * w.step[1] : w.at[2] + i * w.step[2];
            memcpy(y, (first ? a : b) + (size_t)at * size, size);
        }
    }
}

ptqc_status
pq_eval_where(pq_eval *e)
{
    bool is_same[2];
    for (uint32_t i = 0; i < 2; i++) {
        PQ_TRY(pq_same_codes(e, e->op->inputs[i + 1], e->op->outputs[0],
                             &is_same[i]));
    }
    if (is_same[0] && is_same[1]) {
        choose(e, e->in[1].p, e->in[2].p, e->out[0].p,
               pq_dtype_bits(e->out[0].dtype) / 8);
        return PTQC_OK;
    }
    const float *a, *b;
    float *y;
    PQ_TRY(pq_in_f32(e, 1, &a));
    PQ_TRY(pq_in_f32(e, 2, &b));
    PQ_TRY(pq_out_f32(e, 0, &y));
    choose(e, (const uint8_t *)a, (const uint8_t *)b, (uint8_t *)y,
           sizeof(float));
    return pq_end_f32(e, 0, y);
}
