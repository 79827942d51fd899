// SPDX-License-Identifier: Apache-2.0
//
// Constants of codes: kept as (weight, scales), their bytes are made each
// time somebody asks. So a graph of quantized weights takes hardly more
// memory than its scales. Codes are those of quant/quantize.h, rows of the
// last axis start on a byte (quant/pack.h).
#include <assert.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/graph_internal.h"
#include "ir/weights.h"
#include "quant/pack.h"

pq_const_id
pq_graph_add_codes(pq_graph *g, pq_const_id weight, pq_quant_id quant)
{
    const pq_constant *w = pq_graph_constant(g, weight);
    const pq_quant *q = pq_graph_quant(g, quant);
    assert(w->p != NULL || w->bytes == 0);
    pq_constant codes = {
        .dtype = q->scheme.format, .rank = w->rank, .dims = w->dims};
    if (!pq_dtype_bytes(codes.dtype, w->dims, w->rank, &codes.bytes)) {
        pq_graph_note(g, PQ_FAIL(g->ctx, PTQC_E_INPUT, "codes: too many"));
        return (pq_const_id){0};
    }
    pq_const_id id = pq_graph_add_constant(g, &codes);
    if (!pq_const_is_none(id)) {
        pq_constant_slot *slot = pq_graph_constant_slot(g, id);
        slot->weight = weight;
        slot->quant = quant;
    }
    return id;
}

typedef struct code_maker {
    const float *scales;
    const int32_t *zero_points;
    int64_t group_count; // scales per channel; 0: one for all
    size_t row;          // codes per row of the last axis
    size_t row_bytes;
    unsigned bits;
    uint8_t *out;
} code_maker;

static void
make_block(void *user, const pq_weight_block *block)
{
    const code_maker *m = user;
    const pq_weights *w = &block->weights;
    int64_t scale = block->first_channel * m->group_count;
    size_t count = (size_t)(w->outer * w->channels * w->inner);
    pq_encode_weights(w, m->scales + scale, m->zero_points + scale,
                      block->bytes);
    size_t row = (size_t)block->first_element / m->row;
    for (size_t k = 0; k < count; k += m->row, row++) {
        pq_pack_row(block->bytes + k, m->row, m->bits,
                    m->out + row * m->row_bytes);
    }
}

static ptqc_status
make_codes(const pq_graph *g, const pq_constant_slot *slot, uint8_t *out)
{
    const pq_constant *w = pq_graph_constant(g, slot->weight);
    const pq_quant *q = pq_graph_quant(g, slot->quant);
    const pq_constant *scale = pq_graph_constant(g, q->scale);
    const pq_weights view = pq_weights_view(w, &q->scheme);
    size_t row = w->rank > 0 ? (size_t)w->dims[w->rank - 1] : 1;
    if (slot->constant.bytes == 0) {
        return PTQC_OK;
    }
    code_maker m = {
        .scales = scale->p,
        .zero_points = pq_graph_constant(g, q->zero_point)->p,
        .row = row,
        .row_bytes = slot->constant.bytes /
                     ((size_t)(view.outer * view.channels * view.inner) / row),
        .bits = pq_dtype_bits(slot->constant.dtype),
        .out = out,
    };
    if (q->scheme.granularity != PQ_GRAN_TENSOR) {
        m.group_count = (int64_t)(scale->bytes / sizeof *m.scales) /
                        (view.channels > 0 ? view.channels : 1);
    }
    return pq_weights_for_blocks(g->ctx, w, &q->scheme, PQ_CUT_ROWS, make_block,
                                 &m);
}

const void *
pq_graph_constant_bytes(const pq_graph *g, pq_const_id id)
{
    pq_constant_slot *slot = pq_graph_constant_slot(g, id);
    if (pq_quant_is_none(slot->quant)) {
        return slot->constant.p;
    }
    if (slot->made == NULL) {
        uint8_t *made = pq_alloc(g->ctx, slot->constant.bytes);
        if (made != NULL && make_codes(g, slot, made) != PTQC_OK) {
            pq_free(g->ctx, made);
            made = NULL;
        }
        slot->made = made;
    }
    return slot->made;
}

void
pq_graph_release_constant(const pq_graph *g, pq_const_id id)
{
    pq_constant_slot *slot = pq_graph_constant_slot(g, id);
    if (slot != NULL) {
        pq_free(g->ctx, slot->made);
        slot->made = NULL;
    }
}

void
pq_graph_release_constants(const pq_graph *g)
{
    for (uint32_t i = 1; i < pq_graph_constant_count(g); i++) {
        pq_graph_release_constant(g, (pq_const_id){i});
    }
}

// What codes are made of tells them apart as well as their bytes do.
ptqc_status
pq_codes_hash(pq_graph *g, const pq_constant_slot *slot, pq_sha256 *out)
{
    const pq_quant *q = pq_graph_quant(g, slot->quant);
    const pq_scheme *s = &q->scheme;
    const pq_constant *w = pq_graph_constant(g, slot->weight);
    const pq_const_id parts[3] = {slot->weight, q->scale, q->zero_point};
    struct {
        pq_sha256 parts[3];
        int64_t dims[PTQC_MAX_RANK];
        uint32_t scheme[6];
        uint32_t dtype, rank;
    } all = {.scheme = {(uint32_t)s->format, s->bits, (uint32_t)s->granularity,
                        s->axis, s->group, s->symmetric},
             .dtype = (uint32_t)w->dtype,
             .rank = w->rank};
    for (uint32_t i = 0; i < w->rank; i++) {
        all.dims[i] = w->dims[i];
    }
    for (size_t i = 0; i < 3; i++) {
        const pq_sha256 *hash;
        PQ_TRY(pq_graph_constant_hash(g, parts[i], &hash));
        all.parts[i] = *hash;
    }
    return pq_sha256_of(g->ctx, &all, sizeof all, out);
}
