// SPDX-License-Identifier: Apache-2.0
//
// Finding, loading and calling plugins.

#include "runtime/plugins.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/dylib.h"
#include "base/file.h"
#include "base/json.h"
#include "base/vec.h"
#include "runtime/host.h"

static const char pq_manifest_suffix[] = ".ptqc.json";

struct pq_plugins {
    ptqc_ctx *ctx;  // borrowed
    pq_arena arena; // texts
    ptqc_host host;
    pq_plugin **all; // owned array; entries in the arena
    uint32_t count, capacity;
};

// ---- manifests ------------------------------------------------------------

static ptqc_status
add_plugin(pq_plugins *set, const pq_plugin *found)
{
    void *all = set->all;
    PQ_TRY(pq_vec_reserve(set->ctx, &all, &set->capacity,
                          (size_t)set->count + 1, sizeof *set->all));
    set->all = all;
    pq_plugin *p = pq_arena_memdup(&set->arena, found, sizeof *found);
    PQ_TRY_ALLOC(p);
    set->all[set->count++] = p;
    return PTQC_OK;
}

static ptqc_status
bad_manifest(ptqc_ctx *ctx, const char *path, const char *what)
{
    return PQ_FAIL(ctx, PTQC_E_BACKEND, "plugin manifest %s: %s", path, what);
}

// Everything of a manifest that is looked at.
static ptqc_status
read_fields(pq_plugins *set, const char *dir, const char *path,
            const pq_json *json)
{
    int64_t version = 0;
    pq_str name, library, text = {0};
    if (!pq_json_i64(pq_json_get(json, "manifest"), &version) || version != 1) {
        return bad_manifest(set->ctx, path, "expected \"manifest\": 1");
    }
    if (!pq_json_str(pq_json_get(json, "name"), &name) || name.n == 0) {
        return bad_manifest(set->ctx, path, "no \"name\"");
    }
    if (!pq_json_str(pq_json_get(json, "library"), &library) ||
        library.n == 0 || memchr(library.p, '/', library.n) != NULL) {
        return bad_manifest(set->ctx, path,
                            "\"library\" must be a file name beside it");
    }
    (void)pq_json_str(pq_json_get(json, "version"), &text);
    if (pq_plugins_find(set, name) != NULL) {
        return PTQC_OK; // an earlier directory has it
    }
    pq_strbuf so;
    pq_strbuf_init(&so, set->ctx);
    pq_strbuf_addf(&so, "%s/%.*s", dir, PQ_STR_ARG(library));
    pq_plugin found = {
        .name = pq_arena_strndup(&set->arena, name.p, name.n),
        .version = pq_arena_strndup(&set->arena, text.p, text.n),
        .path = so.failed ? NULL : pq_arena_strndup(&set->arena, so.p, so.n),
    };
    pq_strbuf_deinit(&so);
    if (found.name == NULL || found.version == NULL || found.path == NULL) {
        return PTQC_E_RESOURCE;
    }
    return add_plugin(set, &found);
}

static ptqc_status
read_manifest(pq_plugins *set, const char *dir, const char *file)
{
    ptqc_status st = PTQC_OK;
    pq_map map = {0};
    pq_json *json = NULL;
    pq_strbuf path;
    pq_strbuf_init(&path, set->ctx);
    pq_strbuf_addf(&path, "%s/%s", dir, file);
    if (path.failed) {
        st = PTQC_E_RESOURCE;
        goto done;
    }
    PQ_TRY_OR(done, pq_map_open(set->ctx, path.p, &map));
    PQ_TRY_OR(done, pq_json_parse(set->ctx, path.p,
                                  (pq_str){(const char *)map.p, map.n}, &json));
    st = read_fields(set, dir, path.p, json);
done:
    pq_json_free(json);
    pq_map_close(&map);
    pq_strbuf_deinit(&path);
    return st;
}

// ---- directories ----------------------------------------------------------

static int
is_manifest(const struct dirent *entry)
{
    pq_str name = pq_str_of(entry->d_name);
    return pq_str_ends(name, pq_manifest_suffix) && name.p[0] != '.';
}

