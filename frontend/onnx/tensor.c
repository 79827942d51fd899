// SPDX-License-Identifier: Apache-2.0
//
// TensorProto -> constant. Raw data that lies as ptqc wants it is used where
// it is; what is copied: typed fields, misaligned data, 4-bit rows of odd
// length (ONNX packs the whole tensor densely, ptqc starts each row on a
// byte) and sparse tensors.
#include <string.h>

#include "base/bits.h"
#include "base/checked.h"
#include "base/dtype.h"
#include "base/float16.h"
#include "frontend/onnx/importer.h"

// Which typed field holds the elements of a data type.
typedef enum source {
    FROM_NOTHING,
    FROM_FLOAT,
    FROM_INT32, // one element an entry, 4-bit: two, as in a byte
    FROM_INT64,
    FROM_UINT64,
    FROM_DOUBLE,
} source;

typedef struct type_row {
    ptqc_dtype dtype; // none: ptqc has no such type
    source source;
} type_row;

static const type_row types[PQ_ONNX_DATA_TYPE_END] = {
    [PQ_ONNX_FLOAT] = {PTQC_F32, FROM_FLOAT},
    [PQ_ONNX_UINT8] = {PTQC_U8, FROM_INT32},
    [PQ_ONNX_INT8] = {PTQC_I8, FROM_INT32},
    [PQ_ONNX_UINT16] = {PTQC_U16, FROM_INT32},
    [PQ_ONNX_INT16] = {PTQC_I16, FROM_INT32},
    [PQ_ONNX_INT32] = {PTQC_I32, FROM_INT32},
    [PQ_ONNX_INT64] = {PTQC_I64, FROM_INT64},
    [PQ_ONNX_BOOL] = {PTQC_BOOL, FROM_INT32},
    [PQ_ONNX_FLOAT16] = {PTQC_F16, FROM_INT32},
    [PQ_ONNX_DOUBLE] = {PTQC_F64, FROM_DOUBLE},
    [PQ_ONNX_UINT32] = {PTQC_U32, FROM_UINT64},
    [PQ_ONNX_UINT64] = {PTQC_U64, FROM_UINT64},
    [PQ_ONNX_BFLOAT16] = {PTQC_BF16, FROM_INT32},
    [PQ_ONNX_FLOAT8E4M3FN] = {PTQC_F8E4M3, FROM_INT32},
    [PQ_ONNX_FLOAT8E5M2] = {PTQC_F8E5M2, FROM_INT32},
    [PQ_ONNX_UINT4] = {PTQC_U4, FROM_INT32},
    [PQ_ONNX_INT4] = {PTQC_I4, FROM_INT32},
};

ptqc_status
pq_onnx_dtype(ptqc_ctx *ctx, int64_t data_type, ptqc_dtype *out)
{
    if (data_type <= 0 || data_type >= PQ_ONNX_DATA_TYPE_END) {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "expected a data type from 1 to %d, found %lld",
                       PQ_ONNX_DATA_TYPE_END - 1, (long long)data_type);
    }
    if (types[data_type].dtype == PTQC_DTYPE_NONE) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "tensors of type %s are not supported",
                       pq_onnx_data_type_name(data_type));
    }
    *out = types[data_type].dtype;
    return PTQC_OK;
}

ptqc_dtype
pq_onnx_dtype_or_none(int64_t data_type)
{
    bool is_known = data_type > 0 && data_type < PQ_ONNX_DATA_TYPE_END;
    return is_known ? types[data_type].dtype : PTQC_DTYPE_NONE;
}

// A tensor on its way into the graph.
typedef struct reader {
    pq_onnx_importer *im;
    const pq_onnx_tensor *t;
    pq_str name;
    ptqc_dtype dtype;
    size_t count;        // elements
    size_t stored_bytes; // as ONNX packs them
    pq_constant constant;
} reader;

