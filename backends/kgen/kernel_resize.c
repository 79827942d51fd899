// SPDX-License-Identifier: Apache-2.0
//
// RESIZE steps: nearest moves elements of any size (skeletons/move.kg), linear
// and cubic compute (skeletons/resize.kg). Positions are those of
// docs/numerics.md section 9 bit for bit.
#include "kernel_move.h"
#include "module.h"
#include "params.h"

// Parameters: lower_window.c.
#define COORDINATES 1
#define ROUNDING    2
#define CUBIC_A     3
#define SPATIAL     4
#define SCALES      5

static const char *
resize_fault(const pq_kg_job *job)
{
    const pq_kg_tensor *x = pq_kg_in(job, 0), *y = pq_kg_out(job, 0);
    int64_t kind = pq_kg_i64(job, 0), spatial = pq_kg_i64(job, SPATIAL);
    int64_t at = pq_kg_i64(job, COORDINATES), to = pq_kg_i64(job, ROUNDING);
    if (x == NULL || y == NULL || x->dtype != y->dtype ||
        (kind != PQ_RESIZE_NEAREST && x->dtype != PTQC_F32)) {
        return "resize of this type";
    }
    bool fits = kind >= 0 && kind <= PQ_RESIZE_CUBIC && spatial >= 1 &&
                spatial <= 3 && x->rank == spatial + 2 && y->rank == x->rank &&
                at >= 0 && at <= PQ_COORDINATES_ALIGN_CORNERS && to >= 0 &&
                to <= PQ_ROUNDING_CEIL;
    return fits && !(kind == PQ_RESIZE_CUBIC && spatial == 3)
               ? NULL
               : "resize of this rank or mode";
}

// ---- text ------------------------------------------------------------------

// POSITION(o, a) of output index o along axis a; step(a) is the scale, or for
// aligned corners what an index moves by.
static void
define_position(pq_kg_module *m)
{
    static const char *const POSITIONS[] = {
        [PQ_COORDINATES_HALF_PIXEL] = "div_exact(F32(o) + 0.5f, step(a)) - "
                                      "0.5f",
        [PQ_COORDINATES_PYTORCH_HALF_PIXEL] =
            "(out_size(a) == 1u ? 0.0f : div_exact(F32(o) + 0.5f, step(a)) - "
            "0.5f)",
        [PQ_COORDINATES_ASYMMETRIC] = "div_exact(F32(o), step(a))",
        [PQ_COORDINATES_ALIGN_CORNERS] =
            "(out_size(a) == 1u ? 0.0f : F32(o) * step(a))",
    };
    m->uses |= PQ_KG_USES_VALUES | PQ_KG_USES_EXACT;
    pq_kg_module_words(m, "in_size", 3);
    pq_kg_module_words(m, "out_size", 3);
    pq_kg_module_words(m, "step_bits", 3);
    pq_kg_module_word(m, "channels");
    pq_kg_module_define(m, "step(a)", "AS_F32(step_bits(a))");
    pq_kg_module_define(m, "POSITION(o, a)", "%s",
                        POSITIONS[pq_kg_i64(m->job, COORDINATES)]);
}

static void
source_nearest(pq_kg_module *m)
{
    static const char *const ROUNDINGS[] = {
        [PQ_ROUNDING_PREFER_FLOOR] = "CEIL(at - 0.5f)",
        [PQ_ROUNDING_PREFER_CEIL] = "FLOOR(at + 0.5f)",
        [PQ_ROUNDING_FLOOR] = "FLOOR(at)",
        [PQ_ROUNDING_CEIL] = "CEIL(at)",
    };
    if (!pq_kg_move_begin(m, "resize_nearest")) {
        return;
    }
    define_position(m);
    pq_kg_module_define(m, "NEAREST(at)", "%s",
                        ROUNDINGS[pq_kg_i64(m->job, ROUNDING)]);
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_move_end(m, "u32 next = rest / channels;\n"
                      "u32 from = rest - next * channels;\n"
                      "u32 stride = channels;\n"
                      "rest = next;\n"
                      "for (u32 k = 0u; k < 3u; k++) {\n"
                      "    u32 a = 2u - k;\n"
                      "    next = rest / out_size(a);\n"
                      "    u32 o = rest - next * out_size(a);\n"
                      "    i32 last = I32(in_size(a)) - 1;\n"
                      "    PRECISE f32 at = POSITION(o, a);\n"
                      "    i32 i = f32_to_i32(NEAREST(at));\n"
                      "    i = i < 0 ? 0 : (i > last ? last : i);\n"
                      "    i = in_size(a) == out_size(a) ? I32(o) : i;\n"
                      "    from += U32(i) * stride;\n"
                      "    stride *= in_size(a);\n"
                      "    rest = next;\n"
                      "}\n"
                      "element = RAW(x, rest * stride + from);\n");
}

static const char LINEAR_TEXT[] = "at = at > 0.0f ? at : 0.0f;\n"
                                  "at = at < F32(last) ? at : F32(last);\n"
                                  "i32 base = I32(FLOOR(at));\n"
                                  "share[a * TAPS + 1u] = at - FLOOR(at);\n";

