// SPDX-License-Identifier: Apache-2.0
//
// Inside of the reference executor: the state of one op being run, typed
// views of its operands, and the table from opcode to function.
//
// Most ops are written for one *work type* and whole tensors: pq_in_f32 gives
// an operand as f32 whatever it is stored as (f16, bf16, f8 widened, codes
// dequantized), pq_out_f32 the place for the result, pq_end_f32 stores it in
// the output's own type (rounded or quantized once). f32 tensors are not
// copied.
#ifndef PTQC_IR_INTERP_EVAL_H
#define PTQC_IR_INTERP_EVAL_H

#include "ir/runner.h"

typedef struct pq_eval {
    ptqc_ctx *ctx;
    pq_graph *g;
    const pq_op *op;
    const int64_t *symbols;
    const pq_tensor *in; // [op->input_count], p NULL when absent
    pq_tensor *out;      // [op->output_count]
    pq_arena arena;      // scratch, freed when the op is done
} pq_eval;

typedef ptqc_status (*pq_eval_fn)(pq_eval *e);
// NULL or why the interpreter cannot run the op with its types.
typedef const char *(*pq_rule_fn)(pq_graph *g, const pq_op *op);

// ---- table (table.c) ------------------------------------------------------

// How a value's elements are stored; bits of the operand masks in evals.def.
#define PQ_KIND_NONE   0x01u // absent operand
#define PQ_KIND_FLOAT  0x02u // f32 f16 bf16 f8
#define PQ_KIND_F64    0x04u
#define PQ_KIND_INT    0x08u // 8 bits and more, no scale
#define PQ_KIND_BOOL   0x10u
#define PQ_KIND_SUB    0x20u  // i4 u4 without scale
#define PQ_KIND_QUANT  0x40u  // codes with constant scales
#define PQ_KIND_TOKEN  0x80u  // codes whose scales are another value
#define PQ_KIND_QUANT4 0x100u // as QUANT, i4 u4
#define PQ_KIND_OTHER  0x200u // codes of a type that no op takes

typedef struct pq_eval_info {
    pq_eval_fn run;
    pq_rule_fn rule;   // NULL: the masks say all
    uint32_t in[3];    // masks of inputs 0, 1 and of all others
    uint32_t out;      // mask of all outputs
    bool is_one_class; // inputs and output 0 are all real, f64, int or bool
} pq_eval_info;

const pq_eval_info *pq_eval_info_of(pq_opcode code);      // NULL: no such op
uint32_t pq_value_kind(const pq_graph *g, pq_value_id v); // PQ_KIND_*
// Text in the graph's arena.
__attribute__((format(printf, 2, 3))) const char *
pq_reason(pq_graph *g, const char *format, ...);

// ---- shapes ---------------------------------------------------------------

int64_t pq_tensor_count(const pq_tensor *t); // elements
// Product of dims[begin, end).
int64_t pq_size_product(const int64_t *dims, uint32_t begin, uint32_t end);
// Attribute AXIS (negative counts from the end) within [0, rank), or an
// error.
PTQC_MUST_USE ptqc_status pq_eval_axis(pq_eval *e, int64_t otherwise,
                                       uint32_t rank, uint32_t *out);
static inline bool
pq_has_in(const pq_eval *e, uint32_t i)
{
    return i < e->op->input_count && e->in[i].p != NULL;
}
// "conv 'name'" messages: PTQC_E_INPUT or another status.
__attribute__((format(printf, 3, 4))) ptqc_status
pq_eval_fail(pq_eval *e, ptqc_status st, const char *format, ...);
void *pq_scratch(pq_eval *e, int64_t count, size_t size); // NULL: said

// ---- quantization parameters (quant.c) ------------------------------------

typedef struct pq_qview {
    bool is_on;
    pq_scheme scheme;
    const float *scale;  // NULL for TOKEN
    const int32_t *zero; // as many as scales
    int64_t count;
} pq_qview;

// Types that hold codes: 4 to 16 bits, i32, f8.
bool pq_is_code_format(ptqc_dtype t);
// Parameters of value v; is_on = false when its elements are real numbers.
PTQC_MUST_USE ptqc_status pq_qview_of(pq_eval *e, pq_value_id v, pq_qview *out);
// Two values whose equal codes mean equal numbers (both unquantized counts).
PTQC_MUST_USE ptqc_status pq_same_codes(pq_eval *e, pq_value_id a,
                                        pq_value_id b, bool *out);
// Codes of any integer type as int32 (i64 and u32 are cut), sub-byte types
// unpacked.
PTQC_MUST_USE ptqc_status pq_codes_i32(pq_eval *e, const pq_tensor *t,
                                       const int32_t **out);
