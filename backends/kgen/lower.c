// SPDX-License-Identifier: Apache-2.0
//
// Lowering: values and their forms, constants, steps, and the walk over the
// nodes of an entry.
#include "lower.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "move.h"
#include "params.h"

// ---- orders ----------------------------------------------------------------

void
pq_perm_identity(uint8_t *perm, uint32_t rank)
{
    for (uint32_t i = 0; i < rank; i++) {
        perm[i] = (uint8_t)i;
    }
}

void
pq_perm_channels_last(uint8_t *perm, uint32_t rank)
{
    pq_perm_identity(perm, rank);
    for (uint32_t i = 1; i + 1 < rank; i++) {
        perm[i] = (uint8_t)(i + 1);
    }
    if (rank > 1) {
        perm[rank - 1] = 1;
    }
}

bool
pq_perm_is_identity(const uint8_t *perm, uint32_t rank)
{
    for (uint32_t i = 0; i < rank; i++) {
        if (perm[i] != i) {
            return false;
        }
    }
    return true;
}

uint32_t
pq_ref_axis(const pq_ref *ref, uint32_t axis)
{
    for (uint32_t i = 0; i < ref->rank; i++) {
        if (ref->perm[i] == axis) {
            return i;
        }
    }
    return 0;
}

// Whether two orders put the elements at the same places: axes of size 1 do
// not count.
static bool
same_places(const pq_lower *l, const ptqc_gb_value *v, const uint8_t *a,
            const uint8_t *b)
{
    uint32_t i = 0, j = 0;
    int64_t d;
    for (;;) {
        while (i < v->rank && pq_gv_dim_const(l, v, a[i], &d) && d == 1) {
            i++;
        }
        while (j < v->rank && pq_gv_dim_const(l, v, b[j], &d) && d == 1) {
            j++;
        }
        if (i == v->rank || j == v->rank) {
            return i == j;
        }
        if (a[i++] != b[j++]) {
            return false;
        }
    }
}

// ---- program values --------------------------------------------------------

static uint32_t
add_value(pq_lower *l, const pq_kg_value *v)
{
    pq_kg_entry *e = l->entry;
    if (!pq_mem_grow(l->mem, (void **)&e->values, &e->value_room,
                     e->value_count, sizeof *e->values)) {
        pq_lower_no_memory(l);
        return 0;
    }
    e->values[e->value_count] = *v;
    return e->value_count++;
}

static uint32_t
new_value(pq_lower *l, uint32_t dtype, const uint32_t *dims, uint32_t rank,
          pq_place place, uint32_t index)
{
    pq_kg_value v = {
        .dtype = dtype, .rank = rank, .place = place, .index = index};
    memcpy(v.dims, dims, rank * sizeof *dims);
    return pq_lower_ok(l) ? add_value(l, &v) : 0;
}

uint32_t
pq_new_temp(pq_lower *l, uint32_t dtype, const uint32_t *dims, uint32_t rank)
{
    return new_value(l, dtype, dims, rank, PQ_PLACE_TEMP, 0);
}

uint32_t
pq_new_view(pq_lower *l, uint32_t base, uint32_t dtype, const uint32_t *dims,
            uint32_t rank)
{
    return new_value(l, dtype, dims, rank, PQ_PLACE_VIEW, base);
}

static void
ordered_dims(const pq_lower *l, const ptqc_gb_value *v, const uint8_t *perm,
             uint32_t *out)
{
    for (uint32_t i = 0; i < v->rank; i++) {
        out[i] = pq_gv_dim(l, v, perm[i]);
    }
}

// ---- forms -----------------------------------------------------------------

static pq_ref
absent_ref(void)
{
    return (pq_ref){.value = PQ_KG_NONE};
}

static pq_ref
add_form(pq_lower *l, uint32_t gv, uint32_t value, const uint8_t *perm)
{
    pq_lower_value *s = &l->values[gv];
    pq_ref ref = {.value = value, .rank = ptqc_gb_value_at(l->g, gv)->rank};
    memcpy(ref.perm, perm, ref.rank);
    if (s->form_count < PQ_FORMS_MAX) {
        s->forms[s->form_count++] = ref;
    }
    return ref;
}

pq_ref
pq_define(pq_lower *l, uint32_t gv, const uint8_t *perm)
{
    if (!pq_lower_ok(l) || gv == PTQC_GB_NONE) {
        return absent_ref();
    }
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    uint32_t dims[PTQC_MAX_RANK];
    ordered_dims(l, v, perm, dims);
    uint32_t value = pq_new_temp(l, pq_stored_dtype(l, v), dims, v->rank);
    return add_form(l, gv, value, perm);
}

