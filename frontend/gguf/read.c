// SPDX-License-Identifier: Apache-2.0
//
// The container: header, pairs, table of tensors, extents. Counts are held
// against the bytes that are left before anything is allocated; tensors must
// lie one behind the other, each padded to the alignment, as ggml reads them.
#include <string.h>

#include "base/bits.h"
#include "base/checked.h"
#include "frontend/gguf/gguf.h"

enum {
    NAME_MAX_BYTES = 64, // of tensors (docs/gguf.md)
    KEY_MAX_BYTES = 65535,
    RANK_MAX = 4,
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MAX = 65536,
    // Smallest records: empty name (and value) with what surrounds it.
    PAIR_MIN_BYTES = 8 + 4 + 1,
    TENSOR_MIN_BYTES = 8 + 4 + 8 + 4 + 8,
};

typedef struct cursor {
    pq_gguf *f;
    const uint8_t *p;
    size_t n, at;
} cursor;

static ptqc_status
take(cursor *c, uint64_t bytes, const char *what, const uint8_t **out)
{
    if (bytes > c->n - c->at) {
        return PQ_FAIL(c->f->ctx, PTQC_E_INPUT,
                       "%s: expected %llu bytes of %s at byte %zu, the file "
                       "has %zu",
                       c->f->path, (unsigned long long)bytes, what, c->at,
                       c->n - c->at);
    }
    *out = c->p + c->at;
    c->at += (size_t)bytes;
    return PTQC_OK;
}

static ptqc_status
take_u32(cursor *c, const char *what, uint32_t *out)
{
    const uint8_t *p;
    PQ_TRY(take(c, 4, what, &p));
    *out = pq_load_le32(p);
    return PTQC_OK;
}

static ptqc_status
take_u64(cursor *c, const char *what, uint64_t *out)
{
    const uint8_t *p;
    PQ_TRY(take(c, 8, what, &p));
    *out = pq_load_le64(p);
    return PTQC_OK;
}

static ptqc_status
take_string(cursor *c, const char *what, pq_str *out)
{
    uint64_t n;
    const uint8_t *p;
    PQ_TRY(take_u64(c, what, &n));
    PQ_TRY(take(c, n, what, &p));
    *out = (pq_str){(const char *)p, (size_t)n};
    return PTQC_OK;
}

// A key or the name of a tensor.
static ptqc_status
take_name(cursor *c, const char *what, size_t limit, pq_str *out)
{
    size_t start = c->at;
    PQ_TRY(take_string(c, what, out));
    if (out->n == 0 || out->n > limit) {
        return PQ_FAIL(c->f->ctx, PTQC_E_INPUT,
                       "%s: expected %s of 1 to %zu bytes at byte %zu, found "
                       "%zu",
                       c->f->path, what, limit, start, out->n);
    }
    for (size_t i = 0; i < out->n;) {
        size_t k = pq_str_utf8((pq_str){out->p + i, out->n - i});
        if (k == 0 || out->p[i] == '\0') {
            return PQ_FAIL(c->f->ctx, PTQC_E_INPUT,
                           "%s: expected %s in UTF-8 at byte %zu, found '%.*s'",
                           c->f->path, what, start, PQ_STR_ARG(*out));
        }
        i += k;
    }
    return PTQC_OK;
}

// ---- pairs ----------------------------------------------------------------

// Bytes of one element; 0: not fixed, or no such kind.
static size_t
bytes_of_kind(uint32_t kind)
{
    static const uint8_t bytes[PQ_GGUF_KIND_COUNT] = {
        [PQ_GGUF_U8] = 1,  [PQ_GGUF_I8] = 1,   [PQ_GGUF_U16] = 2,
        [PQ_GGUF_I16] = 2, [PQ_GGUF_U32] = 4,  [PQ_GGUF_I32] = 4,
        [PQ_GGUF_F32] = 4, [PQ_GGUF_BOOL] = 1, [PQ_GGUF_U64] = 8,
        [PQ_GGUF_I64] = 8, [PQ_GGUF_F64] = 8,
    };
    return kind < PQ_GGUF_KIND_COUNT ? bytes[kind] : 0;
}

