// SPDX-License-Identifier: Apache-2.0
//
// AdaRound over a graph (quant/adaround.h has the mathematics): which of its
// two neighbours each weight becomes is learned from the Gram matrix of the
// product's inputs, for convolutions that of their patches (im2col), one
// matrix for each group of channels. Annotates weights with codes; scales stay.
//
// Where the bias is corrected afterwards, the mean of the inputs does not count
// (the matrix is their covariance): what it costs the bias takes back. At most
// POSITIONS places of a sample are looked at, spread evenly, other ones in
// each sample. Products are taken in batches whose matrices fit MATRIX_BYTES;
// each batch runs the samples once. Inputs are those of the float graph.

#include "quant/adaround.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/dtype.h"
#include "passes/calib/samples.h"
#include "passes/links.h"
#include "passes/method.h"
#include "passes/params.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "quant/pack.h"

#define POSITIONS    256
#define MATRIX_BYTES ((size_t)256 << 20)

// A product to be rounded. Its weight is [groups][rows][d].
typedef struct pq_layer {
    pq_op_id op;
    bool is_turned; // stored [d][rows]
    bool is_centred;
    int64_t groups, rows, d;
    float *h;      // [groups][d][d] lower triangle, owned by the batch
    double *sum;   // [groups][d]
    double count;  // places seen
    uint64_t seen; // samples
} pq_layer;

typedef struct pq_rounding {
    pq_graph *g;
    pq_pass_env *env;
    pq_layer *layers; // [count]
    uint32_t count;
    uint32_t first, end; // the batch
    float *patches;      // [POSITIONS][d]
    size_t patch_count;  // its room
} pq_rounding;

// ---- layers ---------------------------------------------------------------

static bool
is_rounded(const pq_graph *g, const pq_op *op, pq_mode mode)
{
    const pq_quant *q =
        pq_is_product(op->code) ? pq_annotation(g, op->inputs[1]) : NULL;
    uint32_t w_axis, y_axis;
    return q != NULL && mode != PQ_MODE_FLOAT &&
           op->code != PQ_OP_CONV_TRANSPOSE &&
           !pq_dtype_is_float(q->scheme.format) &&
           pq_is_real_constant(g, op->inputs[1]) &&
           pq_channel_axes(g, op, &w_axis, &y_axis) &&
           pq_op_i64(op, PQ_ATTR_TRANS_A, 0) == 0 &&
           !pq_const_is_none(q->scale) && pq_const_is_none(q->codes);
}

static pq_layer
layer_of(const pq_rounding *r, pq_op_id id, pq_mode mode)
{
    const pq_op *op = pq_graph_op(r->g, id);
    const pq_constant *w =
        pq_graph_constant(r->g, pq_graph_value(r->g, op->inputs[1])->constant);
    pq_layer l = {.op = id,
                  .groups = pq_op_i64(op, PQ_ATTR_GROUP, 1),
                  .rows = pq_channel_count(r->g, op)};
    l.is_turned =
        op->code == PQ_OP_MATMUL && pq_op_i64(op, PQ_ATTR_TRANS_B, 0) == 0;
    l.is_centred = mode == PQ_MODE_STATIC && !l.is_turned &&
                   r->env->recipe->bias_correction != PQ_BIAS_OFF;
    l.d = l.rows > 0 ? pq_element_count(w) / l.rows : 0;
    l.rows /= l.groups;
    return l;
}

static ptqc_status
find_layers(pq_rounding *r)
{
    pq_mode *modes;
    PQ_TRY(pq_plan_modes(r->g, r->env->recipe, r->env->scratch, &modes));
    r->layers = pq_arena_array(r->env->scratch, pq_graph_op_count(r->g),
                               sizeof *r->layers);
    PQ_TRY_ALLOC(r->layers);
    PQ_FOR_EACH_OP(r->g, id)
    {
        const pq_op *op = pq_graph_op(r->g, id);
        pq_method method;
        if (pq_method_of_op(r->g, r->env->recipe, op, &method) &&
            method.does_adaround && is_rounded(r->g, op, modes[id.index])) {
            pq_layer l = layer_of(r, id, modes[id.index]);
            r->layers[r->count] = l;
            r->count += l.rows > 0 && l.d > 0;
        }
    }
    return PTQC_OK;
}

// ---- patches --------------------------------------------------------------

// A convolution's window over one input tensor.
typedef struct pq_window {
    const pq_tensor *x; // [N][C][space...]
    uint32_t axes;      // of space
    int64_t kernel[PTQC_MAX_RANK], out[PTQC_MAX_RANK];
    int64_t stride[PTQC_MAX_RANK], step[PTQC_MAX_RANK], begin[PTQC_MAX_RANK];
    int64_t taps, places; // products of kernel, out
    int64_t inputs;       // channels per group
} pq_window;