pq_ref
pq_define_identity(pq_lower *l, uint32_t gv)
{
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_identity(perm, PTQC_MAX_RANK);
    return pq_define(l, gv, perm);
}

pq_ref
pq_define_channels_last(pq_lower *l, uint32_t gv)
{
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_channels_last(
        perm, gv != PTQC_GB_NONE ? ptqc_gb_value_at(l->g, gv)->rank : 0);
    return pq_define(l, gv, perm);
}

void
pq_define_view(pq_lower *l, uint32_t gv, uint32_t base, const uint8_t *perm)
{
    if (!pq_lower_ok(l) || gv == PTQC_GB_NONE) {
        return;
    }
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    uint32_t dims[PTQC_MAX_RANK];
    ordered_dims(l, v, perm, dims);
    uint32_t value = pq_new_view(l, base, pq_stored_dtype(l, v), dims, v->rank);
    add_form(l, gv, value, perm);
}

// ---- constants of the graph as operands ------------------------------------

// Equal bytes in another order depend on the shape, too.
static void
layout_text(pq_lower *l, char out[PQ_LAYOUT_MAX], const ptqc_gb_value *v,
            uint32_t stored, const uint8_t *perm)
{
    bool as_is = pq_perm_is_identity(perm, v->rank);
    int n = snprintf(out, PQ_LAYOUT_MAX, "%s.plain%s.%u.v2", l->device->name,
                     stored != v->dtype ? ".biased" : "",
                     pq_kg_element_bytes(v->dtype));
    for (uint32_t i = 0; i < v->rank && !as_is; i++) {
        int64_t dim = 0;
        pq_gv_dim_const(l, v, i, &dim);
        n += snprintf(out + n, PQ_LAYOUT_MAX - (size_t)n, ".%u:%llx", perm[i],
                      (unsigned long long)dim);
        if (n >= PQ_LAYOUT_MAX - 1) {
            pq_decline(l, "shape of a constant");
            return;
        }
    }
}

// Copies the constant in the wanted order, codes biased.
static void *
ordered_copy(pq_lower *l, const ptqc_gb_value *v, const void *from,
             int64_t count, const uint8_t *perm)
{
    int64_t dims[PTQC_MAX_RANK];
    for (uint32_t i = 0; i < v->rank; i++) {
        pq_gv_dim_const(l, v, i, &dims[i]);
    }
    uint32_t element = pq_kg_element_bytes(v->dtype);
    uint8_t *to = pq_mem_array(&l->scratch, (size_t)count, element);
    pq_move move;
    if (to == NULL) {
        pq_lower_no_memory(l);
        return NULL;
    }
    pq_move_permute(&move, element, dims, perm, v->rank);
    pq_worker alone = {.index = 0, .count = 1};
    pq_move_run(&move, from, to, &alone);
    if (pq_stored_dtype(l, v) != v->dtype) {
        for (int64_t i = 0; i < count; i++) {
            to[i] ^= 0x80;
        }
    }
    return to;
}

static pq_ref
use_constant(pq_lower *l, uint32_t gv, const uint8_t *perm)
{
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    int64_t count;
    const void *from = pq_gv_constant(l, v, &count);
    uint32_t element = pq_kg_element_bytes(v->dtype);
    if (pq_lower_ok(l) && element == 0) {
        pq_decline(l, "constant operand of less than 8 bits");
    }
    if (!pq_lower_ok(l)) {
        return absent_ref();
    }
    uint32_t stored = pq_stored_dtype(l, v);
    const ptqc_gb_constant *c = ptqc_gb_constant_at(l->g, v->constant);
    char layout[PQ_LAYOUT_MAX];
    layout_text(l, layout, v, stored, perm);
    uint32_t packed = pq_find_packed(l, c, layout);
    if (packed == PQ_KG_NONE) {
        bool as_is = stored == v->dtype && pq_perm_is_identity(perm, v->rank);
        const void *data = from;
        if (!as_is && !l->dry) {
            data = ordered_copy(l, v, from, count, perm);
        }
        packed = pq_emit_packed(l, c, layout, data, (uint64_t)count * element);
    }
    if (!pq_lower_ok(l)) {
        return absent_ref();
    }
    uint32_t dims[PTQC_MAX_RANK];
    ordered_dims(l, v, perm, dims);
    uint32_t value = new_value(l, stored, dims, v->rank, PQ_PLACE_CONSTANT,
                               l->entry->values[packed].index);
    return add_form(l, gv, value, perm);
}

