// SPDX-License-Identifier: Apache-2.0
//
// lstm, gru, rnn after ONNX, with the default activations, both directions,
// sequence lengths, initial states and peepholes. Gate order: lstm i o f c,
// gru z r h. Order of operations: docs/numerics.md section 8.
#include <math.h>
#include <string.h>

#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

#define IN_W    1
#define IN_R    2
#define IN_B    3
#define IN_LENS 4
#define IN_H0   5
#define IN_C0   6
#define IN_P    7

typedef struct cell {
    pq_opcode code;
    int64_t steps, batch, input, hidden, gates, directions;
    bool is_batch_first, is_linear; // gru: linear_before_reset
    const float *x;                 // [T][B][I]
    const float *w, *r, *b, *h0, *c0, *p;
    const int64_t *lens; // [B] or NULL
    float *y, *y_h, *y_c;
    float *packed_w, *packed_r; // of one direction
    float *bias;                // [2][G*H]: wb, rb
    float *xw;                  // [T*B][G*H]
    float *hr;                  // [B][G*H]
    float *h, *c;               // [B][H] states
    float *gated;               // [B][H]: r * h
} cell;

// ---- set-up ---------------------------------------------------------------

static ptqc_status
check_count(pq_eval *e, uint32_t i, int64_t expected)
{
    if (!pq_has_in(e, i) || pq_tensor_count(&e->in[i]) == expected) {
        return PTQC_OK;
    }
    return pq_eval_fail(e, PTQC_E_INPUT,
                        "input %u has %lld elements, expected "
                        "%lld",
                        i, (long long)pq_tensor_count(&e->in[i]),
                        (long long)expected);
}

static ptqc_status
init_shape(pq_eval *e, cell *c)
{
    const pq_tensor *x = &e->in[0], *r = &e->in[IN_R];
    c->code = e->op->code;
    c->gates = c->code == PQ_OP_LSTM ? 4 : c->code == PQ_OP_GRU ? 3 : 1;
    if (x->rank != 3 || r->rank != 3 || e->in[IN_W].rank != 3) {
        return pq_eval_fail(e, PTQC_E_INPUT, "x, w and r need rank 3");
    }
    c->is_batch_first = pq_op_i64(e->op, PQ_ATTR_BATCH_FIRST, 0) != 0;
    c->is_linear = pq_op_i64(e->op, PQ_ATTR_LINEAR_BEFORE_RESET, 0) != 0;
    c->steps = x->dims[c->is_batch_first ? 1 : 0];
    c->batch = x->dims[c->is_batch_first ? 0 : 1];
    c->input = x->dims[2];
    c->hidden = r->dims[2];
    c->directions = r->dims[0];
    int64_t direction = pq_op_i64(e->op, PQ_ATTR_DIRECTION, 0);
    if (c->directions != (direction == 2 ? 2 : 1)) {
        return pq_eval_fail(e, PTQC_E_INPUT, "%lld directions in the weights",
                            (long long)c->directions);
    }
    int64_t rows = c->directions * c->gates * c->hidden;
    int64_t states = c->directions * c->batch * c->hidden;
    PQ_TRY(check_count(e, IN_W, rows * c->input));
    PQ_TRY(check_count(e, IN_R, rows * c->hidden));
    PQ_TRY(check_count(e, IN_B, 2 * rows));
    PQ_TRY(check_count(e, IN_LENS, c->batch));
    PQ_TRY(check_count(e, IN_H0, states));
    if (c->code == PQ_OP_LSTM) {
        PQ_TRY(check_count(e, IN_C0, states));
        PQ_TRY(check_count(e, IN_P, 3 * c->directions * c->hidden));
    }
    bool fits = pq_tensor_count(&e->out[0]) == states * c->steps &&
                pq_tensor_count(&e->out[1]) == states;
    return fits ? PTQC_OK
                : pq_eval_fail(e, PTQC_E_INPUT, "output shapes do not match");
}

static ptqc_status
optional(pq_eval *e, uint32_t i, const float **out)
{
    *out = NULL;
    return pq_has_in(e, i) ? pq_in_f32(e, i, out) : PTQC_OK;
}

