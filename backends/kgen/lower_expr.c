// SPDX-License-Identifier: Apache-2.0
//
// Lowering of elementwise ops: a chain of nodes becomes one EXPR step.
//
// A node is computed inside its consumer when it has one use, the same shape
// and there is room. Quantized operands are dequantized on the way in,
// results quantized on the way out (docs/numerics.md section 6).
//
// Parameters of an EXPR step:
//     [0] op count  [1] parameter count  [2] result register
//     [3] outputs' axis count (rank of the iteration space)
//     then per op: code | dtype << 8 | a << 16 | b << 24 | c << 32 |
//                  index << 40
//     then the parameters (64 bits each, f32 in the low half)
//     then per input: 4 bits per axis, the axis of the iteration space
#include "lower_expr.h"

#include <math.h>
#include <string.h>

typedef struct entry {
    const char *name;
    uint8_t code;   // pq_expr_code
    uint8_t kind;   // KIND_*
    uint8_t params; // alpha, beta used
    float alpha, beta;
} entry;

#define KIND_UNARY   0
#define KIND_BINARY  1
#define KIND_LOGIC   2 // bool operands
#define KIND_BITS    3 // integer operands
#define KIND_COMPARE 4
#define KIND_WHERE   5
#define KIND_COPY    6 // identity, cast, quantize, dequantize
#define KIND_BATCH   7 // batch norm

