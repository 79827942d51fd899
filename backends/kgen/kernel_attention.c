// SPDX-License-Identifier: Apache-2.0
//
// ATTENTION steps (skeletons/attention.kg): decode and prefill are one kernel,
// whose groups take one row or several.
#include <stdio.h>

#include "kernel_axes.h"

#define LOCAL_MAX 64u // items of a group; a power of two
#define ROWS_MAX  32u
#define RP_MAX    8u    // rows of an item of the scores
#define SUMS_MAX  16u   // quads of sums of an item
#define ROOM_MAX  16384 // bytes of a group's arrays that every device has

// Parameters: lower_position.c.
#define SCALE  4
#define CAUSAL 5

// Inputs.
#define MASK      3
#define POSITIONS 4
#define K_SCALE   5
#define V_SCALE   6

static bool
is_f32(const pq_kg_tensor *t)
{
    return t != NULL && t->dtype == PTQC_F32;
}

// Keys or values: floats, or codes with their scales.
static bool
is_source(const pq_kg_tensor *t, const pq_kg_tensor *scales)
{
    return t != NULL && t->rank == 4 &&
           (scales != NULL
                ? t->dtype == PTQC_I8 && is_f32(scales) && scales->rank == 3
                : pq_kg_is_float(t->dtype));
}

static const char *
attention_fault(const pq_kg_job *job)
{
    const pq_kg_tensor *mask = pq_kg_in(job, MASK);
    const pq_kg_tensor *positions = pq_kg_in(job, POSITIONS);
    bool causal = pq_kg_i64(job, CAUSAL) != 0;
    if (!is_f32(pq_kg_in(job, 0)) || !is_f32(pq_kg_out(job, 0)) ||
        !is_source(pq_kg_in(job, 1), pq_kg_in(job, K_SCALE)) ||
        !is_source(pq_kg_in(job, 2), pq_kg_in(job, V_SCALE))) {
        return "attention over keys and values of this type";
    }
    if (mask != NULL && (!is_f32(mask) || mask->rank < 1 || mask->rank > 4)) {
        return "attention with a mask of this type";
    }
    return causal && positions != NULL ? "attention causal and by position"
                                       : NULL;
}

// ---- text ------------------------------------------------------------------

// Four elements of a row of keys or values, from element i on of the n of the
// row that begins at `at`: in one load when n is a multiple of 4 (so are then
// all places that rows begin at), else one by one, zeros behind the end.
static void
define_quad(pq_kg_module *m, const char *what, const char *buffer,
            uint32_t dtype)
{
    const char *name = pq_kg_dtype_name(dtype);
    const char *whole = dtype == PTQC_F32    ? "WIDE_F32(%s4, i)"
                        : dtype == PTQC_F16  ? "PAIR_F16(%s2, i)"
                        : dtype == PTQC_BF16 ? "PAIR_BF16(%s2, i)"
                                             : "FLOATS_OF(%s[(i) >> 2], 0u, 8)";
    char text[96], define[48];
    (void)snprintf(text, sizeof text, whole, buffer);
    (void)snprintf(define, sizeof define, "%s_WHOLE(i)", what);
    pq_kg_module_define(m, define, "%s", text);
    (void)snprintf(define, sizeof define, "%s_ONE(at, i, n)", what);
    pq_kg_module_define(m, define,
                        "((i) < (n) ? F32(LD_%s(%s, (at) + (i))) : 0.0f)", name,
                        buffer);
    (void)snprintf(define, sizeof define, "%s_PARTS(at, i, n)", what);
    pq_kg_module_define(m, define,
                        "MAKE_F32X4(%s_ONE(at, i, n), "
                        "%s_ONE(at, (i) + 1u, n), %s_ONE(at, (i) + 2u, n), "
                        "%s_ONE(at, (i) + 3u, n))",
                        what, what, what, what);
    (void)snprintf(define, sizeof define, "%s_QUAD(at, i, n)", what);
    pq_kg_module_define(m, define,
                        "((n) %% 4u == 0u ? %s_WHOLE((at) + (i)) : "
                        "%s_PARTS(at, i, n))",
                        what, what);
}