static ptqc_status
alloc_f32(pq_eval *e, int64_t n, float **out)
{
    *out = pq_scratch(e, n, sizeof **out);
    PQ_TRY_ALLOC(*out);
    return PTQC_OK;
}

// x as [T][B][I].
static ptqc_status
init_x(pq_eval *e, cell *c)
{
    const float *x;
    float *to;
    PQ_TRY(pq_in_f32(e, 0, &x));
    c->x = x;
    if (!c->is_batch_first) {
        return PTQC_OK;
    }
    PQ_TRY(alloc_f32(e, c->steps * c->batch * c->input, &to));
    for (int64_t t = 0; t < c->steps; t++) {
        for (int64_t b = 0; b < c->batch; b++) {
            memcpy(to + (t * c->batch + b) * c->input,
                   x + (b * c->steps + t) * c->input,
                   (size_t)c->input * sizeof *to);
        }
    }
    c->x = to;
    return PTQC_OK;
}

static ptqc_status
init_lens(pq_eval *e, cell *c)
{
    if (!pq_has_in(e, IN_LENS)) {
        return PTQC_OK;
    }
    PQ_TRY(pq_in_i64(e, IN_LENS, &c->lens));
    for (int64_t b = 0; b < c->batch; b++) {
        if (c->lens[b] < 0 || c->lens[b] > c->steps) {
            return pq_eval_fail(e, PTQC_E_INPUT, "sequence length %lld of %lld",
                                (long long)c->lens[b], (long long)c->steps);
        }
    }
    return PTQC_OK;
}

static ptqc_status
init_operands(pq_eval *e, cell *c)
{
    int64_t rows = c->gates * c->hidden;
    int64_t panels = pq_panels(rows) * PQ_PANEL;
    PQ_TRY(init_x(e, c));
    PQ_TRY(init_lens(e, c));
    PQ_TRY(pq_in_f32(e, IN_W, &c->w));
    PQ_TRY(pq_in_f32(e, IN_R, &c->r));
    PQ_TRY(optional(e, IN_B, &c->b));
    PQ_TRY(optional(e, IN_H0, &c->h0));
    if (c->code == PQ_OP_LSTM) {
        PQ_TRY(optional(e, IN_C0, &c->c0));
        PQ_TRY(optional(e, IN_P, &c->p));
        PQ_TRY(pq_out_f32(e, 2, &c->y_c));
    }
    PQ_TRY(pq_out_f32(e, 0, &c->y));
    PQ_TRY(pq_out_f32(e, 1, &c->y_h));
    PQ_TRY(alloc_f32(e, panels * c->input, &c->packed_w));
    PQ_TRY(alloc_f32(e, panels * c->hidden, &c->packed_r));
    PQ_TRY(alloc_f32(e, 2 * rows, &c->bias));
    PQ_TRY(alloc_f32(e, c->steps * c->batch * rows, &c->xw));
    PQ_TRY(alloc_f32(e, c->batch * rows, &c->hr));
    PQ_TRY(alloc_f32(e, c->batch * c->hidden, &c->h));
    PQ_TRY(alloc_f32(e, c->batch * c->hidden, &c->c));
    return alloc_f32(e, c->batch * c->hidden, &c->gated);
}

// ---- one step -------------------------------------------------------------

// Gate g of hidden unit j: (x part + (wb + rb)) + h part.
static float
gate(const cell *c, const float *xw, const float *hr, int64_t g, int64_t j)
{
    int64_t at = g * c->hidden + j;
    float bias = c->bias[at] + c->bias[c->gates * c->hidden + at];
    float sum = xw[at] + bias;
    return sum + hr[at];
}

// peephole: i o f of this direction, or NULL.
static void
lstm_unit(const cell *c, const float *peephole, const float *xw, int64_t b,
          int64_t j)
{
    const float *hr = c->hr + b * c->gates * c->hidden;
    float *state = c->c + b * c->hidden + j;
    float pi = gate(c, xw, hr, 0, j), po = gate(c, xw, hr, 1, j);
    float pf = gate(c, xw, hr, 2, j), pc = gate(c, xw, hr, 3, j);
    if (peephole != NULL) {
        pi = fmaf(peephole[j], *state, pi);
        pf = fmaf(peephole[2 * c->hidden + j], *state, pf);
    }
    float ig = pq_sigmoidf(pi) * pq_tanhf(pc);
    *state = fmaf(pq_sigmoidf(pf), *state, ig);
    if (peephole != NULL) {
        po = fmaf(peephole[c->hidden + j], *state, po);
    }
    c->h[b * c->hidden + j] = pq_sigmoidf(po) * pq_tanhf(*state);
}

