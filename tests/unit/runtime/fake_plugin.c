// SPDX-License-Identifier: Apache-2.0
//
// A tiny plugin for the runtime's tests. Built several times:
//   FAKE_NAME "fake"    the sound one
//   FAKE_ABI 77         for another version of the ABI
//   FAKE_NO_SUBMIT      its table lacks a function
//   FAKE_NO_QUERY       no query function at all
#include <stdbool.h>
#include <string.h>

#include "ptqc/backend.h"

#include "tests/unit/runtime/fake_blob.h"

#if defined(FAKE_NO_QUERY)
PTQC_EXPORT int ptqc_something_else(void);

int
ptqc_something_else(void)
{
    return 0;
}
#else

#if !defined(FAKE_ABI)
#define FAKE_ABI PTQC_ABI_VERSION
#endif

struct ptqc_instance {
    ptqc_host host;
};

struct ptqc_exe {
    const ptqc_host *host;
    fake_blob blob;
    float k;
};

struct ptqc_spec {
    const ptqc_exe *exe;
    uint64_t count;
};

static ptqc_str
str_of(const char *z)
{
    return (ptqc_str){z, strlen(z)};
}

static ptqc_be_status
say(const ptqc_host *host, ptqc_call *call, ptqc_be_status status,
    const char *text, const char *hint)
{
    const ptqc_diag d = {.h = {.size = sizeof d, .type = PTQC_REC_DIAG},
                         .severity = PTQC_SEV_ERROR,
                         .text = str_of(text),
                         .hint = str_of(hint)};
    host->vt->diag(call, &d);
    return status;
}

static ptqc_be_status
create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    (void)call;
    ptqc_instance *inst = host->vt->alloc(host->self, sizeof *inst, 16);
    if (inst == NULL) {
        return PTQC_BE_RESOURCE;
    }
    inst->host = *host;
    *out = inst;
    return PTQC_BE_OK;
}

static void
destroy(ptqc_instance *inst)
{
    inst->host.vt->free(inst->host.self, inst);
}

static ptqc_be_status
devices(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    static const char *const ids[] = {"fake:0", "fake:1"};
    ptqc_be_status st = PTQC_BE_OK;
    for (unsigned i = 0; i < 2 && st == PTQC_BE_OK; i++) {
        const ptqc_device d = {.h = {.size = sizeof d, .type = PTQC_REC_DEVICE},
                               .id = str_of(ids[i]),
                               .name = str_of("fake device"),
                               .target = str_of(FAKE_NAME),
                               .reason = str_of(i == 0 ? "" : "switched off"),
                               .state = i == 0 ? PTQC_DEVICE_USABLE
                                               : PTQC_DEVICE_UNUSABLE,
                               .flags = PTQC_DEVICE_HOST_MEMORY};
        st = inst->host.vt->emit(sink, &d.h);
    }
    return st;
}

static ptqc_be_status
targets(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    const ptqc_target t = {.h = {.size = sizeof t, .type = PTQC_REC_TARGET},
                           .name = str_of(FAKE_NAME)};
    return inst->host.vt->emit(sink, &t.h);
}

static ptqc_be_status
rules(ptqc_call *call, ptqc_instance *inst, ptqc_str target, ptqc_sink *sink)
{
    (void)call;
    (void)inst;
    (void)target;
    (void)sink;
    return PTQC_BE_OK;
}

static ptqc_be_status
check(ptqc_call *call, ptqc_instance *inst, ptqc_str target, ptqc_bytes graph,
      const uint32_t *nodes, uint64_t node_count, ptqc_sink *sink)
{
    (void)call;
    (void)inst;
    (void)target;
    (void)graph;
    (void)nodes;
    (void)node_count;
    (void)sink;
    return PTQC_BE_OK;
}

static ptqc_be_status
compile(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
        const ptqc_entry *entries, uint64_t entry_count, ptqc_sink *sink)
{
    (void)call;
    (void)inst;
    (void)target;
    (void)entries;
    (void)entry_count;
    (void)sink;
    return PTQC_BE_UNSUPPORTED;
}

static ptqc_be_status
load(ptqc_call *call, ptqc_instance *inst, ptqc_str device, ptqc_bytes blob,
     const ptqc_bytes *constants, uint64_t constant_count, ptqc_exe **out)
{
    const ptqc_host *host = &inst->host;
    fake_blob b;
    if (device.n < 6 || memcmp(device.p, "fake:0", 6) != 0) {
        return say(host, call, PTQC_BE_UNSUPPORTED, "no such device", "");
    }
    if (device.n > 6) {
        return say(host, call, PTQC_BE_UNSUPPORTED, "no caps", "");
    }
    if (blob.n != sizeof b || constant_count != 1 || constants[0].n != 4) {
        return PTQC_BE_CORRUPT;
    }
    memcpy(&b, blob.p, sizeof b);
    if (b.magic != FAKE_MAGIC || b.inner == 0) {
        return PTQC_BE_CORRUPT;
    }
    ptqc_exe *exe = host->vt->alloc(host->self, sizeof *exe, 16);
    if (exe == NULL) {
        return PTQC_BE_RESOURCE;
    }
    *exe = (ptqc_exe){.host = host, .blob = b};
    memcpy(&exe->k, constants[0].p, 4);
    *out = exe;
    return PTQC_BE_OK;
}

