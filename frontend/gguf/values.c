// SPDX-License-Identifier: Apache-2.0
//
// Values by key. Types are never converted silently: a number is read from
// every integer (or real) kind and from nothing else.
#include "base/bits.h"
#include "frontend/gguf/gguf.h"

static const char *const kind_names[PQ_GGUF_KIND_COUNT] = {
    "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
    "bool", "string", "array", "u64", "i64", "f64"};

const pq_gguf_pair *
pq_gguf_find(const pq_gguf *f, const char *key)
{
    uint64_t i;
    return pq_strmap_find(&f->by_key, pq_str_of(key), &i) ? &f->pairs[i] : NULL;
}

static ptqc_status
refuse_kind(const pq_gguf *f, const char *key, const char *expected,
            const pq_gguf_pair *pair)
{
    return PQ_FAIL(f->ctx, PTQC_E_INPUT,
                   "%s: key '%s': expected %s, found %s%s", f->path, key,
                   expected, kind_names[pair->element],
                   pair->kind == PQ_GGUF_ARRAY ? "s" : "");
}

static pq_str
string_at(const uint8_t *p)
{
    return (pq_str){(const char *)p + 8, (size_t)pq_load_le64(p)};
}

ptqc_status
pq_gguf_get_string(const pq_gguf *f, const char *key, pq_str *out)
{
    const pq_gguf_pair *pair = pq_gguf_find(f, key);
    if (pair == NULL) {
        return PTQC_OK;
    }
    if (pair->kind != PQ_GGUF_STRING) {
        return refuse_kind(f, key, "a string", pair);
    }
    *out = string_at(pair->p);
    return PTQC_OK;
}

ptqc_status
pq_gguf_get_integer(const pq_gguf *f, const char *key, int64_t *out)
{
    const pq_gguf_pair *pair = pq_gguf_find(f, key);
    if (pair == NULL) {
        return PTQC_OK;
    }
    switch ((int)pair->kind) {
    case PQ_GGUF_U8:
        *out = pair->p[0];
        return PTQC_OK;
    case PQ_GGUF_I8:
        *out = (int8_t)pair->p[0];
        return PTQC_OK;
    case PQ_GGUF_U16:
        *out = pq_load_le16(pair->p);
        return PTQC_OK;
    case PQ_GGUF_I16:
        *out = (int16_t)pq_load_le16(pair->p);
        return PTQC_OK;
    case PQ_GGUF_U32:
        *out = pq_load_le32(pair->p);
        return PTQC_OK;
    case PQ_GGUF_I32:
        *out = (int32_t)pq_load_le32(pair->p);
        return PTQC_OK;
    case PQ_GGUF_I64:
        *out = (int64_t)pq_load_le64(pair->p);
        return PTQC_OK;
    case PQ_GGUF_U64:
        if (pq_load_le64(pair->p) <= INT64_MAX) {
            *out = (int64_t)pq_load_le64(pair->p);
            return PTQC_OK;
        }
        break;
    default:
        break;
    }
    return refuse_kind(f, key, "an integer that fits 63 bits", pair);
}

ptqc_status
pq_gguf_get_real(const pq_gguf *f, const char *key, double *out)
{
    const pq_gguf_pair *pair = pq_gguf_find(f, key);
    if (pair == NULL) {
        return PTQC_OK;
    }
    if (pair->kind == PQ_GGUF_F32) {
        *out = (double)pq_load_f32(pair->p);
    } else if (pair->kind == PQ_GGUF_F64) {
        *out = pq_load_f64(pair->p);
    } else {
        return refuse_kind(f, key, "a real number", pair);
    }
    return PTQC_OK;
}

ptqc_status
pq_gguf_get_bool(const pq_gguf *f, const char *key, bool *out)
{
    const pq_gguf_pair *pair = pq_gguf_find(f, key);
    if (pair == NULL) {
        return PTQC_OK;
    }
    if (pair->kind != PQ_GGUF_BOOL) {
        return refuse_kind(f, key, "a boolean", pair);
    }
    *out = pair->p[0] != 0;
    return PTQC_OK;
}

ptqc_status
pq_gguf_get_array(const pq_gguf *f, const char *key, pq_gguf_kind element,
                  const pq_gguf_pair **out)
{
    const pq_gguf_pair *pair = pq_gguf_find(f, key);
    *out = pair;
    if (pair != NULL &&
        (pair->kind != PQ_GGUF_ARRAY || pair->element != element)) {
        char expected[32] = "an array of ";
        pq_str name = pq_str_of(kind_names[element]);
        memcpy(expected + 12, name.p, name.n + 1);
        return refuse_kind(f, key, expected, pair);
    }
    return PTQC_OK;
}

ptqc_status
pq_gguf_strings(pq_arena *arena, const pq_gguf_pair *pair, pq_str **out)
{
    const uint8_t *p = pair->p;
    pq_str *all = pq_arena_array(arena, (size_t)pair->count, sizeof *all);
    PQ_TRY_ALLOC(all);
    for (uint64_t i = 0; i < pair->count; i++) {
        all[i] = string_at(p);
        p += 8 + all[i].n;
    }
    *out = all;
    return PTQC_OK;
}
