// SPDX-License-Identifier: Apache-2.0
//
// Where workers have to meet: before a step that touches what a step since
// the last barrier writes, or writes what one of them touches. Steps of
// worker 0 alone follow each other without.
#include "spec.h"

// Bytes of an operand: of the workspace, or of a binding.
typedef struct place {
    uint32_t binding; // PQ_KG_NONE: the workspace
    uint64_t begin, end;
} place;

// false: a constant, or absent.
static bool
place_of(const ptqc_spec *spec, uint32_t value, place *out)
{
    const pq_kg_entry *e = spec->entry;
    if (value == PQ_KG_NONE) {
        return false;
    }
    uint32_t root = pq_kg_root(e, value);
    const pq_kg_value *v = &e->values[root];
    if (v->place == PQ_PLACE_CONSTANT) {
        return false;
    }
    bool is_binding = v->place == PQ_PLACE_BINDING;
    uint64_t begin = is_binding ? 0 : spec->offsets[root];
    *out = (place){is_binding ? v->index : PQ_KG_NONE, begin,
                   begin + (uint64_t)spec->shapes[root].bytes};
    return true;
}

static bool
overlap(const place *a, const place *b)
{
    return a->binding == b->binding && a->begin < b->end && b->begin < a->end;
}

// Whether `a` writes what `b` touches.
static bool
writes_into(const ptqc_spec *spec, const pq_kg_step *a, const pq_kg_step *b)
{
    const uint32_t *args = spec->entry->args;
    for (uint32_t i = 0; i < a->output_count; i++) {
        place p, q;
        if (!place_of(spec, args[a->first_arg + a->input_count + i], &p)) {
            continue;
        }
        for (uint32_t j = 0; j < b->input_count + b->output_count; j++) {
            if (place_of(spec, args[b->first_arg + j], &q) && overlap(&p, &q)) {
                return true;
            }
        }
    }
    return false;
}

static bool
must_meet(const ptqc_spec *spec, uint32_t first, uint32_t second)
{
    const pq_spec_step *a = &spec->steps[first], *b = &spec->steps[second];
    if (a->op.serial && b->op.serial) {
        return false;
    }
    // shared memory is one for all steps
    return (a->op.shared_bytes > 0 && b->op.shared_bytes > 0) ||
           writes_into(spec, a->step, b->step) ||
           writes_into(spec, b->step, a->step);
}

void
pq_spec_barriers(ptqc_spec *spec)
{
    uint32_t begin = 0; // first step since the last barrier
    for (uint32_t i = 1; i < spec->entry->step_count; i++) {
        bool meet = false;
        for (uint32_t j = begin; j < i && !meet; j++) {
            meet = must_meet(spec, j, i);
        }
        spec->steps[i - 1].barrier = meet;
        begin = meet ? i : begin;
    }
}
