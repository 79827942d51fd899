// SPDX-License-Identifier: Apache-2.0
//
// ATTENTION steps (skeletons/attention.kg): decode and prefill are one kernel,
// whose groups take one row or several.
#include "kernel_axes.h"

#define KEYS_MAX 64u // items of a group; a power of two
#define ROWS_MAX 8u
#define ROOM_MAX 12288 // bytes of a group's arrays: every device has 16 KiB

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

// Four elements of a key from a place that is a multiple of 4, when D is one;
// else one by one, zeros behind D.
static void
define_key_quad(pq_kg_module *m, uint32_t dtype)
{
    const char *name = pq_kg_dtype_name(dtype);
    const char *whole =
        dtype == PTQC_F32 ? "MAKE_F32X4(AS_F32(k[i]), AS_F32(k[(i) + 1u]), "
                            "AS_F32(k[(i) + 2u]), AS_F32(k[(i) + 3u]))"
        : dtype == PTQC_F16
            ? "MAKE_F32X4(HALF_LOW(k[(i) >> 1]), HALF_HIGH(k[(i) >> 1]), "
              "HALF_LOW(k[((i) >> 1) + 1u]), HALF_HIGH(k[((i) >> 1) + 1u]))"
        : dtype == PTQC_BF16
            ? "MAKE_F32X4(LD_bf16(k, i), LD_bf16(k, (i) + 1u), "
              "LD_bf16(k, (i) + 2u), LD_bf16(k, (i) + 3u))"
            : "MAKE_F32X4(F32(LD_i8(k, i)), F32(LD_i8(k, (i) + 1u)), "
              "F32(LD_i8(k, (i) + 2u)), F32(LD_i8(k, (i) + 3u)))";
    pq_kg_module_define(m, "KEY_WHOLE(i)", "%s", whole);
    pq_kg_module_define(m, "KEY_ONE(at, i)",
                        "((i) < D ? F32(LD_%s(k, (at) + (i))) : 0.0f)", name);
    pq_kg_module_define(m, "KEY_PARTS(at, i)",
                        "MAKE_F32X4(KEY_ONE(at, i), KEY_ONE(at, (i) + 1u), "
                        "KEY_ONE(at, (i) + 2u), KEY_ONE(at, (i) + 3u))");
    pq_kg_module_define(m, "KEY_QUAD(at, i)",
                        "(D %% 4u == 0u ? KEY_WHOLE((at) + (i)) : "
                        "KEY_PARTS(at, i))");
}

static void
define_value(pq_kg_module *m, uint32_t dtype)
{
    if (dtype == PTQC_F16) {
        pq_kg_module_define(m, "VALUE(i)",
                            "(((i) & 1u) == 0u ? HALF_LOW(v_words[(i) >> 1]) : "
                            "HALF_HIGH(v_words[(i) >> 1]))");
    } else {
        pq_kg_module_define(m, "VALUE(i)", "F32(LD_%s(v_words, i))",
                            pq_kg_dtype_name(dtype));
    }
}

static void
declare(pq_kg_module *m)
{
    static const char *const WORDS[] = {"tiles",     "row_tiles", "rows",
                                        "key_heads", "group",     "queries",
                                        "keys",      "scale_bits"};
    static const char *const STRIDES[] = {"q_stride", "k_stride", "v_stride",
                                          "m_stride", "y_stride"};
    pq_kg_module_spec(m, "D");
    pq_kg_module_spec(m, "DV");
    pq_kg_module_spec(m, "QROWS");
    pq_kg_module_spec(m, "KEYS");
    pq_kg_module_define(m, "D4", "((D + 3u) / 4u)");
    pq_kg_module_define(m, "MIN(a, b)", "((a) < (b) ? (a) : (b))");
    for (uint32_t i = 0; i < 8; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    for (uint32_t i = 0; i < 5; i++) {
        pq_kg_module_words(m, STRIDES[i], 3);
    }
    pq_kg_module_array(m, "f32x4", "query", "QROWS * ((D + 3u) / 4u)");
    pq_kg_module_array(m, "f32", "weight", "QROWS * KEYS");
    pq_kg_module_array(m, "f32", "turned", "QROWS * KEYS");
    pq_kg_module_array(m, "f32", "sums", "QROWS * DV");
}

static void
declare_buffers(pq_kg_module *m)
{
    static const char *const NAMES[] = {
        "q", "k", "v_words", "mask", "positions", "k_scales", "v_scales"};
    for (uint32_t i = 0; i < m->job->input_count; i++) {
        if (pq_kg_in(m->job, i) != NULL) {
            pq_kg_module_buffer(m, i, NAMES[i], PQ_KG_READS);
        }
    }
    pq_kg_module_buffer(m, m->job->input_count, "y", PQ_KG_WRITES);
}

static const char *
score_text(pq_kg_module *m)
{
    pq_kg_text t = {.mem = m->mem};
    if (pq_kg_in(m->job, K_SCALE) != NULL) {
        pq_kg_text_add(&t, "s = s * AS_F32(k_scales[line * keys + "
                           "MIN(key, keys - 1u)]);\n");
    }
    pq_kg_text_add(&t, "s = s * AS_F32(scale_bits);\n");
    if (pq_kg_in(m->job, MASK) != NULL) {
        pq_kg_text_add(&t, "s = s + AS_F32(mask[m_at[r] + "
                           "MIN(key, keys - 1u)]);\n");
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
    m->uses |= PQ_KG_USES_MATH;
    declare(m);
    define_key_quad(m, k);
    define_value(m, v);
    declare_buffers(m);
    pq_kg_module_hook(
        m, "seen",
        positions ? "i32 n = I32(positions[batch * queries + token]) + 1;\n"
        : causal  ? "i32 n = I32(token + 1u + keys) - I32(queries);\n"
                  : "i32 n = I32(keys);\n");
    pq_kg_module_hook(m, "score", score_text(m));
    pq_kg_module_hook(m, "value",
                      pq_kg_in(m->job, V_SCALE) != NULL
                          ? "v = v * AS_F32(v_scales[line * keys + base + "
                            "j]);\n"
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

// Bytes of a group's arrays for one row.
static int64_t
row_bytes(const shape *s, int64_t keys)
{
    return 4 * ((s->q.dims[3] + 3) / 4 * 4 + 2 * keys + s->v.dims[3]);
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
    uint32_t keys = KEYS_MAX, most = l->limits->max_local_size;
    while (most > 0 && keys > most) {
        keys /= 2;
    }
    int64_t group = s.q.dims[1] / s.k.dims[1], rows = group * s.q.dims[2];
    uint32_t tile = 1;
    while (tile < ROWS_MAX && tile < rows &&
           2 * tile * row_bytes(&s, keys) <= ROOM_MAX) {
        tile *= 2;
    }
    PQ_KG_NEED(l, tile * row_bytes(&s, keys) <= ROOM_MAX + 4096);
    int64_t row_tiles = (rows + tile - 1) / tile;
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
    const uint32_t specs[] = {(uint32_t)s.q.dims[3], (uint32_t)s.v.dims[3],
                              tile, keys};
    for (uint32_t i = 0; i < 4; i++) {
        pq_kg_launch_spec(l, specs[i]);
    }
    pq_kg_launch_rows(l, tiles, keys);
    l->out->work_ops = 2 * (uint64_t)s.q.dims[0] * (uint64_t)s.q.dims[1] *
                       (uint64_t)s.q.dims[2] * (uint64_t)s.k.dims[2] *
                       (uint64_t)(s.q.dims[3] + s.v.dims[3]);
}
