// SPDX-License-Identifier: Apache-2.0
//
// PLANAR_DEPTHWISE (skeletons/depthwise.kg): weights [taps][OC].
#include <stdio.h>
#include <string.h>

#include "expr_text.h"
#include "planar.h"

#define SPAN_MAX 16 // pixels of x that an item sees at once

typedef struct depthwise {
    int64_t channels, rows, multiplier;
    int64_t y_rows, first; // of a row of y, and which of them is the first
    int64_t format, scales;
    bool has_codes;
    pq_kg_expression e;
} depthwise;

static const char *
read_step(const pq_kg_job *job, depthwise *d)
{
    const pq_kg_tensor *x = pq_kg_in(job, 0);
    int64_t spatial = pq_kg_i64(job, 0);
    memset(d, 0, sizeof *d);
    d->channels = pq_kg_i64(job, 2);
    d->rows = pq_kg_i64(job, 3);
    d->first = pq_kg_i64(job, 20);
    d->y_rows = pq_kg_i64(job, 21);
    d->format = pq_kg_i64(job, 16);
    d->scales = pq_kg_i64(job, 19);
    if (x == NULL || pq_kg_in(job, 1) == NULL || pq_kg_out(job, 0) == NULL ||
        spatial < 1 || spatial > 3 || d->channels < 1 ||
        d->channels > INT32_MAX || d->rows < 1 || d->y_rows < d->rows ||
        d->y_rows > INT32_MAX || d->first < 0 ||
        d->first > d->y_rows - d->rows || pq_kg_i64(job, 1) != d->channels ||
        d->y_rows % d->channels != 0 || pq_kg_i64(job, 17) != 0) {
        return "depthwise conv: sizes";
    }
    for (uint32_t i = 4; i < 16; i++) {
        int64_t v = pq_kg_i64(job, i);
        if (v < (i < 13 ? 1 : 0) || v > 1 << 20) {
            return "depthwise conv: kernel, strides, dilations or pads";
        }
    }
    d->multiplier = d->y_rows / d->channels;
    d->has_codes = x->dtype == PTQC_U8 || x->dtype == PTQC_I8;
    bool is_float = d->format == PQ_KG_WEIGHT_F32 ||
                    d->format == PQ_KG_WEIGHT_F16 ||
                    d->format == PQ_KG_WEIGHT_BF16;
    if ((!d->has_codes && !pq_kg_is_float(x->dtype)) ||
        (!is_float && d->format != PQ_KG_WEIGHT_I8) ||
        (is_float && d->has_codes) ||
        (d->scales != PQ_KG_SCALES_NONE && d->scales != PQ_KG_SCALES_ZERO) ||
        (d->scales != PQ_KG_SCALES_NONE && pq_kg_in(job, 2) == NULL)) {
        return "depthwise conv: types";
    }
    return pq_kg_expression_read(job, 22, d->has_codes ? PTQC_I32 : PTQC_F32, 3,
                                 &d->e);
}

// A multiple of a power of two when all lines of results and weights begin at
// such ones.
static int64_t
store_row(const depthwise *d)
{
    return d->rows | d->y_rows | d->first;
}

// Whether quads of rows begin at multiples of four elements, in x and in the
// weights.
static bool
has_quads(const depthwise *d)
{
    return store_row(d) % 4 == 0 && d->multiplier == 1;
}

// How a quad of elements of a float type is loaded in one go.
static const char *
quad_of(uint32_t dtype)
{
    return dtype == PTQC_F32   ? "WIDE_F32(%s4, %s)"
           : dtype == PTQC_F16 ? "PAIR_F16(%s2, %s)"
                               : "PAIR_BF16(%s2, %s)";
}

static uint32_t
quad_flags(const depthwise *d, uint32_t dtype)
{
    return !has_quads(d) || pq_kg_element_bytes(dtype) == 1 ? PQ_KG_READS
           : dtype == PTQC_F32                              ? PQ_KG_WIDE
                                                            : PQ_KG_PAIRS;
}

static uint32_t
weight_dtype(const depthwise *d)
{
    static const uint32_t FLOATS[] = {PTQC_F32, PTQC_F16, PTQC_BF16};
    return d->format == PQ_KG_WEIGHT_I8 ? PTQC_I8 : FLOATS[d->format];
}