static ptqc_status
check_dims(reader *r)
{
    const pq_onnx_i64s *dims = &r->t->dims;
    ptqc_ctx *ctx = r->im->ctx;
    if (dims->n > PTQC_MAX_RANK) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "tensors of rank %zu are not supported, at most %d",
                       dims->n, PTQC_MAX_RANK);
    }
    r->count = 1;
    for (size_t i = 0; i < dims->n; i++) {
        bool fits = dims->p[i] >= 0 &&
                    pq_mul_size(r->count, (size_t)dims->p[i], &r->count);
        if (!fits) {
            return PQ_FAIL(ctx, PTQC_E_INPUT,
                           "expected dimensions whose product fits 64 bits, "
                           "found dimension %zu = %lld",
                           i, (long long)dims->p[i]);
        }
    }
    size_t bits;
    if (!pq_mul_size(r->count, pq_dtype_bits(r->dtype), &bits) ||
        !pq_dtype_bytes(r->dtype, dims->p, (unsigned)dims->n,
                        &r->constant.bytes)) {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "expected a size in bytes that fits 64 bits, found %zu "
                       "elements",
                       r->count);
    }
    r->stored_bytes = bits / 8 + (bits % 8 != 0);
    return PTQC_OK;
}

static bool
rows_are_bytes(const reader *r)
{
    const pq_onnx_i64s *dims = &r->t->dims;
    return pq_dtype_bits(r->dtype) >= 8 || dims->n <= 1 ||
           dims->p[dims->n - 1] % 2 == 0;
}

// from: dense nibbles; to: each row of `length` starts on a byte.
static void
split_nibble_rows(const uint8_t *from, uint8_t *to, size_t count, size_t length)
{
    size_t row_bytes = length / 2 + length % 2;
    for (size_t i = 0; i < count; i++) {
        unsigned code = from[i / 2] >> (i % 2 * 4) & 15u;
        uint8_t *byte = &to[i / length * row_bytes + i % length / 2];
        *byte = (uint8_t)(*byte | code << (i % length % 2 * 4));
    }
}

// Uses raw bytes in place when they are laid out and aligned as ptqc's.
static ptqc_status
use_raw(reader *r, pq_span raw)
{
    pq_arena *arena = pq_graph_arena(r->im->g);
    unsigned bits = pq_dtype_bits(r->dtype);
    size_t align = bits < 8 ? 1 : bits / 8;
    if (rows_are_bytes(r) && (uintptr_t)raw.p % align == 0) {
        r->constant.p = raw.p;
        return PTQC_OK;
    }
    uint8_t *copy = pq_arena_alloc(arena, r->constant.bytes);
    PQ_TRY_ALLOC(copy);
    if (rows_are_bytes(r)) {
        memcpy(copy, raw.p, r->constant.bytes);
    } else {
        const pq_onnx_i64s *dims = &r->t->dims;
        split_nibble_rows(raw.p, copy, r->count, (size_t)dims->p[dims->n - 1]);
    }
    r->constant.p = copy;
    return PTQC_OK;
}

static ptqc_status
check_entries(reader *r, size_t found, size_t expected)
{
    if (found == expected) {
        return PTQC_OK;
    }
    return PQ_FAIL(r->im->ctx, PTQC_E_INPUT,
                   "expected %zu entries of typed data for the dimensions, "
                   "found %zu",
                   expected, found);
}

// Integers of int32_data fit the element type; bit patterns of floats may
// come with or without sign.
static ptqc_status
pack_int32(reader *r, uint8_t *to)
{
    unsigned bits = pq_dtype_bits(r->dtype);
    unsigned bytes = bits < 8 ? 1 : bits / 8;
    size_t count = bits < 8 ? r->stored_bytes : r->count;
    PQ_TRY(check_entries(r, r->t->int32_data.n, count));
    bool is_pattern = bits < 8 || pq_dtype_is_float(r->dtype);
    int64_t span = INT64_C(1) << (8 * bytes);
    int64_t min = is_pattern || pq_dtype_is_signed(r->dtype) ? -span / 2 : 0;
    int64_t max =
        is_pattern || bits == 32 || min == 0 ? span - 1 : span / 2 - 1;
    max = r->dtype == PTQC_BOOL ? 1 : max;
    for (size_t i = 0; i < count; i++) {
        int64_t x = r->t->int32_data.p[i];
        if (x < min || x > max) {
            return PQ_FAIL(r->im->ctx, PTQC_E_INPUT,
                           "expected int32_data of type %s within %lld to "
                           "%lld, found %lld at element %zu",
                           pq_dtype_name(r->dtype), (long long)min,
                           (long long)max, (long long)x, i);
        }
        memcpy(to + i * bytes, &x, bytes); // little-endian, bits.h
    }
    return PTQC_OK;
}