static void
gru_unit(const cell *c, const float *xw, int64_t b, int64_t j)
{
    const float *hr = c->hr + b * c->gates * c->hidden;
    float *h = c->h + b * c->hidden + j;
    float z = pq_sigmoidf(gate(c, xw, hr, 0, j));
    float n;
    if (c->is_linear) {
        int64_t at = 2 * c->hidden + j;
        float r = pq_sigmoidf(gate(c, xw, hr, 1, j));
        float recurrent = hr[at] + c->bias[c->gates * c->hidden + at];
        float reset = r * recurrent;
        n = pq_tanhf((xw[at] + c->bias[at]) + reset);
    } else {
        n = pq_tanhf(gate(c, xw, hr, 2, j)); // hr[2] holds (r * h) R
    }
    *h = fmaf(z, *h - n, n);
}

// gru without linear_before_reset: the h gate's part is of r * h.
static void
reset_hidden(const cell *c, int64_t rows, const int64_t *time)
{
    for (int64_t i = 0; i < c->batch * c->hidden; i++) {
        int64_t b = i / c->hidden, j = i % c->hidden;
        const float *xw = c->xw + (time[b] * c->batch + b) * rows;
        float r = pq_sigmoidf(gate(c, xw, c->hr + b * rows, 1, j));
        c->gated[i] = r * c->h[i];
    }
    // Columns 2H.. of the product with gated rows replace those of hr.
    const pq_rows *kernels = pq_rows_get();
    for (int64_t b = 0; b < c->batch; b++) {
        for (int64_t j = 0; j < rows; j += PQ_PANEL) {
            float acc[PQ_PANEL] = {0};
            kernels->dot_f32(acc, c->gated + b * c->hidden,
                             c->packed_r + j * c->hidden, c->hidden);
            for (int64_t k = j; k < j + PQ_PANEL && k < rows; k++) {
                if (k >= 2 * c->hidden) {
                    c->hr[b * rows + k] = acc[k - j];
                }
            }
        }
    }
}

// time[b]: which step of x row b takes; -1 when its sequence is over.
static void
step(const cell *c, int64_t d, const int64_t *time, int64_t *clamped)
{
    int64_t rows = c->gates * c->hidden;
    pq_product_f32(c->h, c->packed_r, c->batch, c->hidden, rows, c->hr);
    for (int64_t b = 0; b < c->batch; b++) {
        clamped[b] = time[b] < 0 ? 0 : time[b];
    }
    if (c->code == PQ_OP_GRU && !c->is_linear) {
        reset_hidden(c, rows, clamped);
    }
    const float *peephole = c->p != NULL ? c->p + d * 3 * c->hidden : NULL;
    for (int64_t b = 0; b < c->batch; b++) {
        if (time[b] < 0) {
            continue;
        }
        const float *xw = c->xw + (time[b] * c->batch + b) * rows;
        for (int64_t j = 0; j < c->hidden; j++) {
            if (c->code == PQ_OP_LSTM) {
                lstm_unit(c, peephole, xw, b, j);
            } else if (c->code == PQ_OP_GRU) {
                gru_unit(c, xw, b, j);
            } else {
                const float *hr = c->hr + b * rows;
                c->h[b * c->hidden + j] = pq_tanhf(gate(c, xw, hr, 0, j));
            }
        }
    }
}

// ---- a direction ----------------------------------------------------------

// y [T][D][B][H] or [B][T][D][H]
static float *
y_row(const cell *c, int64_t t, int64_t d, int64_t b)
{
    int64_t at = c->is_batch_first ? (b * c->steps + t) * c->directions + d
                                   : (t * c->directions + d) * c->batch + b;
    return c->y + at * c->hidden;
}

