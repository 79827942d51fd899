// SPDX-License-Identifier: Apache-2.0
//
// PLANAR_MATMUL and PLANAR_CONV: sums of products with planar weights
// (planar.h, skeletons/product.kg). What differs by types are the macros of
// blocks.kg that are picked here.
#include <stdio.h>
#include <string.h>

#include "expr_text.h"
#include "planar.h"

// What both kinds are in the end.
typedef struct product {
    bool is_conv, is_transposed, has_codes; // codes: x are codes
    pq_kg_weight format;
    pq_kg_scales scales;
    uint32_t x_dtype;
    int64_t rows, segment; // elements of a segment
    int64_t y_rows, first; // of a row of y, and which of them is the first
    int64_t x_row;         // elements from one row of x to the next
    int64_t group_rows;    // conv: rows of y / groups
    int64_t k;             // matmul
    pq_kg_expression e;
} product;

static const char *const WEIGHT_NAMES[PQ_KG_WEIGHT_COUNT] = {
    "F32", "F16", "BF16", "F8E4M3", "F8E5M2", "I8", "I4", "F4E2M1", "NF4"};

// ---- parameters ------------------------------------------------------------

static bool
is_in(int64_t x, int64_t low, int64_t high)
{
    return x >= low && x <= high;
}

// Words of LANES results (a power of two) are whole when this is a multiple:
// then they lie within a row of y and a group of channels.
static int64_t
store_row(const product *p)
{
    return p->rows | p->group_rows | p->y_rows | p->first;
}

// The sum's type.
static uint32_t
sum_dtype(const product *p)
{
    bool is_whole = p->has_codes && (p->scales == PQ_KG_SCALES_NONE ||
                                     p->scales == PQ_KG_SCALES_ZERO);
    return is_whole ? PTQC_I32 : PTQC_F32;
}

// Whether parts of K may be summed apart: not what has to have the bits of
// segments in their order, and not taps, which are counted.
static bool
may_cut_k(const product *p)
{
    return !p->is_conv && !(p->has_codes && sum_dtype(p) == PTQC_F32);
}

static const char *
read_types(const pq_kg_job *job, int64_t format, int64_t scales, product *p)
{
    const pq_kg_tensor *x = pq_kg_in(job, 0);
    if (x == NULL || pq_kg_in(job, 1) == NULL || pq_kg_out(job, 0) == NULL) {
        return "product: operands";
    }
    if (!is_in(format, 0, PQ_KG_WEIGHT_COUNT - 1) ||
        !is_in(scales, 0, PQ_KG_SCALES_COUNT - 1) ||
        (scales != PQ_KG_SCALES_NONE && pq_kg_in(job, 2) == NULL)) {
        return "product: weights";
    }
    p->format = (pq_kg_weight)format;
    p->scales = (pq_kg_scales)scales;
    p->x_dtype = x->dtype;
    p->has_codes = x->dtype == PTQC_U8 || x->dtype == PTQC_I8;
    if (!p->has_codes && !pq_kg_is_float(x->dtype)) {
        return "product of elements of this type";
    }
    return p->has_codes && p->format != PQ_KG_WEIGHT_I8 &&
                   p->format != PQ_KG_WEIGHT_I4
               ? "product of codes and floats"
               : NULL;
}

// The rows of the weights, and where they are in a row of y.
static bool
read_part(const pq_kg_job *job, uint32_t rows, uint32_t first, product *p)
{
    p->rows = pq_kg_i64(job, rows);
    p->first = pq_kg_i64(job, first);
    p->y_rows = pq_kg_i64(job, first + 1);
    p->group_rows = p->y_rows;
    return is_in(p->rows, 0, INT32_MAX) &&
           is_in(p->y_rows, p->rows, INT32_MAX) &&
           is_in(p->first, 0, p->y_rows - p->rows);
}

