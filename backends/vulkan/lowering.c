// SPDX-License-Identifier: Apache-2.0
//
// The device's table: a step is taken when kgen has a kernel for it.
#include "lowering.h"

#include <string.h>

#include "backends/kgen/move.h"
#include "backends/kgen/planar_lower.h"

// The same text for every device: no float64 is asked for.
static const pq_kg_dialect DIALECT = {.language = PQ_KG_GLSL};

ptqc_be_status
pq_vk_source(pq_mem *mem, const pq_kg_entry *entry, const pq_kg_step *step,
             pq_kg_source *out, const char **out_why)
{
    uint32_t count = step->input_count + step->output_count;
    const pq_kg_tensor **args = pq_mem_array(mem, count, sizeof *args);
    pq_kg_tensor *tensors = pq_mem_array(mem, count, sizeof *tensors);
    *out_why = "out of memory";
    if (args == NULL || tensors == NULL) {
        return PTQC_BE_RESOURCE;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t v = entry->args[step->first_arg + i];
        if (v != PQ_KG_NONE) {
            tensors[i] = (pq_kg_tensor){.dtype = entry->values[v].dtype,
                                        .rank = entry->values[v].rank};
            args[i] = &tensors[i];
        }
    }
    const pq_kg_job job = {.kind = step->kind,
                           .args = args,
                           .input_count = step->input_count,
                           .output_count = step->output_count,
                           .params = entry->params + step->first_param,
                           .param_count = step->param_count};
    return pq_kg_source_of(mem, &job, &DIALECT, out, out_why);
}

// What every device reaches in one binding (Vulkan specification, required
// limit maxStorageBufferRange).
#define RANGE_MIN ((int64_t)1 << 27)

#define MANY (RANGE_MIN + 1)

// Elements of a value whose dims are known; at most MANY.
static int64_t
count_of(const pq_kg_entry *e, const pq_kg_value *v)
{
    int64_t count = 1;
    for (uint32_t i = 0; i < v->rank; i++) {
        const pq_kg_dim *d = &e->dims[v->dims[i]];
        if (d->op != PTQC_GB_DIM_CONST || d->value > RANGE_MIN) {
            return MANY;
        }
        count = count * d->value > RANGE_MIN ? MANY : count * d->value;
    }
    return count;
}

// A weight that no device has to be able to bind.
static bool
has_large_constant(const pq_kg_entry *e, const pq_kg_step *step)
{
    for (uint32_t i = 0; i < step->input_count; i++) {
        uint32_t v = e->args[step->first_arg + i];
        if (v != PQ_KG_NONE && e->values[v].place == PQ_PLACE_CONSTANT &&
            count_of(e, &e->values[v]) *
                    pq_kg_element_bytes(e->values[v].dtype) >
                RANGE_MIN) {
            return true;
        }
    }
    return false;
}

// Of check and of compile. The text is thrown away: it is made again, in the
// end, for the steps that stay.
static const char *
refuse(pq_lower *l, const pq_kg_step *step)
{
    pq_kg_source source;
    const char *why = "";
    pq_mem scratch = {l->host, NULL};
    ptqc_be_status st = pq_vk_source(&scratch, l->entry, step, &source, &why);
    const char *reason = NULL;
    if (has_large_constant(l->entry, step)) {
        reason = "a weight above 128 MiB";
    } else if (st == PTQC_BE_RESOURCE) {
        pq_lower_no_memory(l);
    } else if (st != PTQC_BE_OK) {
        char *copy = pq_mem_alloc(l->mem, strlen(why) + 1);
        reason = copy != NULL ? strcpy(copy, why) : "out of memory";
    }
    pq_mem_release(&scratch);
    return reason;
}

static const pq_lower_op OPS[] = {PQ_PLANAR_OPS};

const pq_kg_device pq_vk_lowering = {
    .name = "vulkan",
    .ops = OPS,
    .op_count = sizeof OPS / sizeof OPS[0],
    .embedding = pq_planar_embedding,
    .keeps_s8 = true,
    .refuse = refuse,
};