// Defaults of absent alpha and beta: docs/operators.md.
static const entry TABLE[] = {
    {"identity", 0, KIND_COPY, 0, 0, 0},
    {"cast", 0, KIND_COPY, 0, 0, 0},
    {"quantize", 0, KIND_COPY, 0, 0, 0},
    {"dequantize", 0, KIND_COPY, 0, 0, 0},
    {"batch_norm", 0, KIND_BATCH, 0, 0, 0},
    {"where", PQ_EXPR_WHERE, KIND_WHERE, 0, 0, 0},
    {"neg", PQ_EXPR_NEG, KIND_UNARY, 0, 0, 0},
    {"abs", PQ_EXPR_ABS, KIND_UNARY, 0, 0, 0},
    {"exp", PQ_EXPR_EXP, KIND_UNARY, 0, 0, 0},
    {"log", PQ_EXPR_LOG, KIND_UNARY, 0, 0, 0},
    {"sqrt", PQ_EXPR_SQRT, KIND_UNARY, 0, 0, 0},
    {"rsqrt", PQ_EXPR_RSQRT, KIND_UNARY, 0, 0, 0},
    {"reciprocal", PQ_EXPR_RECIPROCAL, KIND_UNARY, 0, 0, 0},
    {"sin", PQ_EXPR_SIN, KIND_UNARY, 0, 0, 0},
    {"cos", PQ_EXPR_COS, KIND_UNARY, 0, 0, 0},
    {"tan", PQ_EXPR_TAN, KIND_UNARY, 0, 0, 0},
    {"asin", PQ_EXPR_ASIN, KIND_UNARY, 0, 0, 0},
    {"acos", PQ_EXPR_ACOS, KIND_UNARY, 0, 0, 0},
    {"atan", PQ_EXPR_ATAN, KIND_UNARY, 0, 0, 0},
    {"sinh", PQ_EXPR_SINH, KIND_UNARY, 0, 0, 0},
    {"cosh", PQ_EXPR_COSH, KIND_UNARY, 0, 0, 0},
    {"asinh", PQ_EXPR_ASINH, KIND_UNARY, 0, 0, 0},
    {"acosh", PQ_EXPR_ACOSH, KIND_UNARY, 0, 0, 0},
    {"atanh", PQ_EXPR_ATANH, KIND_UNARY, 0, 0, 0},
    {"tanh", PQ_EXPR_TANH, KIND_UNARY, 0, 0, 0},
    {"sigmoid", PQ_EXPR_SIGMOID, KIND_UNARY, 0, 0, 0},
    {"erf", PQ_EXPR_ERF, KIND_UNARY, 0, 0, 0},
    {"relu", PQ_EXPR_RELU, KIND_UNARY, 0, 0, 0},
    {"clip", PQ_EXPR_CLIP, KIND_UNARY, 2, -INFINITY, INFINITY},
    {"leaky_relu", PQ_EXPR_LEAKY_RELU, KIND_UNARY, 1, 0.01f, 0},
    {"elu", PQ_EXPR_ELU, KIND_UNARY, 1, 1.0f, 0},
    {"selu", PQ_EXPR_SELU, KIND_UNARY, 2, 1.67326319217681884765625f,
     1.05070102214813232421875f},
    {"celu", PQ_EXPR_CELU, KIND_UNARY, 1, 1.0f, 0},
    {"softplus", PQ_EXPR_SOFTPLUS, KIND_UNARY, 0, 0, 0},
    {"softsign", PQ_EXPR_SOFTSIGN, KIND_UNARY, 0, 0, 0},
    {"thresholded_relu", PQ_EXPR_THRESHOLDED_RELU, KIND_UNARY, 1, 1.0f, 0},
    {"gelu", PQ_EXPR_GELU, KIND_UNARY, 0, 0, 0},
    {"gelu_tanh", PQ_EXPR_GELU_TANH, KIND_UNARY, 0, 0, 0},
    {"silu", PQ_EXPR_SILU, KIND_UNARY, 0, 0, 0},
    {"hardswish", PQ_EXPR_HARDSWISH, KIND_UNARY, 0, 0, 0},
    {"hardsigmoid", PQ_EXPR_HARDSIGMOID, KIND_UNARY, 2, 0.2f, 0.5f},
    {"mish", PQ_EXPR_MISH, KIND_UNARY, 0, 0, 0},
    {"floor", PQ_EXPR_FLOOR, KIND_UNARY, 0, 0, 0},
    {"ceil", PQ_EXPR_CEIL, KIND_UNARY, 0, 0, 0},
    {"round", PQ_EXPR_ROUND, KIND_UNARY, 0, 0, 0},
    {"sign", PQ_EXPR_SIGN, KIND_UNARY, 0, 0, 0},
    {"shrink", PQ_EXPR_SHRINK, KIND_UNARY, 2, 0.5f, 0},
    {"not", PQ_EXPR_NOT, KIND_LOGIC, 0, 0, 0},
    {"bitwise_not", PQ_EXPR_NOT, KIND_BITS, 0, 0, 0},
    {"is_nan", PQ_EXPR_IS_NAN, KIND_UNARY, 0, 0, 0},
    {"is_inf", PQ_EXPR_IS_INF, KIND_UNARY, 0, 0, 0},
    {"add", PQ_EXPR_ADD, KIND_BINARY, 0, 0, 0},
    {"sub", PQ_EXPR_SUB, KIND_BINARY, 0, 0, 0},
    {"mul", PQ_EXPR_MUL, KIND_BINARY, 0, 0, 0},
    {"div", PQ_EXPR_DIV, KIND_BINARY, 0, 0, 0},
    {"pow", PQ_EXPR_POW, KIND_BINARY, 0, 0, 0},
    {"min", PQ_EXPR_MIN, KIND_BINARY, 0, 0, 0},
    {"max", PQ_EXPR_MAX, KIND_BINARY, 0, 0, 0},
    {"mod", PQ_EXPR_MOD, KIND_BINARY, 0, 0, 0},
    {"fmod", PQ_EXPR_FMOD, KIND_BINARY, 0, 0, 0},
    {"prelu", PQ_EXPR_LEAKY_RELU, KIND_BINARY, 0, 0, 0},
    {"and", PQ_EXPR_AND, KIND_LOGIC, 0, 0, 0},
    {"or", PQ_EXPR_OR, KIND_LOGIC, 0, 0, 0},
    {"xor", PQ_EXPR_XOR, KIND_LOGIC, 0, 0, 0},
    {"bitwise_and", PQ_EXPR_AND, KIND_BITS, 0, 0, 0},
    {"bitwise_or", PQ_EXPR_OR, KIND_BITS, 0, 0, 0},
    {"bitwise_xor", PQ_EXPR_XOR, KIND_BITS, 0, 0, 0},
    {"shift_left", PQ_EXPR_SHL, KIND_BITS, 0, 0, 0},
    {"shift_right", PQ_EXPR_SHR, KIND_BITS, 0, 0, 0},
    {"equal", PQ_EXPR_EQ, KIND_COMPARE, 0, 0, 0},
    {"less", PQ_EXPR_LT, KIND_COMPARE, 0, 0, 0},
    {"less_equal", PQ_EXPR_LE, KIND_COMPARE, 0, 0, 0},
    {"greater", PQ_EXPR_GT, KIND_COMPARE, 0, 0, 0},
    {"greater_equal", PQ_EXPR_GE, KIND_COMPARE, 0, 0, 0},
};

