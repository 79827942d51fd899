// SPDX-License-Identifier: Apache-2.0
//
// compile: every entry lowered over one set of constants, then the blob.
#include <string.h>

#include "backends/kgen/say.h"
#include "lowering.h"
#include "plugin.h"

static ptqc_be_status
compile_entry(ptqc_call *call, const ptqc_host *host, const ptqc_entry *from,
              pq_mem *mem, pq_lower_constants *pool, pq_kg_entry *out)
{
    ptqc_gb g;
    const char *why = "";
    if (!ptqc_gb_open(from->graph.p, from->graph.n, &g, &why)) {
        return pq_kg_fail(host, call, PTQC_BE_INVALID, "cpu: graph block: %s",
                          why);
    }
    pq_lower l = {
        .device = &pq_cpu_device,
        .host = host,
        .call = call,
        .mem = mem,
        .g = &g,
        .entry = out,
        .pool = pool,
    };
    return pq_lower_entry(&l);
}

static ptqc_be_status
emit_blob(ptqc_call *call, const ptqc_host *host, pq_mem *mem,
          const pq_kg_program *program, ptqc_sink *sink)
{
    ptqc_blob blob = {
        .h = {.size = sizeof blob, .type = PTQC_REC_BLOB},
        .data = pq_kg_program_write(mem, &pq_cpu_format, program),
    };
    if (blob.data.p == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
    }
    return host->vt->emit(sink, &blob.h);
}

ptqc_be_status
pq_cpu_compile(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
               const ptqc_entry *entries, uint64_t entry_count, ptqc_sink *sink)
{
    pq_mem mem = {inst->host, NULL};
    pq_lower_constants pool = {.sink = sink};
    pq_kg_program program = {0};
    pq_isa cap = PQ_ISA_AVX2;
    ptqc_be_status st = pq_cpu_target(inst->host, call, target, &cap);
    program.cap = (uint32_t)cap;
    if (st == PTQC_BE_OK && (entry_count == 0 || entry_count > 64)) {
        st = pq_kg_fail(inst->host, call, PTQC_BE_INVALID, "cpu: %llu entries",
                        (unsigned long long)entry_count);
    }
    if (st == PTQC_BE_OK) {
        program.entry_count = (uint32_t)entry_count;
        program.entries =
            pq_mem_array(&mem, entry_count, sizeof *program.entries);
    }
    if (st == PTQC_BE_OK && program.entries == NULL) {
        st = pq_kg_fail(inst->host, call, PTQC_BE_RESOURCE,
                        "cpu: out of memory");
    }
    for (uint32_t i = 0; i < program.entry_count && st == PTQC_BE_OK; i++) {
        st = compile_entry(call, inst->host, &entries[i], &mem, &pool,
                           &program.entries[i]);
        if (st == PTQC_BE_OK && inst->host->vt->cancelled(call) != 0) {
            st = PTQC_BE_CANCELLED;
        }
    }
    program.constant_count = pool.constant_count;
    if (st == PTQC_BE_OK) {
        st = emit_blob(call, inst->host, &mem, &program, sink);
    }
    pq_mem_release(&mem);
    return st;
}
