// SPDX-License-Identifier: Apache-2.0
//
// Products and cell functions of lstm, gru and rnn, one panel of 16 hidden
// units at a time: for blocks of rows the gates' sums over k stay in
// registers, then the cell's arithmetic runs on them. Formulas: recurrent.h.
#include "emit_recurrent.h"

#include <llvm-c/Core.h>
#include <stddef.h>

#include "emit.h"
#include "emit_math.h"

#define MAX_ROWS  4u
#define MAX_GATES 4u

typedef LLVMValueRef val;

typedef struct cell_emit {
    pq_emitter *e;
    const pq_cell_key *key;
    uint32_t first_gate, gate_count; // whose sums are made
    val v_args;
    // of the panel
    val v_w;
    val v_bias[MAX_GATES], v_bias_h, v_peephole[3];
    val v_panel; // i64
} cell_emit;

static val
pointer(const cell_emit *c, size_t offset)
{
    return pq_emit_field(c->e, c->v_args, c->e->t_ptr, offset);
}

static val
number(const cell_emit *c, size_t offset)
{
    return pq_emit_field(c->e, c->v_args, c->e->t_i64, offset);
}

static val
times(const cell_emit *c, val v_a, val v_b)
{
    return LLVMBuildMul(c->e->builder, v_a, v_b, "");
}

static val
load_vector(const cell_emit *c, val v_base, int64_t bytes)
{
    return pq_emit_load(c->e, c->e->t_vf32,
                        pq_emit_at_const(c->e, v_base, bytes), 4);
}

// ---- sums ----------------------------------------------------------------

// v_acc[row][gate] = sum over k of a[row][k] * w[k][gate], k ascending.
static void
emit_sums(const cell_emit *c, const val *v_rows, uint32_t rows, val *v_acc)
{
    pq_emitter *e = c->e;
    uint32_t count = rows * c->gate_count;
    for (uint32_t i = 0; i < count; i++) {
        v_acc[i] = pq_emit_splat_f32(e, 0.0f);
    }
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0),
                       number(c, offsetof(pq_cell_args, k)), 1, v_acc, count);
    val v_w = pq_emit_at(
        e, c->v_w,
        times(c, loop.v_index, pq_emit_i64(e, (int64_t)c->key->gates * 64)));
    val v_k_bytes = times(c, loop.v_index, pq_emit_i64(e, 4));
    val v_next[MAX_ROWS * MAX_GATES];
    val v_weight[MAX_GATES];
    for (uint32_t g = 0; g < c->gate_count; g++) {
        v_weight[g] = load_vector(c, v_w, (c->first_gate + g) * 64);
    }
    for (uint32_t r = 0; r < rows; r++) {
        val v_a = pq_emit_splat(
            e,
            pq_emit_load(e, e->t_f32, pq_emit_at(e, v_rows[r], v_k_bytes), 4));
        for (uint32_t g = 0; g < c->gate_count; g++) {
            uint32_t i = r * c->gate_count + g;
            v_next[i] = pq_emit_fma(e, v_a, v_weight[g], loop.v_carried[i]);
        }
    }
    pq_emit_loop_end(e, &loop, v_next);
    for (uint32_t i = 0; i < count; i++) {
        v_acc[i] = loop.v_carried[i];
    }
}

// ---- cells ---------------------------------------------------------------

// Addresses of one row's panel.
typedef struct cell_row {
    val v_xw, v_h, v_h_next, v_c, v_z, v_reset;
} cell_row;

static val
state_address(const cell_emit *c, size_t offset, val v_row)
{
    pq_emitter *e = c->e;
    val v_at = pq_emit_at(
        e, pointer(c, offset),
        times(c, v_row, number(c, offsetof(pq_cell_args, state_stride))));
    return pq_emit_at(e, v_at, times(c, c->v_panel, pq_emit_i64(e, 64)));
}

static cell_row
row_addresses(const cell_emit *c, val v_row)
{
    pq_emitter *e = c->e;
    cell_row r = {0};
    val v_xw = pq_emit_at(
        e, pointer(c, offsetof(pq_cell_args, xw)),
        times(c, v_row, number(c, offsetof(pq_cell_args, xw_stride))));
    r.v_xw = pq_emit_at(
        e, v_xw,
        times(c, c->v_panel, pq_emit_i64(e, (int64_t)c->key->gates * 64)));
    if (c->key->what != PQ_CELL_SUMS) {
        r.v_h = state_address(c, offsetof(pq_cell_args, h), v_row);
        r.v_h_next = state_address(c, offsetof(pq_cell_args, h_next), v_row);
        r.v_c = state_address(c, offsetof(pq_cell_args, c), v_row);
        r.v_z = state_address(c, offsetof(pq_cell_args, z), v_row);
        r.v_reset = state_address(c, offsetof(pq_cell_args, reset), v_row);
    }
    return r;
}