static const entry *
find_entry(const char *p, uint64_t n)
{
    for (size_t i = 0; i < sizeof TABLE / sizeof TABLE[0]; i++) {
        if (strlen(TABLE[i].name) == n && memcmp(TABLE[i].name, p, n) == 0) {
            return &TABLE[i];
        }
    }
    return NULL;
}

static const entry *
entry_of(const pq_lower *l, uint32_t node)
{
    ptqc_str op = ptqc_gb_str(l->g, ptqc_gb_node_at(l->g, node)->op);
    return find_entry(op.p, op.n);
}

bool
pq_lower_is_elementwise(const pq_lower *l, uint32_t node)
{
    return entry_of(l, node) != NULL;
}

// ---- building --------------------------------------------------------------

uint32_t
pq_chain_op(pq_chain *c, uint32_t code, uint32_t dtype, uint32_t a, uint32_t b,
            uint32_t d)
{
    if (c->d.op_count >= PQ_EXPR_MAX_OPS) {
        pq_decline(c->l, "chain too long");
        return 0;
    }
    c->d.ops[c->d.op_count] = (pq_expr_op){
        .code = (uint8_t)code,
        .dtype = (uint8_t)dtype,
        .a = (uint8_t)a,
        .b = (uint8_t)b,
        .c = (uint8_t)d,
    };
    return c->d.op_count++;
}

static uint32_t
add_param(pq_chain *c, uint32_t dtype, pq_expr_param value)
{
    for (uint32_t i = 0; i < c->d.op_count; i++) {
        const pq_expr_op *op = &c->d.ops[i];
        if (op->code == PQ_EXPR_PARAM && op->dtype == dtype &&
            memcmp(&c->d.params[op->index], &value, sizeof value) == 0) {
            return i;
        }
    }
    if (c->d.param_count >= PQ_EXPR_MAX_PARAMS) {
        pq_decline(c->l, "chain too long");
        return 0;
    }
    uint32_t r = pq_chain_op(c, PQ_EXPR_PARAM, dtype, 0, 0, 0);
    c->d.ops[r].index = (uint8_t)c->d.param_count;
    c->d.params[c->d.param_count++] = value;
    return r;
}

uint32_t
pq_chain_f32(pq_chain *c, float x)
{
    pq_expr_param p;
    memset(&p, 0, sizeof p);
    p.f32 = x;
    return add_param(c, PTQC_F32, p);
}

uint32_t
pq_chain_integer(pq_chain *c, uint32_t dtype, int64_t x)
{
    pq_expr_param p;
    memset(&p, 0, sizeof p);
    p.integer = x;
    return add_param(c, dtype, p);
}

uint32_t
pq_chain_load(pq_chain *c, uint32_t gv, uint32_t dtype)
{
    for (uint32_t i = 0; i < c->d.op_count; i++) {
        const pq_expr_op *op = &c->d.ops[i];
        if (op->code == PQ_EXPR_LOAD && c->gvs[op->index] == gv) {
            return i;
        }
    }
    if (c->d.input_count >= PQ_EXPR_MAX_INPUTS) {
        pq_decline(c->l, "chain of too many operands");
        return 0;
    }
    uint32_t r = pq_chain_op(c, PQ_EXPR_LOAD, dtype, 0, 0, 0);
    c->d.ops[r].index = (uint8_t)c->d.input_count;
    c->gvs[c->d.input_count++] = gv;
    return r;
}

uint32_t
pq_chain_dequantize(pq_chain *c, uint32_t r, const pq_codes *q)
{
    uint32_t s = pq_chain_f32(c, q->scale);
    uint32_t z = pq_chain_integer(c, PTQC_I32, q->zero);
    return pq_chain_op(c, PQ_EXPR_DEQUANTIZE, PTQC_F32, r, s, z);
}

