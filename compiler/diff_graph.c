// SPDX-License-Identifier: Apache-2.0
//
// See diff_graph.h. Values of both graphs are matched by name: passes keep
// the names of results.

#include "compiler/diff_graph.h"

#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/builder.h"
#include "ir/interp/interp.h"
#include "passes/match.h"

// ---- layers ---------------------------------------------------------------

// The op of codes that makes what `op` makes; NULL: there is none.
static const pq_op *
counterpart(const pq_graph *real, const pq_op *op, const pq_graph *coded,
            pq_op_id *out_id)
{
    pq_str name = pq_graph_value(real, op->outputs[0])->name;
    pq_value_id v = pq_graph_find_value(coded, name);
    *out_id = pq_value_is_none(v) ? (pq_op_id){0} : pq_producer_id(coded, v);
    if (pq_op_is_none(*out_id)) {
        return NULL;
    }
    const pq_op *found = pq_graph_op(coded, *out_id);
    return found->code == op->code ? found : NULL;
}

// The codes of a product's weights, or none.
static pq_value_id
codes_of(const pq_graph *g, const pq_op *op)
{
    const pq_op *dequantize = pq_producer(g, op->inputs[1], PQ_OP_DEQUANTIZE);
    pq_value_id v = dequantize != NULL ? dequantize->inputs[0] : op->inputs[1];
    return pq_is_constant(g, v) && pq_is_codes(g, v) ? v : (pq_value_id){0};
}

static pq_mode
mode_of(const pq_graph *g, const pq_op *op)
{
    if (pq_producer(g, op->inputs[1], PQ_OP_DEQUANTIZE) != NULL) {
        return PQ_MODE_STATIC;
    }
    return pq_is_codes(g, op->inputs[0]) ? PQ_MODE_DYNAMIC
                                         : PQ_MODE_WEIGHT_ONLY;
}

static void
fill_layer(const pq_graph *real, const pq_graph *coded, pq_op_id id,
           pq_layer *out)
{
    pq_op_id coded_id;
    const pq_op *op = pq_graph_op(real, id);
    const pq_op *other = counterpart(real, op, coded, &coded_id);
    *out = (pq_layer){.op = id};
    if (other == NULL) {
        return;
    }
    out->coded = other->outputs[0];
    pq_value_id codes = codes_of(coded, other);
    // Codes that the model came with are no deviation from it.
    if (!pq_value_is_none(codes) && pq_is_real_constant(real, op->inputs[1])) {
        out->mode = mode_of(coded, other);
        out->scheme =
            pq_graph_quant(coded, pq_graph_value(coded, codes)->quant)->scheme;
    }
}

ptqc_status
pq_layers_find(const pq_graph *real, const pq_graph *coded, pq_arena *arena,
               pq_layer **out, uint32_t *out_count)
{
    uint32_t n = 0;
    pq_layer *layers =
        pq_arena_array(arena, pq_graph_op_count(real), sizeof *layers);
    PQ_TRY_ALLOC(layers);
    PQ_FOR_EACH_OP(real, id)
    {
        const pq_op *op = pq_graph_op(real, id);
        if (pq_is_product(op->code) &&
            pq_is_real_constant(real, op->inputs[1])) {
            fill_layer(real, coded, id, &layers[n]);
            n += !pq_value_is_none(layers[n].coded);
        }
    }
    *out = layers;
    *out_count = n;
    return PTQC_OK;
}

// ---- weights --------------------------------------------------------------

// The op that dequantizes the layer's codes; made where there is none.
static ptqc_status
decoder(pq_graph *g, const pq_op *op, pq_op_id before, const pq_op **out)
{
    pq_builder b;
    pq_op_id id;
    pq_value_id real;
    *out = pq_producer(g, op->inputs[1], PQ_OP_DEQUANTIZE);
    if (*out != NULL) {
        return PTQC_OK;
    }
    pq_build_begin(&b, g, before, PQ_OP_DEQUANTIZE, (pq_str){0});
    pq_build_input(&b, op->inputs[1]);
    pq_build_i64(&b, PQ_ATTR_TO, PTQC_F32);
    PQ_TRY(pq_build_end(&b, NULL, &real, &id));
    *out = pq_graph_op(g, id);
    return PTQC_OK;
}

