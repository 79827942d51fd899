// SPDX-License-Identifier: Apache-2.0
//
// A tiny plugin for the runtime's tests. Built several times:
//   FAKE_NAME "fake"    the sound one
//   FAKE_ABI 77         for another version of the ABI
//   FAKE_NO_SUBMIT      its table lacks a function
//   FAKE_NO_QUERY       no query function at all
//   FAKE_FAR            devices with memory of their own, which the host can
//                       reach through buf_* alone; both are usable; copies are
//                       told ("up 12", "down 12", "new 12")
//   FAKE_NO_BUFFERS     its table lacks buf_*
#include <stdbool.h>
#include <stdio.h>
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

#if defined(FAKE_FAR)
#define FAKE_IS_FAR true
#else
#define FAKE_IS_FAR false
#endif

struct ptqc_instance {
    ptqc_host host;
};

// Its bytes are hidden from the host by a mask on the address.
struct ptqc_buffer {
    const ptqc_host *host;
    uint64_t bytes;
    uintptr_t masked;
};

#define FAKE_MASK ((uintptr_t)0xa5a5a5a5)

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
    static const char *const ids[] = {FAKE_NAME ":0", FAKE_NAME ":1"};
    ptqc_be_status st = PTQC_BE_OK;
    for (unsigned i = 0; i < 2 && st == PTQC_BE_OK; i++) {
        const ptqc_device d = {
            .h = {.size = sizeof d, .type = PTQC_REC_DEVICE},
            .id = str_of(ids[i]),
            .name = str_of("fake device"),
            .target = str_of(FAKE_NAME),
            .reason = str_of(i == 0 ? "" : "switched off"),
            .state = i == 0 || FAKE_IS_FAR ? PTQC_DEVICE_USABLE
                                           : PTQC_DEVICE_UNUSABLE,
            .flags = FAKE_IS_FAR ? 0 : PTQC_DEVICE_HOST_MEMORY};
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
    const size_t id_bytes = sizeof FAKE_NAME + 1; // "fake:0"
    if (device.n < id_bytes ||
        memcmp(device.p, FAKE_NAME ":", id_bytes - 1) != 0) {
        return say(host, call, PTQC_BE_UNSUPPORTED, "no such device", "");
    }
    if (device.n > id_bytes) {
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

// The bytes of a binding, wherever they are; NULL when it is not of this
// plugin's kind or not where it has to be.
static uint8_t *
bytes_of(const ptqc_binding *b, uint64_t align)
{
    if (FAKE_IS_FAR) {
        bool is_mine = b->host == NULL && b->buf != NULL &&
                       b->offset + b->bytes <= b->buf->bytes;
        return is_mine ? (uint8_t *)(b->buf->masked ^ FAKE_MASK) : NULL;
    }
    return b->buf == NULL && (uintptr_t)b->host % align == 0 ? b->host : NULL;
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
    float *p[3];
    for (unsigned i = 0; i < 3; i++) {
        p[i] = (float *)(void *)bytes_of(&run->bindings[i], 128);
        if (run->bindings[i].bytes < bytes || p[i] == NULL) {
            return PTQC_BE_INVALID;
        }
    }
    uint8_t *workspace = bytes_of(&run->workspace, 64);
    if (workspace == NULL) {
        return PTQC_BE_INVALID;
    }
    memset(workspace, 0xff, 100);
    const float *a = p[0], *b = p[1];
    float *y = p[2];
    for (uint64_t i = 0; i < s->count; i++) {
        y[i] = s->exe->k * a[i] + b[i];
    }
    if (s->exe->blob.mode == FAKE_STATE) {
        memcpy(p[1], y, bytes);
    }
    if (run->profile != NULL) {
        const ptqc_step_profile row = {str_of("muladd"), 7, 2 * s->count,
                                       bytes};
        run->profile(run->profile_user, &row);
    }
    return PTQC_BE_OK;
}

// ---- memory of its own -----------------------------------------------------

#if defined(FAKE_FAR)
static void
tell(const ptqc_host *host, ptqc_call *call, const char *what, uint64_t bytes)
{
    char text[64];
    int n =
        snprintf(text, sizeof text, "%s %llu", what, (unsigned long long)bytes);
    const ptqc_diag d = {.h = {.size = sizeof d, .type = PTQC_REC_DIAG},
                         .severity = PTQC_SEV_WARNING,
                         .text = {text, (uint64_t)n}};
    host->vt->diag(call, &d);
}

__attribute__((unused)) static ptqc_be_status
buf_alloc(ptqc_call *call, ptqc_instance *inst, ptqc_str device, uint64_t bytes,
          uint64_t align, ptqc_buffer **out)
{
    (void)device;
    const ptqc_host_vt *vt = inst->host.vt;
    ptqc_buffer *b = vt->alloc(inst->host.self, sizeof *b, 16);
    void *p = vt->alloc(inst->host.self, bytes, align);
    if (b == NULL || p == NULL) {
        vt->free(inst->host.self, b);
        vt->free(inst->host.self, p);
        return PTQC_BE_RESOURCE;
    }
    memset(p, 0, bytes);
    *b = (ptqc_buffer){&inst->host, bytes, (uintptr_t)p ^ FAKE_MASK};
    tell(&inst->host, call, "new", bytes);
    *out = b;
    return PTQC_BE_OK;
}

__attribute__((unused)) static void
buf_free(ptqc_buffer *b)
{
    const ptqc_host *host = b->host;
    host->vt->free(host->self, (void *)(b->masked ^ FAKE_MASK));
    host->vt->free(host->self, b);
}

__attribute__((unused)) static ptqc_be_status
buf_write(ptqc_call *call, ptqc_buffer *b, uint64_t offset, ptqc_bytes from)
{
    if (offset + from.n > b->bytes) {
        return PTQC_BE_INVALID;
    }
    memcpy((uint8_t *)(b->masked ^ FAKE_MASK) + offset, from.p, from.n);
    tell(b->host, call, "up", from.n);
    return PTQC_BE_OK;
}

__attribute__((unused)) static ptqc_be_status
buf_read(ptqc_call *call, ptqc_buffer *b, uint64_t offset, void *to,
         uint64_t bytes)
{
    if (offset + bytes > b->bytes) {
        return PTQC_BE_INVALID;
    }
    memcpy(to, (uint8_t *)(b->masked ^ FAKE_MASK) + offset, bytes);
    tell(b->host, call, "down", bytes);
    return PTQC_BE_OK;
}
#endif

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
#if defined(FAKE_FAR) && !defined(FAKE_NO_BUFFERS)
    .buf_alloc = buf_alloc,
    .buf_free = buf_free,
    .buf_write = buf_write,
    .buf_read = buf_read,
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
