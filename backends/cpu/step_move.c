// SPDX-License-Identifier: Apache-2.0
//
// MOVE, CONCAT, PAD and FILL steps; parameters as lower_move.c writes them.
#include <string.h>

#include "backends/kgen/move.h"
#include "backends/kgen/params.h"
#include "backends/kgen/say.h"
#include "spec.h"

static bool
is_pair(const pq_prep *prep)
{
    return prep->ins[0] != NULL && prep->outs[0] != NULL &&
           prep->ins[0]->dtype == prep->outs[0]->dtype;
}

static void
run_move(const void *state, const pq_run *run)
{
    pq_move_run(state, run->args[0], run->args[1], run->worker);
}

// ---- permute, slice, repeat ------------------------------------------------

static ptqc_be_status
set_permute(const pq_prep *prep, pq_move *m)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    uint8_t perm[PTQC_MAX_RANK];
    uint32_t seen = 0;
    PQ_NEED(prep, x->rank == y->rank && prep->param_count == 1 + x->rank);
    for (uint32_t i = 0; i < x->rank; i++) {
        int64_t a = pq_prep_i64(prep, 1 + i);
        PQ_NEED(prep, a >= 0 && a < x->rank && (seen >> a & 1) == 0);
        PQ_NEED(prep, x->dims[a] == y->dims[i]);
        perm[i] = (uint8_t)a;
        seen |= 1u << a;
    }
    pq_move_permute(m, (uint32_t)x->element_bytes, x->dims, perm, x->rank);
    return PTQC_BE_OK;
}

static ptqc_be_status
set_slice(const pq_prep *prep, pq_move *m)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    PQ_NEED(prep, x->rank == y->rank && prep->param_count == 1 + 2 * x->rank);
    int64_t dense[PTQC_MAX_RANK];
    pq_move_strides(x->dims, x->rank, x->element_bytes, dense);
    pq_move_strides(y->dims, y->rank, y->element_bytes, m->out);
    m->rank = x->rank;
    for (uint32_t i = 0; i < x->rank; i++) {
        int64_t start, step = pq_prep_i64(prep, 2 + 2 * i);
        PQ_NEED(prep, pq_prep_dim(prep, 1 + 2 * i, &start));
        PQ_NEED(prep, step >= INT32_MIN && step <= INT32_MAX && step != 0);
        int64_t last;
        bool fits = !__builtin_mul_overflow(y->dims[i] - 1, step, &last) &&
                    !__builtin_add_overflow(last, start, &last);
        if (y->count > 0 && (!fits || start < 0 || start >= x->dims[i] ||
                             last < 0 || last >= x->dims[i])) {
            return pq_kg_fail(prep->host, prep->call, PTQC_BE_INVALID,
                              "cpu: slice of axis %u leaves its %lld "
                              "elements",
                              i, (long long)x->dims[i]);
        }
        m->dims[i] = y->dims[i];
        m->in[i] = dense[i] * step;
        m->in_offset += y->count > 0 ? start * dense[i] : 0;
    }
    pq_move_finish(m);
    return PTQC_BE_OK;
}

// Each output axis counts repetitions, then elements of the input.
static ptqc_be_status
set_repeat(const pq_prep *prep, pq_move *m)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    PQ_NEED(prep, x->rank <= y->rank && prep->param_count == 1);
    int64_t in[PTQC_MAX_RANK], out[PTQC_MAX_RANK];
    pq_move_strides(x->dims, x->rank, x->element_bytes, in);
    pq_move_strides(y->dims, y->rank, y->element_bytes, out);
    uint32_t skip = y->rank - x->rank;
    m->rank = 2 * y->rank;
    for (uint32_t i = 0; i < y->rank; i++) {
        int64_t d = i < skip ? 1 : x->dims[i - skip];
        int64_t times = d > 0 ? y->dims[i] / d : 0;
        PQ_NEED(prep, times * d == y->dims[i]);
        m->dims[2 * i] = times;
        m->in[2 * i] = 0;
        m->out[2 * i] = out[i] * d;
        m->dims[2 * i + 1] = d;
        m->in[2 * i + 1] = i < skip ? 0 : in[i - skip];
        m->out[2 * i + 1] = out[i];
    }
    pq_move_finish(m);
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_move(const pq_prep *prep, pq_op *op)
{
    pq_move *m = pq_mem_alloc(prep->mem, sizeof *m);
    if (m == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, is_pair(prep));
    m->element = (uint32_t)prep->ins[0]->element_bytes;
    int64_t kind = pq_prep_i64(prep, 0);
    PQ_NEED(prep, kind >= PQ_MOVE_PERMUTE && kind <= PQ_MOVE_REPEAT);
    op->state = m;
    op->run = run_move;
    op->serial = prep->outs[0]->bytes < 16384;
    return kind == PQ_MOVE_PERMUTE ? set_permute(prep, m)
           : kind == PQ_MOVE_SLICE ? set_slice(prep, m)
                                   : set_repeat(prep, m);
}