uint32_t
pq_chain_quantize(pq_chain *c, uint32_t r, const pq_codes *q)
{
    uint32_t s = pq_chain_f32(c, q->scale);
    uint32_t z = pq_chain_integer(c, PTQC_I32, q->zero);
    return pq_chain_op(c, PQ_EXPR_QUANTIZE, pq_codes_dtype(q), r, s, z);
}

// Type that a value is computed in: f32 for codes and short floats.
static uint32_t
work_dtype(const pq_lower *l, const ptqc_gb_value *v)
{
    bool is_f32 = pq_gv_is_quantized(l, v) || v->dtype == PTQC_F16 ||
                  v->dtype == PTQC_BF16;
    return is_f32 ? PTQC_F32 : v->dtype;
}

// Stored register -> work register.
static uint32_t
to_work(pq_chain *c, uint32_t r, const ptqc_gb_value *v)
{
    pq_codes q;
    if (pq_gv_codes(c->l, v, &q)) {
        return pq_chain_dequantize(c, r, &q);
    }
    uint32_t work = work_dtype(c->l, v);
    return work == v->dtype ? r : pq_chain_op(c, PQ_EXPR_CAST, work, r, 0, 0);
}

uint32_t
pq_chain_store(pq_chain *c, uint32_t r, const ptqc_gb_value *v)
{
    pq_codes q;
    if (pq_gv_codes(c->l, v, &q)) {
        return pq_chain_quantize(c, r, &q);
    }
    return work_dtype(c->l, v) == v->dtype
               ? r
               : pq_chain_op(c, PQ_EXPR_CAST, v->dtype, r, 0, 0);
}

static uint32_t visit_node(pq_chain *c, uint32_t node);

// Work register of a value.
uint32_t
pq_chain_value(pq_chain *c, uint32_t gv)
{
    pq_lower *l = c->l;
    if (!pq_lower_ok(l)) {
        return 0;
    }
    if (gv == PTQC_GB_NONE) {
        pq_decline(l, "operand is absent");
        return 0;
    }
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    uint32_t producer = l->values[gv].producer;
    if (producer != PQ_KG_NONE && l->fused[producer]) {
        uint32_t stored = visit_node(c, producer);
        return to_work(c, stored, v);
    }
    double scalar;
    if (!pq_gv_is_quantized(l, v) && pq_gv_scalar(l, v, &scalar)) {
        if (v->dtype == PTQC_F32) {
            return pq_chain_f32(c, (float)scalar);
        }
        if (v->dtype != PTQC_F64) {
            return pq_chain_integer(c, v->dtype, (int64_t)scalar);
        }
    }
    uint32_t r = pq_chain_load(c, gv, pq_stored_dtype(l, v));
    return to_work(c, r, v);
}

// ---- nodes -----------------------------------------------------------------

static bool
is_integer(uint32_t dtype)
{
    return (dtype >= PTQC_I8 && dtype <= PTQC_U64);
}

// Bound of an integer clip: what is no number of the type does not bind.
static uint32_t
integer_bound(pq_chain *c, uint32_t dtype, float bound)
{
    unsigned bits = 8 * pq_kg_element_bytes(dtype);
    bool is_signed = dtype == PTQC_I8 || dtype == PTQC_I16 ||
                     dtype == PTQC_I32 || dtype == PTQC_I64;
    if (bits >= 64 && dtype == PTQC_U64) {
        pq_decline(c->l, "clip of u64");
        return 0;
    }
    int64_t high = is_signed ? (int64_t)((UINT64_C(1) << (bits - 1)) - 1)
                             : (int64_t)((UINT64_C(1) << bits) - 1);
    int64_t low = is_signed ? -high - 1 : 0;
    if (bound != truncf(bound) && isfinite(bound)) { // exact: whole numbers
        pq_decline(c->l, "clip of integers to a fraction");
        return 0;
    }
    int64_t value = (double)bound <= (double)low    ? low
                    : (double)bound >= (double)high ? high
                                                    : (int64_t)bound;
    return pq_chain_integer(c, dtype, value);
}

static uint32_t
unary_param(pq_chain *c, uint32_t code, uint32_t dtype, float x)
{
    return code == PQ_EXPR_CLIP && is_integer(dtype)
               ? integer_bound(c, dtype, x)
               : pq_chain_f32(c, x);
}