static ptqc_status
pack_uint64(reader *r, uint8_t *to)
{
    PQ_TRY(check_entries(r, r->t->uint64_data.n, r->count));
    unsigned bytes = pq_dtype_bits(r->dtype) / 8;
    for (size_t i = 0; i < r->count; i++) {
        uint64_t x = (uint64_t)r->t->uint64_data.p[i];
        if (bytes == 4 && x > UINT32_MAX) {
            return PQ_FAIL(r->im->ctx, PTQC_E_INPUT,
                           "expected uint64_data of type u32 within 32 bits, "
                           "found %llu at element %zu",
                           (unsigned long long)x, i);
        }
        memcpy(to + i * bytes, &x, bytes);
    }
    return PTQC_OK;
}

static ptqc_status
pack_typed(reader *r, uint8_t *to)
{
    const pq_onnx_tensor *t = r->t;
    switch (types[t->data_type].source) {
    case FROM_FLOAT:
        PQ_TRY(check_entries(r, t->float_data.n, r->count));
        memcpy(to, t->float_data.p, r->stored_bytes);
        return PTQC_OK;
    case FROM_INT64:
        PQ_TRY(check_entries(r, t->int64_data.n, r->count));
        memcpy(to, t->int64_data.p, r->stored_bytes);
        return PTQC_OK;
    case FROM_DOUBLE:
        PQ_TRY(check_entries(r, t->double_data.n, r->count));
        memcpy(to, t->double_data.p, r->stored_bytes);
        return PTQC_OK;
    case FROM_UINT64:
        return pack_uint64(r, to);
    case FROM_INT32:
        return pack_int32(r, to);
    case FROM_NOTHING:
        break;
    }
    return PQ_FAIL(r->im->ctx, PTQC_E_INPUT, "expected a typed field");
}

static size_t
typed_entry_count(const pq_onnx_tensor *t)
{
    return t->float_data.n + t->int32_data.n + t->int64_data.n +
           t->uint64_data.n + t->double_data.n + t->string_data.n;
}

static ptqc_status
use_typed(reader *r)
{
    size_t entries = typed_entry_count(r->t);
    if (entries == 0 && r->count != 0) {
        return PQ_FAIL(r->im->ctx, PTQC_E_INPUT,
                       "expected %zu bytes of data for the dimensions, found "
                       "none",
                       r->stored_bytes);
    }
    // The dims are only believed as far as there are entries.
    size_t most = 0;
    if (!pq_mul_size(entries, 2, &most) || r->count > most) {
        return check_entries(r, entries, r->count);
    }
    uint8_t *to = pq_arena_alloc(pq_graph_arena(r->im->g), r->stored_bytes);
    PQ_TRY_ALLOC(to);
    if (r->count != 0) {
        PQ_TRY(pack_typed(r, to));
    }
    return use_raw(r, (pq_span){to, r->stored_bytes});
}

static ptqc_status
use_data(reader *r)
{
    const pq_onnx_tensor *t = r->t;
    if (t->data_location == 1) {
        pq_span raw;
        PQ_TRY(pq_onnx_external_bytes(r->im, t, r->stored_bytes, &raw));
        return use_raw(r, raw);
    }
    if (t->data_location != 0 || t->segment.p != NULL) {
        return PQ_FAIL(r->im->ctx, PTQC_E_UNSUPPORTED,
                       "data in segments or at location %lld is not supported",
                       (long long)t->data_location);
    }
    bool has_raw = PQ_ONNX_HAS(t, PQ_ONNX_TENSOR_RAW_DATA);
    if (has_raw && typed_entry_count(t) != 0) {
        return PQ_FAIL(r->im->ctx, PTQC_E_INPUT,
                       "expected raw_data or typed data, found both");
    }
    if (!has_raw) {
        return use_typed(r);
    }
    if (t->raw_data.n != r->stored_bytes) {
        return PQ_FAIL(r->im->ctx, PTQC_E_INPUT,
                       "expected %zu bytes of raw_data for the dimensions, "
                       "found %zu",
                       r->stored_bytes, t->raw_data.n);
    }
    return use_raw(r, t->raw_data);
}