PTQC_MUST_USE ptqc_status pq_dequantize_all(pq_eval *e, const pq_tensor *t,
                                            const pq_qview *q, float *out);
PTQC_MUST_USE ptqc_status pq_quantize_all(pq_eval *e, const float *x,
                                          const pq_qview *q, pq_tensor *t);
// Codes of a row of n by the dynamic_quantize rule; -> their scale.
float pq_quantize_row(const float *x, int64_t n, int8_t *out_codes);
void pq_code_limits(ptqc_dtype format, int32_t *out_lo, int32_t *out_hi);
// Code of v by the quantize rule (one scale).
int32_t pq_quantize_one(float v, const pq_qview *q, ptqc_dtype format);
// Stores int32 codes into an 8, 16 or 32 bit integer tensor.
void pq_store_codes(pq_tensor *t, int64_t first, const int32_t *codes,
                    int64_t n);

// ---- means of codes (code_mean.c) -----------------------------------------

typedef struct pq_code_mean {
    pq_eval *e;
    float mult; // sx / sy, or sx
    float lo, hi;
    int32_t zero;
    float *y; // float output
} pq_code_mean;

// Whether the op (a mean) sums codes: one scale in, one scale or float out.
bool pq_is_code_mean(const pq_eval *e);
PTQC_MUST_USE ptqc_status pq_code_mean_init(pq_eval *e, pq_code_mean *out);
// Output element i from the exact sum of n centered codes.
void pq_code_mean_store(pq_code_mean *m, int64_t i, int32_t sum, int64_t n);
PTQC_MUST_USE ptqc_status pq_code_mean_end(pq_code_mean *m);

// ---- views (view.c) -------------------------------------------------------

typedef enum pq_work {
    PQ_WORK_F32,
    PQ_WORK_F64,
    PQ_WORK_I64, // all integers but u64, bool
    PQ_WORK_U64,
} pq_work;

pq_work pq_work_of(ptqc_dtype dtype, bool is_quantized);
pq_work pq_in_work(const pq_eval *e, uint32_t i);
pq_work pq_out_work(const pq_eval *e, uint32_t i);

PTQC_MUST_USE ptqc_status pq_in_f32(pq_eval *e, uint32_t i, const float **out);
PTQC_MUST_USE ptqc_status pq_in_f64(pq_eval *e, uint32_t i, const double **out);
// Also bool; u64 keeps its bits.
PTQC_MUST_USE ptqc_status pq_in_i64(pq_eval *e, uint32_t i,
                                    const int64_t **out);
PTQC_MUST_USE ptqc_status pq_out_f32(pq_eval *e, uint32_t i, float **out);
PTQC_MUST_USE ptqc_status pq_out_f64(pq_eval *e, uint32_t i, double **out);
PTQC_MUST_USE ptqc_status pq_out_i64(pq_eval *e, uint32_t i, int64_t **out);
PTQC_MUST_USE ptqc_status pq_end_f32(pq_eval *e, uint32_t i, const float *p);
PTQC_MUST_USE ptqc_status pq_end_f64(pq_eval *e, uint32_t i, const double *p);
PTQC_MUST_USE ptqc_status pq_end_i64(pq_eval *e, uint32_t i, const int64_t *p);
// Conversions between any two types (cast.c).
// x truncated and saturated to integer type t, NaN to 0; bool: x != 0.
int64_t pq_integer_of(double x, ptqc_dtype t);
PTQC_MUST_USE ptqc_status pq_in_as_f64(pq_eval *e, uint32_t i,
                                       const double **out);
PTQC_MUST_USE ptqc_status pq_store_f64_as(pq_eval *e, uint32_t i,
                                          const double *p);
PTQC_MUST_USE ptqc_status pq_store_i64_as(pq_eval *e, uint32_t i,
                                          const int64_t *p);
// Unquantized conversions of n elements from / to the stored type.
void pq_load_f32s(const pq_tensor *t, float *out);
void pq_store_f32s(pq_tensor *t, const float *p);

// ---- ops that move elements (view.c) --------------------------------------

// Operand i and output 0 as elements of `size` bytes: the stored codes when
// they mean the same on both sides, else f32 numbers. pq_move_end stores.
typedef struct pq_move {
    const uint8_t *src;
    uint8_t *dst;
    size_t size;
    bool is_f32; // through f32
} pq_move;

PTQC_MUST_USE ptqc_status pq_move_begin(pq_eval *e, pq_move *out);
PTQC_MUST_USE ptqc_status pq_move_end(pq_eval *e, const pq_move *m);
// Output element (i, j, ...) = source element table[0][i] + table[1][j] + ...
// or `fill` when one of them is negative. dims are the output's.
void pq_move_tables(const pq_move *m, const int64_t *dims, uint32_t rank,
                    int64_t *const *table, const uint8_t *fill);