static ptqc_status
take_kind(cursor *c, const pq_gguf_pair *pair, bool may_be_array,
          pq_gguf_kind *out)
{
    uint32_t kind;
    PQ_TRY(take_u32(c, "a type of value", &kind));
    if (kind >= PQ_GGUF_KIND_COUNT ||
        (kind == PQ_GGUF_ARRAY && !may_be_array)) {
        return PQ_FAIL(c->f->ctx, PTQC_E_INPUT, "%s: key '%.*s': %s %u",
                       c->f->path, PQ_STR_ARG(pair->key),
                       kind == PQ_GGUF_ARRAY
                           ? "arrays of arrays are not allowed, type"
                           : "there is no value type",
                       kind);
    }
    *out = (pq_gguf_kind)kind;
    return PTQC_OK;
}

static ptqc_status
check_bools(const cursor *c, const pq_gguf_pair *pair)
{
    for (uint64_t i = 0; i < pair->count; i++) {
        if (pair->p[i] > 1) {
            return PQ_FAIL(c->f->ctx, PTQC_E_INPUT,
                           "%s: key '%.*s': expected a boolean 0 or 1, found "
                           "%u",
                           c->f->path, PQ_STR_ARG(pair->key), pair->p[i]);
        }
    }
    return PTQC_OK;
}

static ptqc_status
take_elements(cursor *c, pq_gguf_kind kind, pq_gguf_pair *pair)
{
    size_t size = bytes_of_kind(kind);
    size_t least = size != 0 ? size : 8; // a string has a length
    if (pair->count > (c->n - c->at) / least) {
        return PQ_FAIL(c->f->ctx, PTQC_E_INPUT,
                       "%s: key '%.*s': %llu elements are more than the file "
                       "holds",
                       c->f->path, PQ_STR_ARG(pair->key),
                       (unsigned long long)pair->count);
    }
    pair->p = c->p + c->at;
    size_t start = c->at;
    if (size != 0) {
        c->at += (size_t)pair->count * size;
    }
    for (uint64_t i = 0; size == 0 && i < pair->count; i++) {
        pq_str ignored;
        PQ_TRY(take_string(c, "a string", &ignored));
    }
    pair->bytes = c->at - start;
    return kind == PQ_GGUF_BOOL ? check_bools(c, pair) : PTQC_OK;
}

static ptqc_status
take_pair(cursor *c, pq_gguf_pair *pair)
{
    PQ_TRY(take_name(c, "a key", KEY_MAX_BYTES, &pair->key));
    PQ_TRY(take_kind(c, pair, true, &pair->kind));
    pair->element = pair->kind;
    pair->count = 1;
    if (pair->kind == PQ_GGUF_ARRAY) {
        PQ_TRY(take_kind(c, pair, false, &pair->element));
        PQ_TRY(take_u64(c, "the length of an array", &pair->count));
    }
    return take_elements(c, pair->element, pair);
}

static ptqc_status
refuse_twice(const cursor *c, const char *what, pq_str name)
{
    return PQ_FAIL(c->f->ctx, PTQC_E_INPUT, "%s: %s '%.*s' occurs twice",
                   c->f->path, what, PQ_STR_ARG(name));
}

static ptqc_status
take_pairs(cursor *c, pq_arena *arena, uint64_t count)
{
    pq_gguf *f = c->f;
    f->pairs = pq_arena_array(arena, (size_t)count, sizeof *f->pairs);
    PQ_TRY_ALLOC(f->pairs);
    for (uint64_t i = 0; i < count; i++) {
        bool existed = false;
        PQ_TRY(take_pair(c, &f->pairs[i]));
        f->pair_count++;
        PQ_TRY(pq_strmap_set(&f->by_key, f->pairs[i].key, i, &existed));
        if (existed) {
            return refuse_twice(c, "key", f->pairs[i].key);
        }
    }
    return PTQC_OK;
}

// ---- tensors --------------------------------------------------------------

static ptqc_status
refuse_tensor(const cursor *c, const pq_llm_tensor *t, const char *reason)
{
    return PQ_FAIL(c->f->ctx, PTQC_E_INPUT, "%s: tensor '%.*s': %s", c->f->path,
                   PQ_STR_ARG(t->name), reason);
}

