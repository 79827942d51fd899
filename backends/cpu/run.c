// SPDX-License-Identifier: Apache-2.0
//
// submit: one parallel region over all steps, a barrier between steps. When
// a profile is asked for, one region per step.
#include <stdio.h>
#include <string.h>

#include "backends/kgen/say.h"
#include "spec.h"

typedef struct region_args {
    ptqc_spec *spec;
    uint8_t *workspace;
    uint32_t first, end; // steps
    atomic_uint failed;
} region_args;

static void
run_step(const region_args *a, const pq_spec_step *s, const pq_run *run,
         uint32_t width)
{
    const ptqc_spec *spec = a->spec;
    // A step that meets needs every worker of the region.
    bool serial = s->op.serial || (s->op.meets && width > spec->width);
    if (run->worker->index >= run->worker->count ||
        (serial && run->worker->index > 0)) {
        return;
    }
    pq_worker alone = *run->worker;
    if (serial) {
        alone.count = 1;
    }
    pq_run r = *run;
    r.worker = &alone;
    r.args = s->args;
    r.shared = a->workspace + spec->shared_offset;
    s->op.run(s->op.state, &r);
}

// Workers beyond the planned width only keep the barriers.
static void
region_body(void *user, uint32_t worker, uint32_t width, void *region)
{
    region_args *a = user;
    const ptqc_spec *spec = a->spec;
    const ptqc_host_vt *vt = spec->exe->host->vt;
    pq_worker self = {
        .index = worker,
        .count = width < spec->width ? width : spec->width,
        .scratch = NULL,
    };
    if (worker < spec->width) {
        self.scratch = a->workspace + spec->scratch_offset +
                       (uint64_t)worker * spec->scratch_bytes;
    }
    pq_run run = {
        .worker = &self,
        .barrier = vt->barrier,
        .region = region,
        .failed = &a->failed,
    };
    for (uint32_t i = a->first; i < a->end; i++) {
        const pq_spec_step *s = &spec->steps[i];
        run_step(a, s, &run, width);
        if (width > 1 && s->barrier && i + 1 < a->end) {
            vt->barrier(region);
        }
    }
}

// ---- pointers --------------------------------------------------------------

static ptqc_be_status
check_bindings(ptqc_call *call, const ptqc_spec *spec,
               const ptqc_submit *submit)
{
    const ptqc_host *host = spec->exe->host;
    const pq_kg_entry *e = spec->entry;
    if (submit->binding_count != e->binding_count) {
        return pq_kg_fail(host, call, PTQC_BE_INVALID,
                          "cpu: %llu bindings given, the entry has %u",
                          (unsigned long long)submit->binding_count,
                          e->binding_count);
    }
    if (submit->workspace.bytes < spec->workspace_bytes ||
        (submit->workspace.host == NULL && spec->workspace_bytes > 0)) {
        return pq_kg_fail(host, call, PTQC_BE_INVALID,
                          "cpu: workspace of %llu bytes, %llu needed",
                          (unsigned long long)submit->workspace.bytes,
                          (unsigned long long)spec->workspace_bytes);
    }
    for (uint32_t i = 0; i < e->value_count; i++) {
        const pq_kg_value *v = &e->values[i];
        uint64_t bytes = (uint64_t)spec->shapes[i].bytes;
        if (v->place == PQ_PLACE_BINDING &&
            (submit->bindings[v->index].bytes < bytes ||
             (submit->bindings[v->index].host == NULL && bytes > 0))) {
            return pq_kg_fail(
                host, call, PTQC_BE_INVALID,
                "cpu: binding %u has %llu bytes, %llu needed", v->index,
                (unsigned long long)submit->bindings[v->index].bytes,
                (unsigned long long)bytes);
        }
    }
    return PTQC_BE_OK;
}

static void
fill_pointers(ptqc_spec *spec, const ptqc_submit *submit)
{
    const pq_kg_entry *e = spec->entry;
    uint8_t *workspace = submit->workspace.host;
    for (uint32_t i = 0; i < e->value_count; i++) {
        const pq_kg_value *v = &e->values[i];
        switch ((pq_place)v->place) {
        case PQ_PLACE_TEMP:
            spec->pointers[i] = workspace + spec->offsets[i];
            break;
        case PQ_PLACE_BINDING:
            spec->pointers[i] = submit->bindings[v->index].host;
            break;
        case PQ_PLACE_CONSTANT: // never written: checked by the reader
            memcpy(&spec->pointers[i], &spec->exe->constants[v->index].p,
                   sizeof spec->pointers[i]);
            break;
        case PQ_PLACE_VIEW:
            spec->pointers[i] = spec->pointers[v->index];
            break;
        case PQ_PLACE_COUNT:
            break;
        }
    }
    for (uint32_t i = 0; i < e->step_count; i++) {
        const pq_kg_step *s = &e->steps[i];
        uint32_t count = s->input_count + s->output_count;
        for (uint32_t j = 0; j < count; j++) {
            uint32_t v = e->args[s->first_arg + j];
            spec->steps[i].args[j] = v != PQ_KG_NONE ? spec->pointers[v] : NULL;
        }
    }
}

// ---- profile ---------------------------------------------------------------

static void
report(const ptqc_spec *spec, const ptqc_submit *submit, uint32_t index,
       uint64_t ns)
{
    const pq_spec_step *s = &spec->steps[index];
    char text[160];
    int n = snprintf(text, sizeof text, "%.*s%s%s", (int)s->step->label_bytes,
                     spec->entry->text + s->step->label,
                     s->op.method != NULL ? " " : "",
                     s->op.method != NULL ? s->op.method : "");
    uint64_t bytes = n > 0 ? (uint64_t)n : 0;
    ptqc_step_profile p = {
        .label = {text, bytes < sizeof text ? bytes : sizeof text - 1},
        .ns = ns,
        .ops = s->op.work_ops,
        .bytes = s->op.work_bytes > 0 ? s->op.work_bytes : s->bytes,
    };
    submit->profile(submit->profile_user, &p);
}

static void
run_profiled(region_args *a, const ptqc_submit *submit)
{
    const ptqc_host *host = a->spec->exe->host;
    for (uint32_t i = 0; i < a->spec->entry->step_count; i++) {
        a->first = i;
        a->end = i + 1;
        uint64_t start = host->vt->clock_ns(host->self);
        host->vt->pool_run(host->self, region_body, a);
        report(a->spec, submit, i, host->vt->clock_ns(host->self) - start);
    }
}

ptqc_be_status
pq_spec_run(ptqc_call *call, ptqc_spec *spec, const ptqc_submit *submit)
{
    const ptqc_host *host = spec->exe->host;
    ptqc_be_status st = check_bindings(call, spec, submit);
    if (st != PTQC_BE_OK) {
        return st;
    }
    fill_pointers(spec, submit);
    region_args a = {
        .spec = spec,
        .workspace = submit->workspace.host,
        .end = spec->entry->step_count,
    };
    if (submit->profile != NULL) {
        run_profiled(&a, submit);
    } else {
        host->vt->pool_run(host->self, region_body, &a);
    }
    if (atomic_load(&a.failed) != 0) {
        return pq_kg_fail(host, call, PTQC_BE_INVALID,
                          "cpu: an index in the data is out of range");
    }
    return PTQC_BE_OK;
}