const char *pq_rule_move(pq_graph *g, const pq_op *op);
// dst[0..n) = src[i * stride], elements of `size` bytes (1, 2, 4, 8).
void pq_copy_strided(uint8_t *dst, const uint8_t *src, int64_t n,
                     int64_t stride, size_t size);

// ---- broadcast iteration (walk.c) -----------------------------------------

#define PQ_WALK_OPERANDS 3u
#define PQ_WALK_RANK     (2 * PTQC_MAX_RANK) // tile has two axes per axis

// Walks a row-major index space; adjacent axes that all operands step
// through alike are merged. The last axis is the caller's inner loop of `n`
// elements with strides step[o].
typedef struct pq_walk {
    uint32_t rank; // of the outer part
    int64_t dims[PQ_WALK_RANK];
    int64_t strides[PQ_WALK_OPERANDS][PQ_WALK_RANK];
    int64_t index[PQ_WALK_RANK];
    int64_t at[PQ_WALK_OPERANDS]; // element offsets of the current row
    int64_t step[PQ_WALK_OPERANDS];
    int64_t n;
    int64_t rows; // 0: nothing to do
} pq_walk;

// Operand o steps strides[o * PQ_WALK_RANK + axis] elements along an axis.
void pq_walk_init(pq_walk *w, const int64_t *dims, uint32_t rank,
                  const int64_t *strides, uint32_t operand_count);
// numpy broadcasting of `in` tensors (dims only) to `out`.
void pq_walk_broadcast(pq_walk *w, const pq_tensor *out,
                       const pq_tensor *const *in, uint32_t operand_count);
bool pq_walk_next(pq_walk *w); // false after the last row
// Row-major strides in elements.
void pq_dense_strides(const int64_t *dims, uint32_t rank, int64_t *out);

// ---- sums in fixed order (lanes.c) ----------------------------------------

#define PQ_LANES 16

float pq_lane_sum(const float *x, int64_t n);
float pq_lane_sum_squares(const float *x, int64_t n); // fma(x, x, acc)
float pq_lane_sum_abs(const float *x, int64_t n);
float pq_lane_product(const float *x, int64_t n);
float pq_lane_max(const float *x, int64_t n); // -inf when n = 0
float pq_lane_min(const float *x, int64_t n);
// y = softmax of x (in place allowed); n may be 0.
void pq_softmax_row(const float *x, float *y, int64_t n);
void pq_log_softmax_row(const float *x, float *y, int64_t n);

// ---- activations (unary.c) ------------------------------------------------

typedef struct pq_act {
    pq_opcode code; // NONE: nothing
    float alpha, beta;
} pq_act;

pq_act pq_act_fused(const pq_op *op); // attributes ACT, ACT_ALPHA, ACT_BETA
pq_act pq_act_own(const pq_op *op);   // the op itself, ALPHA, BETA
// y may be x. The opcode must be UNARY with f32 result.
void pq_act_row(const pq_act *act, const float *x, float *y, int64_t n);
bool pq_act_is_f32(pq_opcode code);

// ---- inner kernels (rows.c) -----------------------------------------------

#define PQ_PANEL 32 // columns of a panel

typedef struct pq_rows {
    // acc[j] = fma(a[k], b[k * PQ_PANEL + j], acc[j]), k ascending
    void (*dot_f32)(float *acc, const float *a, const float *b, int64_t k);
    // acc[j] += a[k] * b[k * PQ_PANEL + j]
    void (*dot_i16)(uint32_t *acc, const int16_t *a, const int16_t *b,
                    int64_t k);
    // acc[j] = fma(a[j], b[j], acc[j])
    void (*mac_f32)(float *acc, const float *a, const float *b);
    void (*mac_i16)(uint32_t *acc, const int16_t *a, const int16_t *b);
    void (*act)(const pq_act *act, const float *x, float *y, int64_t n);
} pq_rows;

const pq_rows *pq_rows_get(void); // the best variant for this machine
// 0: any machine, 1: x86 with avx2 and fma. NULL when it cannot run here.
const pq_rows *pq_rows_variant(unsigned index);

// ---- products (product.c) -------------------------------------------------

// Panels of 32 columns of b [k][n] (or [n][k] when is_transposed), zeros
// beyond n: out [ceil(n / 32)][k][32].
void pq_pack_f32(const float *b, int64_t k, int64_t n, bool is_transposed,
                 float *out);
void pq_pack_i16(const int16_t *b, int64_t k, int64_t n, bool is_transposed,
                 int16_t *out);
