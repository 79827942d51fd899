// SPDX-License-Identifier: Apache-2.0
//
// AdaRound over a graph by outputs (quant/adaround_outputs.h has the
// mathematics): the samples go through the float model and the one of codes
// side by side (calib/stream.h), so that each product learns from what the
// quantized products before it give, to make what the float product makes. A
// product's bias is learned with its codes where biases are corrected at all.
// Activations of the model of codes are not rounded.
//
// At most PLACES places are kept of a product (fewer of wide ones, by
// PLACE_BYTES), those of all samples alike: when
// they are too many every second one is dropped, and later samples give half.
// The outputs of a product with a residual are compared before it is added.
//
// A unit of a checkpoint (calib/checkpoint.h) is a group: per product the bias,
// as scales, and the codes, one byte each.

#include "quant/adaround_outputs.h"

#include <math.h>
#include <string.h>

#include "passes/calib/adaround.h"
#include "passes/calib/checkpoint.h"
#include "passes/calib/patches.h"
#include "passes/calib/stream.h"
#include "passes/match.h"
#include "passes/rescale.h"
#include "quant/linalg.h"

#define POSITION_BITS 8
#define POSITIONS     (1 << POSITION_BITS) // of a sample at most
#define PLACES        8192
#define PLACE_BYTES   ((size_t)128 << 20)

// A product of the group at hand and the places that are kept of it.
typedef struct pq_output_layer {
    const pq_layer *layer;
    pq_layer_weight weight;
    const float *bias; // [groups * rows]
    bool learns_bias;
    float lo, hi;        // of its activation
    int64_t width, outs; // of a place: [groups][d], [groups][rows]
    float *x, *y;        // [capacity][width], [capacity][outs]
    int64_t count, capacity;
    uint32_t level; // how often every second place was dropped
    float *patches; // [POSITIONS][width] of the float model
} pq_output_layer;

typedef struct pq_outputs_pass {
    pq_graph *g;
    pq_pass_env *env;
    const pq_layer *layers; // [count]
    uint32_t count;
    pq_checkpoint checkpoint; // dir NULL: none
    pq_arena arena;           // of the group at hand
    pq_output_layer *open;    // [open_count] its layers
    pq_unit_weight *units;    // [open_count] what is known of them
    uint32_t open_count;
    bool is_known; // from a checkpoint
} pq_outputs_pass;

// ---- layers ---------------------------------------------------------------

static const pq_layer *
find_layer(const pq_outputs_pass *p, pq_op_id id)
{
    for (uint32_t i = 0; i < p->count; i++) {
        if (pq_op_equal(p->layers[i].op, id)) {
            return &p->layers[i];
        }
    }
    return NULL;
}

static bool
wants(void *user, const pq_op *op)
{
    const pq_outputs_pass *p = user;
    for (uint32_t i = 0; i < p->count; i++) {
        if (pq_graph_op(p->g, p->layers[i].op) == op) {
            return true;
        }
    }
    return false;
}

// What the activation cuts. One that bends instead is not looked behind.
static void
read_clip(const pq_op *op, pq_output_layer *l)
{
    const pq_attr *act = pq_op_attr(op, PQ_ATTR_ACT);
    l->lo = -INFINITY;
    l->hi = INFINITY;
    if (act == NULL || !pq_value_is_none(pq_op_input(op, 3))) {
        return;
    }
    if (act->i == PQ_OP_RELU) {
        l->lo = 0;
    } else if (act->i == PQ_OP_CLIP) {
        l->lo = pq_op_f32(op, PQ_ATTR_ACT_ALPHA, -INFINITY);
        l->hi = pq_op_f32(op, PQ_ATTR_ACT_BETA, INFINITY);
    }
}

// A static product can get a bias, others keep the one they have.
static ptqc_status
read_bias(pq_outputs_pass *p, const pq_op *op, pq_output_layer *l)
{
    pq_value_id bias = pq_op_input(op, 2);
    bool is_none = pq_value_is_none(bias);
    bool is_known = is_none || pq_is_float_constant(p->g, bias);
    l->bias = !is_none && is_known
                  ? pq_copy_floats(p->g, bias, &p->arena)
                  : pq_arena_array(&p->arena, (size_t)l->outs, sizeof(float));
    PQ_TRY_ALLOC(l->bias);
    l->learns_bias = p->env->recipe->bias_correction != PQ_BIAS_OFF &&
                     is_known && (!is_none || l->layer->mode == PQ_MODE_STATIC);
    return PTQC_OK;
}

