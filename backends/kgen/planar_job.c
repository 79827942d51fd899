// SPDX-License-Identifier: Apache-2.0
//
// Steps as jobs for kernels, and asking whether there is one.
#include <string.h>

#include "plan.h"
#include "planar_lower.h"

void
pq_kg_job_of(const pq_kg_entry *e, const pq_kg_step *step,
             const struct pq_kg_shape *shapes, const int64_t *dims,
             pq_kg_tensor *tensors, const pq_kg_tensor **args, pq_kg_job *out)
{
    uint32_t count = step->input_count + step->output_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t v = e->args[step->first_arg + i];
        args[i] = NULL;
        if (v == PQ_KG_NONE) {
            continue;
        }
        tensors[i] = (pq_kg_tensor){.dtype = e->values[v].dtype,
                                    .rank = e->values[v].rank};
        if (shapes != NULL) {
            memcpy(tensors[i].dims, shapes[v].dims, sizeof tensors[i].dims);
        }
        args[i] = &tensors[i];
    }
    *out = (pq_kg_job){
        .kind = step->kind,
        .args = args,
        .input_count = step->input_count,
        .output_count = step->output_count,
        .params = e->params + step->first_param,
        .param_count = step->param_count,
        .dims = dims,
        .dim_count = dims != NULL ? e->dim_count : 0,
    };
}

const char *
pq_planar_refuse(pq_lower *l, const pq_kg_step *step,
                 const pq_kg_dialect *dialect)
{
    uint32_t count = step->input_count + step->output_count;
    pq_kg_tensor *tensors = pq_mem_array(&l->scratch, count, sizeof *tensors);
    const pq_kg_tensor **args = pq_mem_array(&l->scratch, count, sizeof *args);
    if (tensors == NULL || args == NULL) {
        pq_lower_no_memory(l);
        return NULL;
    }
    pq_kg_job job;
    pq_kg_source source;
    const char *why = "no kernel";
    pq_kg_job_of(l->entry, step, NULL, NULL, tensors, args, &job);
    ptqc_be_status st =
        pq_kg_source_of(&l->scratch, &job, dialect, &source, &why);
    if (st == PTQC_BE_RESOURCE) {
        pq_lower_no_memory(l);
    }
    return st == PTQC_BE_UNSUPPORTED ? why : NULL;
}