static bool
window_of(const pq_graph *g, const pq_op *op, const pq_tensor *x, pq_window *w)
{
    const pq_constant *c =
        pq_graph_constant(g, pq_graph_value(g, op->inputs[1])->constant);
    *w = (pq_window){.x = x,
                     .axes = x->rank - 2,
                     .taps = 1,
                     .places = x->dims[0],
                     .inputs = c->dims[1]};
    for (uint32_t a = 0; a < w->axes; a++) {
        w->kernel[a] = c->dims[a + 2];
        w->stride[a] = pq_op_int_at(op, PQ_ATTR_STRIDES, a, 1);
        w->step[a] = pq_op_int_at(op, PQ_ATTR_DILATIONS, a, 1);
        w->begin[a] = pq_op_int_at(op, PQ_ATTR_PADS, a, 0);
        int64_t pads =
            w->begin[a] + pq_op_int_at(op, PQ_ATTR_PADS, a + w->axes, 0);
        int64_t span = w->step[a] * (w->kernel[a] - 1) + 1;
        int64_t room = x->dims[a + 2] + pads - span;
        w->out[a] = room < 0 ? 0 : room / w->stride[a] + 1;
        w->taps *= w->kernel[a];
        w->places *= w->out[a];
    }
    return w->places > 0;
}

// What tap `tap` reads for place `place` of channel `channel`; 0 outside.
static float
read_tap(const pq_window *w, int64_t place, int64_t channel, int64_t tap)
{
    const float *x = w->x->p;
    int64_t offset = 0;
    int64_t size = 1;
    for (uint32_t a = w->axes; a-- > 0;) {
        int64_t at = place % w->out[a] * w->stride[a] - w->begin[a] +
                     tap % w->kernel[a] * w->step[a];
        if (at < 0 || at >= w->x->dims[a + 2]) {
            return 0;
        }
        offset += at * size;
        size *= w->x->dims[a + 2];
        place /= w->out[a];
        tap /= w->kernel[a];
    }
    return x[(place * w->x->dims[1] + channel) * size + offset];
}

static void
read_patch(const pq_window *w, int64_t place, int64_t group, float *out)
{
    for (int64_t c = 0; c < w->inputs; c++) {
        for (int64_t t = 0; t < w->taps; t++) {
            *out++ = read_tap(w, place, group * w->inputs + c, t);
        }
    }
}

// ---- Gram matrices --------------------------------------------------------

// Small matrices are not worth the blocks of the big ones.
static void
add_small(const float *x, int64_t n, int64_t d, float *h)
{
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++) {
                sum += (double)x[k * d + i] * (double)x[k * d + j];
            }
            h[i * d + j] += (float)sum;
        }
    }
}

#define SMALL_D 32

static ptqc_status
add_patches(const pq_rounding *r, pq_layer *l, int64_t group, int64_t n)
{
    const float *x = r->patches;
    float *h = l->h + group * l->d * l->d;
    double *sum = l->sum + group * l->d;
    for (int64_t i = 0; i < n * l->d; i++) {
        sum[i % l->d] += (double)x[i];
    }
    if (l->d <= SMALL_D) {
        add_small(x, n, l->d, h);
        return PTQC_OK;
    }
    return pq_gram_add(pq_graph_ctx(r->g), x, n, l->d, NULL, h);
}

// Places of one sample: first, first + step, ...
typedef struct pq_places {
    int64_t first, step, count;
} pq_places;

static pq_places
choose_places(int64_t all, uint64_t sample)
{
    pq_places p = {.step = (all + POSITIONS - 1) / POSITIONS};
    p.first = (int64_t)(sample * 7919 % (uint64_t)p.step);
    p.count = (all - p.first + p.step - 1) / p.step;
    return p;
}

static ptqc_status
take_conv(const pq_rounding *r, pq_layer *l, const pq_tensor *t)
{
    pq_window w;
    if (t->rank < 3 || !window_of(r->g, pq_graph_op(r->g, l->op), t, &w)) {
        return PTQC_OK;
    }
    pq_places p = choose_places(w.places, l->seen++);
    for (int64_t group = 0; group < l->groups; group++) {
        for (int64_t i = 0; i < p.count; i++) {
            read_patch(&w, p.first + i * p.step, group, r->patches + i * l->d);
        }
        PQ_TRY(add_patches(r, l, group, p.count));
    }
    l->count += (double)p.count;
    return PTQC_OK;
}

static ptqc_status
take_rows(const pq_rounding *r, pq_layer *l, const pq_tensor *t)
{
    const float *x = t->p;
    int64_t rows = (int64_t)(t->bytes / sizeof *x) / l->d;
    if (rows < 1 || t->dims[t->rank - 1] != l->d) {
        return PTQC_OK;
    }
    pq_places p = choose_places(rows, l->seen++);
    for (int64_t i = 0; i < p.count; i++) {
        memcpy(r->patches + i * l->d, x + (p.first + i * p.step) * l->d,
               (size_t)l->d * sizeof *x);
    }
    l->count += (double)p.count;
    return add_patches(r, l, 0, p.count);
}

