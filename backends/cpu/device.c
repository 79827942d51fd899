// SPDX-License-Identifier: Apache-2.0
//
// The device side's outer part: the device, loading a blob, what a
// specialization needs.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backends/kgen/say.h"
#include "lowering.h"
#include "plugin.h"
#include "spec.h"

ptqc_be_status
pq_cpu_devices(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    bool usable = inst->detected >= 0;
    char target[32];
    snprintf(target, sizeof target, "cpu;%s",
             usable ? pq_isa_name((pq_isa)inst->detected) : "none");
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    ptqc_device d = {
        .h = {.size = sizeof d, .type = PTQC_REC_DEVICE},
        .id = pq_cpu_text("cpu:0"),
        .name = pq_cpu_text("x86-64 processor"),
        .target = usable ? pq_cpu_text(target) : pq_cpu_text("cpu"),
        .reason =
            usable ? pq_cpu_text("") : pq_cpu_text("no AVX2 with FMA and F16C"),
        .state = usable ? PTQC_DEVICE_USABLE : PTQC_DEVICE_UNUSABLE,
        .flags = PTQC_DEVICE_HOST_MEMORY,
        .memory_bytes =
            pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : 0,
    };
    return inst->host->vt->emit(sink, &d.h);
}

// ---- load ------------------------------------------------------------------

static ptqc_be_status
fill_exe(ptqc_call *call, const ptqc_instance *inst, ptqc_bytes blob,
         const ptqc_bytes *constants, uint64_t constant_count, pq_isa cap,
         ptqc_exe *exe)
{
    const char *why = "";
    ptqc_be_status st = pq_kg_program_read(&exe->mem, &pq_cpu_format, blob,
                                           &exe->program, &why);
    if (st != PTQC_BE_OK) {
        return pq_kg_fail(inst->host, call, st, "cpu: program: %s", why);
    }
    if (constant_count != exe->program.constant_count) {
        return pq_kg_fail(inst->host, call, PTQC_BE_INVALID,
                          "cpu: %llu constants given, the program has %u",
                          (unsigned long long)constant_count,
                          exe->program.constant_count);
    }
    exe->constants =
        pq_mem_array(&exe->mem, constant_count, sizeof *exe->constants);
    exe->constant_bytes =
        pq_mem_array(&exe->mem, constant_count, sizeof *exe->constant_bytes);
    if (exe->constants == NULL || exe->constant_bytes == NULL) {
        return pq_kg_fail(inst->host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory");
    }
    for (uint64_t i = 0; i < constant_count; i++) {
        exe->constants[i] = constants[i];
        exe->constant_bytes[i] = constants[i].n;
        if (((uintptr_t)constants[i].p & 63) != 0) {
            return pq_kg_fail(inst->host, call, PTQC_BE_INVALID,
                              "cpu: constant %llu is not 64-byte aligned",
                              (unsigned long long)i);
        }
    }
    pq_isa isa = (pq_isa)inst->detected;
    pq_isa made_for = (pq_isa)exe->program.cap; // read: a level
    isa = made_for < isa ? made_for : isa;
    isa = cap < isa ? cap : isa;
    return pq_jit_create(call, inst->host, isa, &exe->jit);
}

// "cpu:0", perhaps with a cap on the level behind it: "cpu:0;avx2".
static int
read_device(ptqc_str device, pq_isa *out_cap)
{
    if (device.n < 5 || memcmp(device.p, "cpu:0", 5) != 0) {
        return 0;
    }
    *out_cap = PQ_ISA_AMX;
    return device.n == 5 ||
           (device.p[5] == ';' &&
            pq_isa_parse(device.p + 6, (size_t)device.n - 6, out_cap) &&
            *out_cap <= PQ_ISA_AMX);
}

ptqc_be_status
pq_cpu_load(ptqc_call *call, ptqc_instance *inst, ptqc_str device,
            ptqc_bytes blob, const ptqc_bytes *constants,
            uint64_t constant_count, ptqc_exe **out)
{
    *out = NULL;
    pq_isa cap;
    if (!read_device(device, &cap)) {
        return pq_kg_fail(inst->host, call, PTQC_BE_INVALID,
                          "cpu: no device '%.*s'",
                          device.n < 64 ? (int)device.n : 64, device.p);
    }
    if (inst->detected < 0) {
        return pq_kg_fail(inst->host, call, PTQC_BE_UNSUPPORTED,
                          "cpu: this processor has no AVX2 with FMA");
    }
    pq_mem mem = {inst->host, NULL};
    ptqc_exe *exe = pq_mem_alloc(&mem, sizeof *exe);
    if (exe == NULL) {
        return pq_kg_fail(inst->host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory");
    }
    exe->mem = mem;
    exe->host = inst->host;
    ptqc_be_status st =
        fill_exe(call, inst, blob, constants, constant_count, cap, exe);
    if (st != PTQC_BE_OK) {
        pq_cpu_exe_free(exe);
        return st;
    }
    *out = exe;
    return PTQC_BE_OK;
}

void
pq_cpu_exe_free(ptqc_exe *exe)
{
    if (exe != NULL) {
        pq_jit_destroy(exe->jit);
        pq_mem mem = exe->mem; // the exe itself lives in it
        pq_mem_release(&mem);
    }
}

// ---- needs -----------------------------------------------------------------

ptqc_be_status
pq_cpu_needs(ptqc_call *call, ptqc_spec *spec, ptqc_sink *sink)
{
    (void)call;
    const ptqc_host *host = spec->exe->host;
    const pq_kg_entry *e = spec->entry;
    ptqc_needs needs = {
        .h = {.size = sizeof needs, .type = PTQC_REC_NEEDS},
        .workspace_bytes = spec->workspace_bytes,
        .workspace_align = 4096,
    };
    ptqc_be_status st = host->vt->emit(sink, &needs.h);
    for (uint32_t b = 0; b < e->binding_count && st == PTQC_BE_OK; b++) {
        ptqc_buffer_need n = {
            .h = {.size = sizeof n, .type = PTQC_REC_BUFFER_NEED},
            .align = 64,
        };
        for (uint32_t i = 0; i < e->value_count; i++) {
            const pq_kg_value *v = &e->values[i];
            uint64_t bytes = (uint64_t)spec->shapes[i].bytes;
            if (v->place == PQ_PLACE_BINDING && v->index == b &&
                bytes > n.bytes) {
                n.bytes = bytes;
            }
        }
        st = host->vt->emit(sink, &n.h);
    }
    return st;
}
