// SPDX-License-Identifier: Apache-2.0
//
// PLANAR_DEPTHWISE (skeletons/depthwise.kg): weights [taps][OC].
#include <stdio.h>
#include <string.h>

#include "expr_text.h"
#include "planar.h"

typedef struct depthwise {
    int64_t channels, rows, multiplier;
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
    d->format = pq_kg_i64(job, 16);
    d->scales = pq_kg_i64(job, 19);
    if (x == NULL || pq_kg_in(job, 1) == NULL || pq_kg_out(job, 0) == NULL ||
        spatial < 1 || spatial > 3 || d->channels < 1 ||
        d->channels > INT32_MAX || d->rows < 1 || d->rows > INT32_MAX ||
        pq_kg_i64(job, 1) != d->channels || d->rows % d->channels != 0 ||
        pq_kg_i64(job, 17) != 0) {
        return "depthwise conv: sizes";
    }
    for (uint32_t i = 4; i < 16; i++) {
        int64_t v = pq_kg_i64(job, i);
        if (v < (i < 13 ? 1 : 0) || v > 1 << 20) {
            return "depthwise conv: kernel, strides, dilations or pads";
        }
    }
    d->multiplier = d->rows / d->channels;
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
    return pq_kg_expression_read(job, 20, d->has_codes ? PTQC_I32 : PTQC_F32, 3,
                                 &d->e);
}

static void
define_macros(pq_kg_module *m, const depthwise *d)
{
    static const char *const WEIGHTS[] = {"f32", "f16", "bf16"};
    const char *x = pq_kg_dtype_name(pq_kg_in(m->job, 0)->dtype);
    const char *w = d->format == PQ_KG_WEIGHT_I8 ? "i8" : WEIGHTS[d->format];
    bool is_code = d->format == PQ_KG_WEIGHT_I8;
    const char *sum = d->has_codes ? "I32" : "F32";
    bool is_signed = pq_kg_in(m->job, 0)->dtype == PTQC_I8;
    const char *pad = !d->has_codes ? "0.0f"
                      : is_signed   ? "BITS_I(pad_code, 0u, 8)"
                                    : "I32(pad_code)";
    pq_kg_module_define(m, "SUM", d->has_codes ? "i32" : "f32");
    pq_kg_module_define(m, "LOAD_X(here, at)", "(here ? %s(LD_%s(x, at)) : %s)",
                        sum, x, pad);
    pq_kg_module_define(m, "LOAD_W(at)", "%s(LD_%s(weights, at))",
                        is_code ? sum : "", w);
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
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_module_buffer(m, 1, "weights", PQ_KG_READS);
    if (d.scales != PQ_KG_SCALES_NONE) {
        pq_kg_module_buffer(m, 2, "scales", PQ_KG_READS);
    }
    static const char *const WORDS[] = {
        "words_out",  "rows",     "columns",  "channels",   "multiplier",
        "row_stride", "in_d",     "in_h",     "in_w",       "out_d",
        "out_h",      "out_w",    "kernel_d", "kernel_h",   "kernel_w",
        "stride_d",   "stride_h", "stride_w", "dilation_d", "dilation_h",
        "dilation_w", "pad_d",    "pad_h",    "pad_w",      "pad_code"};
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
    pq_kg_module_store(m, pq_kg_out(m->job, 0)->dtype, result);
    pq_kg_module_body(m, pq_kg_text_depthwise);
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
    const pq_kg_tensor *w = pq_kg_in(l->job, 1);
    int64_t in[3], out[3], taps = 1, have, count;
    pq_kg_spatial(l, x, d.channels, in);
    pq_kg_spatial(l, y, d.rows, out);
    for (uint32_t i = 4; i < 7; i++) {
        taps *= pq_kg_i64(l->job, i) < 65536 ? pq_kg_i64(l->job, i) : 65536;
    }
    int64_t bytes = d.format == PQ_KG_WEIGHT_F32  ? 4
                    : d.format == PQ_KG_WEIGHT_I8 ? 1
                                                  : 2;
    int64_t row_bytes = (d.rows * bytes + 3) / 4 * 4;
    (void)pq_kg_count(w, &have);
    (void)pq_kg_count(y, &count);
    PQ_KG_NEED(l, taps <= 1 << 24);
    if (l->st != PTQC_BE_OK ||
        !PQ_KG_NEED(l, x->dims[0] == y->dims[0] &&
                           have * pq_kg_dtype_bytes(w->dtype) >=
                               row_bytes * taps)) {
        return;
    }
    int64_t words = pq_kg_words_of(y->dtype, count);
    const int64_t own[] = {words,      d.rows,       count / d.rows,
                           d.channels, d.multiplier, row_bytes / bytes};
    for (uint32_t i = 0; i < 6; i++) {
        pq_kg_put(l, own[i]);
    }
    for (uint32_t i = 0; i < 6; i++) {
        pq_kg_put(l, i < 3 ? in[i] : out[i - 3]);
    }
    for (uint32_t i = 4; i < 16; i++) {
        pq_kg_put(l, pq_kg_i64(l->job, i));
    }
    pq_kg_put(l, pq_kg_i64(l->job, 18) & 255);
    pq_kg_put_columns(l, &d.e);
    pq_kg_expression_put(l, &d.e);
    pq_kg_launch_items(l, words, l->limits->is_cpu ? 32 : 64);
    l->out->work_ops = 2 * (uint64_t)count * (uint64_t)taps;
}