static ptqc_status
decode(pq_graph *g, const pq_op *dequantize, pq_arena *local, float **out)
{
    pq_const_id id = pq_graph_value(g, dequantize->inputs[0])->constant;
    const pq_constant *c = pq_graph_constant(g, id);
    pq_tensor codes = {.dtype = c->dtype,
                       .rank = c->rank,
                       .p = (void *)(uintptr_t)pq_graph_constant_bytes(g, id),
                       .bytes = c->bytes};
    pq_tensor real = {.dtype = PTQC_F32,
                      .rank = c->rank,
                      .bytes = (size_t)pq_element_count(c) * sizeof(float)};
    memcpy(codes.dims, c->dims, c->rank * sizeof *c->dims);
    memcpy(real.dims, c->dims, c->rank * sizeof *c->dims);
    real.p = pq_arena_alloc(local, real.bytes);
    PQ_TRY_ALLOC(codes.p);
    PQ_TRY_ALLOC(real.p);
    PQ_TRY(pq_interp_op(g, dequantize, NULL, &codes, &real));
    pq_graph_release_constant(g, id);
    *out = real.p;
    return PTQC_OK;
}

// max |w| of each output channel; 0 channels: of no channel.
static float
range_ratio(const pq_graph *g, const pq_op *op, const float *w, int64_t n)
{
    uint32_t w_axis, y_axis;
    float largest = 0;
    float smallest = INFINITY;
    if (!pq_channel_axes(g, op, &w_axis, &y_axis)) {
        return 1;
    }
    const pq_type *t = &pq_graph_value(g, op->inputs[1])->type;
    int64_t channels = pq_static_dim(g, op->inputs[1], w_axis);
    int64_t inner = 1;
    for (uint32_t i = w_axis + 1; i < t->rank; i++) {
        inner *= pq_static_dim(g, op->inputs[1], i);
    }
    for (int64_t c = 0; c < channels; c++) {
        float range = 0;
        for (int64_t from = c * inner; from < n; from += channels * inner) {
            for (int64_t i = from; i < from + inner; i++) {
                range = fmaxf(range, fabsf(w[i]));
            }
        }
        largest = fmaxf(largest, range);
        smallest = range > 0 ? fminf(smallest, range) : smallest;
    }
    return largest > 0 ? largest / smallest : 1;
}

static ptqc_status
weigh(pq_graph *real, pq_graph *coded, pq_layer *layer, pq_arena *local)
{
    const pq_op *op = pq_graph_op(real, layer->op);
    const pq_op *dequantize;
    pq_op_id id = pq_producer_id(coded, layer->coded);
    float *decoded;
    float *w = pq_copy_floats(real, op->inputs[1], local);
    PQ_TRY_ALLOC(w);
    PQ_TRY(decoder(coded, pq_graph_op(coded, id), id, &dequantize));
    PQ_TRY(decode(coded, dequantize, local, &decoded));
    const pq_value *value = pq_graph_value(real, op->inputs[1]);
    int64_t n = pq_element_count(pq_graph_constant(real, value->constant));
    layer->weight_count = (uint64_t)n;
    layer->range_ratio = range_ratio(real, op, w, n);
    for (int64_t i = 0; i < n; i++) {
        double error = (double)w[i] - (double)decoded[i];
        layer->weight_error += error * error;
        layer->weight_signal += (double)w[i] * (double)w[i];
    }
    return PTQC_OK;
}

ptqc_status
pq_layers_weigh(pq_graph *real, pq_graph *coded, pq_layer *layers,
                uint32_t count)
{
    ptqc_ctx *ctx = pq_graph_ctx(real);
    for (uint32_t i = 0; i < count; i++) {
        pq_arena local;
        PQ_TRY(pq_check_cancelled(ctx));
        if (layers[i].mode == PQ_MODE_FLOAT) {
            continue;
        }
        pq_arena_init(&local, ctx);
        ptqc_status st = weigh(real, coded, &layers[i], &local);
        pq_arena_deinit(&local);
        PQ_TRY(st);
    }
    return PTQC_OK;
}

// ---- the local graph ------------------------------------------------------

typedef struct pq_local {
    const pq_graph *real;
    pq_graph *g;           // being made: a clone of the graph of codes
    pq_value_id *exact_of; // [values of real] once they were made float
} pq_local;