static const char *
read_matmul(const pq_kg_job *job, product *p)
{
    memset(p, 0, sizeof *p);
    p->k = pq_kg_i64(job, 1);
    p->segment = pq_kg_i64(job, 3);
    p->x_row = p->k;
    if (!read_part(job, 0, 5, p) || !is_in(p->k, 0, INT32_MAX) ||
        !is_in(p->segment, p->k > 0 ? 1 : 0, p->k)) {
        return "matmul: sizes";
    }
    const char *why = read_types(job, pq_kg_i64(job, 2), pq_kg_i64(job, 4), p);
    return why != NULL ? why
                       : pq_kg_expression_read(job, 7, sum_dtype(p), 3, &p->e);
}

static const char *
read_conv(const pq_kg_job *job, product *p)
{
    memset(p, 0, sizeof *p);
    int64_t spatial = pq_kg_i64(job, 0), groups = pq_kg_i64(job, 1);
    p->is_conv = true;
    p->x_row = pq_kg_i64(job, 2);
    p->is_transposed = pq_kg_i64(job, 17) != 0;
    if (!is_in(spatial, 1, 3) || !is_in(groups, 1, INT32_MAX) ||
        !is_in(p->x_row, 1, INT32_MAX) || !read_part(job, 3, 20, p) ||
        p->rows < 1 || p->x_row % groups != 0 || p->y_rows % groups != 0) {
        return "conv: sizes";
    }
    for (uint32_t i = 4; i < 16; i++) {
        if (!is_in(pq_kg_i64(job, i), i < 13 ? 1 : 0, 1 << 20)) {
            return "conv: kernel, strides, dilations or pads";
        }
    }
    p->segment = p->x_row / groups;
    p->group_rows = p->y_rows / groups;
    const char *why =
        read_types(job, pq_kg_i64(job, 16), pq_kg_i64(job, 19), p);
    if (why == NULL && p->scales != PQ_KG_SCALES_NONE &&
        p->scales != PQ_KG_SCALES_ZERO) {
        why = "conv with scales of weights by group";
    }
    return why != NULL ? why
                       : pq_kg_expression_read(job, 22, sum_dtype(p), 3, &p->e);
}

// ---- text ------------------------------------------------------------------

static bool
has_zero(const product *p)
{
    return p->scales >= PQ_KG_SCALES_F16;
}

// Whether quads of x begin at multiples of four.
static bool
is_wide(const product *p)
{
    return p->segment % 4 == 0 && p->x_row % 4 == 0;
}

static void
define_load(pq_kg_module *m, const product *p)
{
    bool is_wide_x = is_wide(p);
    bool has_tail = p->segment % pq_kg_planar_block(p->format) != 0 ||
                    (!p->is_conv && p->segment > 0 && p->k % p->segment != 0);
    const char *here = p->is_conv ? "here[c] && " : "";
    const char *dtype = pq_kg_dtype_name(p->x_dtype);
    char load[96];
    if (is_wide_x) {
        const char *wide =
            p->has_codes             ? "x[(from[c] + (at)) >> 2]"
            : p->x_dtype == PTQC_F32 ? "WIDE_F32(x4, from[c] + (at))"
            : p->x_dtype == PTQC_F16 ? "WIDE_F16(x, from[c] + (at))"
                                     : "WIDE_BF16(x, from[c] + (at))";
        (void)snprintf(load, sizeof load, "%s", wide);
    } else if (p->has_codes) {
        (void)snprintf(load, sizeof load,
                       "LOOSE_CODES(x, from[c] + (at), left - (at))");
    } else {
        (void)snprintf(load, sizeof load,
                       "LOOSE_FLOATS(LD_%s, x, from[c] + (at), left - (at))",
                       dtype);
    }
    const char *none = p->has_codes ? "0u" : "NO_FLOATS";
    const char *within = has_tail || !is_wide_x ? "(at) < left" : "true";
    if (p->has_codes && p->is_conv) {
        pq_kg_module_define(m, "LOAD_X(c, at)",
                            "(%s ? (here[c] ? %s : MASKED(pad_codes, left - "
                            "(at))) : 0u)",
                            within, load);
    } else if (p->is_conv || has_tail || !is_wide_x) {
        pq_kg_module_define(m, "LOAD_X(c, at)", "(%s%s ? %s : %s)", here,
                            within, load, none);
    } else {
        pq_kg_module_define(m, "LOAD_X(c, at)", "%s", load);
    }
}