// ---- using values ----------------------------------------------------------

static pq_ref
reorder(pq_lower *l, uint32_t gv, const pq_ref *from, const uint8_t *perm)
{
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    uint32_t dims[PTQC_MAX_RANK];
    ordered_dims(l, v, perm, dims);
    if (same_places(l, v, from->perm, perm)) {
        uint32_t view =
            pq_new_view(l, from->value, pq_stored_dtype(l, v), dims, v->rank);
        return add_form(l, gv, view, perm);
    }
    uint32_t value = pq_new_temp(l, pq_stored_dtype(l, v), dims, v->rank);
    pq_step_begin(l, PQ_STEP_MOVE, "reorder");
    pq_step_in(l, from->value);
    pq_step_out(l, value);
    pq_step_i64(l, PQ_MOVE_PERMUTE);
    for (uint32_t i = 0; i < v->rank; i++) {
        pq_step_i64(l, pq_ref_axis(from, perm[i]));
    }
    return add_form(l, gv, value, perm);
}

pq_ref
pq_use(pq_lower *l, uint32_t gv, const uint8_t *perm)
{
    if (!pq_lower_ok(l) || gv == PTQC_GB_NONE) {
        return absent_ref();
    }
    const pq_lower_value *s = &l->values[gv];
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    for (uint32_t i = 0; i < s->form_count; i++) {
        if (memcmp(s->forms[i].perm, perm, v->rank) == 0) {
            return s->forms[i];
        }
    }
    if (v->constant != PTQC_GB_NONE) {
        return use_constant(l, gv, perm);
    }
    if (s->form_count == 0) {
        pq_decline(l, "operand is used before it is made");
        return absent_ref();
    }
    pq_ref from = s->forms[0];
    for (uint32_t i = 1; i < s->form_count; i++) {
        if (same_places(l, v, s->forms[i].perm, perm)) {
            from = s->forms[i];
        }
    }
    return reorder(l, gv, &from, perm);
}

pq_ref
pq_use_any(pq_lower *l, uint32_t gv)
{
    if (!pq_lower_ok(l) || gv == PTQC_GB_NONE) {
        return absent_ref();
    }
    return l->values[gv].form_count > 0 ? l->values[gv].forms[0]
                                        : pq_use_identity(l, gv);
}

pq_ref
pq_use_identity(pq_lower *l, uint32_t gv)
{
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_identity(perm, PTQC_MAX_RANK);
    return pq_use(l, gv, perm);
}

pq_ref
pq_use_channels_last(pq_lower *l, uint32_t gv)
{
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_channels_last(
        perm, gv != PTQC_GB_NONE ? ptqc_gb_value_at(l->g, gv)->rank : 0);
    return pq_use(l, gv, perm);
}

// ---- packed constants ------------------------------------------------------

static uint32_t
packed_value(pq_lower *l, uint32_t index, uint64_t bytes)
{
    uint32_t dim = pq_dim_of(l, (int64_t)bytes);
    return new_value(l, PTQC_U8, &dim, 1, PQ_PLACE_CONSTANT, index);
}

uint32_t
pq_find_packed(pq_lower *l, const ptqc_gb_constant *source, const char *layout)
{
    if (!pq_lower_ok(l) || source == NULL || l->pool == NULL) {
        return PQ_KG_NONE;
    }
    for (uint32_t i = 0; i < l->pool->item_count; i++) {
        const pq_lower_constant *c = &l->pool->items[i];
        if (memcmp(c->sha256, source->sha256, sizeof c->sha256) == 0 &&
            strcmp(c->layout, layout) == 0) {
            return packed_value(l, c->index, c->bytes);
        }
    }
    return PQ_KG_NONE;
}

static void
remember(pq_lower *l, const ptqc_gb_constant *source, const char *layout,
         uint32_t index, uint64_t bytes)
{
    pq_lower_constants *pool = l->pool;
    if (source == NULL || strlen(layout) >= sizeof pool->items->layout) {
        return;
    }
    if (!pq_mem_grow(l->mem, (void **)&pool->items, &pool->item_room,
                     pool->item_count, sizeof *pool->items)) {
        pq_lower_no_memory(l);
        return;
    }
    pq_lower_constant *c = &pool->items[pool->item_count++];
    memcpy(c->sha256, source->sha256, sizeof c->sha256);
    strcpy(c->layout, layout);
    c->index = index;
    c->bytes = bytes;
}