// The value of g that a value of the float graph is.
static ptqc_status
value_in(const pq_local *l, pq_value_id v, pq_value_id *out)
{
    *out = (pq_value_id){0};
    if (pq_value_is_none(v)) {
        return PTQC_OK;
    }
    if (!pq_value_is_none(l->exact_of[v.index])) {
        *out = l->exact_of[v.index];
        return PTQC_OK;
    }
    const pq_value *value = pq_graph_value(l->real, v);
    if (!pq_const_is_none(value->constant)) {
        const pq_constant *c = pq_graph_constant(l->real, value->constant);
        pq_const_id id = pq_graph_add_constant(l->g, c);
        *out = pq_const_is_none(id)
                   ? (pq_value_id){0}
                   : pq_graph_add_constant_value(l->g, value->name, id);
        if (pq_value_is_none(*out)) {
            return pq_graph_failure(l->g);
        }
        l->exact_of[v.index] = *out;
        return PTQC_OK;
    }
    *out = pq_graph_find_value(l->g, value->name);
    return !pq_value_is_none(*out)
               ? PTQC_OK
               : PQ_FAIL(pq_graph_ctx(l->g), PTQC_E_INTERNAL,
                         "diff: '%.*s' is no value of the graph of codes",
                         PQ_STR_ARG(value->name));
}

// Lets an op that is no layer read what the float model's does.
static ptqc_status
restore(const pq_local *l, const pq_op *op, pq_op_id id)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        pq_value_id v;
        if (pq_value_is_none(op->inputs[i]) ||
            pq_is_constant(l->real, op->inputs[i])) {
            continue; // constants of such ops are what they were
        }
        PQ_TRY(value_in(l, op->inputs[i], &v));
        PQ_TRY(pq_set_input(l->g, id, i, v));
    }
    return PTQC_OK;
}

// The float product beside the one of codes; all others read it.
static ptqc_status
split(const pq_local *l, const pq_op *op, pq_op_id id, pq_layer *layer)
{
    pq_builder b;
    layer->local = pq_graph_op(l->g, id)->outputs[0];
    pq_build_begin(&b, l->g, id, op->code, (pq_str){0});
    for (uint32_t i = 0; i < op->input_count; i++) {
        pq_value_id v;
        PQ_TRY(value_in(l, op->inputs[i], &v));
        pq_build_input(&b, v);
    }
    for (uint32_t i = 0; i < op->attr_count; i++) {
        pq_build_attr(&b, &op->attrs[i]);
    }
    PQ_TRY(pq_build_end(&b, NULL, &layer->exact, NULL));
    l->exact_of[op->outputs[0].index] = layer->exact;
    return pq_replace_uses(l->g, layer->local, layer->exact);
}

static ptqc_status
make_local(const pq_local *l, pq_layer *layers, uint32_t count)
{
    uint32_t next = 0;
    PQ_FOR_EACH_OP(l->real, id)
    {
        const pq_op *op = pq_graph_op(l->real, id);
        pq_op_id other_id;
        pq_layer *layer = next < count && layers[next].op.index == id.index
                              ? &layers[next++]
                              : NULL;
        if (op->output_count == 0 ||
            counterpart(l->real, op, l->g, &other_id) == NULL) {
            continue;
        }
        if (layer == NULL || layer->mode == PQ_MODE_FLOAT) {
            PQ_TRY(restore(l, op, other_id));
        } else {
            PQ_TRY(split(l, op, other_id, layer));
        }
        if (layer != NULL && layer->mode == PQ_MODE_FLOAT) {
            layer->exact = pq_graph_op(l->g, other_id)->outputs[0];
        }
    }
    for (uint32_t i = 0; i < pq_graph_output_count(l->real); i++) {
        pq_value_id v;
        PQ_TRY(value_in(l, pq_graph_output(l->real, i), &v));
        pq_graph_set_output(l->g, i, v);
    }
    return PTQC_OK;
}

ptqc_status
pq_local_graph(const pq_graph *real, pq_graph *coded, pq_layer *layers,
               uint32_t count, pq_graph **out)
{
    pq_arena arena;
    pq_graph *g = NULL;
    ptqc_status st = PTQC_OK;
    pq_arena_init(&arena, pq_graph_ctx(coded));
    pq_local l = {.real = real};
    l.exact_of =
        pq_arena_array(&arena, pq_graph_value_count(real), sizeof *l.exact_of);
    st = l.exact_of == NULL ? PTQC_E_RESOURCE : PTQC_OK;
    if (st == PTQC_OK) {
        st = pq_graph_clone(coded, false, &g);
    }
    if (st == PTQC_OK) {
        l.g = g;
        st = make_local(&l, layers, count);
    }
    pq_arena_deinit(&arena);
    if (st != PTQC_OK) {
        pq_graph_destroy(g);
        return st;
    }
    *out = g;
    return PTQC_OK;
}
