// SPDX-License-Identifier: Apache-2.0
//
// Weights of a file as constants of the graph. Plain matrices stay where they
// are mapped, in their own type. Codes in blocks become rows of codes
//   real[n][k] = scale[n][k / 32] * (code[n][k] - zero_point) + min[n][k / 32]
// with the scales beside them (f32, exact). Minima (f16, as stored) are a
// matrix of their own, since zero points are integers. Blocks that such codes
// cannot express become f16, rounded to nearest even, or f32 where f16 would
// overflow. Vectors become f32.
#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "base/checked.h"
#include "base/dtype.h"
#include "base/float16.h"
#include "frontend/llm/builder.h"

enum {
    BLOCK_MAX = 256, // elements
};

static ptqc_status
add_constant(pq_llm_builder *b, const pq_llm_tensor *t, ptqc_dtype dtype,
             const void *p, size_t bytes, pq_value_id *out)
{
    const pq_constant c = {.dtype = dtype,
                           .rank = t->rank,
                           .dims = t->dims,
                           .p = p,
                           .bytes = bytes};
    pq_const_id id = pq_graph_add_constant(b->g, &c);
    *out = pq_const_is_none(id)
               ? PQ_NO_VALUE
               : pq_graph_add_constant_value(b->g, t->name, id);
    return pq_value_is_none(*out) ? pq_graph_failure(b->g) : PTQC_OK;
}

static void
note_non_finite(pq_llm_builder *b, const pq_llm_tensor *t, const char *what,
                uint64_t found, uint64_t count)
{
    if (found == 0) {
        return;
    }
    b->model->non_finite_count += found;
    pq_say(b->ctx, PTQC_SEVERITY_WARNING,
           "%.*s: tensor '%.*s': %llu of %llu %s are non-finite (NaN or "
           "infinity)",
           PQ_STR_ARG(b->model->files[0].path), PQ_STR_ARG(t->name),
           (unsigned long long)found, (unsigned long long)count, what);
}

// Numbers whose exponent bits are all set.
static uint64_t
count_non_finite(ptqc_dtype dtype, const uint8_t *p, uint64_t count)
{
    uint64_t found = 0;
    if (dtype == PTQC_F32) {
        for (uint64_t i = 0; i < count; i++) {
            found += (pq_load_le32(p + 4 * i) & 0x7f800000u) == 0x7f800000u;
        }
        return found;
    }
    uint16_t exponent = dtype == PTQC_F16 ? 0x7c00 : 0x7f80;
    for (uint64_t i = 0; i < count; i++) {
        found += (pq_load_le16(p + 2 * i) & exponent) == exponent;
    }
    return found;
}

static void
check_finite(pq_llm_builder *b, const pq_llm_tensor *t, ptqc_dtype dtype,
             const void *p)
{
    note_non_finite(b, t, "elements", count_non_finite(dtype, p, t->count),
                    t->count);
}

// ---- expansion ------------------------------------------------------------

// All elements in f32; `out` has room for them.
static void
load_f32(const pq_llm_tensor *t, float *out)
{
    if (t->block != NULL) {
        const uint8_t *p = t->p;
        for (uint64_t i = 0; i < t->count; i += t->block->elements) {
            t->block->expand(p, out + i);
            p += t->block->bytes;
        }
        return;
    }
    for (uint64_t i = 0; i < t->count; i++) {
        switch ((int)t->dtype) {
        case PTQC_F16:
            out[i] = pq_f16_to_f32(pq_load_le16(t->p + 2 * i));
            break;
        case PTQC_BF16:
            out[i] = pq_bf16_to_f32(pq_load_le16(t->p + 2 * i));
            break;
        default:
            out[i] = pq_load_f32(t->p + 4 * i);
            break;
        }
    }
}

// false when a finite element does not fit f16.
static bool
expand_f16(const pq_llm_tensor *t, uint16_t *out)
{
    const pq_llm_block *block = t->block;
    const uint8_t *p = t->p;
    float x[BLOCK_MAX];
    bool fits = true;
    for (uint64_t i = 0; i < t->count; i += block->elements) {
        block->expand(p, x);
        for (uint32_t k = 0; k < block->elements; k++) {
            out[i + k] = pq_f32_to_f16(x[k]);
            fits =
                fits && (!isfinite(x[k]) || (out[i + k] & 0x7c00u) != 0x7c00u);
        }
        p += block->bytes;
    }
    return fits;
}