// LOAD_X(here, pixel, row): a quad of x; X_OF: element j of it.
static void
define_x(pq_kg_module *m, const depthwise *d)
{
    uint32_t dtype = pq_kg_in(m->job, 0)->dtype;
    const char *name = pq_kg_dtype_name(dtype);
    const char *pad = d->has_codes ? "pad_codes" : "NO_FLOATS";
    char load[128];
    if (has_quads(d) && d->has_codes) {
        (void)snprintf(load, sizeof load,
                       "x[(p * channels + first_row + r) >> 2]");
    } else if (has_quads(d)) {
        (void)snprintf(load, sizeof load, quad_of(dtype), "x",
                       "(p * channels + first_row + r)");
    } else if (d->has_codes) {
        pq_kg_module_define(m, "ONE_X(p, r)",
                            "BYTE_AT(x, p * channels + (first_row + MIN(r, "
                            "rows - 1u)) / multiplier)");
        (void)snprintf(load, sizeof load, "%s",
                       "(ONE_X(p, r) | ONE_X(p, r + 1u) << 8 | "
                       "ONE_X(p, r + 2u) << 16 | ONE_X(p, r + 3u) << 24)");
    } else {
        pq_kg_module_define(m, "ONE_X(p, r)",
                            "LD_%s(x, p * channels + (first_row + MIN(r, "
                            "rows - 1u)) / multiplier)",
                            name);
        (void)snprintf(load, sizeof load, "%s",
                       "MAKE_F32X4(ONE_X(p, r), ONE_X(p, r + 1u), "
                       "ONE_X(p, r + 2u), ONE_X(p, r + 3u))");
    }
    pq_kg_module_define(m, "LOAD_X(here, p, r)", "(here ? %s : %s)", load, pad);
    pq_kg_module_define(m, "X_OF(v, j)", "%s",
                        !d->has_codes      ? "LANE(v, j)"
                        : dtype == PTQC_I8 ? "CODE_I8(v, j)"
                                           : "CODE_U8(v, j)");
}

// LOAD_W(line, row): a quad of weights; WEIGHT_OF: element j of it.
static void
define_weights(pq_kg_module *m, const depthwise *d)
{
    uint32_t dtype = weight_dtype(d);
    char load[128];
    const char *element = "LANE(v, j)";
    if (dtype == PTQC_I8) {
        // lines are filled up to whole words
        (void)snprintf(load, sizeof load, "weights[(at + r) >> 2]");
        element = d->has_codes ? "CODE_I8(v, j)" : "F32(CODE_I8(v, j))";
    } else if (has_quads(d)) {
        (void)snprintf(load, sizeof load, quad_of(dtype), "weights",
                       "(at + r)");
    } else {
        pq_kg_module_define(m, "ONE_W(at, r)",
                            "LD_%s(weights, at + MIN(r, rows - 1u))",
                            pq_kg_dtype_name(dtype));
        (void)snprintf(load, sizeof load, "%s",
                       "MAKE_F32X4(ONE_W(at, r), ONE_W(at, r + 1u), "
                       "ONE_W(at, r + 2u), ONE_W(at, r + 3u))");
    }
    pq_kg_module_define(m, "WEIGHT_QUAD", dtype == PTQC_I8 ? "u32" : "f32x4");
    pq_kg_module_define(m, "LOAD_W(at, r)", "%s", load);
    pq_kg_module_define(m, "WEIGHT_OF(v, j)", "%s", element);
}

static void
define_macros(pq_kg_module *m, const depthwise *d)
{
    const char *sum = d->has_codes ? "I32" : "F32";
    pq_kg_module_define(m, "SUM", d->has_codes ? "i32" : "f32");
    pq_kg_module_define(m, "QUAD", d->has_codes ? "u32" : "f32x4");
    define_x(m, d);
    define_weights(m, d);
    pq_kg_module_define(
        m, "ZERO_OF(r)",
        d->scales == PQ_KG_SCALES_ZERO ? "%s(I32(scales[r]))" : "%s(0)", sum);
    pq_kg_module_define(m, "MAC(a, b, sum)",
                        d->has_codes ? "sum + a * b" : "FMA(a, b, sum)");
}