// States [D][B][H] or [B][D][H].
static int64_t
state_at(const cell *c, int64_t d, int64_t b)
{
    int64_t row = c->is_batch_first ? b * c->directions + d : d * c->batch + b;
    return row * c->hidden;
}

static void
begin_direction(const cell *c, int64_t d)
{
    int64_t rows = c->gates * c->hidden;
    size_t bytes = (size_t)c->hidden * sizeof(float);
    pq_pack_f32(c->w + d * rows * c->input, c->input, rows, true, c->packed_w);
    pq_pack_f32(c->r + d * rows * c->hidden, c->hidden, rows, true,
                c->packed_r);
    if (c->b != NULL) {
        memcpy(c->bias, c->b + d * 2 * rows,
               (size_t)(2 * rows) * sizeof(float));
    }
    pq_product_f32(c->x, c->packed_w, c->steps * c->batch, c->input, rows,
                   c->xw);
    for (int64_t b = 0; b < c->batch; b++) {
        float *h = c->h + b * c->hidden, *s = c->c + b * c->hidden;
        memset(h, 0, bytes);
        memset(s, 0, bytes);
        if (c->h0 != NULL) {
            memcpy(h, c->h0 + state_at(c, d, b), bytes);
        }
        if (c->c0 != NULL) {
            memcpy(s, c->c0 + state_at(c, d, b), bytes);
        }
    }
}

static void
end_direction(const cell *c, int64_t d)
{
    size_t bytes = (size_t)c->hidden * sizeof(float);
    for (int64_t b = 0; b < c->batch; b++) {
        memcpy(c->y_h + state_at(c, d, b), c->h + b * c->hidden, bytes);
        if (c->y_c != NULL) {
            memcpy(c->y_c + state_at(c, d, b), c->c + b * c->hidden, bytes);
        }
    }
}

// Steps beyond a row's length give zeros and leave its state.
static ptqc_status
run_direction(pq_eval *e, const cell *c, int64_t d, bool is_reverse)
{
    size_t bytes = (size_t)c->hidden * sizeof(float);
    int64_t *time = pq_scratch(e, 2 * c->batch, sizeof *time);
    PQ_TRY_ALLOC(time);
    begin_direction(c, d);
    for (int64_t s = 0; s < c->steps; s++) {
        for (int64_t b = 0; b < c->batch; b++) {
            int64_t len = c->lens != NULL ? c->lens[b] : c->steps;
            time[b] = s >= len ? -1 : is_reverse ? len - 1 - s : s;
        }
        step(c, d, time, time + c->batch);
        for (int64_t b = 0; b < c->batch; b++) {
            if (time[b] < 0) {
                memset(y_row(c, s, d, b), 0, bytes);
            } else {
                memcpy(y_row(c, time[b], d, b), c->h + b * c->hidden, bytes);
            }
        }
    }
    end_direction(c, d);
    return PTQC_OK;
}

const char *
pq_rule_recurrent(pq_graph *g, const pq_op *op)
{
    for (uint32_t i = IN_B; i < op->input_count; i++) {
        uint32_t kind = pq_value_kind(g, op->inputs[i]);
        bool is_int = kind == PQ_KIND_INT;
        if (kind != PQ_KIND_NONE && is_int != (i == IN_LENS)) {
            return i == IN_LENS ? "lengths are no integers"
                                : "an operand is no real tensor";
        }
    }
    return NULL;
}

ptqc_status
pq_eval_recurrent(pq_eval *e)
{
    cell c = {0};
    PQ_TRY(init_shape(e, &c));
    PQ_TRY(init_operands(e, &c));
    bool is_reverse = pq_op_i64(e->op, PQ_ATTR_DIRECTION, 0) == 1;
    for (int64_t d = 0; d < c.directions; d++) {
        PQ_TRY(run_direction(e, &c, d, is_reverse || d == 1));
    }
    PQ_TRY(pq_end_f32(e, 0, c.y));
    PQ_TRY(pq_end_f32(e, 1, c.y_h));
    return c.y_c != NULL ? pq_end_f32(e, 2, c.y_c) : PTQC_OK;
}
