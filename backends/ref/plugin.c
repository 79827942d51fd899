// SPDX-License-Identifier: Apache-2.0
//
// The ref plugin's table, instance, device and context.
#include <string.h>

#include "backends/ref/ref.h"

ptqc_str
pq_ref_str(const char *z)
{
    return (ptqc_str){z, strlen(z)};
}

// ---- context --------------------------------------------------------------

static void *
ctx_alloc(void *user, size_t bytes)
{
    const ptqc_host *host = user;
    return host->vt->alloc(host->self, bytes, 64);
}

static void
ctx_free(void *user, void *p)
{
    const ptqc_host *host = user;
    host->vt->free(host->self, p);
}

ptqc_be_status
pq_ref_say(const ptqc_host *host, ptqc_call *call, ptqc_be_status status,
           const char *text)
{
    const ptqc_diag diag = {
        .h = {.size = sizeof diag, .type = PTQC_REC_DIAG},
        .severity = PTQC_SEV_ERROR,
        .text = pq_ref_str(text),
    };
    host->vt->diag(call, &diag);
    return status;
}

static void
ctx_diag(void *user, ptqc_severity severity, ptqc_status status,
         const char *text)
{
    const pq_ref_ctx *r = user;
    (void)status;
    if (severity == PTQC_SEVERITY_ERROR && r->call != NULL) {
        (void)pq_ref_say(r->host, r->call, PTQC_BE_OK, text);
    }
}

ptqc_be_status
pq_ref_ctx_init(pq_ref_ctx *r, const ptqc_host *host, ptqc_call *call)
{
    *r = (pq_ref_ctx){.host = host, .call = call};
    const ptqc_ctx_desc desc = {
        .alloc = ctx_alloc,
        .free = ctx_free,
        .alloc_user = (void *)(uintptr_t)host,
        .diag = ctx_diag,
        .diag_user = r,
        .threads = 1,
    };
    return pq_ref_status(ptqc_ctx_create(&desc, &r->ctx));
}

void
pq_ref_ctx_deinit(pq_ref_ctx *r)
{
    ptqc_ctx_destroy(r->ctx);
    r->ctx = NULL;
}

ptqc_be_status
pq_ref_status(ptqc_status st)
{
    switch (st) {
    case PTQC_OK:
        return PTQC_BE_OK;
    case PTQC_E_UNSUPPORTED:
        return PTQC_BE_UNSUPPORTED;
    case PTQC_E_RESOURCE:
        return PTQC_BE_RESOURCE;
    case PTQC_E_CANCELLED:
        return PTQC_BE_CANCELLED;
    case PTQC_E_INTEGRITY:
        return PTQC_BE_CORRUPT;
    case PTQC_E_INPUT:
    case PTQC_E_USAGE:
        return PTQC_BE_INVALID;
    default: // statuses of other layers
        return PTQC_BE_INTERNAL;
    }
}

// ---- instance, device, target ---------------------------------------------

static ptqc_be_status
create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    (void)call;
    ptqc_instance *inst =
        host->vt->alloc(host->self, sizeof *inst, _Alignof(ptqc_instance));
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
    const ptqc_device device = {
        .h = {.size = sizeof device, .type = PTQC_REC_DEVICE},
        .id = pq_ref_str(REF_NAME ":0"),
        .name = pq_ref_str("reference interpreter"),
        .target = pq_ref_str(REF_NAME),
        .state = PTQC_DEVICE_USABLE,
        .flags = PTQC_DEVICE_HOST_MEMORY,
    };
    return inst->host.vt->emit(sink, &device.h);
}

static ptqc_be_status
targets(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    const ptqc_target target = {
        .h = {.size = sizeof target, .type = PTQC_REC_TARGET},
        .name = pq_ref_str(REF_NAME),
        .summary = pq_ref_str("runs everything, exactly and slowly"),
    };
    return inst->host.vt->emit(sink, &target.h);
}

ptqc_be_status
pq_ref_check_target(const ptqc_instance *inst, ptqc_call *call, ptqc_str target)
{
    ptqc_str own = pq_ref_str(REF_NAME);
    return target.n == own.n && memcmp(target.p, own.p, own.n) == 0
               ? PTQC_BE_OK
               : pq_ref_say(&inst->host, call, PTQC_BE_UNSUPPORTED,
                            "no such target");
}

// ---- the table ------------------------------------------------------------

static const ptqc_plugin_vt ref_functions = {
    .h = {.size = sizeof(ptqc_plugin_vt), .type = PTQC_REC_PLUGIN_VT},
    .create = create,
    .destroy = destroy,
    .devices = devices,
    .targets = targets,
    .rules = pq_ref_rules,
    .check = pq_ref_check,
    .compile = pq_ref_compile,
    .load = pq_ref_load,
    .exe_free = pq_ref_exe_free,
    .specialize = pq_ref_specialize,
    .needs = pq_ref_needs,
    .spec_free = pq_ref_spec_free,
    .submit = pq_ref_submit,
};

#define TEXT(literal) {literal, sizeof(literal) - 1}

static const ptqc_plugin ref_plugin = {
    .h = {.size = sizeof(ptqc_plugin), .type = PTQC_REC_PLUGIN},
    .abi_version = PTQC_ABI_VERSION,
    .name = TEXT(REF_NAME),
    .vendor = TEXT("ptqc"),
    .version = TEXT(PTQC_PLUGIN_VERSION),
    .vt = &ref_functions,
};

PTQC_EXPORT ptqc_be_status ptqc_plugin_query_v0(const ptqc_host *offer,
                                                const ptqc_plugin **out);

ptqc_be_status
ptqc_plugin_query_v0(const ptqc_host *offer, const ptqc_plugin **out)
{
    *out = &ref_plugin;
    return offer->abi_version == PTQC_ABI_VERSION ? PTQC_BE_OK
                                                  : PTQC_BE_INCOMPATIBLE;
}
