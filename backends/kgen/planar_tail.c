// SPDX-License-Identifier: Apache-2.0
//
// Tails (planar_tail.h): docs/numerics.md sections 4 and 5, operation by
// operation.
#include "planar_tail.h"

#include <string.h>

uint64_t
pq_tail_identity(uint32_t rank)
{
    uint64_t map = 0;
    for (uint32_t i = 0; i < rank; i++) {
        map |= (uint64_t)i << (4 * i);
    }
    return map;
}

// ---- operands --------------------------------------------------------------

static uint32_t
load(pq_tail *t, uint32_t value, uint64_t map)
{
    if (t->operand_count + 1 >= PQ_EXPR_MAX_INPUTS || !pq_lower_ok(t->c.l)) {
        pq_decline(t->c.l, "too many operands");
        return 0;
    }
    uint32_t dtype = t->c.l->entry->values[value].dtype;
    uint32_t r = pq_chain_op(&t->c, PQ_EXPR_LOAD, dtype, 0, 0, 0);
    t->values[t->operand_count] = value;
    t->maps[t->operand_count] = map;
    t->operand_count++;
    t->c.d.ops[r].index = (uint8_t)t->operand_count; // 0 is the sum
    t->c.d.input_count = t->operand_count + 1;
    return r;
}

static uint32_t
load_channels(pq_tail *t, uint32_t value)
{
    return load(t, value, t->rank - 1);
}

static uint32_t
binary(pq_tail *t, uint32_t code, uint32_t a, uint32_t b)
{
    return pq_chain_op(&t->c, code, PTQC_F32, a, b, 0);
}

// The value that the step makes.
static const ptqc_gb_value *
out_of(const pq_tail *t, const pq_lower_epilogue *e)
{
    return ptqc_gb_value_at(t->c.l->g, e->out);
}

// f32(r - zr), or the f32 residual itself.
static uint32_t
residual_steps(pq_tail *t, const pq_lower_epilogue *e, uint32_t r, float scale)
{
    if (e->ep.residual != PQ_ELEM_U8) {
        return r;
    }
    uint32_t s = pq_chain_f32(&t->c, scale);
    uint32_t z = pq_chain_integer(&t->c, PTQC_I32, e->args.residual_zero);
    return pq_chain_op(&t->c, PQ_EXPR_DEQUANTIZE, PTQC_F32, r, s, z);
}

// ---- the result ------------------------------------------------------------

// Codes of t * factor; bounds that are narrower than those of the codes are
// whole numbers, so that they may follow the rounding.
static uint32_t
quantize(pq_tail *t, const pq_lower_epilogue *e, uint32_t r, float factor,
         const pq_codes *y)
{
    pq_chain *c = &t->c;
    uint32_t dtype = pq_codes_dtype(y);
    uint32_t s = pq_chain_f32(c, factor);
    uint32_t z = pq_chain_integer(c, PTQC_I32, y->zero);
    r = pq_chain_op(c, PQ_EXPR_QUANTIZE_MUL, dtype, r, s, z);
    int32_t low = (int32_t)e->args.lo + y->zero;
    int32_t high = (int32_t)e->args.hi + y->zero;
    if (low > y->low) {
        uint32_t bound = pq_chain_integer(c, dtype, low);
        r = pq_chain_op(c, PQ_EXPR_MAX, dtype, r, bound, 0);
    }
    if (high < y->high) {
        uint32_t bound = pq_chain_integer(c, dtype, high);
        r = pq_chain_op(c, PQ_EXPR_MIN, dtype, r, bound, 0);
    }
    return r;
}