// A quad of weights and what it adds to a sum.
static void
define_sums(pq_kg_module *m, const product *p)
{
    const char *w = WEIGHT_NAMES[p->format];
    const char *x = p->x_dtype == PTQC_U8 ? "U8" : "I8";
    if (!p->has_codes) {
        pq_kg_module_define(m, "LOAD_W(w, q)", "FLOATS_%s(w, (q))", w);
        pq_kg_module_define(m, "MAC(sum, w, v)", "MAC_FLOATS(sum, w, v)");
        pq_kg_module_define(m, "QUAD_SUM(v)", "SUM_FLOATS(v)");
    } else if (pq_kg_module_may(m, PQ_KG_DOT)) {
        pq_kg_module_define(m, "LOAD_W(w, q)", "BYTES_%s(w, (q))", w);
        pq_kg_module_define(m, "MAC(sum, w, v)", "DOT_CODES(DOT_%s, sum, w, v)",
                            x);
        pq_kg_module_define(m, "QUAD_SUM(v)", "DOT_ONES(DOT_%s, v)", x);
    } else {
        pq_kg_module_define(m, "LOAD_W(w, q)", "CODES_%s(w, (q))", w);
        pq_kg_module_define(m, "MAC(sum, w, v)",
                            "MAC_CODES(CODE_%s, CODE_%s, sum, w, v)", x, w);
        pq_kg_module_define(m, "QUAD_SUM(v)", "SUM_CODES(CODE_%s, v)", x);
    }
}

static void
define_macros(pq_kg_module *m, const product *p)
{
    bool is_float = sum_dtype(p) == PTQC_F32;
    pq_kg_module_define(m, "SUM", is_float ? "f32" : "i32");
    pq_kg_module_define(m, "PART", p->has_codes ? "i32" : "f32");
    pq_kg_module_define(m, "QUAD", p->has_codes ? "u32" : "f32x4");
    pq_kg_module_define(m, "WEIGHT_QUAD", p->has_codes ? "u32" : "f32x4");
    pq_kg_module_define(m, "BLOCK", "%uu",
                        (unsigned)pq_kg_planar_block(p->format));
    bool is_half =
        p->format == PQ_KG_WEIGHT_F16 || p->format == PQ_KG_WEIGHT_BF16;
    pq_kg_module_define(m, "TURNS",
                        p->format == PQ_KG_WEIGHT_F32 ? "1u"
                        : is_half                     ? "2u"
                                                      : "4u");
    pq_kg_module_define(m, "QUADS",
                        pq_kg_planar_block(p->format) == 32 ? "2u" : "1u");
    pq_kg_module_define(m, "TURN(v)", is_half ? "TURN_2(v)" : "TURN_1(v)");
    pq_kg_module_define(m, "HAS_ZERO", has_zero(p) ? "1" : "0");
    define_sums(m, p);
    define_load(m, p);
}