uint32_t
pq_chain_act(pq_chain *c, const pq_act_attr *act, uint32_t r, uint32_t dtype)
{
    if (act->name.n == 0) {
        return r;
    }
    const entry *t = find_entry(act->name.p, act->name.n);
    if (t == NULL || (t->kind != KIND_UNARY && t->kind != KIND_COPY)) {
        pq_decline(c->l, "fused activation");
        return 0;
    }
    if (t->kind == KIND_COPY) {
        return r;
    }
    float alpha = act->has_alpha ? act->alpha : t->alpha;
    float beta = act->has_beta ? act->beta : t->beta;
    uint32_t a = t->params > 0 ? unary_param(c, t->code, dtype, alpha) : 0;
    uint32_t b = t->params > 1 ? unary_param(c, t->code, dtype, beta) : 0;
    bool test = t->code == PQ_EXPR_IS_NAN || t->code == PQ_EXPR_IS_INF;
    return pq_chain_op(c, t->code, test ? PTQC_BOOL : dtype, r, a, b);
}

static void
read_float(const pq_lower *l, const char *name, bool *has, float *out)
{
    const ptqc_gb_attr *a = ptqc_gb_find_attr(l->g, pq_lower_node(l), name);
    *has = a != NULL && a->kind == PTQC_GB_ATTR_F32;
    *out = *has ? a->f : 0.0f;
}

pq_act_attr
pq_fused_act(const pq_lower *l)
{
    pq_act_attr act = {{"", 0}, 0.0f, 0.0f, false, false};
    const ptqc_gb_attr *a = ptqc_gb_find_attr(l->g, pq_lower_node(l), "act");
    if (a == NULL || a->kind != PTQC_GB_ATTR_TEXT) {
        return act;
    }
    ptqc_gb_text t = {a->first, a->count};
    act.name = ptqc_gb_str(l->g, t);
    read_float(l, "act_alpha", &act.has_alpha, &act.alpha);
    read_float(l, "act_beta", &act.has_beta, &act.beta);
    return act;
}

void
pq_act_defaults(const pq_act_attr *act, float *alpha, float *beta)
{
    const entry *t = find_entry(act->name.p, act->name.n);
    *alpha = act->has_alpha ? act->alpha : t != NULL ? t->alpha : 0.0f;
    *beta = act->has_beta ? act->beta : t != NULL ? t->beta : 0.0f;
}

static uint32_t
visit_unary(pq_chain *c, const entry *t, uint32_t x, uint32_t dtype)
{
    pq_lower *l = c->l;
    pq_act_attr own = {{t->name, strlen(t->name)}, 0.0f, 0.0f, false, false};
    read_float(l, "alpha", &own.has_alpha, &own.alpha);
    read_float(l, "beta", &own.has_beta, &own.beta);
    return pq_chain_act(c, &own, x, dtype);
}

// k = scale * (1 / sqrt(var + eps)); fma(x - mean, k, bias): the channel
// operands are computed in the chain, 16 channels at a time.
static uint32_t
visit_batch_norm(pq_chain *c, uint32_t x)
{
    pq_lower *l = c->l;
    uint32_t r[4];
    for (uint32_t i = 0; i < 4; i++) {
        const ptqc_gb_value *v = pq_in(l, i + 1);
        if (v == NULL || v->dtype != PTQC_F32 || v->rank != 1 ||
            pq_gv_is_quantized(l, v)) {
            pq_decline(l, "channel operands have to be f32 of rank 1");
            return 0;
        }
        r[i] = pq_chain_load(c, pq_in_index(l, i + 1), PTQC_F32);
        c->channel_inputs |= 1u << c->d.ops[r[i]].index;
    }
    float eps = pq_attr_f32(l, "epsilon", 1e-5f);
    uint32_t t =
        pq_chain_op(c, PQ_EXPR_ADD, PTQC_F32, r[3], pq_chain_f32(c, eps), 0);
    t = pq_chain_op(c, PQ_EXPR_RSQRT, PTQC_F32, t, 0, 0);
    t = pq_chain_op(c, PQ_EXPR_MUL, PTQC_F32, r[0], t, 0);
    uint32_t d = pq_chain_op(c, PQ_EXPR_SUB, PTQC_F32, x, r[2], 0);
    return pq_chain_op(c, PQ_EXPR_FMA, PTQC_F32, d, t, r[1]);
}