// ---- concat ----------------------------------------------------------------

typedef struct concat {
    pq_move *parts;
    uint32_t count;
} concat;

static void
run_concat(const void *state, const pq_run *run)
{
    const concat *c = state;
    for (uint32_t i = 0; i < c->count; i++) {
        pq_move_run(&c->parts[i], run->args[i], run->args[c->count],
                    run->worker);
    }
}

static ptqc_be_status
set_part(const pq_prep *prep, uint32_t i, uint32_t axis, int64_t *at,
         pq_move *m)
{
    const pq_shape *x = prep->ins[i], *y = prep->outs[0];
    PQ_NEED(prep, x != NULL && x->rank == y->rank && x->dtype == y->dtype);
    m->rank = y->rank;
    m->element = (uint32_t)y->element_bytes;
    pq_move_strides(x->dims, x->rank, x->element_bytes, m->in);
    pq_move_strides(y->dims, y->rank, y->element_bytes, m->out);
    m->out_offset = *at * m->out[axis];
    for (uint32_t d = 0; d < y->rank; d++) {
        PQ_NEED(prep, d == axis || x->dims[d] == y->dims[d]);
        m->dims[d] = x->dims[d];
    }
    *at += x->dims[axis];
    PQ_NEED(prep, *at <= y->dims[axis]);
    pq_move_finish(m);
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_concat(const pq_prep *prep, pq_op *op)
{
    int64_t axis = pq_prep_i64(prep, 0), at = 0;
    concat *c = pq_mem_alloc(prep->mem, sizeof *c);
    PQ_NEED(prep,
            prep->outs[0] != NULL && axis >= 0 && axis < prep->outs[0]->rank);
    if (c != NULL) {
        c->count = prep->in_count;
        c->parts = pq_mem_array(prep->mem, c->count, sizeof *c->parts);
    }
    if (c == NULL || c->parts == NULL) {
        return pq_prep_no_memory(prep);
    }
    for (uint32_t i = 0; i < c->count; i++) {
        ptqc_be_status st =
            set_part(prep, i, (uint32_t)axis, &at, &c->parts[i]);
        if (st != PTQC_BE_OK) {
            return st;
        }
    }
    PQ_NEED(prep, at == prep->outs[0]->dims[axis]);
    op->state = c;
    op->run = run_concat;
    op->serial = prep->outs[0]->bytes < 16384;
    return PTQC_BE_OK;
}

// ---- fill ------------------------------------------------------------------

typedef struct fill {
    uint8_t element[8];
    int64_t count, bytes;
} fill;

static void
run_fill(const void *state, const pq_run *run)
{
    const fill *f = state;
    pq_range part = pq_worker_range(run->worker, f->count, 64);
    uint8_t *out = run->args[0];
    for (int64_t i = part.begin; i < part.end; i++) {
        memcpy(out + i * f->bytes, f->element, (size_t)f->bytes);
    }
}

ptqc_be_status
pq_prepare_fill(const pq_prep *prep, pq_op *op)
{
    fill *f = pq_mem_alloc(prep->mem, sizeof *f);
    if (f == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, prep->outs[0] != NULL);
    int64_t element = pq_prep_i64(prep, 0);
    memcpy(f->element, &element, sizeof f->element);
    f->count = prep->outs[0]->count;
    f->bytes = prep->outs[0]->element_bytes;
    op->state = f;
    op->run = run_fill;
    op->serial = f->count < 4096;
    return PTQC_BE_OK;
}

// ---- pad -------------------------------------------------------------------

#define PAD_CONSTANT 0
#define PAD_EDGE     2
#define PAD_WRAP     3

typedef struct pad {
    uint32_t rank;
    int64_t element;
    uint8_t fill[8];
    int64_t dims[PTQC_MAX_RANK];   // of the output
    int64_t *table[PTQC_MAX_RANK]; // byte offset in x, -1 = fill
    int64_t rows;
    bool is_constant; // mode
    // the stretch of the last axis that is copied as it is
    int64_t copy_begin, copy_end;
} pad;

// Position in x of position `at` (0 = first of x), -1 = fill.
static int64_t
padded_index(int64_t at, int64_t n, int64_t mode)
{
    if (at >= 0 && at < n) {
        return at;
    }
    if (mode == PAD_CONSTANT || n == 0) {
        return -1;
    }
    if (mode == PAD_EDGE || n == 1) {
        return at < 0 ? 0 : n - 1;
    }
    int64_t period = mode == PAD_WRAP ? n : 2 * (n - 1);
    int64_t r = at % period;
    r += r < 0 ? period : 0;
    return r < n ? r : period - r;
}

static void
fill_row(const pad *p, uint8_t *out, int64_t begin, int64_t end)
{
    if (p->element == 1) {
        memset(out + begin, p->fill[0], (size_t)(end - begin));
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        memcpy(out + i * p->element, p->fill, (size_t)p->element);
    }
}

static void
pick_row(const pad *p, const uint8_t *x, uint8_t *out, int64_t begin,
         int64_t end)
{
    const int64_t *table = p->table[p->rank - 1];
    if (p->is_constant) {
        fill_row(p, out, begin, end);
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        memcpy(out + i * p->element, table[i] < 0 ? p->fill : x + table[i],
               (size_t)p->element);
    }
}

// One row of the output from offset `at` of x; at < 0: padding.
static void
pad_row(const pad *p, const uint8_t *x, int64_t at, uint8_t *out)
{
    int64_t n = p->dims[p->rank - 1];
    if (at < 0) {
        fill_row(p, out, 0, n);
        return;
    }
    x += at;
    pick_row(p, x, out, 0, p->copy_begin);
    if (p->copy_end > p->copy_begin) {
        memcpy(out + p->copy_begin * p->element,
               x + p->table[p->rank - 1][p->copy_begin],
               (size_t)((p->copy_end - p->copy_begin) * p->element));
    }
    pick_row(p, x, out, p->copy_end, n);
}

static void
run_pad(const void *state, const pq_run *run)
{
    const pad *p = state;
    pq_range part = pq_worker_range(run->worker, p->rows, 1);
    int64_t row_bytes = p->dims[p->rank - 1] * p->element;
    int64_t index[PTQC_MAX_RANK] = {0};
    int64_t rest = part.begin;
    for (uint32_t i = p->rank - 1; i-- > 0;) {
        index[i] = rest % p->dims[i];
        rest /= p->dims[i];
    }
    for (int64_t row = part.begin; row < part.end; row++) {
        int64_t at = 0;
        for (uint32_t i = 0; i + 1 < p->rank; i++) {
            int64_t offset = p->table[i][index[i]];
            at = offset < 0 || at < 0 ? -1 : at + offset;
        }
        pad_row(p, run->args[0], at, (uint8_t *)run->args[1] + row * row_bytes);
        for (uint32_t i = p->rank - 1; i-- > 0;) {
            if (++index[i] < p->dims[i]) {
                break;
            }
            index[i] = 0;
        }
    }
}

static ptqc_be_status
set_tables(const pq_prep *prep, int64_t mode, pad *p)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    int64_t strides[PTQC_MAX_RANK];
    pq_move_strides(x->dims, x->rank, x->element_bytes, strides);
    p->rows = 1;
    for (uint32_t i = 0; i < y->rank; i++) {
        int64_t begin = pq_prep_i64(prep, 2 + i);
        PQ_NEED(prep, begin >= INT32_MIN && begin <= INT32_MAX);
        p->dims[i] = y->dims[i];
        p->table[i] =
            pq_mem_array(prep->mem, (size_t)y->dims[i], sizeof *p->table[i]);
        if (p->table[i] == NULL) {
            return pq_prep_no_memory(prep);
        }
        for (int64_t o = 0; o < y->dims[i]; o++) {
            int64_t at = padded_index(o - begin, x->dims[i], mode);
            p->table[i][o] = at < 0 ? -1 : at * strides[i];
        }
        p->rows *= i + 1 < y->rank ? y->dims[i] : 1;
        if (i + 1 == y->rank) {
            int64_t end = begin + x->dims[i];
            p->copy_begin = begin < 0 ? 0 : begin;
            p->copy_begin =
                p->copy_begin < y->dims[i] ? p->copy_begin : y->dims[i];
            p->copy_end = end < y->dims[i] ? end : y->dims[i];
            p->copy_end =
                p->copy_end > p->copy_begin ? p->copy_end : p->copy_begin;
        }
    }
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_pad(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    int64_t mode = pq_prep_i64(prep, 0), element = pq_prep_i64(prep, 1);
    pad *p = pq_mem_alloc(prep->mem, sizeof *p);
    if (p == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, is_pair(prep) && x->rank == y->rank && x->rank > 0);
    PQ_NEED(prep, mode >= 0 && mode <= PAD_WRAP);
    PQ_NEED(prep, prep->param_count == 2 + x->rank);
    p->rank = x->rank;
    p->is_constant = mode == PAD_CONSTANT;
    p->element = x->element_bytes;
    memcpy(p->fill, &element, sizeof p->fill);
    op->state = p;
    op->run = run_pad;
    op->serial = y->bytes < 16384;
    return set_tables(prep, mode, p);
}