// (xw + bias) + hr
static val
gate_sum(const cell_emit *c, const cell_row *r, uint32_t gate, val v_hr)
{
    LLVMBuilderRef b = c->e->builder;
    val v_x = load_vector(c, r->v_xw, gate * 64);
    return LLVMBuildFAdd(b, LLVMBuildFAdd(b, v_x, c->v_bias[gate], ""), v_hr,
                         "");
}

static void
emit_lstm(const cell_emit *c, const cell_row *r, const val *v_hr)
{
    pq_emitter *e = c->e;
    val v_c = load_vector(c, r->v_c, 0);
    val v_i = gate_sum(c, r, 0, v_hr[0]);
    val v_o = gate_sum(c, r, 1, v_hr[1]);
    val v_f = gate_sum(c, r, 2, v_hr[2]);
    val v_g = pq_emit_tanhf(e, gate_sum(c, r, 3, v_hr[3]));
    if (c->key->has_peephole) {
        v_i = pq_emit_fma(e, c->v_peephole[0], v_c, v_i);
        v_f = pq_emit_fma(e, c->v_peephole[2], v_c, v_f);
    }
    val v_ig = LLVMBuildFMul(e->builder, pq_emit_sigmoidf(e, v_i), v_g, "");
    v_c = pq_emit_fma(e, pq_emit_sigmoidf(e, v_f), v_c, v_ig);
    if (c->key->has_peephole) {
        v_o = pq_emit_fma(e, c->v_peephole[1], v_c, v_o);
    }
    val v_h = LLVMBuildFMul(e->builder, pq_emit_sigmoidf(e, v_o),
                            pq_emit_tanhf(e, v_c), "");
    pq_emit_store(e, v_c, r->v_c, 4);
    pq_emit_store(e, v_h, r->v_h_next, 4);
}

// h = fma(z, h - n, n)
static void
emit_gru_mix(const cell_emit *c, const cell_row *r, val v_z, val v_n)
{
    val v_h = load_vector(c, r->v_h, 0);
    val v_d = LLVMBuildFSub(c->e->builder, v_h, v_n, "");
    pq_emit_store(c->e, pq_emit_fma(c->e, v_z, v_d, v_n), r->v_h_next, 4);
}

static void
emit_gru_linear(const cell_emit *c, const cell_row *r, const val *v_hr)
{
    pq_emitter *e = c->e;
    LLVMBuilderRef b = e->builder;
    val v_z = pq_emit_sigmoidf(e, gate_sum(c, r, 0, v_hr[0]));
    val v_r = pq_emit_sigmoidf(e, gate_sum(c, r, 1, v_hr[1]));
    // n = tanh((xw + wb) + r * (hr + rb))
    val v_rec = LLVMBuildFAdd(b, v_hr[2], c->v_bias_h, "");
    v_rec = LLVMBuildFMul(b, v_r, v_rec, "");
    val v_x = LLVMBuildFAdd(b, load_vector(c, r->v_xw, 128), c->v_bias[2], "");
    val v_n = pq_emit_tanhf(e, LLVMBuildFAdd(b, v_x, v_rec, ""));
    emit_gru_mix(c, r, v_z, v_n);
}

static void
emit_gru_reset(const cell_emit *c, const cell_row *r, const val *v_hr)
{
    pq_emitter *e = c->e;
    val v_z = pq_emit_sigmoidf(e, gate_sum(c, r, 0, v_hr[0]));
    val v_r = pq_emit_sigmoidf(e, gate_sum(c, r, 1, v_hr[1]));
    val v_h = load_vector(c, r->v_h, 0);
    pq_emit_store(e, v_z, r->v_z, 4);
    pq_emit_store(e, LLVMBuildFMul(e->builder, v_r, v_h, ""), r->v_reset, 4);
}

static void
emit_cell(const cell_emit *c, const cell_row *r, const val *v_sum)
{
    pq_emitter *e = c->e;
    switch (c->key->what) {
    case PQ_CELL_SUMS:
        for (uint32_t g = 0; g < c->gate_count; g++) {
            pq_emit_store(e, v_sum[g], pq_emit_at_const(e, r->v_xw, g * 64), 4);
        }
        break;
    case PQ_CELL_LSTM:
        emit_lstm(c, r, v_sum);
        break;
    case PQ_CELL_RNN:
        pq_emit_store(e, pq_emit_tanhf(e, gate_sum(c, r, 0, v_sum[0])),
                      r->v_h_next, 4);
        break;
    case PQ_CELL_GRU_LINEAR:
        emit_gru_linear(c, r, v_sum);
        break;
    case PQ_CELL_GRU_RESET:
        emit_gru_reset(c, r, v_sum);
        break;
    default:
        emit_gru_mix(c, r, load_vector(c, r->v_z, 0),
                     pq_emit_tanhf(e, gate_sum(c, r, 2, v_sum[0])));
        break;
    }
}