static uint32_t
visit_operands(pq_chain *c, const entry *t, uint32_t *r, uint32_t count)
{
    pq_lower *l = c->l;
    uint32_t node = l->node;
    uint32_t dtype = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t gv = pq_in_index(l, i);
        r[i] = pq_chain_value(c, gv);
        l->node = node;
        if (!pq_lower_ok(l)) {
            return 0;
        }
        uint32_t own = work_dtype(l, ptqc_gb_value_at(l->g, gv));
        bool condition = t->kind == KIND_WHERE && i == 0;
        if (dtype != 0 && !condition && own != dtype) {
            pq_decline(l, "operands of different types");
        }
        dtype = condition ? 0 : own;
    }
    bool fits = t->kind == KIND_LOGIC  ? dtype == PTQC_BOOL
                : t->kind == KIND_BITS ? is_integer(dtype)
                                       : true;
    if (!fits) {
        pq_decline(l, "operand type");
    }
    return dtype;
}

static uint32_t
visit_kind(pq_chain *c, const entry *t)
{
    pq_lower *l = c->l;
    uint32_t r[3] = {0, 0, 0};
    uint32_t inputs = pq_lower_node(l)->input_count;
    uint32_t count = t->kind == KIND_BATCH ? 1 : inputs > 3 ? 3 : inputs;
    uint32_t dtype = visit_operands(c, t, r, count);
    if (!pq_lower_ok(l)) {
        return 0;
    }
    pq_act_attr act;
    switch (t->kind) {
    case KIND_UNARY:
        return visit_unary(c, t, r[0], dtype);
    case KIND_COPY: {
        uint32_t to = work_dtype(l, pq_out(l, 0));
        return to == dtype ? r[0]
                           : pq_chain_op(c, PQ_EXPR_CAST, to, r[0], 0, 0);
    }
    case KIND_BATCH:
        return visit_batch_norm(c, r[0]);
    case KIND_COMPARE:
        return pq_chain_op(c, t->code, PTQC_BOOL, r[0], r[1], 0);
    case KIND_WHERE:
        return pq_chain_op(c, t->code, dtype, r[0], r[1], r[2]);
    default:
        act = pq_fused_act(l);
        return pq_chain_act(
            c, &act, pq_chain_op(c, t->code, dtype, r[0], r[1], r[2]), dtype);
    }
}

// Stored register of the node's output.
static uint32_t
visit_node(pq_chain *c, uint32_t node)
{
    pq_lower *l = c->l;
    uint32_t saved = l->node;
    l->node = node;
    const entry *t = entry_of(l, node);
    uint32_t r = visit_kind(c, t);
    if (pq_lower_ok(l)) {
        r = pq_chain_store(c, r, pq_out(l, 0));
    }
    l->node = saved;
    return r;
}

// ---- the step --------------------------------------------------------------

// Order of the result: the first operand of full shape that is in another
// order than the graph's decides.
static void
choose_order(const pq_chain *c, const ptqc_gb_value *out, uint8_t *perm)
{
    const pq_lower *l = c->l;
    pq_perm_identity(perm, out->rank);
    for (uint32_t i = 0; i < c->d.input_count; i++) {
        const pq_lower_value *s = &l->values[c->gvs[i]];
        const ptqc_gb_value *v = ptqc_gb_value_at(l->g, c->gvs[i]);
        if (v->constant == PTQC_GB_NONE && s->form_count > 0 &&
            pq_same_shape(l, v, out) &&
            !pq_perm_is_identity(s->forms[0].perm, out->rank)) {
            memcpy(perm, s->forms[0].perm, out->rank);
            return;
        }
    }
}

// The operand's axes in the order of the result's; *out_map gets 4 bits per
// physical axis. A channel operand has one axis, which is the result's 1.
static pq_ref
use_operand(pq_chain *c, uint32_t i, const ptqc_gb_value *out,
            const uint8_t *perm, uint64_t *out_map)
{
    pq_lower *l = c->l;
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, c->gvs[i]);
    uint8_t own[PTQC_MAX_RANK] = {0};
    uint32_t n = 0;
    *out_map = 0;
    if (c->channel_inputs >> i & 1) {
        pq_ref whole = {.rank = out->rank};
        memcpy(whole.perm, perm, out->rank);
        *out_map = pq_ref_axis(&whole, 1);
        return pq_use_identity(l, c->gvs[i]);
    }
    if (v->rank > out->rank) {
        pq_decline(l, "operand of a larger rank than the result");
        return (pq_ref){.value = PQ_KG_NONE};
    }
    uint32_t offset = out->rank - v->rank;
    for (uint32_t j = 0; j < out->rank; j++) {
        if (perm[j] >= offset) {
            own[n] = (uint8_t)(perm[j] - offset);
            *out_map |= (uint64_t)j << (4 * n);
            n++;
        }
    }
    return pq_use(l, c->gvs[i], own);
}