// How the sum of a segment joins the whole.
static void
define_scale(pq_kg_module *m, const product *p)
{
    static const char *const READ[PQ_KG_SCALES_COUNT] = {
        [PQ_KG_SCALES_NONE] = "",
        [PQ_KG_SCALES_F32] = "f32 scale = AS_F32(scales[at]);\n",
        [PQ_KG_SCALES_F16] = "f32 scale = f16_to_f32(scales[at] & 0xffffu);\n"
                             "i32 zero = I32(f16_to_f32(scales[at] >> 16));\n",
        [PQ_KG_SCALES_WIDE] = "f32 scale = AS_F32(scales[2u * at]);\n"
                              "i32 zero = I32(scales[2u * at + 1u]);\n",
        [PQ_KG_SCALES_ZERO] = "i32 zero = I32(scales[at - s * rows]);\n",
    };
    bool is_scaled =
        p->scales != PQ_KG_SCALES_NONE && p->scales != PQ_KG_SCALES_ZERO;
    const char *part = !has_zero(p)   ? "p"
                       : p->has_codes ? "p - zero * xs"
                                      : "p - F32(zero) * xs";
    if (is_scaled && p->has_codes) {
        m->uses |= PQ_KG_USES_EXACT;
        pq_kg_module_define(m, "SCALE(a, p, xs)",
                            "a = fma_exact(F32(%s), scale, a)", part);
    } else if (is_scaled) {
        pq_kg_module_define(m, "SCALE(a, p, xs)", "a = FMA(%s, scale, a)",
                            part);
    } else {
        pq_kg_module_define(m, "SCALE(a, p, xs)", "a += %s", part);
    }
    pq_kg_module_hook(m, "scale", READ[p->scales]);
}

// What follows the words of the kind itself.
static void
finish(pq_kg_module *m, const product *p)
{
    char result[16], name[32];
    pq_kg_text places = {.mem = m->mem};
    for (uint32_t i = 0; i < pq_kg_expression_operands(&p->e); i++) {
        (void)snprintf(name, sizeof name, "row%u", i);
        pq_kg_module_word(m, name);
        (void)snprintf(name, sizeof name, "col%u", i);
        pq_kg_module_word(m, name);
        pq_kg_text_add(&places,
                       "u32 at%u = (col + c < columns ? col + c : 0u) * col%u "
                       "+ r * row%u;\n",
                       i, i, i);
    }
    pq_kg_expression_declare(m, &p->e);
    pq_kg_module_buffer(m, m->job->input_count, "y", PQ_KG_WRITES);
    pq_kg_module_spec(m, "ROWS");
    pq_kg_module_spec(m, "COLS");
    pq_kg_module_spec(m, "ROW_LANES");
    pq_kg_module_define(m, "CUT_K", may_cut_k(p) ? "1" : "0");
    if (may_cut_k(p)) {
        pq_kg_module_spec(m, "K_SEGMENTS");
        pq_kg_module_spec(m, "K_BLOCKS");
        pq_kg_module_array(m, sum_dtype(p) == PTQC_F32 ? "f32" : "i32",
                           "joined",
                           "K_SEGMENTS * K_BLOCKS > 1u ? ROWS * COLS * "
                           "LOCAL_SIZE : 1u");
    }
    define_macros(m, p);
    define_scale(m, p);
    pq_kg_module_hook(m, "places", pq_kg_module_text(m, &places));
    pq_kg_module_hook(m, "expression",
                      pq_kg_expression_text(m, &p->e, "sum", result));
    pq_kg_module_store_row(m, pq_kg_out(m->job, 0)->dtype, store_row(p),
                           result);
    m->uses |= PQ_KG_USES_BLOCKS;
    pq_kg_module_body(m, pq_kg_text_product);
}

