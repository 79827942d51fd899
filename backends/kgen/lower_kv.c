// SPDX-License-Identifier: Apache-2.0
//
// Lowering of updates of states, and of attention over them.
//
// A state that only its update and, after it, attention read gets a layout of
// our own (kv.h); every other one lies as the graph says, and attention that
// needs the layout makes a copy.
//
// Parameters (maps as in lower_position.c):
//     KV_UPDATE     state, scales, x, positions -> state, scales
//                   [0] map of x [1] layout of the state
//                   [2] capacity, a dim expression
//     KV_PACK       rows -> [0] map [1] layout
//     KV_ATTENTION  q, k, v, positions, k scales, v scales -> y
//                   [0] map of q [1] map of y [2] scale [3] causal
//                   [4] capacity, a dim expression [5] columns of v
#include "lower_kv.h"

#include <string.h>

#include "move.h"

// ---- sources: keys and values ----------------------------------------------

static const ptqc_gb_value *
operand_at(const pq_lower *l, const ptqc_gb_node *n, uint32_t i)
{
    uint32_t gv = ptqc_gb_input(l->g, n, i);
    return gv != PTQC_GB_NONE ? ptqc_gb_value_at(l->g, gv) : NULL;
}

// k or v (operand 1 or 2) of attention: rank 4, a type with scales or without,
// of a known size. -> NULL or why not.
static const char *
source_fault(const pq_lower *l, const ptqc_gb_node *n, uint32_t i)
{
    const ptqc_gb_value *v = operand_at(l, n, i);
    const ptqc_gb_value *scales = operand_at(l, n, 4 + i);
    int64_t d;
    if (v == NULL || v->rank != 4 || !pq_kv_is_dtype(v->dtype) ||
        pq_gv_is_quantized(l, v) || (v->dtype == PTQC_I8) != (scales != NULL) ||
        !pq_gv_dim_const(l, v, 3, &d) || d < 1) {
        return "keys or values of this type";
    }
    if (scales != NULL && (scales->rank != 3 || scales->dtype != PTQC_F32)) {
        return "scales of keys or values have to be f32 of rank 3";
    }
    return NULL;
}

// ---- which states ----------------------------------------------------------

// Attention whose operands can all be had in the layouts: what reads a state
// in one of them, reads the other operands so, too.
static bool
reads_layouts(const pq_lower *l, const ptqc_gb_node *n)
{
    return ptqc_gb_text_is(l->g, n->op, "attention") &&
           operand_at(l, n, 3) == NULL && source_fault(l, n, 1) == NULL &&
           source_fault(l, n, 2) == NULL;
}

// How a node reads its operand i as part of attention; PQ_KV_ROWS: otherwise.
static pq_kv_layout
role_of(const pq_lower *l, const ptqc_gb_node *n, uint32_t i)
{
    static const pq_kv_layout roles[] = {
        [1] = PQ_KV_KEYS,   [2] = PQ_KV_VALUES, [3] = PQ_KV_ROWS,
        [5] = PQ_KV_SCALES, [6] = PQ_KV_SCALES,
    };
    return i < sizeof roles / sizeof roles[0] && reads_layouts(l, n)
               ? roles[i]
               : PQ_KV_ROWS;
}

// The layout that all readers of value gv agree on.
static pq_kv_layout
agreed_layout(const pq_lower *l, uint32_t gv)
{
    pq_kv_layout layout = PQ_KV_LAYOUT_COUNT; // no reader yet
    for (uint32_t i = 0; i < ptqc_gb_count(l->g, PTQC_GB_NODES); i++) {
        const ptqc_gb_node *n = ptqc_gb_node_at(l->g, i);
        for (uint32_t k = 0; k < n->input_count; k++) {
            if (ptqc_gb_input(l->g, n, k) != gv) {
                continue;
            }
            pq_kv_layout role = role_of(l, n, k);
            layout = layout == PQ_KV_LAYOUT_COUNT || layout == role
                         ? role
                         : PQ_KV_ROWS;
        }
    }
    return layout == PQ_KV_LAYOUT_COUNT || l->values[gv].is_output ? PQ_KV_ROWS
                                                                   : layout;
}

static bool
is_state(const pq_lower *l, uint32_t gv)
{
    uint32_t i = 0, count = ptqc_gb_count(l->g, PTQC_GB_STATES);
    while (i < count && ptqc_gb_u32_at(l->g, PTQC_GB_STATES, i) != gv) {
        i++;
    }
    return i < count;
}

