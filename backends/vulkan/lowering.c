// SPDX-License-Identifier: Apache-2.0
//
// The device's table: a step is taken when kgen has a kernel for it.
#include "lowering.h"

#include "backends/kgen/move.h"
#include "backends/kgen/planar_lower.h"

// Of check: whether there is a text at all does not depend on features.
static const pq_kg_dialect DIALECT = {.language = PQ_KG_GLSL};

ptqc_be_status
pq_vk_source(pq_mem *mem, const pq_kg_entry *entry, const pq_kg_step *step,
             uint32_t features, pq_kg_source *out, const char **out_why)
{
    const pq_kg_dialect dialect = {.language = PQ_KG_GLSL,
                                   .features = features};
    return pq_kg_step_source(mem, entry, step, &dialect, out, out_why);
}

// Elements of a value whose dims are known; at most MANY.
#define MANY (PQ_VK_RANGE_MIN + 1)

static int64_t
count_of(const pq_kg_entry *e, const pq_kg_value *v)
{
    int64_t count = 1;
    for (uint32_t i = 0; i < v->rank; i++) {
        const pq_kg_dim *d = &e->dims[v->dims[i]];
        if (d->op != PTQC_GB_DIM_CONST || d->value > PQ_VK_RANGE_MIN) {
            return MANY;
        }
        count = count * d->value > PQ_VK_RANGE_MIN ? MANY : count * d->value;
    }
    return count;
}

// A constant that no device has to be able to bind, and that cannot be cut.
static bool
has_large_constant(const pq_lower *l, const pq_kg_step *step)
{
    const pq_kg_entry *e = l->entry;
    for (uint32_t i = 0; i < step->input_count; i++) {
        uint32_t v = e->args[step->first_arg + i];
        if (v != PQ_KG_NONE && e->values[v].place == PQ_PLACE_CONSTANT &&
            count_of(e, &e->values[v]) *
                    pq_kg_element_bytes(e->values[v].dtype) >
                l->device->range_bytes) {
            return true;
        }
    }
    return false;
}

// Of check and of compile.
static const char *
refuse(pq_lower *l, const pq_kg_step *step)
{
    return has_large_constant(l, step)
               ? "a constant above 128 MiB that is no weights of a product"
               : pq_planar_refuse(l, step, &DIALECT);
}

static const pq_lower_op OPS[] = {PQ_PLANAR_OPS};

const pq_kg_device pq_vk_lowering = {
    .name = "vulkan",
    .ops = OPS,
    .op_count = sizeof OPS / sizeof OPS[0],
    .embedding = pq_planar_embedding,
    .keeps_s8 = true,
    .scatters_in_place = true,
    .range_bytes = PQ_VK_RANGE_MIN,
    .refuse = refuse,
};

pq_kg_device
pq_vk_lowering_of(int64_t range_bytes)
{
    pq_kg_device device = pq_vk_lowering;
    device.range_bytes = range_bytes;
    return device;
}