static ptqc_status
observe(void *user, pq_value_id v, const pq_tensor *t)
{
    const pq_rounding *r = user;
    for (uint32_t i = r->first; i < r->end; i++) {
        pq_layer *l = &r->layers[i];
        const pq_op *op = pq_graph_op(r->g, l->op);
        if (!pq_value_equal(op->inputs[0], v) || t->dtype != PTQC_F32) {
            continue;
        }
        PQ_TRY(op->code == PQ_OP_CONV ? take_conv(r, l, t)
                                      : take_rows(r, l, t));
    }
    return PTQC_OK;
}

static void
centre(pq_layer *l)
{
    for (int64_t group = 0; group < l->groups; group++) {
        float *h = l->h + group * l->d * l->d;
        const double *sum = l->sum + group * l->d;
        for (int64_t i = 0; i < l->d; i++) {
            for (int64_t j = 0; j <= i; j++) {
                double x = (double)h[i * l->d + j];
                h[i * l->d + j] = (float)(x - sum[i] * sum[j] / l->count);
            }
        }
    }
}

// ---- codes ----------------------------------------------------------------

// Between [rows][cols] and [cols][rows].
static ptqc_status
turn(const void *from, int64_t rows, int64_t cols, size_t bytes,
     pq_arena *arena, void **out)
{
    uint8_t *to = pq_arena_alloc(arena, (size_t)(rows * cols) * bytes);
    PQ_TRY_ALLOC(to);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < cols; k++) {
            memcpy(to + (size_t)(k * rows + i) * bytes,
                   (const uint8_t *)from + (size_t)(i * cols + k) * bytes,
                   bytes);
        }
    }
    *out = to;
    return PTQC_OK;
}

// Codes in the order of the weight become its annotation's.
static ptqc_status
annotate(pq_graph *g, pq_value_id w, const uint8_t *codes)
{
    pq_value *value = pq_graph_value(g, w);
    pq_quant q = *pq_graph_quant(g, value->quant);
    pq_constant c = *pq_graph_constant(g, value->constant);
    size_t row = (size_t)c.dims[c.rank - 1];
    size_t count = (size_t)pq_element_count(&c);
    unsigned bits = pq_dtype_bits(q.scheme.format);
    c.dtype = q.scheme.format;
    if (!pq_dtype_bytes(c.dtype, c.dims, c.rank, &c.bytes)) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_INPUT, "codes: too many");
    }
    uint8_t *packed = pq_arena_alloc(pq_graph_arena(g), c.bytes);
    PQ_TRY_ALLOC(packed);
    c.p = packed;
    for (size_t i = 0; i < count; i += row) {
        pq_pack_row(codes + i, row, bits, packed);
        packed += pq_packed_bytes(row, bits);
    }
    q.codes = pq_graph_add_constant(g, &c);
    value->quant = pq_graph_add_quant(g, &q);
    return pq_const_is_none(q.codes) || pq_quant_is_none(value->quant)
               ? pq_graph_failure(g)
               : PTQC_OK;
}

static void
tell(const pq_rounding *r, const pq_layer *l, double loss, double rounding)
{
    char text[96];
    if (r->env->note != NULL) {
        (void)snprintf(text, sizeof text,
                       "output error %.3f of rounding's, on %.0f places",
                       rounding > 0 ? loss / rounding : 1, l->count);
        r->env->note(r->env->note_user,
                     pq_op_label(r->g, pq_graph_op(r->g, l->op)), "adaround",
                     text);
    }
}

// w, codes: [groups][rows][d].
static ptqc_status
round_groups(const pq_rounding *r, const pq_layer *l, const pq_quant *q,
             const float *w, uint8_t *codes)
{
    const pq_constant *scale = pq_graph_constant(r->g, q->scale);
    const pq_constant *zero = pq_graph_constant(r->g, q->zero_point);
    int64_t scales = (int64_t)(scale->bytes / sizeof(float));
    int64_t step = scales > 1 ? scales / l->groups : 0;
    double loss = 0;
    double rounding = 0;
    for (int64_t i = 0; i < l->groups; i++) {
        pq_adaround_report report;
        pq_adaround_desc desc = {.w = w + i * l->rows * l->d,
                                 .rows = l->rows,
                                 .d = l->d,
                                 .h = l->h + i * l->d * l->d,
                                 .tokens = l->count,
                                 .scheme = q->scheme,
                                 .scales = (const float *)scale->p + i * step,
                                 .zero_points =
                                     (const int32_t *)zero->p + i * step};
        desc.scheme.axis = q->scheme.granularity == PQ_GRAN_GROUP ? 1 : 0;
        PQ_TRY(pq_check_cancelled(pq_graph_ctx(r->g)));
        PQ_TRY(pq_adaround(pq_graph_ctx(r->g), &desc,
                           codes + i * l->rows * l->d, &report));
        loss += report.loss;
        rounding += report.rounding_loss;
    }
    tell(r, l, loss, rounding);
    return PTQC_OK;
}