static bool
is_finite_at(ptqc_dtype dtype, const uint8_t *p, size_t i)
{
    switch ((int)dtype) {
    case PTQC_F32:
        return (pq_load_le32(p + 4 * i) & 0x7f800000u) != 0x7f800000u;
    case PTQC_F16:
        return (pq_load_le16(p + 2 * i) & 0x7c00u) != 0x7c00u;
    case PTQC_BF16:
        return (pq_load_le16(p + 2 * i) & 0x7f80u) != 0x7f80u;
    case PTQC_F64:
        return (pq_load_le64(p + 8 * i) >> 52 & 0x7ff) != 0x7ff;
    case PTQC_F8E4M3:
        return (p[i] & 0x7fu) != 0x7fu;
    case PTQC_F8E5M2:
        return (p[i] & 0x7cu) != 0x7cu;
    default:
        return true;
    }
}

// NaN and infinities stay, and are said: they spoil what they touch.
static void
warn_of_non_finite(const reader *r)
{
    if (!pq_dtype_is_float(r->dtype)) {
        return;
    }
    size_t found = 0, first = 0;
    for (size_t i = 0; i < r->count; i++) {
        if (!is_finite_at(r->dtype, r->constant.p, i)) {
            first = found == 0 ? i : first;
            found++;
        }
    }
    if (found != 0) {
        r->im->model->non_finite_count += found;
        pq_say(r->im->ctx, PTQC_SEVERITY_WARNING,
               "%s: tensor '%.*s': %zu of %zu elements are non-finite (NaN "
               "or infinity), the first at index %zu",
               r->im->path, PQ_STR_ARG(r->name), found, r->count, first);
    }
}

static ptqc_status
check_bools(const reader *r)
{
    const uint8_t *p = r->constant.p;
    for (size_t i = 0; r->dtype == PTQC_BOOL && i < r->count; i++) {
        if (p[i] > 1) {
            return PQ_FAIL(r->im->ctx, PTQC_E_INPUT,
                           "expected booleans 0 or 1, found %u at element %zu",
                           p[i], i);
        }
    }
    return PTQC_OK;
}

static ptqc_status
add_constant(reader *r, const pq_onnx_i64s *dims, pq_const_id *out)
{
    size_t bytes = dims->n * sizeof(int64_t);
    int64_t *copy = pq_arena_alloc(pq_graph_arena(r->im->g), bytes);
    PQ_TRY_ALLOC(copy);
    if (bytes != 0) {
        memcpy(copy, dims->p, bytes);
    }
    r->constant.dtype = r->dtype;
    r->constant.rank = (uint32_t)dims->n;
    r->constant.dims = copy;
    *out = pq_graph_add_constant(r->im->g, &r->constant);
    return pq_const_is_none(*out) ? PTQC_E_RESOURCE : PTQC_OK;
}

ptqc_status
pq_onnx_tensor_constant(pq_onnx_importer *im, const pq_onnx_tensor *t,
                        pq_str name, pq_const_id *out)
{
    reader r = {.im = im, .t = t, .name = name};
    PQ_TRY(pq_onnx_dtype(im->ctx, t->data_type, &r.dtype));
    PQ_TRY(check_dims(&r));
    PQ_TRY(use_data(&r));
    PQ_TRY(check_bools(&r));
    warn_of_non_finite(&r);
    im->model->weight_bytes += r.stored_bytes;
    im->model->parameter_count += r.count;
    im->model->tensor_count++;
    return add_constant(&r, &t->dims, out);
}