// One f32 multiply and, with a residual, one fma; then the code.
static uint32_t
finish_integer(pq_tail *t, const pq_lower_epilogue *e,
               const pq_tail_operands *o, uint32_t r)
{
    pq_codes y;
    pq_gv_codes(t->c.l, out_of(t, e), &y);
    r = binary(t, PQ_EXPR_MUL, r, load_channels(t, o->mult));
    if (o->residual != PQ_KG_NONE) {
        uint32_t d =
            residual_steps(t, e, load(t, o->residual, o->residual_map), 1.0f);
        uint32_t s = pq_chain_f32(&t->c, e->args.residual_scale);
        r = pq_chain_op(&t->c, PQ_EXPR_FMA, PTQC_F32, d, s, r);
    }
    return quantize(t, e, r, 1.0f, &y);
}

static uint32_t
finish_real(pq_tail *t, const pq_lower_epilogue *e, const pq_tail_operands *o,
            uint32_t r)
{
    pq_lower *l = t->c.l;
    if (o->mult != PQ_KG_NONE) {
        r = binary(t, PQ_EXPR_MUL, r, load_channels(t, o->mult));
    }
    if (o->row_scale != PQ_KG_NONE) {
        uint32_t s = load(t, o->row_scale, pq_tail_identity(t->rank));
        r = binary(t, PQ_EXPR_MUL, r, s);
    }
    if (o->bias != PQ_KG_NONE) {
        r = binary(t, PQ_EXPR_ADD, r, load_channels(t, o->bias));
    }
    bool is_gate = (e->ep.flags & PQ_EPI_GATE) != 0;
    if (o->residual != PQ_KG_NONE && !is_gate) {
        uint32_t d = residual_steps(t, e, load(t, o->residual, o->residual_map),
                                    e->args.residual_scale);
        r = binary(t, PQ_EXPR_ADD, r, d);
    }
    if (e->ep.act != PQ_ACT_NONE) {
        pq_act_attr act = pq_fused_act(l);
        r = pq_chain_act(&t->c, &act, r, PTQC_F32);
    }
    if (is_gate) {
        r = binary(t, PQ_EXPR_MUL, r, load(t, o->residual, o->residual_map));
    }
    if (e->ep.out == PQ_ELEM_U8) {
        pq_codes y;
        pq_gv_codes(l, out_of(t, e), &y);
        return quantize(t, e, r, e->args.inv_scale, &y);
    }
    return pq_chain_store(&t->c, r, out_of(t, e));
}

void
pq_tail_make(pq_tail *t, pq_lower *l, uint32_t sum, const pq_lower_epilogue *e,
             const pq_tail_operands *o)
{
    memset(t, 0, sizeof *t);
    pq_chain_init(&t->c, l);
    if (!pq_lower_ok(l)) {
        return;
    }
    t->rank = out_of(t, e)->rank;
    t->c.d.input_count = 1;
    uint32_t r = pq_chain_op(&t->c, PQ_EXPR_LOAD, sum, 0, 0, 0);
    if (o->init != PQ_KG_NONE) {
        r = pq_chain_op(&t->c, PQ_EXPR_ADD, PTQC_I32, r,
                        load_channels(t, o->init), 0);
    }
    if (sum == PTQC_I32) {
        r = pq_chain_op(&t->c, PQ_EXPR_CAST, PTQC_F32, r, 0, 0);
    }
    r = e->ep.kind == PQ_EPI_INTEGER ? finish_integer(t, e, o, r)
                                     : finish_real(t, e, o, r);
    t->c.d.output_count = 1;
    t->c.d.results[0] = (uint8_t)r;
    const char *why = pq_lower_ok(l) ? pq_expr_check(&t->c.d) : NULL;
    if (why != NULL) {
        pq_decline(l, "%s", why);
    }
}

// ---- the step --------------------------------------------------------------

void
pq_tail_inputs(const pq_tail *t)
{
    for (uint32_t i = 0; i < t->operand_count; i++) {
        pq_step_in(t->c.l, t->values[i]);
    }
}

void
pq_tail_params(const pq_tail *t)
{
    pq_lower *l = t->c.l;
    pq_chain_params(&t->c, t->rank);
    for (uint32_t i = 0; i < t->operand_count; i++) {
        pq_step_i64(l, (int64_t)t->maps[i]);
    }
}