// Dimensions come innermost first.
static ptqc_status
take_shape(cursor *c, pq_llm_tensor *t)
{
    uint64_t count = 1, dim;
    PQ_TRY(take_u32(c, "the rank of a tensor", &t->rank));
    if (t->rank < 1 || t->rank > RANK_MAX) {
        return refuse_tensor(c, t, "expected 1 to 4 dimensions");
    }
    for (uint32_t i = t->rank; i-- > 0;) {
        PQ_TRY(take_u64(c, "a dimension", &dim));
        if (dim < 1 || dim > INT64_MAX ||
            __builtin_mul_overflow(count, dim, &count) || count > INT64_MAX) {
            return refuse_tensor(c, t,
                                 "expected dimensions of at least 1 whose "
                                 "product fits 63 bits");
        }
        t->dims[i] = (int64_t)dim;
    }
    t->count = count;
    return PTQC_OK;
}

static ptqc_status
take_type(cursor *c, pq_llm_tensor *t)
{
    uint32_t number;
    PQ_TRY(take_u32(c, "the type of a tensor", &number));
    const pq_gguf_type *type = pq_gguf_type_of(number);
    if (type == NULL) {
        return PQ_FAIL(c->f->ctx, PTQC_E_INPUT,
                       "%s: tensor '%.*s': there is no tensor type %u",
                       c->f->path, PQ_STR_ARG(t->name), number);
    }
    const pq_llm_block *block = &type->block;
    t->type = pq_str_of(block->name);
    t->dtype = type->dtype;
    t->block = type->dtype == PTQC_DTYPE_NONE ? block : NULL;
    if (t->dims[t->rank - 1] % block->elements != 0) {
        return refuse_tensor(c, t, "its rows are no whole number of blocks");
    }
    return pq_mul_size((size_t)(t->count / block->elements), block->bytes,
                       &t->bytes)
               ? PTQC_OK
               : refuse_tensor(c, t, "its size overflows");
}

// *offset: the sum of the padded sizes before it, what the file must say.
static ptqc_status
take_tensor(cursor *c, uint32_t alignment, pq_llm_tensor *t, size_t *offset)
{
    uint64_t said;
    size_t end;
    PQ_TRY(take_name(c, "a tensor's name", NAME_MAX_BYTES, &t->name));
    PQ_TRY(take_shape(c, t));
    PQ_TRY(take_type(c, t));
    PQ_TRY(take_u64(c, "the offset of a tensor", &said));
    if (said != *offset) {
        return PQ_FAIL(c->f->ctx, PTQC_E_INPUT,
                       "%s: tensor '%.*s': expected the offset %zu, behind "
                       "the tensor before it, found %llu",
                       c->f->path, PQ_STR_ARG(t->name), *offset,
                       (unsigned long long)said);
    }
    if (!pq_add_size(*offset, t->bytes, &end) ||
        !pq_align_size(end, alignment, offset) || end > c->n) {
        return refuse_tensor(c, t, "it reaches past the end of the file");
    }
    return PTQC_OK;
}

// Offsets count from the first aligned byte behind the table.
static ptqc_status
place_tensors(cursor *c, uint32_t alignment)
{
    pq_llm_tensors *tensors = &c->f->tensors;
    size_t at;
    if (!pq_align_size(c->at, alignment, &at)) {
        return PQ_FAIL(c->f->ctx, PTQC_E_INPUT, "%s: no room for tensors",
                       c->f->path);
    }
    for (uint32_t i = 0; i < tensors->count; i++) {
        pq_llm_tensor *t = &tensors->p[i];
        if (at > c->n || t->bytes > c->n - at) {
            return refuse_tensor(c, t, "it reaches past the end of the file");
        }
        t->p = c->p + at;
        // Sums were checked in take_tensor.
        at += (t->bytes + alignment - 1) & ~((size_t)alignment - 1);
    }
    return PTQC_OK;
}