static void
declare(pq_kg_module *m)
{
    static const char *const WORDS[] = {"tiles",     "row_tiles", "rows",
                                        "key_heads", "group",     "queries",
                                        "keys",      "scale_bits"};
    static const char *const STRIDES[] = {"q_stride", "k_stride", "v_stride",
                                          "m_stride", "y_stride"};
    static const char *const SPECS[] = {"D",  "DV", "QROWS", "KX",
                                        "RP", "CX", "RPV",   "SUMS"};
    for (uint32_t i = 0; i < 8; i++) {
        pq_kg_module_spec(m, SPECS[i]);
    }
    pq_kg_module_define(m, "D4", "((D + 3u) / 4u)");
    pq_kg_module_define(m, "CQ", "((DV + 4u * CX - 1u) / (4u * CX))");
    pq_kg_module_define(m, "PARTS", "(LOCAL_SIZE / CX / (QROWS / RPV))");
    // -infinity counts 0 also while it is the largest
    pq_kg_module_define(m, "PART_OF(s, top)",
                        "((s) == -INF_F32 ? 0.0f : exp_f32((s) - top))");
    pq_kg_module_define(m, "MAC_QUAD(sum, p, v)",
                        "sum = MAKE_F32X4(FMA(p, (v).x, (sum).x), "
                        "FMA(p, (v).y, (sum).y), FMA(p, (v).z, (sum).z), "
                        "FMA(p, (v).w, (sum).w))");
    for (uint32_t i = 0; i < 8; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    for (uint32_t i = 0; i < 5; i++) {
        pq_kg_module_words(m, STRIDES[i], 3);
    }
    pq_kg_module_array(m, "f32x4", "query", "QROWS * ((D + 3u) / 4u)");
    pq_kg_module_array(m, "f32x4", "weight", "QROWS * KX");
    pq_kg_module_array(m, "f32", "tops", "QROWS");
    pq_kg_module_array(m, "f32", "factors", "QROWS");
    pq_kg_module_array(m, "u32", "row_seen", "QROWS");
    pq_kg_module_array(m, "u32", "mask_at", "QROWS");
    pq_kg_module_array(m, "f32x4", "sums", "SUMS");
}

static void
declare_buffers(pq_kg_module *m)
{
    static const char *const NAMES[] = {
        "q", "k", "v", "mask", "positions", "k_scales", "v_scales"};
    for (uint32_t i = 0; i < m->job->input_count; i++) {
        if (pq_kg_in(m->job, i) != NULL) {
            uint32_t dtype = pq_kg_in(m->job, i)->dtype;
            bool is_row = i == 1 || i == 2;
            pq_kg_module_buffer(m, i, NAMES[i],
                                !is_row             ? PQ_KG_READS
                                : dtype == PTQC_F32 ? PQ_KG_WIDE
                                : dtype == PTQC_I8  ? PQ_KG_READS
                                                    : PQ_KG_PAIRS);
        }
    }
    pq_kg_module_buffer(m, m->job->input_count, "y", PQ_KG_WRITES);
}

static const char *
score_text(pq_kg_module *m)
{
    pq_kg_text t = {.mem = m->mem};
    if (pq_kg_in(m->job, K_SCALE) != NULL) {
        pq_kg_text_add(&t, "s = s * AS_F32(k_scales[line * keys + one]);\n");
    }
    pq_kg_text_add(&t, "s = s * AS_F32(scale_bits);\n");
    if (pq_kg_in(m->job, MASK) != NULL) {
        pq_kg_text_add(&t, "s = s + AS_F32(mask[mask_at[row] + one]);\n");
    }
    return pq_kg_module_text(m, &t);
}

void
pq_kg_source_attention(pq_kg_module *m)
{
    const char *why = attention_fault(m->job);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    uint32_t k = pq_kg_in(m->job, 1)->dtype, v = pq_kg_in(m->job, 2)->dtype;
    bool positions = pq_kg_in(m->job, POSITIONS) != NULL;
    bool causal = pq_kg_i64(m->job, CAUSAL) != 0;
    pq_kg_module_name(m, "attention_%s_%s%s%s", pq_kg_dtype_name(k),
                      pq_kg_dtype_name(v),
                      pq_kg_in(m->job, MASK) != NULL ? "_mask" : "",
                      positions ? "_positions"
                      : causal  ? "_causal"
                                : "");
    m->uses |= PQ_KG_USES_MATH | PQ_KG_USES_BLOCKS;
    declare(m);
    define_quad(m, "KEY", "k", k);
    define_quad(m, "VALUE", "v", v);
    declare_buffers(m);
    pq_kg_module_hook(
        m, "seen",
        positions ? "i32 n = I32(positions[batch * queries + token]) + 1;\n"
        : causal  ? "i32 n = I32(token + 1u + keys) - I32(queries);\n"
                  : "i32 n = I32(keys);\n");
    pq_kg_module_hook(m, "score", score_text(m));
    pq_kg_module_hook(m, "value",
                      pq_kg_in(m->job, V_SCALE) != NULL
                          ? "quad = quad * AS_F32(v_scales[line * keys + "
                            "one]);\n"
                          : "");
    pq_kg_module_body(m, pq_kg_text_attention);
}

// ---- launch ----------------------------------------------------------------

typedef struct shape {
    pq_kg_axes q, k, v, y;
    int64_t mask[3]; // strides along batch, heads, tokens
} shape;

static void
read_mask(pq_kg_launcher *l, shape *s)
{
    const pq_kg_tensor *m = pq_kg_in(l->job, MASK);
    if (m == NULL || !PQ_KG_NEED(l, m->dims[m->rank - 1] == s->k.dims[2])) {
        return;
    }
    int64_t stride = s->k.dims[2];
    for (uint32_t i = m->rank - 1; i-- > 0;) {
        uint32_t axis = i + 4 - m->rank;
        PQ_KG_NEED(l, m->dims[i] == 1 || m->dims[i] == s->q.dims[axis]);
        s->mask[axis] = m->dims[i] == 1 ? 0 : stride;
        stride *= m->dims[i];
    }
}

static void
need_scales(pq_kg_launcher *l, uint32_t i, const pq_kg_axes *of)
{
    const pq_kg_tensor *t = pq_kg_in(l->job, i);
    for (uint32_t d = 0; t != NULL && d < 3; d++) {
        PQ_KG_NEED(l, t->dims[d] == of->dims[d]);
    }
}

static void
read_shape(pq_kg_launcher *l, shape *s)
{
    pq_kg_axes *all[] = {&s->q, &s->k, &s->v, &s->y};
    for (uint32_t i = 0; i < 4; i++) {
        pq_kg_launch_axes(l, i < 3 ? pq_kg_in(l->job, i) : pq_kg_out(l->job, 0),
                          i, all[i]);
    }
    if (l->st != PTQC_BE_OK) {
        return;
    }
    PQ_KG_NEED(l, s->k.dims[0] == s->q.dims[0] &&
                      s->v.dims[0] == s->q.dims[0] &&
                      s->y.dims[0] == s->q.dims[0]);
    PQ_KG_NEED(l, s->k.dims[1] > 0 && s->q.dims[1] % s->k.dims[1] == 0 &&
                      s->v.dims[1] == s->k.dims[1] &&
                      s->y.dims[1] == s->q.dims[1]);
    PQ_KG_NEED(
        l, s->v.dims[2] == s->k.dims[2] && s->y.dims[2] == s->q.dims[2] &&
               s->k.dims[3] == s->q.dims[3] && s->y.dims[3] == s->v.dims[3] &&
               s->q.dims[3] > 0 && s->v.dims[3] > 0);
    read_mask(l, s);
    need_scales(l, K_SCALE, &s->k);
    need_scales(l, V_SCALE, &s->v);
    if (pq_kg_in(l->job, POSITIONS) != NULL) {
        pq_kg_need_positions(l, pq_kg_in(l->job, POSITIONS), s->q.dims[0],
                             s->q.dims[2]);
    }
}

// How a group of `local` items shares its work (skeletons/attention.kg).
typedef struct schedule {
    uint32_t local, rows, kx, rp, cx, rpv, cq, sums;
} schedule;

static int64_t
room_of(const shape *s, const schedule *t)
{
    int64_t quads = (int64_t)t->rows * ((s->q.dims[3] + 3) / 4) +
                    (int64_t)t->rows * t->kx + t->sums;
    return 16 * quads + 16 * (int64_t)t->rows;
}

// Rows t->rows, of which an item of the scores has at most `rp`.
static void
share(const shape *s, uint32_t rp, schedule *t)
{
    int64_t quads = (s->v.dims[3] + 3) / 4;
    t->rp = t->rows < rp ? t->rows : rp;
    t->kx = t->local / (t->rows / t->rp);
    t->cx = 1;
    while (t->cx < quads && t->cx < t->local) {
        t->cx *= 2;
    }
    t->cq = (uint32_t)((quads + t->cx - 1) / t->cx);
    uint32_t row_lanes = t->local / t->cx;
    row_lanes = row_lanes < t->rows ? row_lanes : t->rows;
    t->rpv = t->rows / row_lanes;
    t->sums = t->local > t->cx * row_lanes ? t->local * t->rpv * t->cq : 1;
}

// The most rows that fit the arrays and the registers.
static schedule
pick_schedule(const pq_kg_limits *limits, const shape *s, int64_t rows)
{
    schedule t = {.local = LOCAL_MAX, .rows = 1};
    while (limits->max_local_size > 0 && t.local > limits->max_local_size) {
        t.local /= 2;
    }
    while (t.rows < ROWS_MAX && t.rows < rows && t.rows < t.local) {
        t.rows *= 2;
    }
    for (;; t.rows /= 2) {
        for (uint32_t rp = RP_MAX; rp > 1; rp /= 2) {
            share(s, rp, &t);
            if (t.rows == 1 ||
                (room_of(s, &t) <= ROOM_MAX && t.rpv * t.cq <= SUMS_MAX)) {
                return t;
            }
        }
    }
}

static void
put_strides(pq_kg_launcher *l, const int64_t *strides)
{
    for (uint32_t i = 0; i < 3; i++) {
        pq_kg_put(l, strides[i]);
    }
}

void
pq_kg_launch_attention(pq_kg_launcher *l)
{
    const char *why = attention_fault(l->job);
    shape s = {0};
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    read_shape(l, &s);
    if (l->st != PTQC_BE_OK) {
        return;
    }
    int64_t group = s.q.dims[1] / s.k.dims[1], rows = group * s.q.dims[2];
    schedule t = pick_schedule(l->limits, &s, rows);
    PQ_KG_NEED(l, room_of(&s, &t) <= ROOM_MAX && t.cq <= SUMS_MAX);
    int64_t row_tiles = (rows + t.rows - 1) / t.rows;
    int64_t tiles = s.q.dims[0] * s.k.dims[1] * row_tiles;
    const int64_t words[] = {tiles, row_tiles,   rows,       s.k.dims[1],
                             group, s.q.dims[2], s.k.dims[2]};
    for (uint32_t i = 0; i < 7; i++) {
        pq_kg_put(l, words[i]);
    }
    pq_kg_put_f32(l, pq_kg_f32(l->job, SCALE));
    put_strides(l, s.q.strides);
    put_strides(l, s.k.strides);
    put_strides(l, s.v.strides);
    put_strides(l, s.mask);
    put_strides(l, s.y.strides);
    const uint32_t specs[] = {(uint32_t)s.q.dims[3],
                              (uint32_t)s.v.dims[3],
                              t.rows,
                              t.kx,
                              t.rp,
                              t.cx,
                              t.rpv,
                              t.sums};
    for (uint32_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        pq_kg_launch_spec(l, specs[i]);
    }
    pq_kg_launch_rows(l, tiles, t.local);
    l->out->work_ops = 2 * (uint64_t)s.q.dims[0] * (uint64_t)s.q.dims[1] *
                       (uint64_t)s.q.dims[2] * (uint64_t)s.k.dims[2] *
                       (uint64_t)(s.q.dims[3] + s.v.dims[3]);
}
