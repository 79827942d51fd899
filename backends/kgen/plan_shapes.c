// SPDX-License-Identifier: Apache-2.0
//
// Dims and shapes of a program's values (plan.h).
#include "ptqc/graph_block.h"

#include "base/checked.h"
#include "move.h"
#include "plan.h"
#include "say.h"

#define BYTES_MAX ((int64_t)1 << 46) // of one value: more cannot be mapped

// ---- dims ------------------------------------------------------------------

static bool
eval_dim(const pq_kg_dim *d, const int64_t *symbols, const int64_t *done,
         int64_t *out)
{
    int64_t a = d->op > PTQC_GB_DIM_SYMBOL ? done[d->a] : 0;
    int64_t b = d->op > PTQC_GB_DIM_SYMBOL ? done[d->b] : 0;
    switch (d->op) {
    case PTQC_GB_DIM_CONST:
        *out = d->value;
        return true;
    case PTQC_GB_DIM_SYMBOL:
        *out = symbols[d->value];
        return true;
    case PTQC_GB_DIM_ADD:
        return pq_add_i64(a, b, out);
    case PTQC_GB_DIM_SUB:
        return pq_sub_i64(a, b, out);
    case PTQC_GB_DIM_MUL:
        return pq_mul_i64(a, b, out);
    case PTQC_GB_DIM_MIN:
        *out = a < b ? a : b;
        return true;
    case PTQC_GB_DIM_MAX:
        *out = a > b ? a : b;
        return true;
    default:
        break;
    }
    if (b <= 0) {
        return false;
    }
    int64_t floor = pq_floor_div(a, b);
    *out = d->op == PTQC_GB_DIM_DIV    ? floor
           : d->op == PTQC_GB_DIM_CDIV ? pq_ceil_div(a, b)
                                       : a - floor * b;
    return true;
}

ptqc_be_status
pq_kg_plan_dims(const pq_kg_teller *t, const pq_kg_entry *e,
                const int64_t *symbols, uint64_t symbol_count, int64_t *out)
{
    if (symbol_count != e->symbol_count) {
        return pq_kg_fail(t->host, t->call, PTQC_BE_INVALID,
                          "%s: %llu dims given, the entry has %u", t->name,
                          (unsigned long long)symbol_count, e->symbol_count);
    }
    for (uint32_t i = 0; i < e->symbol_count; i++) {
        const pq_kg_symbol *s = &e->symbols[i];
        if (symbols[i] < s->min || symbols[i] > s->max ||
            symbols[i] % s->multiple != 0) {
            return pq_kg_fail(t->host, t->call, PTQC_BE_INVALID,
                              "%s: dim %u is %lld, out of its range", t->name,
                              i, (long long)symbols[i]);
        }
    }
    for (uint32_t i = 0; i < e->dim_count; i++) {
        if (!eval_dim(&e->dims[i], symbols, out, &out[i])) {
            return pq_kg_fail(
                t->host, t->call, PTQC_BE_INVALID,
                "%s: dimension %u overflows or divides by zero for these dims",
                t->name, i);
        }
    }
    return PTQC_BE_OK;
}

// ---- shapes ----------------------------------------------------------------

static bool
make_shape(const pq_kg_value *v, const int64_t *dims, pq_kg_shape *out)
{
    out->dtype = v->dtype;
    out->rank = v->rank;
    out->element_bytes = pq_kg_element_bytes(v->dtype);
    int64_t count = 1;
    int64_t limit = out->element_bytes; // bytes with 1 for each 0
    for (uint32_t i = 0; i < v->rank; i++) {
        int64_t d = dims[v->dims[i]];
        out->dims[i] = d;
        if (d < 0 || !pq_mul_i64(limit, d > 0 ? d : 1, &limit) ||
            limit > BYTES_MAX) {
            return false;
        }
        count *= d;
    }
    out->count = count;
    out->bytes = count * out->element_bytes;
    return true;
}

ptqc_be_status
pq_kg_plan_shapes(const pq_kg_teller *t, const pq_kg_entry *e,
                  const int64_t *dims, const uint64_t *constant_bytes,
                  pq_kg_shape *out)
{
    for (uint32_t i = 0; i < e->value_count; i++) {
        const pq_kg_value *v = &e->values[i];
        if (!make_shape(v, dims, &out[i])) {
            return pq_kg_fail(
                t->host, t->call, PTQC_BE_INVALID,
                "%s: value %u has a negative or too large dimension", t->name,
                i);
        }
        int64_t bytes = out[i].bytes;
        bool fits = v->place == PQ_PLACE_CONSTANT
                        ? (uint64_t)bytes <= constant_bytes[v->index]
                    : v->place == PQ_PLACE_VIEW ? bytes <= out[v->index].bytes
                                                : true;
        if (!fits) {
            return pq_kg_fail(
                t->host, t->call, PTQC_BE_CORRUPT,
                "%s: damaged program: value %u exceeds its storage", t->name,
                i);
        }
    }
    return PTQC_BE_OK;
}