static ptqc_status
take_tensors(cursor *c, pq_arena *arena, uint64_t count, uint32_t alignment)
{
    pq_llm_tensors *tensors = &c->f->tensors;
    size_t offset = 0;
    tensors->p = pq_arena_array(arena, (size_t)count, sizeof *tensors->p);
    PQ_TRY_ALLOC(tensors->p);
    for (uint64_t i = 0; i < count; i++) {
        bool existed = false;
        pq_llm_tensor *t = &tensors->p[i];
        PQ_TRY(take_tensor(c, alignment, t, &offset));
        tensors->count++;
        PQ_TRY(pq_strmap_set(&tensors->by_name, t->name, i, &existed));
        if (existed) {
            return refuse_twice(c, "tensor", t->name);
        }
    }
    return place_tensors(c, alignment);
}

// ---- the file -------------------------------------------------------------

static ptqc_status
check_count(const cursor *c, const char *what, uint64_t count, size_t least)
{
    if (count > (c->n - c->at) / least || count > UINT32_MAX) {
        return PQ_FAIL(c->f->ctx, PTQC_E_INPUT,
                       "%s: %llu %s are more than the file holds", c->f->path,
                       (unsigned long long)count, what);
    }
    return PTQC_OK;
}

static ptqc_status
take_version(cursor *c)
{
    PQ_TRY(take_u32(c, "the version", &c->f->version));
    if ((c->f->version & 0xffff) == 0 && c->f->version != 0) {
        return PQ_FAIL(c->f->ctx, PTQC_E_UNSUPPORTED,
                       "%s: big-endian GGUF files are not supported",
                       c->f->path);
    }
    if (c->f->version != 2 && c->f->version != 3) {
        return PQ_FAIL(c->f->ctx, PTQC_E_UNSUPPORTED,
                       "%s: GGUF version %u is not supported, 2 and 3 are",
                       c->f->path, c->f->version);
    }
    return PTQC_OK;
}

static ptqc_status
find_alignment(const cursor *c, uint32_t *out)
{
    const pq_gguf_pair *pair = pq_gguf_find(c->f, "general.alignment");
    *out = ALIGNMENT_DEFAULT;
    if (pair == NULL) {
        return PTQC_OK;
    }
    *out = pair->kind == PQ_GGUF_U32 ? pq_load_le32(pair->p) : 0;
    if (*out == 0 || *out > ALIGNMENT_MAX || (*out & (*out - 1)) != 0) {
        return PQ_FAIL(c->f->ctx, PTQC_E_INPUT,
                       "%s: general.alignment: expected a power of two up to "
                       "%d of type u32",
                       c->f->path, ALIGNMENT_MAX);
    }
    return PTQC_OK;
}

ptqc_status
pq_gguf_read(ptqc_ctx *ctx, pq_arena *arena, const char *path, const uint8_t *p,
             size_t n, pq_gguf *out)
{
    *out = (pq_gguf){.ctx = ctx, .path = path};
    pq_strmap_init(&out->by_key, ctx);
    pq_strmap_init(&out->tensors.by_name, ctx);
    cursor c = {.f = out, .p = p, .n = n};
    const uint8_t *magic;
    uint64_t tensors, pairs;
    uint32_t alignment;
    PQ_TRY(take(&c, 4, "the magic", &magic));
    if (memcmp(magic, "GGUF", 4) != 0) {
        return PQ_FAIL(ctx, PTQC_E_INPUT, "%s: this is no GGUF file", path);
    }
    PQ_TRY(take_version(&c));
    PQ_TRY(take_u64(&c, "the number of tensors", &tensors));
    PQ_TRY(take_u64(&c, "the number of keys", &pairs));
    PQ_TRY(check_count(&c, "tensors", tensors, TENSOR_MIN_BYTES));
    PQ_TRY(check_count(&c, "keys", pairs, PAIR_MIN_BYTES));
    PQ_TRY(take_pairs(&c, arena, pairs));
    PQ_TRY(find_alignment(&c, &alignment));
    PQ_TRY(check_count(&c, "tensors", tensors, TENSOR_MIN_BYTES));
    return take_tensors(&c, arena, tensors, alignment);
}

void
pq_gguf_deinit(pq_gguf *f)
{
    pq_strmap_deinit(&f->by_key);
    pq_strmap_deinit(&f->tensors.by_name);
}
