// SPDX-License-Identifier: Apache-2.0
//
// What can be run on: plugins and their devices, usable or not, with reasons.

#include "base/arena.h"
#include "runtime/plugins.h"

typedef struct pq_device_adapter {
    pq_arena arena; // texts with NUL
    const pq_plugin *plugin;
    ptqc_device_fn fn;
    void *user;
} pq_device_adapter;

static const char *
text_of(pq_device_adapter *a, ptqc_str s)
{
    const char *z = pq_arena_strndup(&a->arena, s.p, s.n);
    return z == NULL ? "" : z;
}

static ptqc_be_status
tell_device(void *user, const ptqc_hdr *record)
{
    pq_device_adapter *a = user;
    if (record->type != PTQC_REC_DEVICE) {
        return PTQC_BE_OK;
    }
    ptqc_device d;
    pq_record_read(&d, sizeof d, record);
    ptqc_device_info info = {.id = text_of(a, d.id),
                             .name = text_of(a, d.name),
                             .target = a->plugin->name,
                             .reason = text_of(a, d.reason),
                             .is_usable = d.state == PTQC_DEVICE_USABLE,
                             .memory_bytes = d.memory_bytes};
    a->fn(a->user, &info);
    return PTQC_BE_OK;
}

// A plugin that cannot be loaded is one unusable device, not a failure.
static void
tell_failure(pq_device_adapter *a, const char *reason)
{
    a->fn(a->user, &(ptqc_device_info){.id = a->plugin->name,
                                       .name = "",
                                       .target = a->plugin->name,
                                       .reason = reason});
}

ptqc_status
ptqc_list_devices(ptqc_ctx *ctx, const ptqc_backend_dirs *dirs,
                  ptqc_device_fn fn, void *user)
{
    pq_plugins *set = NULL;
    PQ_TRY(pq_plugins_create(ctx, dirs, &set));
    pq_device_adapter adapter = {.fn = fn, .user = user};
    pq_arena_init(&adapter.arena, ctx);
    for (uint32_t i = 0; i < pq_plugins_count(set); i++) {
        pq_plugin *plugin = pq_plugins_at(set, i);
        adapter.plugin = plugin;
        if (pq_plugin_load(set, plugin) != PTQC_OK) {
            tell_failure(&adapter, plugin->failure != NULL
                                       ? plugin->failure
                                       : "cannot be loaded"); // out of memory
            continue;
        }
        ptqc_sink sink = {.emit = tell_device, .user = &adapter};
        ptqc_call call;
        pq_call_init(&call, ctx, plugin);
        if (plugin->table->vt->devices(&call, plugin->instance, &sink) !=
            PTQC_BE_OK) {
            tell_failure(&adapter, call.text[0] != '\0'
                                       ? call.text
                                       : "its devices cannot be listed");
        }
    }
    pq_arena_deinit(&adapter.arena);
    pq_plugins_destroy(set);
    return PTQC_OK;
}

ptqc_status
ptqc_list_plugins(ptqc_ctx *ctx, const ptqc_backend_dirs *dirs,
                  ptqc_plugin_fn fn, void *user)
{
    pq_plugins *set = NULL;
    PQ_TRY(pq_plugins_create(ctx, dirs, &set));
    for (uint32_t i = 0; i < pq_plugins_count(set); i++) {
        pq_plugin *plugin = pq_plugins_at(set, i);
        bool is_loaded = pq_plugin_load(set, plugin) == PTQC_OK;
        fn(user, plugin->name, is_loaded ? plugin->version : "unusable",
           plugin->path);
    }
    pq_plugins_destroy(set);
    return PTQC_OK;
}

const char *
ptqc_version(void)
{
    return PTQC_VERSION_TEXT;
}