void
pq_chain_params(const pq_chain *c, uint32_t rank)
{
    pq_lower *l = c->l;
    pq_step_i64(l, c->d.op_count);
    pq_step_i64(l, c->d.param_count);
    pq_step_i64(l, c->d.results[0]);
    pq_step_i64(l, rank);
    for (uint32_t i = 0; i < c->d.op_count; i++) {
        const pq_expr_op *op = &c->d.ops[i];
        uint64_t x = (uint64_t)op->code | (uint64_t)op->dtype << 8 |
                     (uint64_t)op->a << 16 | (uint64_t)op->b << 24 |
                     (uint64_t)op->c << 32 | (uint64_t)op->index << 40;
        pq_step_i64(l, (int64_t)x);
    }
    for (uint32_t i = 0; i < c->d.param_count; i++) {
        pq_step_i64(l, c->d.params[i].integer);
    }
}

static void
write_step(pq_chain *c, const pq_ref *refs, const uint64_t *maps,
           uint32_t out_value, uint32_t rank, const char *label)
{
    pq_lower *l = c->l;
    pq_step_begin(l, PQ_STEP_EXPR, "%s", label);
    for (uint32_t i = 0; i < c->d.input_count; i++) {
        pq_step_in(l, refs[i].value);
    }
    pq_step_out(l, out_value);
    pq_chain_params(c, rank);
    for (uint32_t i = 0; i < c->d.input_count; i++) {
        pq_step_i64(l, (int64_t)maps[i]);
    }
}

// Names of the ops: "add relu quantize".
static void
chain_label(const pq_chain *c, char *out, size_t bytes)
{
    size_t n = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < c->d.op_count; i++) {
        uint32_t code = c->d.ops[i].code;
        if (code == PQ_EXPR_LOAD || code == PQ_EXPR_PARAM) {
            continue;
        }
        const char *name = pq_expr_name((pq_expr_code)code);
        size_t need = strlen(name) + (n > 0);
        if (n + need + 1 > bytes) {
            break;
        }
        if (n > 0) {
            out[n++] = ' ';
        }
        memcpy(out + n, name, strlen(name) + 1);
        n += strlen(name);
    }
    if (n == 0) {
        memcpy(out, "copy", 5);
    }
}

void
pq_chain_init(pq_chain *c, pq_lower *l)
{
    memset(c, 0, sizeof *c);
    c->l = l;
}

static void
check_chain(pq_chain *c, uint32_t result)
{
    c->d.output_count = 1;
    c->d.results[0] = (uint8_t)result;
    const char *why = pq_lower_ok(c->l) ? pq_expr_check(&c->d) : NULL;
    if (why != NULL) {
        pq_decline(c->l, "%s", why);
    }
}

void
pq_chain_end(pq_chain *c, uint32_t result, uint32_t gv)
{
    pq_lower *l = c->l;
    check_chain(c, result);
    if (!pq_lower_ok(l)) {
        return;
    }
    const ptqc_gb_value *out = ptqc_gb_value_at(l->g, gv);
    uint8_t perm[PTQC_MAX_RANK];
    pq_ref refs[PQ_EXPR_MAX_INPUTS];
    uint64_t maps[PQ_EXPR_MAX_INPUTS];
    choose_order(c, out, perm);
    for (uint32_t i = 0; i < c->d.input_count; i++) {
        refs[i] = use_operand(c, i, out, perm, &maps[i]);
    }
    pq_ref to = pq_define(l, gv, perm);
    char label[64];
    chain_label(c, label, sizeof label);
    if (pq_lower_ok(l)) {
        write_step(c, refs, maps, to.value, out->rank, label);
    }
}