// ---- sparse ----------------------------------------------------------------

// Position of entry i in the dense tensor: indices are [entries] positions
// or [entries, rank] coordinates, ascending (SparseTensorProto).
static ptqc_status
sparse_position(pq_onnx_importer *im, const pq_onnx_sparse *t,
                const int64_t *indices, size_t i, size_t count, size_t *out)
{
    if (t->indices->dims.n == 1) {
        if (indices[i] < 0 || (uint64_t)indices[i] >= count) {
            return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                           "expected sparse indices from 0 to %zu, found %lld",
                           count - 1, (long long)indices[i]);
        }
        *out = (size_t)indices[i];
        return PTQC_OK;
    }
    size_t position = 0;
    for (size_t k = 0; k < t->dims.n; k++) {
        int64_t x = indices[i * t->dims.n + k];
        if (x < 0 || x >= t->dims.p[k]) {
            return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                           "expected sparse indices below %lld in dimension "
                           "%zu, found %lld",
                           (long long)t->dims.p[k], k, (long long)x);
        }
        position = position * (size_t)t->dims.p[k] + (size_t)x;
    }
    *out = position;
    return PTQC_OK;
}

static ptqc_status
check_sparse(pq_onnx_importer *im, const pq_onnx_sparse *t)
{
    if (t->values == NULL || t->indices == NULL || t->dims.n == 0) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "expected a sparse tensor of values, indices and "
                       "dims, found one without");
    }
    const pq_onnx_i64s *v = &t->values->dims, *x = &t->indices->dims;
    bool is_shaped =
        v->n == 1 && t->indices->data_type == PQ_ONNX_INT64 &&
        ((x->n == 1 && x->p[0] == v->p[0]) ||
         (x->n == 2 && x->p[0] == v->p[0] && x->p[1] == (int64_t)t->dims.n));
    if (!is_shaped) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "expected INT64 indices of [entries] or [entries, "
                       "rank] for [entries] values, found other shapes");
    }
    return PTQC_OK;
}

// A sparse tensor says little and means much: what it may grow to.
enum {
    SPARSE_MIB_LIMIT = 256,
};

ptqc_status
pq_onnx_sparse_constant(pq_onnx_importer *im, const pq_onnx_sparse *t,
                        pq_str name, pq_const_id *out)
{
    PQ_TRY(check_sparse(im, t));
    pq_const_id values_id, indices_id;
    PQ_TRY(pq_onnx_tensor_constant(im, t->values, name, &values_id));
    PQ_TRY(pq_onnx_tensor_constant(im, t->indices, name, &indices_id));
    const pq_constant *values = pq_graph_constant(im->g, values_id);
    const int64_t *indices = pq_graph_constant(im->g, indices_id)->p;
    pq_onnx_tensor dense = {.dims = t->dims, .data_type = t->values->data_type};
    reader r = {.im = im, .t = &dense, .name = name, .dtype = values->dtype};
    PQ_TRY(check_dims(&r));
    unsigned bits = pq_dtype_bits(r.dtype);
    if (bits < 8 || r.stored_bytes > (size_t)SPARSE_MIB_LIMIT << 20) {
        return PQ_FAIL(im->ctx, PTQC_E_UNSUPPORTED,
                       "a sparse tensor of %zu bytes in type %s is not "
                       "supported, at most %d MiB",
                       r.stored_bytes, pq_dtype_name(r.dtype),
                       SPARSE_MIB_LIMIT);
    }
    uint8_t *p = pq_arena_alloc(pq_graph_arena(im->g), r.stored_bytes);
    PQ_TRY_ALLOC(p);
    const uint8_t *from = values->p;
    for (size_t i = 0; i < (size_t)values->dims[0]; i++) {
        size_t at = 0;
        PQ_TRY(sparse_position(im, t, indices, i, r.count, &at));
        memcpy(p + at * (bits / 8), from + i * (bits / 8), bits / 8);
    }
    r.constant.p = p;
    return add_constant(&r, &t->dims, out);
}
