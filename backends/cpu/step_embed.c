// SPDX-License-Identifier: Apache-2.0
//
// EMBED step: rows of packed weights (gemm.h) by index; operands and
// parameters as lower_embedding.c writes them. A row is spread over the lines
// of its strip; tokens are few, so it is read element by element.
#include <string.h>

#include "gemm.h"
#include "step_index.h"

#define LINE_BYTES 64

typedef struct embed {
    pq_weight_shape shape;
    int64_t strip_bytes, zeros_offset;
    int64_t rows, row_bytes; // of the output
    uint32_t index_dtype;
} embed;

// ---- plain numbers ---------------------------------------------------------

// Numbers of 4 or 2 bytes, 16 rows side by side.
static void
copy_row(const embed *s, const uint8_t *strip, int64_t lane, uint8_t *out)
{
    int64_t size = s->row_bytes / s->shape.k;
    for (int64_t k = 0; k < s->shape.k; k++) {
        memcpy(out + k * size, strip + (16 * k + lane) * size, (size_t)size);
    }
}

// ---- codes -----------------------------------------------------------------

// A group's codes from its lines: f32(code - zero) * scale.
static void
decode_group(const embed *s, const uint8_t *lines, int64_t lane, int64_t count,
             int32_t zero, float scale, float *out)
{
    int64_t step = s->shape.format == PQ_WEIGHT_FIXED4 ? 8 : 4;
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *line = lines + i / step * LINE_BYTES + 4 * lane;
        int32_t code = line[i % 4];
        if (step == 8) {
            code = i % 8 < 4 ? code & 15 : code >> 4;
        }
        out[i] = (float)(code - zero) * scale;
    }
}

static void
decode_row(const embed *s, const uint8_t *strip, int64_t lane, float *out)
{
    const pq_weight_shape *shape = &s->shape;
    int64_t step = shape->format == PQ_WEIGHT_FIXED4 ? 8 : 4;
    int64_t share = shape->half_scales ? 2 : 1;
    const uint8_t *zeros = strip + s->zeros_offset, *scales = strip;
    for (int64_t k = 0, g = 0; k < shape->k; k += shape->group, g++) {
        int64_t rest = shape->k - k;
        int64_t count = rest < shape->group ? rest : shape->group;
        int32_t zero = step == 8 ? 8 : 128;
        if (g % share == 0) {
            scales = strip;
            strip += LINE_BYTES;
        }
        if (shape->asymmetric) {
            zero = zeros[16 * g + lane];
        }
        decode_group(s, strip, lane, count, zero,
                     pq_weight_scale(shape, scales, g, lane), out + k);
        strip += (count + step - 1) / step * LINE_BYTES;
    }
}

// ---- the step --------------------------------------------------------------

static void
run_embed(const void *state, const pq_run *run)
{
    const embed *s = state;
    pq_range mine = pq_worker_range(run->worker, s->rows, 1);
    for (int64_t i = mine.begin; i < mine.end; i++) {
        int64_t id = pq_index_at(run->args[1], s->index_dtype, i);
        id = pq_index_checked(run, id, s->shape.n);
        if (id < 0) {
            continue;
        }
        const uint8_t *strip =
            (const uint8_t *)run->args[0] + id / 16 * s->strip_bytes;
        uint8_t *out = (uint8_t *)run->args[2] + i * s->row_bytes;
        if (pq_weight_is_fixed(s->shape.format)) {
            decode_row(s, strip, id % 16, (float *)(void *)out);
        } else {
            copy_row(s, strip, id % 16, out);
        }
    }
}

// What the rows become.
static uint32_t
dtype_of(uint32_t format)
{
    return format == PQ_WEIGHT_F16    ? PTQC_F16
           : format == PQ_WEIGHT_BF16 ? PTQC_BF16
                                      : PTQC_F32;
}

static bool
is_format(int64_t format)
{
    return format == PQ_WEIGHT_F32 || format == PQ_WEIGHT_F16 ||
           format == PQ_WEIGHT_BF16 || format == PQ_WEIGHT_FIXED8 ||
           format == PQ_WEIGHT_FIXED4;
}

ptqc_be_status
pq_prepare_embed(const pq_prep *prep, pq_op *op)
{
    const pq_shape *w = prep->ins[0], *ids = prep->ins[1], *y = prep->outs[0];
    embed *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, w != NULL && pq_is_index(ids) && y != NULL && y->rank > 0);
    PQ_NEED(prep, is_format(pq_prep_i64(prep, 2)));
    s->shape =
        (pq_weight_shape){.k = pq_prep_i64(prep, 0),
                          .n = pq_prep_i64(prep, 1),
                          .format = (uint32_t)pq_prep_i64(prep, 2),
                          .asymmetric = pq_prep_i64(prep, 3) != 0 ? 1u : 0u,
                          .group = pq_prep_i64(prep, 4),
                          .half_scales = pq_prep_i64(prep, 5) != 0 ? 1u : 0u};
    int64_t bytes = pq_weight_bytes(&s->shape);
    PQ_NEED(prep, s->shape.k > 0 && s->shape.n > 0 && bytes > 0);
    PQ_NEED(prep, w->bytes >= bytes && y->dtype == dtype_of(s->shape.format));
    PQ_NEED(prep, y->dims[y->rank - 1] == s->shape.k &&
                      y->count % s->shape.k == 0 &&
                      y->count / s->shape.k == ids->count);
    s->strip_bytes = pq_weight_strip_bytes(&s->shape);
    s->zeros_offset =
        s->shape.asymmetric ? pq_weight_zeros_offset(&s->shape) : 0;
    s->rows = ids->count;
    s->row_bytes = s->shape.k * y->element_bytes;
    s->index_dtype = ids->dtype;
    op->state = s;
    op->run = run_embed;
    op->work_bytes = 2 * (uint64_t)y->bytes + (uint64_t)ids->bytes;
    op->serial = y->bytes < 16384;
    return PTQC_BE_OK;
}