static ptqc_status
expand_matrix(pq_llm_builder *b, const pq_llm_tensor *t, pq_value_id *out)
{
    pq_arena *arena = pq_graph_arena(b->g);
    uint16_t *half = pq_arena_array(arena, t->count, sizeof *half);
    PQ_TRY_ALLOC(half);
    if (expand_f16(t, half)) {
        check_finite(b, t, PTQC_F16, half);
        return add_constant(b, t, PTQC_F16, half, t->count * sizeof *half, out);
    }
    float *wide = pq_arena_array(arena, t->count, sizeof *wide);
    PQ_TRY_ALLOC(wide);
    load_f32(t, wide);
    check_finite(b, t, PTQC_F32, wide);
    return add_constant(b, t, PTQC_F32, wide, t->count * sizeof *wide, out);
}

// ---- codes ----------------------------------------------------------------

static ptqc_status
make_zeros(pq_llm_builder *b, pq_llm_zeros *z)
{
    int32_t *p = pq_arena_array(pq_graph_arena(b->g), z->count, sizeof *p);
    PQ_TRY_ALLOC(p);
    for (uint64_t i = 0; i < z->count; i++) {
        p[i] = z->middle;
    }
    const int64_t dims = (int64_t)z->count;
    const pq_constant c = {.dtype = PTQC_I32,
                           .rank = 1,
                           .dims = &dims,
                           .p = p,
                           .bytes = z->count * sizeof *p};
    z->id = pq_graph_add_constant(b->g, &c);
    return pq_const_is_none(z->id) ? pq_graph_failure(b->g) : PTQC_OK;
}

// `count` times the same zero point. Models have few sizes of weights; what
// does not fit the table is made again.
static ptqc_status
zero_points(pq_llm_builder *b, uint64_t count, int32_t middle, pq_const_id *out)
{
    pq_llm_zeros made = {.count = count, .middle = middle};
    for (uint32_t i = 0; i < b->zeros_count; i++) {
        if (b->zeros[i].count == count && b->zeros[i].middle == middle) {
            *out = b->zeros[i].id;
            return PTQC_OK;
        }
    }
    PQ_TRY(make_zeros(b, &made));
    if (b->zeros_count < sizeof b->zeros / sizeof b->zeros[0]) {
        b->zeros[b->zeros_count++] = made;
    }
    *out = made.id;
    return PTQC_OK;
}

static ptqc_status
add_quant(pq_llm_builder *b, const pq_llm_tensor *t, const float *scales,
          pq_quant_id *out)
{
    const pq_llm_block *block = t->block;
    const int64_t dims[2] = {t->dims[0], t->dims[1] / block->elements};
    uint64_t count = t->count / block->elements;
    pq_quant q = {.scheme = {.format = block->codes,
                             .granularity = PQ_GRAN_GROUP,
                             .axis = 1,
                             .group = block->elements,
                             .symmetric = block->minimum_at == 0}};
    const pq_constant c = {.dtype = PTQC_F32,
                           .rank = 2,
                           .dims = dims,
                           .p = scales,
                           .bytes = count * sizeof *scales};
    q.scale = pq_graph_add_constant(b->g, &c);
    if (pq_const_is_none(q.scale)) {
        return pq_graph_failure(b->g);
    }
    PQ_TRY(zero_points(b, count, block->zero_point, &q.zero_point));
    *out = pq_graph_add_quant(b->g, &q);
    return pq_quant_is_none(*out) ? pq_graph_failure(b->g) : PTQC_OK;
}

// Rows of whole blocks: block i has codes i and scale i.
static ptqc_status
add_codes(pq_llm_builder *b, const pq_llm_tensor *t, pq_value_id *out)
{
    const pq_llm_block *block = t->block;
    pq_arena *arena = pq_graph_arena(b->g);
    uint64_t count = t->count / block->elements;
    size_t code_bytes =
        (size_t)block->elements * pq_dtype_bits(block->codes) / 8;
    uint8_t *codes = pq_arena_array(arena, count, code_bytes);
    float *scales = pq_arena_array(arena, count, sizeof *scales);
    pq_quant_id quant;
    if (codes == NULL || scales == NULL) {
        return PTQC_E_RESOURCE;
    }
    for (uint64_t i = 0; i < count; i++) {
        block->split(t->p + i * block->bytes, codes + i * code_bytes,
                     &scales[i]);
    }
    note_non_finite(b, t, "scales",
                    count_non_finite(PTQC_F32, (const uint8_t *)scales, count),
                    count);
    PQ_TRY(add_quant(b, t, scales, &quant));
    PQ_TRY(add_constant(b, t, block->codes, codes, count * code_bytes, out));
    pq_value_set_quant(b->g, *out, block->codes, quant);
    return PTQC_OK;
}