void
pq_kg_source_planar_depthwise(pq_kg_module *m)
{
    depthwise d;
    char result[16], name[32];
    const char *why = read_step(m->job, &d);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    pq_kg_module_name(m, "depthwise_%s",
                      pq_kg_dtype_name(pq_kg_in(m->job, 0)->dtype));
    pq_kg_expression_name(m, &d.e);
    pq_kg_module_buffer(m, 0, "x", quad_flags(&d, pq_kg_in(m->job, 0)->dtype));
    pq_kg_module_buffer(m, 1, "weights", quad_flags(&d, weight_dtype(&d)));
    if (d.scales != PQ_KG_SCALES_NONE) {
        pq_kg_module_buffer(m, 2, "scales", PQ_KG_READS);
    }
    static const char *const WORDS[] = {
        "items",      "rows",       "y_rows",     "first_row",  "quads",
        "blocks",     "channels",   "multiplier", "row_stride", "in_d",
        "in_h",       "in_w",       "out_d",      "out_h",      "out_w",
        "kernel_d",   "kernel_h",   "kernel_w",   "stride_d",   "stride_h",
        "dilation_d", "dilation_h", "pad_d",      "pad_h",      "pad_w",
        "pad_codes"};
    static const char *const SPECS[] = {"PIXELS", "KW", "STEP", "GAP"};
    for (uint32_t i = 0; i < sizeof SPECS / sizeof SPECS[0]; i++) {
        pq_kg_module_spec(m, SPECS[i]);
    }
    for (uint32_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    pq_kg_text places = {.mem = m->mem};
    for (uint32_t i = 0; i < pq_kg_expression_operands(&d.e); i++) {
        (void)snprintf(name, sizeof name, "row%u", i);
        pq_kg_module_word(m, name);
        (void)snprintf(name, sizeof name, "col%u", i);
        pq_kg_module_word(m, name);
        pq_kg_text_add(&places, "u32 at%u = col * col%u + r * row%u;\n", i, i,
                       i);
    }
    pq_kg_expression_declare(m, &d.e);
    pq_kg_module_buffer(m, m->job->input_count, "y", PQ_KG_WRITES);
    define_macros(m, &d);
    pq_kg_module_hook(m, "places", pq_kg_module_text(m, &places));
    pq_kg_module_hook(m, "expression",
                      pq_kg_expression_text(m, &d.e, "sum", result));
    pq_kg_module_store_row(m, pq_kg_out(m->job, 0)->dtype, store_row(&d),
                           result);
    m->uses |= PQ_KG_USES_BLOCKS;
    pq_kg_module_body(m, pq_kg_text_depthwise);
}

// Pixels an item makes and taps it takes at once: as many as registers hold.
typedef struct schedule {
    int64_t pixels, taps;
} schedule;

static schedule
pick_schedule(const pq_kg_job *job, int64_t out_w)
{
    int64_t kernel = pq_kg_i64(job, 6), step = pq_kg_i64(job, 9);
    int64_t gap = pq_kg_i64(job, 12);
    schedule s = {.pixels = 4, .taps = kernel <= 7 ? kernel : 1};
    while (s.pixels > 1 && s.pixels / 2 >= out_w) {
        s.pixels /= 2;
    }
    if ((s.taps - 1) * gap >= SPAN_MAX) {
        s.taps = 1;
    }
    while (s.pixels > 1 &&
           (s.pixels - 1) * step + (s.taps - 1) * gap >= SPAN_MAX) {
        s.pixels /= 2;
    }
    return s;
}

static bool
need_weights(pq_kg_launcher *l, const depthwise *d, int64_t row_bytes,
             int64_t taps)
{
    const pq_kg_tensor *w = pq_kg_in(l->job, 1), *s = pq_kg_in(l->job, 2);
    int64_t have, scales = d->rows;
    (void)pq_kg_count(w, &have);
    if (d->scales != PQ_KG_SCALES_NONE) {
        (void)pq_kg_count(s, &scales);
        scales = scales * pq_kg_element_bytes(s->dtype) / 4;
    }
    return PQ_KG_NEED(l, taps <= 1 << 24) &&
           PQ_KG_NEED(l, have * pq_kg_element_bytes(w->dtype) >=
                             row_bytes * taps) &&
           PQ_KG_NEED(l, scales >= d->rows);
}

void
pq_kg_launch_planar_depthwise(pq_kg_launcher *l)
{
    depthwise d;
    const char *why = read_step(l->job, &d);
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    int64_t in[3], out[3], taps = 1, count;
    pq_kg_spatial(l, x, d.channels, in);
    pq_kg_spatial(l, y, d.y_rows, out);
    for (uint32_t i = 4; i < 7; i++) {
        taps *= pq_kg_i64(l->job, i) < 65536 ? pq_kg_i64(l->job, i) : 65536;
    }
    int64_t bytes = pq_kg_element_bytes(weight_dtype(&d));
    int64_t row_bytes = (d.rows * bytes + 3) / 4 * 4;
    (void)pq_kg_count(y, &count);
    if (l->st != PTQC_BE_OK || !PQ_KG_NEED(l, x->dims[0] == y->dims[0]) ||
        !need_weights(l, &d, row_bytes, taps)) {
        return;
    }
    schedule s = pick_schedule(l->job, out[2]);
    int64_t quads = (d.rows + 3) / 4;
    int64_t blocks = (out[2] + s.pixels - 1) / s.pixels;
    int64_t items = quads * blocks * out[1] * out[0] * y->dims[0];
    const int64_t own[] = {items,      d.rows,       d.y_rows,
                           d.first,    quads,        blocks,
                           d.channels, d.multiplier, row_bytes / bytes};
    for (uint32_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        pq_kg_put(l, own[i]);
    }
    for (uint32_t i = 0; i < 6; i++) {
        pq_kg_put(l, i < 3 ? in[i] : out[i - 3]);
    }
    // along the line stride and dilation are constants
    for (uint32_t i = 4; i < 16; i++) {
        if (i != 9 && i != 12) {
            pq_kg_put(l, pq_kg_i64(l->job, i));
        }
    }
    pq_kg_put_bits(l, ((uint32_t)pq_kg_i64(l->job, 18) & 255u) * 0x01010101u);
    pq_kg_put_columns(l, &d.e);
    pq_kg_expression_put(l, &d.e);
    pq_kg_launch_spec(l, (uint32_t)s.pixels);
    pq_kg_launch_spec(l, (uint32_t)s.taps);
    pq_kg_launch_spec(l, (uint32_t)pq_kg_i64(l->job, 9));
    pq_kg_launch_spec(l, (uint32_t)pq_kg_i64(l->job, 12));
    pq_kg_launch_items(l, items, l->limits->is_cpu ? 32 : 64);
    l->out->work_ops =
        2 * (uint64_t)(count / d.y_rows * d.rows) * (uint64_t)taps;
}