// c [m][n] = a [m][k] * packed; init (may be NULL) [m][n] is where the
// accumulators start. c may be init.
void pq_product_f32(const float *a, const float *packed, int64_t m, int64_t k,
                    int64_t n, float *c);
void pq_product_i16(const int16_t *a, const int16_t *packed, int64_t m,
                    int64_t k, int64_t n, int32_t *c);

// Integer rows times w, codes with one scale per group of k: exact sums within
// a group, f32 between groups (docs/numerics.md sections 4 and 5).
typedef struct pq_group_product {
    int64_t m, k, n;
    int64_t group;      // of k
    const float *scale; // (n, g) at n * column_stride + g * group_stride
    int64_t column_stride, group_stride;
} pq_group_product;

// c [m][n] = a [m][k] * packed, without scales of a.
void pq_product_groups(const pq_group_product *p, const int16_t *a,
                       const int16_t *packed, float *c);
// The same of real rows, which become fixed point numbers of 15 bits; with
// their scales. row: [k] scratch.
void pq_product_fixed(const pq_group_product *p, const float *a,
                      const int16_t *packed, int16_t *row, float *c);

static inline int64_t
pq_panels(int64_t n)
{
    return (n + PQ_PANEL - 1) / PQ_PANEL;
}

// ---- kernel taps (taps.c) -------------------------------------------------

#define PQ_TAP_AXES 3

typedef struct pq_taps {
    int64_t in[PQ_TAP_AXES], out[PQ_TAP_AXES], kernel[PQ_TAP_AXES];
    int64_t pixels, out_pixels, taps;
    const int64_t *pixel; // [out_pixels][taps]: input pixel or -1
    bool is_transposed;
} pq_taps;

// x = input 0, y = output 0; STRIDES, DILATIONS, PADS of the op; `kernel` has
// one size per spatial axis.
PTQC_MUST_USE ptqc_status pq_taps_init(pq_eval *e, const int64_t *kernel,
                                       bool is_transposed, pq_taps *out);

// ---- after the accumulator (epilogue.c) -----------------------------------

typedef enum pq_arith {
    PQ_ARITH_FLOAT, // x float; w float or weight-only codes
    PQ_ARITH_PLAIN, // integer, one multiply per channel
    PQ_ARITH_REAL,  // integer accumulator, real arithmetic after it
    PQ_ARITH_RAW,   // i32 accumulators out
} pq_arith;

typedef struct pq_epilogue {
    pq_arith arith;
    pq_act act;
    int64_t channels;
    const float *bias;       // [channels] or NULL
    const int32_t *bias_acc; // [channels] or NULL
    const float *mult;       // [channels], PLAIN and REAL; NULL: acc is f32
    const float *row_scale;  // [rows], dynamic
    const int32_t *residual_codes;
    const float *residual; // real residual
    float residual_mult;   // sr / sy
    int32_t residual_zero;
    float lo, hi, inv_scale; // of the output's codes
    int32_t out_zero;
    bool is_out_quantized;
    float *out_f32; // REAL and FLOAT with an unquantized output
    float *v;       // scratch [max span]
    int32_t *codes; // scratch [max span]
    pq_eval *e;
} pq_epilogue;

// Accumulators of one span of output elements.
typedef struct pq_span {
    const float *acc_f32;
    const int32_t *acc_i32;
    int64_t stride; // between accumulators
    int64_t out;    // element index of the first output
    int64_t n;
    int64_t channel;      // of the first element
    int64_t channel_step; // 0 or 1
    int64_t row;          // of x, for row_scale
} pq_span;

// Where in the op the operands are: weight 1, bias 2, residual 3, x_scale 4.
PTQC_MUST_USE ptqc_status pq_epilogue_init(pq_eval *e, int64_t channels,
                                           int64_t max_span, pq_epilogue *out);
void pq_epilogue_run(pq_epilogue *ep, const pq_span *s);
PTQC_MUST_USE ptqc_status pq_epilogue_end(pq_epilogue *ep);
// Whether x and w codes are multiplied as integers.
bool pq_is_integer_product(const pq_graph *g, const pq_op *op);
// Whether w has integer codes of a matmul's matrix and the sums are exact
// within groups of k only: x is real (one scale per channel counts as groups of
// PQ_CHANNEL_GROUP), or has codes per token and w scales per group of k or
// codes of 4 bits (one scale per channel: one group).
#define PQ_CHANNEL_GROUP 512
bool pq_is_group_product(const pq_graph *g, const pq_op *op);
// Codes of input i minus their zero points (0 when unquantized).
PTQC_MUST_USE ptqc_status pq_centered_i16(pq_eval *e, uint32_t i,
                                          const int16_t **out);
const char *pq_rule_product(pq_graph *g, const pq_op *op);

#endif
