// SPDX-License-Identifier: Apache-2.0
//
// Steps as jobs for kernels, and asking whether there is one.
#include <string.h>

#include "planar_lower.h"

bool
pq_kg_job_of(pq_mem *mem, const pq_kg_entry *e, const pq_kg_step *step,
             const pq_kg_shape *shapes, const int64_t *dims, pq_kg_job *out)
{
    uint32_t count = step->input_count + step->output_count;
    const pq_kg_tensor **args = pq_mem_array(mem, count, sizeof *args);
    pq_kg_tensor *tensors = pq_mem_array(mem, count, sizeof *tensors);
    if (args == NULL || tensors == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t v = e->args[step->first_arg + i];
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
        .params = step->param_count > 0 ? e->params + step->first_param : NULL,
        .param_count = step->param_count,
        .dims = dims,
        .dim_count = dims != NULL ? e->dim_count : 0,
    };
    return true;
}

ptqc_be_status
pq_kg_step_source(pq_mem *mem, const pq_kg_entry *entry, const pq_kg_step *step,
                  const pq_kg_dialect *dialect, pq_kg_source *out,
                  const char **out_why)
{
    pq_kg_job job;
    *out_why = "out of memory";
    return pq_kg_job_of(mem, entry, step, NULL, NULL, &job)
               ? pq_kg_source_of(mem, &job, dialect, out, out_why)
               : PTQC_BE_RESOURCE;
}

const char *
pq_planar_refuse(pq_lower *l, const pq_kg_step *step,
                 const pq_kg_dialect *dialect)
{
    pq_kg_source source;
    const char *why = "no kernel";
    pq_mem scratch = {l->host, NULL};
    ptqc_be_status st =
        pq_kg_step_source(&scratch, l->entry, step, dialect, &source, &why);
    pq_mem_release(&scratch); // reasons are static text
    if (st == PTQC_BE_RESOURCE) {
        pq_lower_no_memory(l);
    }
    return st == PTQC_BE_UNSUPPORTED ? why : NULL;
}