static ptqc_status
open_layer(pq_outputs_pass *p, const pq_layer *layer, pq_output_layer *l)
{
    const pq_op *op = pq_graph_op(p->g, layer->op);
    *l = (pq_output_layer){.layer = layer,
                           .width = layer->groups * layer->d,
                           .outs = layer->groups * layer->rows};
    size_t bytes = (size_t)(l->width + l->outs) * sizeof(float);
    size_t fit = PLACE_BYTES / bytes;
    l->capacity = fit < POSITIONS ? POSITIONS : (int64_t)fit;
    l->capacity = l->capacity < PLACES ? l->capacity : PLACES;
    read_clip(op, l);
    PQ_TRY(read_bias(p, op, l));
    return pq_layer_read(p->g, layer, &p->arena, &l->weight);
}

// ---- places ---------------------------------------------------------------

static ptqc_status
make_room(pq_outputs_pass *p, pq_output_layer *l)
{
    if (l->x != NULL) {
        return PTQC_OK;
    }
    l->y = pq_arena_array(&p->arena, (size_t)l->capacity,
                          (size_t)l->outs * sizeof *l->y);
    l->patches = pq_arena_array(&p->arena, POSITIONS,
                                (size_t)l->width * sizeof *l->patches);
    PQ_TRY_ALLOC(l->y);
    PQ_TRY_ALLOC(l->patches);
    l->x = pq_arena_array(&p->arena, (size_t)l->capacity,
                          (size_t)l->width * sizeof *l->x);
    return l->x != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

static void
drop_every_second(pq_output_layer *l)
{
    for (int64_t i = 1; 2 * i < l->count; i++) {
        memcpy(l->x + i * l->width, l->x + 2 * i * l->width,
               (size_t)l->width * sizeof *l->x);
        memcpy(l->y + i * l->outs, l->y + 2 * i * l->outs,
               (size_t)l->outs * sizeof *l->y);
    }
    l->count = (l->count + 1) / 2;
    l->level++;
}

// Places of the sample that are kept; none of most samples when they are many.
static pq_places
choose_places(pq_output_layer *l, int64_t all, uint64_t sample)
{
    for (;;) {
        uint32_t halved = l->level < POSITION_BITS ? l->level : POSITION_BITS;
        uint64_t every = UINT64_C(1) << (l->level - halved);
        pq_places p = pq_places_of(all, POSITIONS >> halved, sample);
        p.count = sample % every == 0 ? p.count : 0;
        if (l->count + p.count <= l->capacity) {
            return p;
        }
        drop_every_second(l);
    }
}

static void
read_patches(const pq_output_layer *l, const pq_window *w, pq_places places,
             float *out)
{
    for (int64_t i = 0; i < places.count; i++) {
        for (int64_t group = 0; group < l->layer->groups; group++) {
            pq_window_read(w, places.first + i * places.step, group,
                           out + i * l->width + group * l->layer->d);
        }
    }
}

// y [n][outs] = w patches + bias, cut.
static ptqc_status
float_outputs(ptqc_ctx *ctx, const pq_output_layer *l, int64_t n, float *y)
{
    const pq_layer *layer = l->layer;
    for (int64_t i = 0; i < n; i++) {
        memcpy(y + i * l->outs, l->bias, (size_t)l->outs * sizeof *y);
    }
    for (int64_t group = 0; group < layer->groups; group++) {
        const pq_gemm product = {
            .m = n,
            .n = layer->rows,
            .k = layer->d,
            .a = {l->patches + group * layer->d, l->width, 1},
            .b = {l->weight.w + group * layer->rows * layer->d, 1, layer->d},
            .c = y + group * layer->rows,
            .c_ld = l->outs};
        PQ_TRY(pq_gemm_run(ctx, &product));
    }
    for (int64_t i = 0; i < n * l->outs; i++) {
        y[i] = fminf(fmaxf(y[i], l->lo), l->hi);
    }
    return PTQC_OK;
}

static ptqc_status
take_places(pq_outputs_pass *p, pq_output_layer *l, uint64_t sample,
            const pq_tensor *x, const pq_tensor *real)
{
    const pq_op *op = pq_graph_op(p->g, l->layer->op);
    pq_window codes, beside;
    if (!pq_window_of(p->g, op, x, &codes) ||
        !pq_window_of(p->g, op, real, &beside) ||
        codes.places != beside.places) {
        return PTQC_OK;
    }
    PQ_TRY(make_room(p, l));
    pq_places places = choose_places(l, codes.places, sample);
    if (places.count == 0) {
        return PTQC_OK;
    }
    read_patches(l, &codes, places, l->x + l->count * l->width);
    read_patches(l, &beside, places, l->patches);
    PQ_TRY(float_outputs(pq_graph_ctx(p->g), l, places.count,
                         l->y + l->count * l->outs));
    l->count += places.count;
    return PTQC_OK;
}

static ptqc_status
take(void *user, uint64_t sample, const pq_tensor *x, const pq_tensor *real)
{
    pq_outputs_pass *p = user;
    for (uint32_t i = 0; i < p->open_count; i++) {
        PQ_TRY(take_places(p, &p->open[i], sample, x, real));
    }
    return PTQC_OK;
}

// ---- codes ----------------------------------------------------------------

// The step that goes through n places in an order that mixes the samples: near
// n over the golden ratio, without a common divisor.
static int64_t
mixing_step(int64_t n)
{
    int64_t step = (int64_t)(0.618 * (double)n);
    for (step = step > 0 ? step : 1;; step++) {
        int64_t a = step;
        int64_t b = n;
        while (b != 0) {
            int64_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1) {
            return step;
        }
    }
}

// [n][width] to [width][n], places mixed.
static ptqc_status
turn_places(pq_arena *arena, const float *from, int64_t n, int64_t width,
            float **out)
{
    int64_t step = mixing_step(n);
    float *to = pq_arena_array(arena, (size_t)n, (size_t)width * sizeof *to);
    PQ_TRY_ALLOC(to);
    for (int64_t i = 0; i < n; i++) {
        const float *row = from + i * step % n * width;
        for (int64_t k = 0; k < width; k++) {
            to[k * n + i] = row[k];
        }
    }
    *out = to;
    return PTQC_OK;
}

static ptqc_status
change_bias(pq_outputs_pass *p, const pq_output_layer *l, const float *bias)
{
    double *shift = pq_arena_array(&p->arena, (size_t)l->outs, sizeof *shift);
    PQ_TRY_ALLOC(shift);
    for (int64_t i = 0; i < l->outs; i++) {
        shift[i] = (double)bias[i] - (double)l->bias[i];
    }
    return pq_rescale(p->g, l->layer->op, NULL, shift, &p->arena);
}

static ptqc_status
annotate(pq_outputs_pass *p, const pq_output_layer *l,
         const pq_unit_weight *unit)
{
    uint8_t *codes = pq_arena_memdup(&p->arena, unit->codes, unit->code_bytes);
    const char *note = pq_arena_strndup(&p->arena, unit->note.p, unit->note.n);
    PQ_TRY_ALLOC(codes);
    PQ_TRY_ALLOC(note);
    pq_layer_tell(p->g, p->env, l->layer, note);
    if (l->learns_bias) {
        PQ_TRY(change_bias(p, l, unit->scales));
    }
    return pq_layer_annotate(p->g, l->layer, codes, &p->arena);
}

static ptqc_status
annotate_all(pq_outputs_pass *p)
{
    for (uint32_t i = 0; i < p->open_count; i++) {
        if (p->units[i].note.n > 0) {
            PQ_TRY(annotate(p, &p->open[i], &p->units[i]));
        } else {
            pq_layer_tell(p->g, p->env, p->open[i].layer,
                          "no place of any sample: rounded to nearest");
        }
    }
    return PTQC_OK;
}

static ptqc_status
solve_in(pq_outputs_pass *p, const pq_output_layer *l, float *bias,
         uint8_t *codes, pq_adaround_report *report, pq_arena *arena)
{
    const pq_layer *layer = l->layer;
    float *x, *y;
    PQ_TRY(turn_places(arena, l->x, l->count, l->width, &x));
    PQ_TRY(turn_places(arena, l->y, l->count, l->outs, &y));
    const pq_adaround_outputs_desc desc = {.name = l->weight.name,
                                           .w = l->weight.w,
                                           .groups = layer->groups,
                                           .rows = layer->rows,
                                           .d = layer->d,
                                           .x = x,
                                           .y = y,
                                           .places = l->count,
                                           .lo = l->lo,
                                           .hi = l->hi,
                                           .learns_bias = l->learns_bias,
                                           .scheme = l->weight.scheme,
                                           .scales = l->weight.scales,
                                           .zero_points =
                                               l->weight.zero_points};
    return pq_adaround_outputs(pq_graph_ctx(p->g), &desc, bias, codes, report);
}

// The turned places are forgotten afterwards.
static ptqc_status
solve(pq_outputs_pass *p, const pq_output_layer *l, float *bias, uint8_t *codes,
      pq_adaround_report *report)
{
    pq_arena local;
    pq_arena_init(&local, pq_graph_ctx(p->g));
    ptqc_status st = solve_in(p, l, bias, codes, report, &local);
    pq_arena_deinit(&local);
    return st;
}

// Without a note: no sample reached the product, which keeps rounding to
// nearest.
static ptqc_status
learn(pq_outputs_pass *p, const pq_output_layer *l, pq_unit_weight *unit)
{
    pq_adaround_report report;
    float *bias =
        pq_arena_memdup(&p->arena, l->bias, (size_t)l->outs * sizeof *bias);
    uint8_t *codes = pq_arena_alloc(&p->arena, unit->code_bytes);
    PQ_TRY_ALLOC(bias);
    PQ_TRY_ALLOC(codes);
    unit->scales = bias;
    unit->codes = codes;
    if (l->count == 0) {
        return PTQC_OK;
    }
    PQ_TRY(solve(p, l, bias, codes, &report));
    const char *note = pq_layer_describe(&report, (double)l->count, &p->arena);
    PQ_TRY_ALLOC(note);
    unit->note = pq_str_of(note);
    return PTQC_OK;
}

// ---- groups ---------------------------------------------------------------

static ptqc_status
open_layers(pq_outputs_pass *p, const pq_stream_group *group)
{
    p->open_count = group->op_count;
    p->open = pq_arena_array(&p->arena, group->op_count, sizeof *p->open);
    p->units = pq_arena_array(&p->arena, group->op_count, sizeof *p->units);
    PQ_TRY_ALLOC(p->open);
    PQ_TRY_ALLOC(p->units);
    for (uint32_t i = 0; i < group->op_count; i++) {
        pq_output_layer *l = &p->open[i];
        PQ_TRY(open_layer(p, find_layer(p, group->ops[i]), l));
        p->units[i] =
            (pq_unit_weight){.scale_count = (size_t)l->outs,
                             .code_bytes = (size_t)(l->outs * l->layer->d)};
    }
    return PTQC_OK;
}

static ptqc_status
begin(void *user, const pq_stream_group *group, bool *out_shows)
{
    pq_outputs_pass *p = user;
    pq_map map;
    *out_shows = true;
    p->is_known = false;
    pq_arena_init(&p->arena, pq_graph_ctx(p->g));
    PQ_TRY(open_layers(p, group));
    if (p->checkpoint.dir == NULL) {
        return PTQC_OK;
    }
    ptqc_status st = pq_unit_read(&p->checkpoint, group->index, p->units,
                                  p->open_count, &map);
    if (st != PTQC_OK) {
        return st == PTQC_NO ? PTQC_OK : st;
    }
    *out_shows = false;
    p->is_known = true;
    st = annotate_all(p);
    pq_map_close(&map);
    return st;
}

static ptqc_status
learn_all(pq_outputs_pass *p, uint32_t index)
{
    for (uint32_t i = 0; i < p->open_count; i++) {
        PQ_TRY(learn(p, &p->open[i], &p->units[i]));
    }
    PQ_TRY(annotate_all(p));
    return p->checkpoint.dir != NULL
               ? pq_unit_write(&p->checkpoint, index, p->units, p->open_count)
               : PTQC_OK;
}

static ptqc_status
end(void *user, const pq_stream_group *group)
{
    pq_outputs_pass *p = user;
    if (!p->is_known) {
        PQ_TRY(learn_all(p, group->index));
    }
    pq_arena_deinit(&p->arena);
    return PTQC_OK;
}

ptqc_status
pq_adaround_by_outputs(pq_graph *g, pq_pass_env *env, const pq_layer *layers,
                       uint32_t count)
{
    pq_outputs_pass p = {
        .g = g,
        .env = env,
        .layers = layers,
        .count = count,
        .checkpoint = pq_checkpoint_of(pq_graph_ctx(g), env, "adaround")};
    const pq_stream_client client = {.user = &p,
                                     .wants_real = true,
                                     .wants = wants,
                                     .begin = begin,
                                     .checkpoint = &p.checkpoint,
                                     .take = take,
                                     .end = end};
    ptqc_status st = pq_stream_run(g, env, "adaround", &client);
    pq_arena_deinit(&p.arena);
    return st;
}