// Updated state i of node n: its own layout, when nothing else wants it.
static pq_kv_layout
state_layout(const pq_lower *l, const ptqc_gb_node *n, uint32_t i)
{
    uint32_t gv = ptqc_gb_input(l->g, n, i);
    uint32_t out = ptqc_gb_output(l->g, n, i);
    int64_t d;
    if (gv == PTQC_GB_NONE || out == PTQC_GB_NONE || !is_state(l, gv) ||
        l->values[gv].use_count != 1) {
        return PQ_KV_ROWS;
    }
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    pq_kv_layout layout = agreed_layout(l, out);
    bool fits = i == 0 ? v->rank == 4 && pq_kv_is_dtype(v->dtype) &&
                             !pq_gv_is_quantized(l, v) &&
                             pq_gv_dim_const(l, v, 3, &d) && d > 0 &&
                             layout != PQ_KV_SCALES
                       : v->rank == 3 && layout == PQ_KV_SCALES;
    return fits ? layout : PQ_KV_ROWS;
}

void
pq_lower_states(pq_lower *l)
{
    if (!l->device->has_kv_lines) {
        return;
    }
    for (uint32_t i = 0; i < ptqc_gb_count(l->g, PTQC_GB_NODES); i++) {
        const ptqc_gb_node *n = ptqc_gb_node_at(l->g, i);
        uint32_t count = ptqc_gb_text_is(l->g, n->op, "kv_update")         ? 1
                         : ptqc_gb_text_is(l->g, n->op, "kv_update_codes") ? 2
                                                                           : 0;
        if (count == 0 || n->input_count < count || n->output_count < count) {
            continue;
        }
        pq_kv_layout first = state_layout(l, n, 0);
        pq_kv_layout second = count == 2 ? state_layout(l, n, 1) : PQ_KV_SCALES;
        if (first == PQ_KV_ROWS || second == PQ_KV_ROWS) {
            continue;
        }
        for (uint32_t k = 0; k < count; k++) {
            pq_kv_layout layout = k == 0 ? first : second;
            l->values[ptqc_gb_input(l->g, n, k)].kv = layout;
            l->values[ptqc_gb_output(l->g, n, k)].kv = layout;
        }
    }
}

uint32_t
pq_kv_dims(pq_lower *l, const ptqc_gb_value *v, pq_kv_layout layout,
           uint32_t *out)
{
    int64_t bytes = pq_kg_element_bytes(v->dtype), d = 1;
    uint32_t tokens = pq_gv_dim(l, v, 2);
    int64_t line =
        layout == PQ_KV_SCALES ? PQ_KV_SCALE_TOKENS : pq_kv_line(bytes);
    out[0] = pq_gv_dim(l, v, 0);
    out[1] = pq_gv_dim(l, v, 1);
    if (layout == PQ_KV_VALUES) {
        (void)pq_gv_dim_const(l, v, 3, &d);
        out[2] = pq_dim_of(l, pq_kv_lines(d, bytes));
        out[3] = tokens;
        out[4] = pq_dim_of(l, line);
        return 5;
    }
    out[2] = pq_dim_binary(l, PTQC_GB_DIM_CDIV, tokens, pq_dim_of(l, line));
    if (layout == PQ_KV_SCALES) {
        out[3] = pq_dim_of(l, line);
        return 4;
    }
    out[3] = pq_gv_dim(l, v, 3);
    out[4] = pq_dim_of(l, line);
    return 5;
}

// ---- updates ---------------------------------------------------------------

// The state's value in the program, and the result as the same bytes.
static uint32_t
use_state(pq_lower *l, uint32_t i, uint32_t *out)
{
    uint32_t gv = pq_in_index(l, i), result = pq_out_index(l, i);
    const pq_lower_value *s = &l->values[gv];
    uint8_t identity[PTQC_MAX_RANK];
    pq_perm_identity(identity, PTQC_MAX_RANK);
    if (s->kv == PQ_KV_ROWS) {
        uint32_t from = pq_use_identity(l, gv).value;
        pq_define_view(l, result, from, identity);
        *out = pq_use_identity(l, result).value;
        return from;
    }
    l->values[result].kv_value = s->kv_value;
    *out = s->kv_value;
    return s->kv_value;
}

static bool
check_update(pq_lower *l, uint32_t x)
{
    const ptqc_gb_value *state = pq_in(l, 0), *rows = pq_in(l, x);
    const ptqc_gb_value *at = pq_in(l, x + 1);
    int64_t d;
    if (state == NULL || state->rank != 4 || rows == NULL || rows->rank != 4) {
        pq_decline(l, "rank");
        return false;
    }
    if (at == NULL || at->dtype != PTQC_I32 || at->rank != 2) {
        pq_decline(l, "positions have to be i32 of rank 2");
        return false;
    }
    bool is_codes = x == 2;
    if (pq_gv_is_quantized(l, state) || !pq_kv_is_dtype(state->dtype) ||
        is_codes != (state->dtype == PTQC_I8)) {
        pq_decline(l, "states have to be f32, f16, bf16, or codes in i8");
        return false;
    }
    bool is_known = pq_gv_dim_const(l, state, 3, &d);
    if ((is_codes || !l->device->has_kv_lines) && !is_known) {
        pq_decline(l, "rows of an unknown size");
        return false;
    }
    if (!l->device->has_kv_lines &&
        d * pq_kg_element_bytes(state->dtype) % 4 != 0) {
        pq_decline(l, "rows of a state that end within a word");
    }
    return pq_lower_ok(l);
}

