// SPDX-License-Identifier: Apache-2.0
//
// Where temporaries lie (plan.h).
#include <stdbool.h>

#include "plan.h"
#include "say.h"

typedef struct item {
    uint32_t value; // root
    uint32_t first, last;
    uint64_t bytes, offset;
    uint32_t merged; // item + 1 whose place this one takes; 0 = none
    bool placed;
} item;

typedef struct plan {
    const pq_kg_entry *e;
    const pq_kg_plan_desc *desc;
    item *items;
    uint32_t count;
    uint32_t *item_of; // [value_count], item + 1; 0 = none
} plan;

static void
note_use(plan *p, uint32_t value, uint32_t step)
{
    uint32_t root = pq_kg_root(p->e, value);
    if (p->e->values[root].place != PQ_PLACE_TEMP) {
        return;
    }
    if (p->item_of[root] == 0) {
        p->items[p->count] = (item){
            .value = root,
            .first = step,
            .bytes = (uint64_t)p->desc->shapes[root].bytes,
        };
        p->item_of[root] = ++p->count;
    }
    p->items[p->item_of[root] - 1].last = step;
}

static void
collect(plan *p)
{
    for (uint32_t i = 0; i < p->e->step_count; i++) {
        const pq_kg_step *s = &p->e->steps[i];
        uint32_t args = s->input_count + s->output_count;
        for (uint32_t j = 0; j < args; j++) {
            uint32_t v = p->e->args[s->first_arg + j];
            if (v != PQ_KG_NONE) {
                note_use(p, v, i);
            }
        }
    }
}

static item *
item_at(plan *p, uint32_t arg)
{
    uint32_t v = p->e->args[arg];
    if (v == PQ_KG_NONE) {
        return NULL;
    }
    uint32_t k = p->item_of[pq_kg_root(p->e, v)];
    return k > 0 ? &p->items[k - 1] : NULL;
}

// The item at the head of a chain of take-overs.
static item *
head_of(plan *p, item *it)
{
    while (it->merged > 0) {
        it = &p->items[it->merged - 1];
    }
    return it;
}

// Whether every operand of the step that lies where `in` does may be
// overwritten.
static bool
all_may_go(plan *p, const pq_kg_step *s, uint32_t mask, const item *in)
{
    for (uint32_t j = 0; j < s->input_count; j++) {
        if (item_at(p, s->first_arg + j) == in &&
            (j >= 32 || (mask >> j & 1) == 0)) {
            return false;
        }
    }
    return true;
}

static void
merge_step(plan *p, uint32_t index)
{
    const pq_kg_step *s = &p->e->steps[index];
    uint32_t mask = p->desc->inplace != NULL ? p->desc->inplace[index] : 0;
    if (mask == 0 || s->output_count == 0) {
        return;
    }
    item *out = item_at(p, s->first_arg + s->input_count);
    if (out == NULL || out->first != index || out->merged > 0) {
        return;
    }
    for (uint32_t i = 0; i < s->input_count && i < 32; i++) {
        item *in = item_at(p, s->first_arg + i);
        if ((mask >> i & 1) == 0 || in == NULL || in == out) {
            continue;
        }
        item *head = head_of(p, in);
        if (in->last == index && head->last == index &&
            in->bytes == out->bytes && all_may_go(p, s, mask, in)) {
            out->merged = (uint32_t)(head - p->items) + 1;
            head->last = out->last;
            head->bytes = out->bytes > head->bytes ? out->bytes : head->bytes;
            return;
        }
    }
}

static bool
alive_together(const item *a, const item *b)
{
    return a->first <= b->last && b->first <= a->last;
}

// From the beginning of an item to where another may begin.
static uint64_t
span_of(const plan *p, const item *it)
{
    uint64_t align = p->desc->align;
    return (it->bytes + p->desc->guard + align - 1) & ~(align - 1);
}

// Lowest aligned offset where `it` fits beside the placed items.
static uint64_t
find_offset(const plan *p, const item *it)
{
    uint64_t at = 0;
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t i = 0; i < p->count; i++) {
            const item *o = &p->items[i];
            if (o->placed && alive_together(o, it) &&
                at < o->offset + span_of(p, o) &&
                o->offset < at + span_of(p, it)) {
                at = o->offset + span_of(p, o);
                moved = true;
            }
        }
    }
    return at;
}

static item *
largest_left(plan *p)
{
    item *best = NULL;
    for (uint32_t i = 0; i < p->count; i++) {
        item *it = &p->items[i];
        if (!it->placed && it->merged == 0 &&
            (best == NULL || it->bytes > best->bytes)) {
            best = it;
        }
    }
    return best;
}

// Whether the sum of all items is a number: then every offset is.
static bool
fits(const plan *p)
{
    uint64_t left = (uint64_t)1 << 62;
    for (uint32_t i = 0; i < p->count; i++) {
        uint64_t span = span_of(p, &p->items[i]);
        if (span > left) {
            return false;
        }
        left -= span;
    }
    return true;
}

static uint64_t
place_all(plan *p)
{
    uint64_t end = 0;
    item *it = largest_left(p);
    while (it != NULL) {
        it->offset = find_offset(p, it);
        it->placed = true;
        uint64_t behind = it->offset + span_of(p, it);
        end = behind > end ? behind : end;
        it = largest_left(p);
    }
    return end;
}

ptqc_be_status
pq_kg_plan_workspace(const pq_kg_teller *t, pq_mem *mem,
                     const pq_kg_plan_desc *desc, uint64_t *out_offsets,
                     uint64_t *out_bytes)
{
    plan p = {.e = desc->entry, .desc = desc};
    p.items = pq_mem_array(mem, p.e->value_count, sizeof *p.items);
    p.item_of = pq_mem_array(mem, p.e->value_count, sizeof *p.item_of);
    if (p.items == NULL || p.item_of == NULL) {
        return pq_kg_fail(t->host, t->call, PTQC_BE_RESOURCE,
                          "%s: out of memory", t->name);
    }
    collect(&p);
    for (uint32_t i = 0; i < p.e->step_count; i++) {
        merge_step(&p, i);
    }
    if (!fits(&p)) {
        return pq_kg_fail(t->host, t->call, PTQC_BE_RESOURCE,
                          "%s: workspace too large", t->name);
    }
    *out_bytes = place_all(&p);
    for (uint32_t i = 0; i < p.count; i++) {
        out_offsets[p.items[i].value] = head_of(&p, &p.items[i])->offset;
    }
    return PTQC_BE_OK;
}