// Others must not be able to plant a plugin.
static bool
is_world_writable(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && (s.st_mode & S_IWOTH) != 0;
}

static ptqc_status
scan_directory(pq_plugins *set, const char *given, bool must_exist)
{
    char *dir = realpath(given, NULL);
    struct dirent **names = NULL;
    int n = dir == NULL ? -1 : scandir(dir, &names, is_manifest, alphasort);
    ptqc_status st = PTQC_OK;
    if (n < 0 && must_exist) {
        st = PQ_FAIL(set->ctx, PTQC_E_IO,
                     "backend directory %s: cannot be read", given);
    }
    if (n > 0 && is_world_writable(dir)) {
        st = PQ_FAIL(set->ctx, PTQC_E_BACKEND,
                     "backend directory %s: everybody may write it; its "
                     "plugins are not loaded",
                     dir);
    }
    for (int i = 0; i < n; i++) {
        if (st == PTQC_OK) {
            st = read_manifest(set, dir, names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
    free(dir);
    return st;
}

// Plugins are installed beside the library: LIBDIR/ptqc/backends. A library
// linked into a program knows only the directory it was configured with.
static ptqc_status
scan_own_directory(pq_plugins *set)
{
    Dl_info info;
    pq_strbuf path;
    ptqc_status st = PTQC_OK;
    pq_strbuf_init(&path, set->ctx);
    if (dladdr((const void *)&pq_manifest_suffix, &info) != 0 &&
        strstr(info.dli_fname, "libptqc") != NULL) {
        const char *slash = strrchr(info.dli_fname, '/');
        if (slash != NULL) {
            pq_strbuf_addf(&path, "%.*s/ptqc/backends",
                           (int)(slash - info.dli_fname), info.dli_fname);
            st = path.failed ? PTQC_E_RESOURCE
                             : scan_directory(set, path.p, false);
        }
    }
    pq_strbuf_deinit(&path);
    return st != PTQC_OK ? st : scan_directory(set, PTQC_BACKEND_DIR, false);
}

ptqc_status
pq_plugins_create(ptqc_ctx *ctx, const ptqc_backend_dirs *dirs,
                  pq_plugins **out)
{
    *out = NULL;
    pq_plugins *set = pq_alloc(ctx, sizeof *set);
    PQ_TRY_ALLOC(set);
    set->ctx = ctx;
    pq_arena_init(&set->arena, ctx);
    pq_host_init(ctx, &set->host);
    ptqc_status st = PTQC_OK;
    for (uint32_t i = 0; dirs != NULL && i < dirs->dir_count; i++) {
        PQ_TRY_OR(done, scan_directory(set, dirs->dirs[i], true));
    }
    st = scan_own_directory(set);
done:
    if (st != PTQC_OK) {
        pq_plugins_destroy(set);
        return st;
    }
    *out = set;
    return PTQC_OK;
}

void
pq_plugins_destroy(pq_plugins *set)
{
    if (set == NULL) {
        return;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->all[i]->instance != NULL) {
            set->all[i]->table->vt->destroy(set->all[i]->instance);
        }
    }
    pq_free(set->ctx, set->all);
    pq_arena_deinit(&set->arena);
    pq_free(set->ctx, set);
}

uint32_t
pq_plugins_count(const pq_plugins *set)
{
    return set->count;
}

pq_plugin *
pq_plugins_at(pq_plugins *set, uint32_t i)
{
    return set->all[i];
}

pq_plugin *
pq_plugins_find(pq_plugins *set, pq_str name)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (pq_str_equal_z(name, set->all[i]->name)) {
            return set->all[i];
        }
    }
    return NULL;
}

// ---- loading --------------------------------------------------------------

static void
keep_failure(pq_plugins *set, pq_plugin *plugin, const char *reason)
{
    plugin->failure = pq_arena_strndup(&set->arena, reason, strlen(reason));
}