static void
begin(pq_kg_module *m, const product *p)
{
    pq_kg_module_name(m, "%s_%s_%s", p->is_conv ? "conv" : "matmul",
                      pq_kg_dtype_name(p->x_dtype), WEIGHT_NAMES[p->format]);
    pq_kg_expression_name(m, &p->e);
    pq_kg_module_buffer(m, 0, "x", PQ_KG_WIDE);
    pq_kg_module_buffer(m, 1, "weights", PQ_KG_WIDE);
    if (p->scales != PQ_KG_SCALES_NONE) {
        pq_kg_module_buffer(m, 2, "scales", PQ_KG_READS);
    }
    static const char *const WORDS[] = {"rows",     "columns", "segment",
                                        "segments", "blocks",  "y_rows",
                                        "first_row"};
    for (uint32_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
}

void
pq_kg_source_planar_matmul(pq_kg_module *m)
{
    product p;
    const char *why = read_matmul(m->job, &p);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    begin(m, &p);
    pq_kg_module_word(m, "depth");
    pq_kg_module_hook(m, "columns", "");
    pq_kg_module_hook(m, "segment", pq_kg_text_matmul_segment);
    finish(m, &p);
}

void
pq_kg_source_planar_conv(pq_kg_module *m)
{
    product p;
    const char *why = read_conv(m->job, &p);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    begin(m, &p);
    static const char *const WORDS[] = {
        "channels",   "group_rows", "in_d",     "in_h",       "in_w",
        "out_d",      "out_h",      "out_w",    "kernel_h",   "kernel_w",
        "stride_d",   "stride_h",   "stride_w", "dilation_d", "dilation_h",
        "dilation_w", "pad_d",      "pad_h",    "pad_w",      "pad_codes"};
    for (uint32_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    bool t = p.is_transposed;
    pq_kg_module_define(m, "TRANSPOSED", t ? "1" : "0");
    pq_kg_module_define(m, "PAD(n)", t ? "I32(n)" : "-I32(n)");
    pq_kg_module_define(m, "TAP(n)", t ? "-I32(n)" : "I32(n)");
    pq_kg_module_define(m, "STEP_D", t ? "1" : "I32(stride_d)");
    pq_kg_module_define(m, "STEP_H", t ? "1" : "I32(stride_h)");
    pq_kg_module_define(m, "STEP_W", t ? "1" : "I32(stride_w)");
    pq_kg_module_hook(m, "columns", pq_kg_text_conv_columns);
    pq_kg_module_hook(m, "segment", pq_kg_text_conv_segment);
    finish(m, &p);
}

// ---- launch ----------------------------------------------------------------

// Rows and columns an item makes, items in a group, and how many of these
// have the next rows (the others have the next columns).
typedef struct schedule {
    uint32_t local, rows, cols, row_lanes;
} schedule;

// Candidates, the best for large products first. On a cpu a group is the lanes
// of a vector: loads of x are the dear part (each is made once per lane, also
// when all lanes load the same), so many rows share one (lavapipe, 4-bit 4096
// x 4096: 1 row 50 ms, 2 rows 19, 4 rows 6, 8 rows 4.4), and some columns
// share one of the weights (convolutions of floats with 4: half the time of 2;
// 8 gain a tenth more and compile twice as long). On others registers are few
// and groups wider.
static const schedule CPU_SCHEDULES[] = {
    {8, 8, 4, 8}, {8, 4, 4, 8}, {8, 2, 4, 8}, {8, 1, 8, 8}};
static const schedule GPU_SCHEDULES[] = {
    {64, 4, 4, 64}, {64, 2, 8, 64}, {64, 1, 8, 64}};

// The first candidate that suits words of results and groups of channels, and
// has no more rows than there are.
static schedule
pick_schedule(const pq_kg_limits *limits, const product *p, int64_t columns,
              uint32_t lanes)
{
    const schedule *all = limits->is_cpu ? CPU_SCHEDULES : GPU_SCHEDULES;
    uint32_t count = limits->is_cpu
                         ? sizeof CPU_SCHEDULES / sizeof CPU_SCHEDULES[0]
                         : sizeof GPU_SCHEDULES / sizeof GPU_SCHEDULES[0];
    schedule best = {
        .local = all[0].local, .rows = lanes, .cols = 1, .row_lanes = 1};
    for (uint32_t i = 0; i < count; i++) {
        // the rows of an item belong to one group of channels
        bool suits = all[i].rows % lanes == 0 && all[i].rows <= p->rows &&
                     (p->group_rows == p->y_rows ||
                      (p->group_rows | p->first) % all[i].rows == 0);
        if (suits) {
            best = all[i];
            break;
        }
    }
    // few columns: more rows at once; few rows: more columns
    while (best.cols > 1 && best.cols / 2 >= columns) {
        best.cols /= 2;
    }
    while (best.row_lanes > 1 &&
           (int64_t)best.row_lanes / 2 * best.rows >= p->rows) {
        best.row_lanes /= 2;
    }
    int64_t wide = (columns + best.cols - 1) / best.cols;
    while (best.local > 8 && best.local > best.row_lanes &&
           best.local / best.row_lanes / 2 >= wide) {
        best.local /= 2;
    }
    return best;
}

static uint32_t
lanes_of(const pq_kg_launcher *l, const product *p)
{
    uint32_t bytes = pq_kg_element_bytes(pq_kg_out(l->job, 0)->dtype);
    uint32_t lanes = bytes < 4 ? 4 / bytes : 1;
    return store_row(p) % lanes == 0 ? lanes : 1;
}

// Groups that a device other than a cpu should have at least, before K is cut:
// so few that all of them run at once on small ones (derived, not measured).
#define GROUPS_WANTED 256
#define K_LANES_MAX   8u

// How often a group is there for parts of K: products of few rows and columns
// have too few groups to hide the latency of loads.
static uint32_t
pick_k_lanes(const pq_kg_limits *limits, const schedule *s, int64_t groups,
             int64_t parts)
{
    uint32_t most = limits->max_local_size > 0 ? limits->max_local_size : 128;
    uint32_t k = 1;
    while (!limits->is_cpu && k < K_LANES_MAX && k * 2 * s->local <= most &&
           2 * k <= parts && groups * k < GROUPS_WANTED &&
           // words of the group's memory: 16 KiB at least on every device
           k * 2 * s->local * s->rows * s->cols <= 4096) {
        k *= 2;
    }
    return k;
}

static void
put_k_lanes(pq_kg_launcher *l, const product *p, const schedule *s,
            int64_t segments)
{
    int64_t blocks = pq_kg_planar_blocks(p->format, p->segment);
    const uint32_t *g = l->out->groups;
    uint32_t k = 1;
    bool by_segments = segments >= blocks;
    if (may_cut_k(p)) {
        k = pick_k_lanes(l->limits, s, (int64_t)g[0] * g[1] * g[2],
                         by_segments ? segments : blocks);
        l->out->specs[0] = s->local * k;
    }
    pq_kg_launch_spec(l, by_segments ? k : 1);
    pq_kg_launch_spec(l, by_segments ? 1 : k);
}

static void
launch(pq_kg_launcher *l, const product *p, int64_t columns, int64_t segments)
{
    pq_kg_put_columns(l, &p->e);
    pq_kg_expression_put(l, &p->e);
    schedule s = pick_schedule(l->limits, p, columns, lanes_of(l, p));
    int64_t items = (p->rows + s.rows - 1) / s.rows;
    int64_t group_cols = (int64_t)(s.local / s.row_lanes) * s.cols;
    int64_t y = (columns + group_cols - 1) / group_cols;
    int64_t z = y / 32768 + (y % 32768 != 0);
    y = z > 0 ? (y + z - 1) / z : 0;
    int64_t blocks = pq_kg_planar_blocks(p->format, p->segment);
    int64_t turns; // product.kg: blocks, at most 4 words of each one by one
    PQ_KG_NEED(l, !__builtin_mul_overflow(5 * blocks + 1, segments, &turns));
    pq_kg_launch_turns(l, turns);
    pq_kg_launch_grid(l, (items + s.row_lanes - 1) / s.row_lanes, y, z,
                      s.local);
    pq_kg_launch_spec(l, s.rows);
    pq_kg_launch_spec(l, s.cols);
    pq_kg_launch_spec(l, s.row_lanes);
    put_k_lanes(l, p, &s, segments);
    l->out->work_ops = 2 * (uint64_t)p->rows * (uint64_t)columns *
                       (uint64_t)segments * (uint64_t)p->segment;
}

// Whether the storage of the weights is that of so many segments.
static void
need_weights(pq_kg_launcher *l, const product *p, int64_t segments)
{
    int64_t blocks, have, want;
    const pq_kg_tensor *w = pq_kg_in(l->job, 1), *s = pq_kg_in(l->job, 2);
    blocks = pq_kg_planar_blocks(p->format, p->segment);
    bool fits = !__builtin_mul_overflow(blocks * 16, segments, &want) &&
                !__builtin_mul_overflow(want, p->rows, &want) &&
                want <= UINT32_MAX;
    (void)pq_kg_count(w, &have);
    PQ_KG_NEED(l, fits && have * pq_kg_element_bytes(w->dtype) >= want);
    if (p->scales != PQ_KG_SCALES_NONE && l->st == PTQC_BE_OK) {
        int64_t words = p->scales == PQ_KG_SCALES_WIDE ? 2 : 1;
        words *= p->rows * (p->scales == PQ_KG_SCALES_ZERO ? 1 : segments);
        (void)pq_kg_count(s, &have);
        PQ_KG_NEED(l, have * pq_kg_element_bytes(s->dtype) >= 4 * words);
    }
}

// The words that both kinds begin with.
static void
put_sizes(pq_kg_launcher *l, const product *p, int64_t columns,
          int64_t segments)
{
    const int64_t sizes[] = {p->rows,
                             columns,
                             p->segment,
                             segments,
                             pq_kg_planar_blocks(p->format, p->segment),
                             p->y_rows,
                             p->first};
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pq_kg_put(l, sizes[i]);
    }
}

void
pq_kg_launch_planar_matmul(pq_kg_launcher *l)
{
    product p;
    const char *why = read_matmul(l->job, &p);
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    int64_t segments = p.segment > 0 ? (p.k + p.segment - 1) / p.segment : 0;
    PQ_KG_NEED(l, x->rank > 0 && x->dims[x->rank - 1] == p.k);
    PQ_KG_NEED(l, y->rank > 0 && y->dims[y->rank - 1] == p.y_rows);
    if (l->st != PTQC_BE_OK) {
        return;
    }
    int64_t columns = pq_kg_extent(y, 0, y->rank - 1);
    PQ_KG_NEED(l, pq_kg_extent(x, 0, x->rank - 1) == columns);
    need_weights(l, &p, segments);
    put_sizes(l, &p, columns, segments);
    pq_kg_put(l, p.k);
    launch(l, &p, columns, segments);
}

void
pq_kg_launch_planar_conv(pq_kg_launcher *l)
{
    product p;
    const char *why = read_conv(l->job, &p);
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    int64_t in[3], out[3], taps = 1;
    pq_kg_spatial(l, x, p.x_row, in);
    pq_kg_spatial(l, y, p.y_rows, out);
    for (uint32_t i = 4; i < 7; i++) {
        taps *= pq_kg_i64(l->job, i) < 65536 ? pq_kg_i64(l->job, i) : 65536;
    }
    PQ_KG_NEED(l, taps <= 1 << 24 && x->dims[0] == y->dims[0]);
    if (l->st != PTQC_BE_OK) {
        return;
    }
    int64_t columns = pq_kg_extent(y, 0, y->rank - 1);
    need_weights(l, &p, taps);
    put_sizes(l, &p, columns, taps);
    pq_kg_put(l, p.x_row);
    pq_kg_put(l, p.group_rows);
    for (uint32_t i = 0; i < 6; i++) {
        pq_kg_put(l, i < 3 ? in[i] : out[i - 3]);
    }
    pq_kg_put(l, pq_kg_i64(l->job, 5));
    pq_kg_put(l, pq_kg_i64(l->job, 6));
    for (uint32_t i = 7; i < 16; i++) {
        pq_kg_put(l, pq_kg_i64(l->job, i));
    }
    pq_kg_put_bits(l, ((uint32_t)pq_kg_i64(l->job, 18) & 255u) * 0x01010101u);
    launch(l, &p, columns, taps);
}