static void
exe_free(ptqc_exe *exe)
{
    exe->host->vt->free(exe->host->self, exe);
}

static ptqc_be_status
specialize(ptqc_call *call, ptqc_exe *exe, uint32_t entry, const int64_t *dims,
           uint64_t dim_count, ptqc_spec **out)
{
    (void)call;
    if (entry != 0 || dim_count != 1) {
        return PTQC_BE_INVALID;
    }
    ptqc_spec *s = exe->host->vt->alloc(exe->host->self, sizeof *s, 16);
    if (s == NULL) {
        return PTQC_BE_RESOURCE;
    }
    *s = (ptqc_spec){exe, (uint64_t)dims[0] * exe->blob.inner};
    *out = s;
    return PTQC_BE_OK;
}

static ptqc_be_status
needs(ptqc_call *call, ptqc_spec *s, ptqc_sink *sink)
{
    (void)call;
    const ptqc_host_vt *vt = s->exe->host->vt;
    uint32_t mode = s->exe->blob.mode;
    unsigned count = mode == FAKE_FEW_NEEDS    ? 2
                     : mode == FAKE_MANY_NEEDS ? 4
                                               : 3;
    const ptqc_needs n = {.h = {.size = sizeof n, .type = PTQC_REC_NEEDS},
                          .workspace_bytes = 100,
                          .workspace_align =
                              mode == FAKE_HUGE_ALIGN ? 1 << 20 : 64};
    ptqc_be_status st = vt->emit(sink, &n.h);
    for (unsigned i = 0; i < count && st == PTQC_BE_OK; i++) {
        const ptqc_buffer_need b = {
            .h = {.size = sizeof b, .type = PTQC_REC_BUFFER_NEED},
            .bytes = s->count * sizeof(float),
            .align = 128};
        st = vt->emit(sink, &b.h);
    }
    return st;
}

static void
spec_free(ptqc_spec *s)
{
    s->exe->host->vt->free(s->exe->host->self, s);
}

__attribute__((unused)) static ptqc_be_status
submit(ptqc_call *call, ptqc_spec *s, const ptqc_submit *run)
{
    const ptqc_host *host = s->exe->host;
    uint64_t bytes = s->count * sizeof(float);
    if (s->exe->blob.mode == FAKE_FAILS) {
        return say(host, call, PTQC_BE_DEVICE_LOST, "it fell off", "glue it");
    }
    if (run->binding_count != 3 || run->workspace.bytes < 100) {
        return PTQC_BE_INVALID;
    }
    for (unsigned i = 0; i < 3; i++) {
        if (run->bindings[i].bytes < bytes ||
            (uintptr_t)run->bindings[i].host % 128 != 0) {
            return PTQC_BE_INVALID;
        }
    }
    memset(run->workspace.host, 0xff, 100);
    const float *a = run->bindings[0].host, *b = run->bindings[1].host;
    float *y = run->bindings[2].host;
    for (uint64_t i = 0; i < s->count; i++) {
        y[i] = s->exe->k * a[i] + b[i];
    }
    if (s->exe->blob.mode == FAKE_STATE) {
        memcpy(run->bindings[1].host, y, bytes);
    }
    if (run->profile != NULL) {
        const ptqc_step_profile p = {str_of("muladd"), 7, 2 * s->count, bytes};
        run->profile(run->profile_user, &p);
    }
    return PTQC_BE_OK;
}

static const ptqc_plugin_vt functions = {
    .h = {.size = sizeof(ptqc_plugin_vt), .type = PTQC_REC_PLUGIN_VT},
    .create = create,
    .destroy = destroy,
    .devices = devices,
    .targets = targets,
    .rules = rules,
    .check = check,
    .compile = compile,
    .load = load,
    .exe_free = exe_free,
    .specialize = specialize,
    .needs = needs,
    .spec_free = spec_free,
#if defined(FAKE_NO_SUBMIT)
    .submit = NULL,
#else
    .submit = submit,
#endif
};

static const ptqc_plugin plugin = {
    .h = {.size = sizeof(ptqc_plugin), .type = PTQC_REC_PLUGIN},
    .abi_version = FAKE_ABI,
    .name = {FAKE_NAME, sizeof FAKE_NAME - 1},
    .vendor = {"tests", 5},
    .version = {"0.9 (fake)", 10},
    .vt = &functions,
};

PTQC_EXPORT ptqc_be_status ptqc_plugin_query_v0(const ptqc_host *offer,
                                                const ptqc_plugin **out);

ptqc_be_status
ptqc_plugin_query_v0(const ptqc_host *offer, const ptqc_plugin **out)
{
    *out = &plugin;
    return offer->abi_version == FAKE_ABI ? PTQC_BE_OK : PTQC_BE_INCOMPATIBLE;
}
#endif