uint32_t
pq_emit_packed(pq_lower *l, const ptqc_gb_constant *source, const char *layout,
               const void *data, uint64_t bytes)
{
    if (!pq_lower_ok(l)) {
        return 0;
    }
    if (l->dry) {
        return packed_value(l, 0, bytes);
    }
    ptqc_packed_constant record = {
        .h = {sizeof record, PTQC_REC_CONSTANT, NULL},
        .source_id = source != NULL ? source->id : 0,
        .layout = {layout, strlen(layout)},
        .data = {data, bytes},
    };
    l->st = l->host->vt->emit(l->pool->sink, &record.h);
    uint32_t index = l->pool->constant_count++;
    remember(l, source, layout, index, bytes);
    return packed_value(l, index, bytes);
}

uint32_t
pq_emit_array(pq_lower *l, uint32_t dtype, const void *data, uint32_t count)
{
    char layout[PQ_LAYOUT_MAX];
    snprintf(layout, sizeof layout, "%s.array.v1", l->device->name);
    uint32_t packed =
        pq_emit_packed(l, NULL, layout, data, (uint64_t)count * 4);
    if (!pq_lower_ok(l)) {
        return 0;
    }
    uint32_t dim = pq_dim_of(l, count);
    return new_value(l, dtype, &dim, 1, PQ_PLACE_CONSTANT,
                     l->entry->values[packed].index);
}

// ---- steps -----------------------------------------------------------------

static void
add_text(pq_lower *l, pq_kg_step *s, const char *text, uint32_t bytes)
{
    pq_kg_entry *e = l->entry;
    s->label = e->text_bytes;
    s->label_bytes = bytes;
    if (!pq_mem_grow(l->mem, (void **)&e->text, &e->text_room,
                     e->text_bytes + bytes, 1)) {
        pq_lower_no_memory(l);
        return;
    }
    memcpy(e->text + e->text_bytes, text, bytes);
    e->text_bytes += bytes;
}

void
pq_step_begin(pq_lower *l, pq_step_kind kind, const char *label, ...)
{
    pq_kg_entry *e = l->entry;
    if (!pq_lower_ok(l)) {
        return;
    }
    if (!pq_mem_grow(l->mem, (void **)&e->steps, &e->step_room, e->step_count,
                     sizeof *e->steps)) {
        pq_lower_no_memory(l);
        return;
    }
    char text[96];
    va_list args;
    va_start(args, label);
    int n = vsnprintf(text, sizeof text, label, args);
    va_end(args);
    pq_kg_step *s = &e->steps[e->step_count++];
    *s = (pq_kg_step){
        .kind = kind, .first_arg = e->arg_count, .first_param = e->param_count};
    add_text(l, s, text,
             n < 0 ? 0
                   : (uint32_t)((size_t)n < sizeof text ? (size_t)n
                                                        : sizeof text - 1));
}

static void
add_arg(pq_lower *l, uint32_t value)
{
    pq_kg_entry *e = l->entry;
    if (!pq_mem_grow(l->mem, (void **)&e->args, &e->arg_room, e->arg_count,
                     sizeof *e->args)) {
        pq_lower_no_memory(l);
        return;
    }
    e->args[e->arg_count++] = value;
}

void
pq_step_in(pq_lower *l, uint32_t value)
{
    if (pq_lower_ok(l)) {
        add_arg(l, value);
        l->entry->steps[l->entry->step_count - 1].input_count++;
    }
}

void
pq_step_out(pq_lower *l, uint32_t value)
{
    if (pq_lower_ok(l)) {
        add_arg(l, value);
        l->entry->steps[l->entry->step_count - 1].output_count++;
    }
}

void
pq_step_i64(pq_lower *l, int64_t x)
{
    pq_kg_entry *e = l->entry;
    if (!pq_lower_ok(l)) {
        return;
    }
    if (!pq_mem_grow(l->mem, (void **)&e->params, &e->param_room,
                     e->param_count, sizeof *e->params)) {
        pq_lower_no_memory(l);
        return;
    }
    e->params[e->param_count++] = x;
    e->steps[e->step_count - 1].param_count++;
}

void
pq_step_f32(pq_lower *l, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    pq_step_i64(l, (int64_t)bits);
}