static ptqc_status
dequantize(pq_llm_builder *b, pq_value_id codes, pq_value_id *out)
{
    pq_builder op;
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_DEQUANTIZE, (pq_str){0});
    pq_build_input(&op, codes);
    pq_build_i64(&op, PQ_ATTR_TO, PTQC_F32);
    return pq_build_end(&op, NULL, out, NULL);
}

// ---- uses -----------------------------------------------------------------

// The constant that an earlier use made of the tensor, if any.
static pq_value_id
made_before(const pq_llm_builder *b, const pq_llm_tensor *t)
{
    return t->is_used ? pq_graph_find_value(b->g, t->name) : PQ_NO_VALUE;
}

ptqc_status
pq_llm_constant(pq_llm_builder *b, pq_llm_tensor *t, pq_value_id *out)
{
    *out = made_before(b, t);
    if (!pq_value_is_none(*out)) {
        return PTQC_OK;
    }
    t->is_used = true;
    if (t->block == NULL) {
        check_finite(b, t, t->dtype, t->p);
        return add_constant(b, t, t->dtype, t->p, t->bytes, out);
    }
    return t->block->codes != PTQC_DTYPE_NONE ? add_codes(b, t, out)
                                              : expand_matrix(b, t, out);
}

ptqc_status
pq_llm_matrix(pq_llm_builder *b, pq_llm_tensor *t, pq_value_id *out)
{
    PQ_TRY(pq_llm_constant(b, t, out));
    return pq_quant_is_none(pq_graph_value(b->g, *out)->quant)
               ? PTQC_OK
               : dequantize(b, *out, out);
}

static ptqc_status
minima_name(pq_llm_builder *b, const pq_llm_tensor *t, pq_str *out)
{
    static const char ending[] = ".minima";
    char *name =
        pq_arena_alloc(pq_graph_arena(b->g), t->name.n + sizeof ending);
    PQ_TRY_ALLOC(name);
    memcpy(name, t->name.p, t->name.n);
    memcpy(name + t->name.n, ending, sizeof ending);
    *out = pq_str_of(name);
    return PTQC_OK;
}

ptqc_status
pq_llm_minima(pq_llm_builder *b, const pq_llm_tensor *t, pq_value_id *out)
{
    const pq_llm_block *block = t->block;
    pq_str name;
    *out = PQ_NO_VALUE;
    if (block == NULL || block->minimum_at == 0) {
        return PTQC_OK;
    }
    PQ_TRY(minima_name(b, t, &name));
    *out = pq_graph_find_value(b->g, name);
    if (!pq_value_is_none(*out)) {
        return PTQC_OK;
    }
    uint64_t count = t->count / block->elements;
    uint16_t *p = pq_arena_array(pq_graph_arena(b->g), count, sizeof *p);
    PQ_TRY_ALLOC(p);
    for (uint64_t i = 0; i < count; i++) {
        p[i] = pq_load_le16(t->p + i * block->bytes + block->minimum_at);
    }
    note_non_finite(b, t, "minima",
                    count_non_finite(PTQC_F16, (const uint8_t *)p, count),
                    count);
    pq_llm_tensor minima = {.name = name,
                            .rank = 2,
                            .dims = {t->dims[0], t->dims[1] / block->elements}};
    return add_constant(b, &minima, PTQC_F16, p, count * sizeof *p, out);
}

ptqc_status
pq_llm_vector(pq_llm_builder *b, pq_llm_tensor *t, pq_value_id *out)
{
    t->is_used = true;
    if (t->block == NULL && t->dtype == PTQC_F32) {
        check_finite(b, t, PTQC_F32, t->p);
        return add_constant(b, t, PTQC_F32, t->p, t->bytes, out);
    }
    float *p = pq_arena_array(pq_graph_arena(b->g), t->count, sizeof *p);
    PQ_TRY_ALLOC(p);
    load_f32(t, p);
    check_finite(b, t, PTQC_F32, (const uint8_t *)p);
    return add_constant(b, t, PTQC_F32, p, t->count * sizeof *p, out);
}