static ptqc_status
cannot_load(pq_plugins *set, pq_plugin *plugin, const char *reason)
{
    keep_failure(set, plugin, reason);
    return PQ_FAIL(set->ctx, PTQC_E_BACKEND, "plugin %s: %s", plugin->name,
                   reason);
}

// Slots the host calls without asking.
static bool
has_required_slots(const ptqc_plugin_vt *vt)
{
    return vt->h.size >= offsetof(ptqc_plugin_vt, buf_alloc) &&
           vt->create != NULL && vt->destroy != NULL && vt->devices != NULL &&
           vt->targets != NULL && vt->rules != NULL && vt->check != NULL &&
           vt->compile != NULL && vt->load != NULL && vt->exe_free != NULL &&
           vt->specialize != NULL && vt->needs != NULL &&
           vt->spec_free != NULL && vt->submit != NULL;
}

static ptqc_status
query(pq_plugins *set, pq_plugin *plugin, ptqc_plugin_query_fn fn)
{
    char reason[160];
    ptqc_host offer = set->host;
    offer.vt = NULL;
    const ptqc_plugin *table = NULL;
    ptqc_be_status answer = fn(&offer, &table);
    if (table == NULL || table->h.size < sizeof *table) {
        return cannot_load(set, plugin, "its query gives no table");
    }
    if (table->abi_version != PTQC_ABI_VERSION) {
        snprintf(reason, sizeof reason,
                 "built for plugin ABI version %u, this ptqc has %u",
                 table->abi_version, PTQC_ABI_VERSION);
        return cannot_load(set, plugin, reason);
    }
    if (answer != PTQC_BE_OK || table->vt == NULL ||
        !has_required_slots(table->vt)) {
        return cannot_load(set, plugin, "its table lacks required functions");
    }
    plugin->table = table;
    plugin->version =
        pq_arena_strndup(&set->arena, table->version.p, table->version.n);
    PQ_TRY_ALLOC(plugin->version);
    return PTQC_OK;
}

ptqc_status
pq_plugin_load(pq_plugins *set, pq_plugin *plugin)
{
    if (plugin->instance != NULL) {
        return PTQC_OK;
    }
    if (plugin->failure != NULL) {
        return PQ_FAIL(set->ctx, PTQC_E_BACKEND, "plugin %s: %s", plugin->name,
                       plugin->failure);
    }
    if (is_world_writable(plugin->path)) {
        return cannot_load(set, plugin, "everybody may write its file");
    }
    pq_dylib *lib = NULL;
    ptqc_status opened = pq_dylib_open(set->ctx, plugin->path, &lib);
    if (opened != PTQC_OK) {
        keep_failure(set, plugin, "its library cannot be loaded");
        return opened;
    }
    void *symbol = pq_dylib_symbol(lib, PTQC_QUERY_SYMBOL);
    pq_dylib_close(lib, false); // stays loaded for good
    if (symbol == NULL) {
        return cannot_load(set, plugin, "no " PTQC_QUERY_SYMBOL);
    }
    ptqc_plugin_query_fn fn;
    memcpy(&fn, &symbol, sizeof fn);
    PQ_TRY(query(set, plugin, fn));
    ptqc_call call;
    pq_call_init(&call, set->ctx, plugin);
    ptqc_be_status st =
        plugin->table->vt->create(&call, &set->host, &plugin->instance);
    if (st < PTQC_BE_OK) {
        keep_failure(set, plugin,
                     call.text[0] != '\0' ? call.text : "it does not start");
    }
    return pq_call_end(&call, st, "start");
}

ptqc_status
pq_plugins_add_file(pq_plugins *set, const char *path, pq_plugin **out)
{
    *out = NULL;
    char *absolute = realpath(path, NULL);
    if (absolute == NULL) {
        return PQ_FAIL(set->ctx, PTQC_E_IO, "%s: cannot be opened", path);
    }
    pq_plugin found = {
        .name = pq_arena_strndup(&set->arena, absolute, strlen(absolute)),
        .version = pq_arena_strndup(&set->arena, "", 0),
        .path = pq_arena_strndup(&set->arena, absolute, strlen(absolute)),
    };
    free(absolute);
    if (found.name == NULL || found.version == NULL || found.path == NULL) {
        return PTQC_E_RESOURCE;
    }
    PQ_TRY(add_plugin(set, &found));
    pq_plugin *plugin = set->all[set->count - 1];
    PQ_TRY(pq_plugin_load(set, plugin));
    plugin->name = pq_arena_strndup(&set->arena, plugin->table->name.p,
                                    plugin->table->name.n);
    PQ_TRY_ALLOC(plugin->name);
    *out = plugin;
    return PTQC_OK;
}