void
pq_chain_end_values(pq_chain *c, uint32_t result, uint32_t from, uint32_t to)
{
    pq_lower *l = c->l;
    check_chain(c, result);
    if (!pq_lower_ok(l)) {
        return;
    }
    uint32_t rank = l->entry->values[to].rank;
    uint64_t map = 0;
    for (uint32_t i = 0; i < rank; i++) {
        map |= (uint64_t)i << (4 * i);
    }
    pq_ref ref = {.value = from, .rank = rank};
    char label[64];
    chain_label(c, label, sizeof label);
    write_step(c, &ref, &map, to, rank, label);
}

void
pq_lower_elementwise(pq_lower *l)
{
    uint32_t gv = pq_out_index(l, 0);
    const entry *t = entry_of(l, l->node);
    const ptqc_gb_value *x = pq_in(l, 0);
    // identity and dequantize-free copies share the bytes
    if (t->kind == KIND_COPY && x != NULL && gv != PTQC_GB_NONE &&
        pq_lower_same_codes(l, x, pq_out(l, 0)) &&
        l->values[pq_in_index(l, 0)].form_count > 0) {
        pq_ref from = pq_use_any(l, pq_in_index(l, 0));
        pq_define_view(l, gv, from.value, from.perm);
        return;
    }
    pq_chain c;
    pq_chain_init(&c, l);
    uint32_t r = visit_node(&c, l->node);
    pq_chain_end(&c, r, gv);
}

// ---- fusion ----------------------------------------------------------------

typedef struct cost {
    uint16_t ops, inputs, params;
} cost;

// Upper bounds, nothing shared.
static cost
own_cost(const pq_lower *l, const ptqc_gb_node *n)
{
    cost c = {.ops = 8, .params = 4};
    for (uint32_t i = 0; i < n->input_count; i++) {
        uint32_t gv = ptqc_gb_input(l->g, n, i);
        bool q = gv != PTQC_GB_NONE &&
                 pq_gv_is_quantized(l, ptqc_gb_value_at(l->g, gv));
        c.inputs++;
        c.ops = (uint16_t)(c.ops + (q ? 4 : 2));
        c.params = (uint16_t)(c.params + (q ? 2 : 1));
    }
    return c;
}

static bool
add_cost(cost *into, const cost *more)
{
    cost sum = {
        .ops = (uint16_t)(into->ops + more->ops),
        .inputs = (uint16_t)(into->inputs + more->inputs),
        .params = (uint16_t)(into->params + more->params),
    };
    if (sum.ops > PQ_EXPR_MAX_OPS || sum.inputs > PQ_EXPR_MAX_INPUTS ||
        sum.params > PQ_EXPR_MAX_PARAMS) {
        return false;
    }
    *into = sum;
    return true;
}

static bool
can_fuse(const pq_lower *l, uint32_t gv, const ptqc_gb_value *out)
{
    if (gv == PTQC_GB_NONE) {
        return false;
    }
    const pq_lower_value *s = &l->values[gv];
    return s->producer != PQ_KG_NONE && s->use_count == 1 && !s->is_output &&
           pq_lower_is_elementwise(l, s->producer) &&
           pq_same_shape(l, ptqc_gb_value_at(l->g, gv), out);
}

void
pq_lower_fuse(pq_lower *l)
{
    uint32_t count = ptqc_gb_count(l->g, PTQC_GB_NODES);
    cost *costs = pq_mem_array(l->mem, count, sizeof *costs);
    if (costs == NULL) {
        pq_lower_no_memory(l);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const ptqc_gb_node *n = ptqc_gb_node_at(l->g, i);
        uint32_t out = ptqc_gb_output(l->g, n, 0);
        costs[i] = own_cost(l, n);
        if (!pq_lower_is_elementwise(l, i) || out == PTQC_GB_NONE) {
            continue;
        }
        bool is_batch = entry_of(l, i)->kind == KIND_BATCH;
        for (uint32_t j = 0; j < (is_batch ? 1 : n->input_count); j++) {
            uint32_t gv = ptqc_gb_input(l->g, n, j);
            if (can_fuse(l, gv, ptqc_gb_value_at(l->g, out)) &&
                entry_of(l, l->values[gv].producer)->kind != KIND_BATCH &&
                add_cost(&costs[i], &costs[l->values[gv].producer])) {
                l->fused[l->values[gv].producer] = 1;
            }
        }
    }
}