// Weights of Keys' kernel at distances 1 + f, f, 1 - f, 2 - f.
static const char CUBIC_TEXT[] =
    "i32 base = I32(FLOOR(at)) - 1;\n"
    "f32 f = at - FLOOR(at);\n"
    "f32 c = AS_F32(cubic_bits);\n"
    "UNROLL\n"
    "for (u32 t = 0u; t < TAPS; t++) {\n"
    "    f32 s = ABS(f + 1.0f - F32(t));\n"
    "    f32 far = ((c * s - 5.0f * c) * s + 8.0f * c) * s - 4.0f * c;\n"
    "    f32 near = ((c + 2.0f) * s - (c + 3.0f)) * s * s + 1.0f;\n"
    "    share[a * TAPS + t] = s > 1.0f ? far : near;\n"
    "}\n";

static void
source_computed(pq_kg_module *m, bool cubic)
{
    pq_kg_module_name(m, cubic ? "resize_cubic" : "resize_linear");
    pq_kg_module_word(m, "count");
    define_position(m);
    pq_kg_module_word(m, "cubic_bits");
    pq_kg_module_define(m, "TAPS", cubic ? "4u" : "2u");
    pq_kg_module_define(m, "TAPS_DEEP", cubic ? "1u" : "2u");
    // an axis that stays takes its first tap alone
    pq_kg_module_define(
        m, "JOIN(sum, v, t, a)", "%s",
        cubic ? "(in_size(a) == out_size(a) ? (t == 0u ? (v) : (sum)) : "
                "(t == 0u ? share[(a) * TAPS] * (v) : "
                "FMA(share[(a) * TAPS + (t)], v, sum)))"
              : "(t == 0u ? (v) : (in_size(a) == out_size(a) ? (sum) : "
                "FMA(share[(a) * TAPS + 1u], (v) - (sum), sum)))");
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    pq_kg_module_hook(m, "weights", cubic ? CUBIC_TEXT : LINEAR_TEXT);
    pq_kg_module_body(m, pq_kg_text_resize);
}

void
pq_kg_source_resize(pq_kg_module *m)
{
    const char *why = resize_fault(m->job);
    int64_t kind = pq_kg_i64(m->job, 0);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
    } else if (kind == PQ_RESIZE_NEAREST) {
        source_nearest(m);
    } else {
        source_computed(m, kind == PQ_RESIZE_CUBIC);
    }
}

// ---- launch ----------------------------------------------------------------

typedef struct image {
    int64_t in[3], out[3], channels;
    float step[3];
} image;

static void
read_image(pq_kg_launcher *l, image *g)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    uint32_t spatial = (uint32_t)pq_kg_i64(l->job, SPATIAL);
    bool corners =
        pq_kg_i64(l->job, COORDINATES) == PQ_COORDINATES_ALIGN_CORNERS;
    g->channels = x->dims[x->rank - 1];
    PQ_KG_NEED(l,
               x->dims[0] == y->dims[0] && g->channels == y->dims[y->rank - 1]);
    for (uint32_t a = 0; a < 3; a++) {
        bool is_there = a + spatial >= 3;
        g->in[a] = is_there ? x->dims[a + spatial - 2] : 1;
        g->out[a] = is_there ? y->dims[a + spatial - 2] : 1;
        PQ_KG_NEED(l, g->in[a] > 0);
        float given = pq_kg_f32(l->job, SCALES + a);
        g->step[a] = corners ? (float)(g->in[a] - 1) / (float)(g->out[a] - 1)
                     : given > 0.0f ? given
                                    : (float)g->out[a] / (float)g->in[a];
    }
}

static void
put_image(pq_kg_launcher *l, const image *g)
{
    for (uint32_t a = 0; a < 3; a++) {
        pq_kg_put(l, g->in[a]);
    }
    for (uint32_t a = 0; a < 3; a++) {
        pq_kg_put(l, g->out[a]);
    }
    for (uint32_t a = 0; a < 3; a++) {
        pq_kg_put_f32(l, g->step[a]);
    }
    pq_kg_put(l, g->channels);
}

void
pq_kg_launch_resize(pq_kg_launcher *l)
{
    const char *why = resize_fault(l->job);
    image g = {0};
    int64_t count;
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    read_image(l, &g);
    if (l->st != PTQC_BE_OK) {
        return;
    }
    if (pq_kg_i64(l->job, 0) == PQ_RESIZE_NEAREST) {
        pq_kg_move_launch(l);
        g.channels *= pq_kg_move_parts(pq_kg_out(l->job, 0)->dtype);
        put_image(l, &g);
        return;
    }
    (void)pq_kg_count(pq_kg_out(l->job, 0), &count);
    pq_kg_put(l, count);
    put_image(l, &g);
    pq_kg_put_f32(l, pq_kg_f32(l->job, CUBIC_A));
    pq_kg_launch_items(l, count, pq_kg_flat_local(l->limits));
    l->out->work_ops = (uint64_t)count * 16;
}
