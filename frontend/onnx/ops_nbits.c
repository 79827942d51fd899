// SPDX-License-Identifier: Apache-2.0
//
// com.microsoft MatMulNBits (ONNX Runtime, ContribOperators.md): weights of 4
// or 8 bits in blocks along K.
//   B [N][blocks][block * bits / 8] bytes, lowest bits first: one dense row
//   of unsigned codes per output, as ptqc stores u4 and u8 [N][K].
//   w = scale[n][k / block] * (code - zero_point[n][k / block])
// The codes stay codes: dequantize, then a product with the transposed
// weight.
#include <string.h>

#include "base/dtype.h"
#include "frontend/onnx/ops.h"

typedef struct nbits {
    int64_t k, n, bits, block, blocks;
    ptqc_dtype dtype;
} nbits;

static ptqc_status
read_attributes(pq_onnx_call *c, nbits *w)
{
    int64_t accuracy = 0, prepacked = 0;
    w->bits = 4;
    PQ_TRY(pq_onnx_attr_range(c, "K", 1, INT32_MAX, &w->k));
    PQ_TRY(pq_onnx_attr_range(c, "N", 1, INT32_MAX, &w->n));
    PQ_TRY(pq_onnx_attr_range(c, "block_size", 16, 1 << 20, &w->block));
    PQ_TRY(pq_onnx_attr_i64(c, "bits", &w->bits));
    PQ_TRY(pq_onnx_attr_i64(c, "accuracy_level", &accuracy)); // a hint
    PQ_TRY(pq_onnx_attr_i64(c, "weight_prepacked", &prepacked));
    bool is_plain = pq_value_is_none(pq_onnx_input(c, 4)) && prepacked == 0;
    if ((w->bits != 4 && w->bits != 8) || w->block % 2 != 0 || !is_plain) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "bits other than 4 and 8, g_idx and prepacked "
                            "weights are not supported");
    }
    w->blocks = w->k / w->block + (w->k % w->block != 0);
    w->dtype = w->bits == 4 ? PTQC_U4 : PTQC_U8;
    return PTQC_OK;
}

static ptqc_status
constant_of(pq_onnx_call *c, uint32_t i, const char *what,
            const pq_constant **out)
{
    const pq_value *v = pq_graph_value(c->g, pq_onnx_input(c, i));
    if (v == NULL || pq_const_is_none(v->constant)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "%s that are only known while running are not "
                            "supported",
                            what);
    }
    *out = pq_graph_constant(c->g, v->constant);
    return PTQC_OK;
}

// Rows of whole blocks lie as they are; padded ones are cut to K.
static ptqc_status
read_codes(pq_onnx_call *c, const nbits *w, pq_value_id *out)
{
    const pq_constant *b;
    PQ_TRY(constant_of(c, 1, "weights", &b));
    size_t row = (size_t)(w->blocks * w->block * w->bits / 8);
    size_t kept = (size_t)(w->k * w->bits + 7) / 8;
    if (b->dtype != PTQC_U8 || b->bytes / row != (uint64_t)w->n ||
        b->bytes % row != 0) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected weights of %lld x %zu bytes, found %zu "
                            "in type %s",
                            (long long)w->n, row, b->bytes,
                            pq_dtype_name(b->dtype));
    }
    pq_arena *arena = pq_graph_arena(c->g);
    const int64_t dims[2] = {w->n, w->k};
    pq_constant codes = {.dtype = w->dtype, .rank = 2, .p = b->p};
    codes.bytes = kept * (size_t)w->n;
    codes.dims = pq_arena_memdup(arena, dims, sizeof dims);
    PQ_TRY_ALLOC(codes.dims);
    if (kept != row) {
        uint8_t *copy = pq_arena_alloc(arena, codes.bytes);
        PQ_TRY_ALLOC(copy);
        for (size_t i = 0; i < (size_t)w->n; i++) {
            memcpy(copy + i * kept, (const uint8_t *)b->p + i * row, kept);
        }
        codes.p = copy;
    }
    pq_const_id id = pq_graph_add_constant(c->g, &codes);
    if (pq_const_is_none(id)) {
        return PTQC_E_RESOURCE;
    }
    pq_str name = pq_graph_value(c->g, pq_onnx_input(c, 1))->name;
    *out = pq_graph_add_constant_value(c->g, name, id);
    return pq_value_is_none(*out) ? PTQC_E_RESOURCE : PTQC_OK;
}

static ptqc_status
read_scales(pq_onnx_call *c, const nbits *w, pq_value_id *out)
{
    pq_onnx_f32s all;
    const int64_t dims[2] = {w->n, w->blocks};
    PQ_TRY(pq_onnx_known_f32s(c, pq_onnx_input(c, 2), "scales", &all));
    if (all.n != (uint64_t)w->n * (uint64_t)w->blocks) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected %lld x %lld scales, found %zu",
                            (long long)w->n, (long long)w->blocks, all.n);
    }
    return pq_build_constant(c->g, (pq_str){0}, PTQC_F32, dims, 2, all.p, out);
}

// The zero points as codes [N][blocks]; packed ones lie as rows of u4 do.
static ptqc_status
read_zeros(pq_onnx_call *c, const nbits *w, pq_value_id *out)
{
    const int64_t dims[2] = {w->n, w->blocks};
    size_t row = (size_t)(w->blocks * w->bits + 7) / 8;
    size_t bytes = row * (size_t)w->n;
    if (pq_value_is_none(pq_onnx_input(c, 3))) {
        uint8_t *middle = pq_arena_alloc(c->arena, bytes);
        PQ_TRY_ALLOC(middle);
        memset(middle, w->bits == 4 ? 0x88 : 0x80, bytes);
        return pq_build_constant(c->g, (pq_str){0}, w->dtype, dims, 2, middle,
                                 out);
    }
    const pq_constant *k;
    PQ_TRY(constant_of(c, 3, "zero points", &k));
    if (k->dtype != PTQC_U8) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "zero points of type %s are not supported",
                            pq_dtype_name(k->dtype));
    }
    if (k->bytes != bytes) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected %zu bytes of zero points, found %zu",
                            bytes, k->bytes);
    }
    return pq_build_constant(c->g, (pq_str){0}, w->dtype, dims, 2, k->p, out);
}

// A, B, scales, zero_points, g_idx, bias
ptqc_status
pq_onnx_import_matmul_nbits(pq_onnx_call *c)
{
    nbits w = {0};
    pq_value_id codes, real;
    pq_onnx_quant_desc d = {.axis = 1};
    pq_quant_id quant;
    PQ_TRY(read_attributes(c, &w));
    d.block = w.block;
    PQ_TRY(read_codes(c, &w, &codes));
    PQ_TRY(read_scales(c, &w, &d.scale));
    PQ_TRY(read_zeros(c, &w, &d.zero_point));
    const pq_type *type = pq_onnx_type_of(c, codes);
    PQ_TRY(pq_onnx_quant_make(c, &d, type, w.dtype, &quant));
    PQ_TRY(pq_onnx_quant_attach(c, codes, quant, &codes));
    pq_value_id x = pq_onnx_input(c, 0);
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_DEQUANTIZE);
    pq_build_input(&b, codes);
    pq_build_i64(&b, PQ_ATTR_TO, pq_onnx_type_of(c, x)->dtype);
    PQ_TRY(pq_onnx_end(c, &b, &real));
    pq_onnx_begin(c, &b, PQ_OP_MATMUL);
    pq_build_input(&b, x);
    pq_build_input(&b, real);
    pq_build_input(&b, pq_onnx_input(c, 5));
    pq_build_i64(&b, PQ_ATTR_TRANS_B, 1);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}