static void
lower_update(pq_lower *l, uint32_t x)
{
    if (!check_update(l, x)) {
        return;
    }
    bool is_codes = x == 2;
    uint8_t perm[PTQC_MAX_RANK];
    pq_lower_row_order(l, pq_in_index(l, x), perm);
    uint32_t to, scales_to = PQ_KG_NONE, scales = PQ_KG_NONE;
    uint32_t state = use_state(l, 0, &to);
    if (is_codes) {
        scales = use_state(l, 1, &scales_to);
    }
    pq_ref rows = pq_use_real(l, pq_in_index(l, x), perm);
    uint32_t positions = pq_use_identity(l, pq_in_index(l, x + 1)).value;
    rows.rank = 4;
    memcpy(rows.perm, perm, 4);
    pq_step_begin(l, PQ_STEP_KV_UPDATE, "kv_update");
    pq_step_in(l, state);
    pq_step_in(l, scales);
    pq_step_in(l, rows.value);
    pq_step_in(l, positions);
    pq_step_out(l, to);
    pq_step_out(l, scales_to);
    pq_step_i64(l, pq_lower_axis_map(&rows));
    pq_step_i64(l, l->values[pq_in_index(l, 0)].kv);
    pq_step_i64(l, pq_gv_dim(l, pq_in(l, 0), 2));
}

void
pq_lower_kv_update(pq_lower *l)
{
    lower_update(l, 1);
}

void
pq_lower_kv_update_codes(pq_lower *l)
{
    lower_update(l, 2);
}

// ---- attention -------------------------------------------------------------

bool
pq_lower_is_kv_attention(const pq_lower *l)
{
    if (!l->device->has_kv_lines) {
        return false;
    }
    for (uint32_t i = 1; i <= 2; i++) {
        uint32_t gv = pq_in_index(l, i);
        if (pq_in(l, 4 + i) != NULL ||
            (gv != PTQC_GB_NONE && l->values[gv].kv != PQ_KV_ROWS)) {
            return true;
        }
    }
    return false;
}

// Operand i in a layout: the state, or a copy.
static uint32_t
use_layout(pq_lower *l, uint32_t i, pq_kv_layout layout)
{
    uint32_t gv = pq_in_index(l, i);
    const ptqc_gb_value *v = pq_in(l, i);
    uint32_t dims[PTQC_MAX_RANK];
    uint8_t perm[PTQC_MAX_RANK];
    if (v == NULL || l->values[gv].kv != PQ_KV_ROWS) {
        return v == NULL ? PQ_KG_NONE : l->values[gv].kv_value;
    }
    pq_lower_row_order(l, gv, perm);
    pq_ref rows = pq_use(l, gv, perm);
    rows.rank = v->rank;
    memcpy(rows.perm, perm, v->rank);
    uint32_t rank = pq_kv_dims(l, v, layout, dims);
    uint32_t value = pq_new_temp(l, v->dtype, dims, rank);
    pq_step_begin(l, PQ_STEP_KV_PACK, "kv_pack");
    pq_step_in(l, rows.value);
    pq_step_out(l, value);
    pq_step_i64(l, pq_lower_axis_map(&rows));
    pq_step_i64(l, layout);
    return value;
}

static bool
check_source(pq_lower *l, uint32_t i)
{
    const char *fault = source_fault(l, pq_lower_node(l), i);
    if (fault != NULL) {
        pq_decline(l, "%s", fault);
    }
    return fault == NULL;
}

void
pq_lower_kv_attention(pq_lower *l, const pq_kv_attention_plan *plan)
{
    int64_t columns = 0;
    if (pq_in(l, 3) != NULL) {
        pq_decline(l, "mask with scales of keys");
        return;
    }
    if (!check_source(l, 1) || !check_source(l, 2)) {
        return;
    }
    (void)pq_gv_dim_const(l, pq_in(l, 2), 3, &columns);
    uint32_t k = use_layout(l, 1, PQ_KV_KEYS);
    uint32_t v = use_layout(l, 2, PQ_KV_VALUES);
    uint32_t k_scale = use_layout(l, 5, PQ_KV_SCALES);
    uint32_t v_scale = use_layout(l, 6, PQ_KV_SCALES);
    pq_step_begin(l, PQ_STEP_KV_ATTENTION, "attention");
    pq_step_in(l, plan->q.value);
    pq_step_in(l, k);
    pq_step_in(l, v);
    pq_step_in(l, plan->positions);
    pq_step_in(l, k_scale);
    pq_step_in(l, v_scale);
    pq_step_out(l, plan->y.value);
    pq_step_i64(l, pq_lower_axis_map(&plan->q));
    pq_step_i64(l, pq_lower_axis_map(&plan->y));
    pq_step_f32(l, plan->scale);
    pq_step_i64(l, plan->is_causal);
    pq_step_i64(l, pq_gv_dim(l, pq_in(l, 1), 2));
    pq_step_i64(l, columns);
}