// ---- calls ----------------------------------------------------------------

void
pq_call_init(ptqc_call *call, ptqc_ctx *ctx, const pq_plugin *plugin)
{
    *call = (ptqc_call){
        .ctx = ctx, .plugin = plugin->name, .fail_count = pq_fail_count(ctx)};
}

typedef struct pq_be_row {
    ptqc_be_status from;
    ptqc_status to;
    const char *text;
} pq_be_row;

static const pq_be_row pq_be_rows[] = {
    {PTQC_BE_UNSUPPORTED, PTQC_E_UNSUPPORTED, "unsupported"},
    {PTQC_BE_RESOURCE, PTQC_E_RESOURCE, "out of memory"},
    {PTQC_BE_INVALID, PTQC_E_INTERNAL, "refused the call as invalid"},
    {PTQC_BE_INCOMPATIBLE, PTQC_E_BACKEND,
     "the program was compiled for something else; compile it again"},
    {PTQC_BE_CANCELLED, PTQC_E_CANCELLED, "interrupted"},
    {PTQC_BE_DEVICE_LOST, PTQC_E_BACKEND, "the device is lost"},
    {PTQC_BE_INTERNAL, PTQC_E_BACKEND, "internal error"},
    {PTQC_BE_CORRUPT, PTQC_E_INTEGRITY, "the program is damaged"},
};

ptqc_status
pq_call_end(ptqc_call *call, ptqc_be_status status, const char *doing)
{
    bool has_said = pq_fail_count(call->ctx) != call->fail_count;
    if (call->is_short || (status == PTQC_BE_RESOURCE && has_said)) {
        return PTQC_E_RESOURCE;
    }
    if (status >= PTQC_BE_OK) {
        return PTQC_OK;
    }
    pq_be_row row = {status, PTQC_E_BACKEND, "unknown failure"};
    for (size_t i = 0; i < sizeof pq_be_rows / sizeof *pq_be_rows; i++) {
        if (pq_be_rows[i].from == status) {
            row = pq_be_rows[i];
        }
    }
    ptqc_status st =
        PQ_FAIL(call->ctx, row.to, "plugin %s: %s: %s", call->plugin, doing,
                call->text[0] != '\0' ? call->text : row.text);
    if (call->hint[0] != '\0') {
        pq_say(call->ctx, PTQC_SEVERITY_NOTE, "%s", call->hint);
    }
    return st;
}

void
pq_record_read(void *to, size_t size, const ptqc_hdr *record)
{
    size_t n = record->size < size ? record->size : size;
    memset(to, 0, size);
    memcpy(to, record, n);
}

ptqc_status
pq_target_parse(ptqc_ctx *ctx, pq_str text, pq_target_text *out)
{
    pq_target_text t = {.target = text, .device = -1};
    pq_str head, rest;
    bool has_device = pq_str_split(text, ':', &head, &rest);
    if (has_device) {
        uint64_t number;
        if (!pq_str_to_u64(rest, &number) || number > 1023) {
            return PQ_FAIL(ctx, PTQC_E_USAGE,
                           "target '%.*s': expected a device number after ':'",
                           PQ_STR_ARG(text));
        }
        t.device = (int)number;
        t.target = head;
    }
    (void)pq_str_split(t.target, ';', &t.plugin, &rest);
    if (t.plugin.n == 0) {
        return PQ_FAIL(ctx, PTQC_E_USAGE, "target '%.*s': no name",
                       PQ_STR_ARG(text));
    }
    *out = t;
    return PTQC_OK;
}