static ptqc_status
round_layer(const pq_rounding *r, pq_layer *l, pq_arena *arena)
{
    pq_value_id id = pq_graph_op(r->g, l->op)->inputs[1];
    const pq_quant *q = pq_annotation(r->g, id);
    int64_t rows = l->groups * l->rows;
    void *w = pq_copy_floats(r->g, id, arena);
    void *codes = pq_arena_alloc(arena, (size_t)(rows * l->d));
    PQ_TRY_ALLOC(w);
    PQ_TRY_ALLOC(codes);
    if (l->is_turned) {
        PQ_TRY(turn(w, l->d, rows, sizeof(float), arena, &w));
    }
    PQ_TRY(round_groups(r, l, q, w, codes));
    if (l->is_turned) {
        PQ_TRY(turn(codes, rows, l->d, 1, arena, &codes));
    }
    return annotate(r->g, id, codes);
}

// ---- batches --------------------------------------------------------------

static bool
matrix_bytes(const pq_layer *l, size_t *out)
{
    size_t d = (size_t)l->d;
    return pq_mul_size(d, d, out) &&
           pq_mul_size(*out, (size_t)l->groups, out) &&
           pq_mul_size(*out, sizeof(float), out);
}

// Layers from r->first on whose matrices fit, one at least.
static ptqc_status
choose_batch(pq_rounding *r, pq_arena *arena)
{
    size_t total = 0;
    int64_t widest = 0;
    for (r->end = r->first; r->end < r->count; r->end++) {
        pq_layer *l = &r->layers[r->end];
        size_t bytes;
        if (!matrix_bytes(l, &bytes)) {
            return PQ_FAIL(pq_graph_ctx(r->g), PTQC_E_INPUT,
                           "adaround: a Gram matrix is too large");
        }
        if (total > 0 && bytes > MATRIX_BYTES - total) {
            break;
        }
        total = bytes > MATRIX_BYTES ? MATRIX_BYTES : total + bytes;
        widest = l->d > widest ? l->d : widest;
        l->h = pq_arena_alloc(arena, bytes);
        l->sum =
            pq_arena_array(arena, (size_t)(l->groups * l->d), sizeof *l->sum);
        PQ_TRY_ALLOC(l->h);
        PQ_TRY_ALLOC(l->sum);
        memset(l->h, 0, bytes);
    }
    r->patches =
        pq_arena_array(arena, POSITIONS * (size_t)widest, sizeof *r->patches);
    PQ_TRY_ALLOC(r->patches);
    return PTQC_OK;
}

static ptqc_status
run_batch(pq_rounding *r, pq_arena *arena)
{
    pq_value_id *watched =
        pq_arena_array(arena, r->end - r->first, sizeof *watched);
    uint32_t count = 0;
    PQ_TRY_ALLOC(watched);
    for (uint32_t i = r->first; i < r->end; i++) {
        pq_value_id x = pq_graph_op(r->g, r->layers[i].op)->inputs[0];
        uint32_t k = 0;
        while (k < count && !pq_value_equal(watched[k], x)) {
            k++;
        }
        watched[k] = x;
        count = k == count ? count + 1 : count;
    }
    PQ_TRY(
        pq_run_samples(r->g, r->env, "adaround", watched, count, observe, r));
    for (uint32_t i = r->first; i < r->end; i++) {
        pq_layer *l = &r->layers[i];
        if (!(l->count > 0)) {
            continue;
        }
        if (l->is_centred) {
            centre(l);
        }
        PQ_TRY(round_layer(r, l, arena));
        pq_progress(pq_graph_ctx(r->g), "round", i + 1, r->count);
    }
    return PTQC_OK;
}

ptqc_status
pq_pass_adaround(pq_graph *g, pq_pass_env *env)
{
    pq_rounding r = {.g = g, .env = env};
    if (env->samples == NULL || env->make_runner == NULL) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_USAGE,
                       "method adaround needs calibration samples");
    }
    PQ_TRY(find_layers(&r));
    while (r.first < r.count) {
        pq_arena arena;
        pq_arena_init(&arena, pq_graph_ctx(g));
        ptqc_status st = choose_batch(&r, &arena);
        if (st == PTQC_OK) {
            st = run_batch(&r, &arena);
        }
        pq_arena_deinit(&arena);
        PQ_TRY(st);
        r.first = r.end;
    }
    return PTQC_OK;
}