// ---- loops ---------------------------------------------------------------

// Rows v_row .. v_row + rows - 1 of the panel.
static void
emit_rows(const cell_emit *c, val v_row, uint32_t rows)
{
    pq_emitter *e = c->e;
    val v_index[MAX_ROWS], v_at[MAX_ROWS];
    val v_acc[MAX_ROWS * MAX_GATES];
    val v_a = pointer(c, offsetof(pq_cell_args, a));
    val v_stride = number(c, offsetof(pq_cell_args, a_stride));
    for (uint32_t r = 0; r < rows; r++) {
        v_index[r] = LLVMBuildAdd(e->builder, v_row, pq_emit_i64(e, r), "");
        v_at[r] = pq_emit_at(e, v_a, times(c, v_index[r], v_stride));
    }
    emit_sums(c, v_at, rows, v_acc);
    for (uint32_t r = 0; r < rows; r++) {
        cell_row row = row_addresses(c, v_index[r]);
        emit_cell(c, &row, v_acc + r * c->gate_count);
    }
}

// Weights, biases and peepholes of panel v_panel.
static void
set_panel(cell_emit *c, val v_panel)
{
    pq_emitter *e = c->e;
    int64_t gates = c->key->gates;
    c->v_panel = v_panel;
    val v_k = number(c, offsetof(pq_cell_args, k));
    val v_bytes = times(c, times(c, v_panel, v_k), pq_emit_i64(e, gates * 64));
    c->v_w = pq_emit_at(e, pointer(c, offsetof(pq_cell_args, w)), v_bytes);
    if (c->key->what == PQ_CELL_SUMS) {
        return;
    }
    val v_bias = pq_emit_at(e, pointer(c, offsetof(pq_cell_args, bias)),
                            times(c, v_panel, pq_emit_i64(e, gates * 64)));
    for (uint32_t g = 0; g < c->key->gates; g++) {
        c->v_bias[g] = load_vector(c, v_bias, g * 64);
    }
    if (c->key->what == PQ_CELL_GRU_LINEAR) {
        val v_at = pq_emit_at(e, pointer(c, offsetof(pq_cell_args, bias_h)),
                              times(c, v_panel, pq_emit_i64(e, 64)));
        c->v_bias_h = load_vector(c, v_at, 0);
    }
    if (c->key->has_peephole) {
        val v_at = pq_emit_at(e, pointer(c, offsetof(pq_cell_args, peephole)),
                              times(c, v_panel, pq_emit_i64(e, 192)));
        for (uint32_t i = 0; i < 3; i++) {
            c->v_peephole[i] = load_vector(c, v_at, i * 64);
        }
    }
}

// for (r = 0; r < rows / block * block; r += block) rows; the rest singly
static void
emit_panel(const cell_emit *c, uint32_t block)
{
    pq_emitter *e = c->e;
    val v_rows = number(c, offsetof(pq_cell_args, rows));
    val v_done = pq_emit_i64(e, 0);
    pq_loop loop;
    if (block > 1) {
        val v_whole = LLVMBuildAnd(e->builder, v_rows,
                                   pq_emit_i64(e, -(int64_t)block), "");
        pq_emit_loop_begin(e, &loop, v_done, v_whole, block, NULL, 0);
        emit_rows(c, loop.v_index, block);
        pq_emit_loop_end(e, &loop, NULL);
        v_done = v_whole;
    }
    pq_emit_loop_begin(e, &loop, v_done, v_rows, 1, NULL, 0);
    emit_rows(c, loop.v_index, 1);
    pq_emit_loop_end(e, &loop, NULL);
}

static ptqc_be_status
emit_kernel(pq_emitter *e, const void *desc)
{
    cell_emit c = {.e = e, .key = desc};
    c.gate_count = c.key->gates;
    if (c.key->what == PQ_CELL_GRU_RESET) {
        c.gate_count = 2;
    } else if (c.key->what == PQ_CELL_GRU_NEW) {
        c.first_gate = 2;
        c.gate_count = 1;
    }
    LLVMTypeRef params[1] = {e->t_ptr};
    pq_emit_function(e, params, 1);
    c.v_args = pq_emit_param(e, 0);
    // A block's sums fill the registers of 64 bytes; narrower ones hold only
    // a row's.
    uint32_t block = pq_isa_vector_bytes(e->isa) == 64 ? MAX_ROWS : 1;
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0),
                       number(&c, offsetof(pq_cell_args, panels)), 1, NULL, 0);
    set_panel(&c, loop.v_index);
    emit_panel(&c, block);
    pq_emit_loop_end(e, &loop, NULL);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_cell_class = {
    .name = "recurrent",
    .version = 1,
    .desc_bytes = sizeof(pq_cell_key),
    .emit = emit_kernel,
};
