// SPDX-License-Identifier: Apache-2.0
#include "tests/support/plugin_host.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptqc/graph_block.h"

#include "tests/support/cmocka_test.h"

#define GUARD_BYTES 4096u
#define POISON      0xa5
#define CONSTANTS   4096u
#define BINDINGS    256u
#define LOANS       4096u
// What a damaged program may ask for is refused like a full machine would.
#define MEMORY_MAX ((uint64_t)1 << 30)

// A constant's bytes in the plugin's hands: a copy, gone when released.
typedef struct loan {
    uint64_t id;
    void *p; // owned
    uint64_t bytes;
} loan;

struct ptqc_call {
    pq_test_plugin *owner;
    pq_test_constant_fn map;
    void *user;
    loan *loans; // owned
    uint32_t loan_count;
};

struct ptqc_sink {
    pq_test_plugin *owner;
    void (*take)(pq_test_plugin *p, const ptqc_hdr *record);
};

struct pq_test_plugin {
    ptqc_host host;
    pq_pool *pool;
    const ptqc_plugin *plugin;
    ptqc_instance *instance;
    ptqc_exe *exe;
    ptqc_spec *spec;
    char message[4096];
    atomic_ullong allocations;
    uint32_t declined;
    bool may_allocate;               // while running
    ptqc_bytes blob;                 // owned
    ptqc_bytes constants[CONSTANTS]; // owned
    uint32_t constant_count;
    ptqc_needs needs;
    uint64_t binding_bytes[BINDINGS];
    uint32_t binding_count;
    uint8_t *workspace;
};

// ---- host services ---------------------------------------------------------

static void *
aligned(uint64_t bytes, uint64_t align)
{
    void *p = NULL;
    align = align < sizeof(void *) ? sizeof(void *) : align;
    return posix_memalign(&p, align, bytes > 0 ? bytes : 1) == 0 ? p : NULL;
}

static void *
host_alloc(void *self, uint64_t bytes, uint64_t align)
{
    pq_test_plugin *p = self;
    atomic_fetch_add(&p->allocations, 1);
    return bytes <= MEMORY_MAX ? aligned(bytes, align) : NULL;
}

static void
host_free(void *self, void *memory)
{
    (void)self;
    free(memory);
}

static void
host_diag(ptqc_call *call, const ptqc_diag *d)
{
    snprintf(call->owner->message, sizeof call->owner->message, "%.*s",
             (int)d->text.n, d->text.p);
}

static uint32_t
host_cancelled(ptqc_call *call)
{
    (void)call;
    return 0;
}

static ptqc_be_status
host_emit(ptqc_sink *sink, const ptqc_hdr *record)
{
    sink->take(sink->owner, record);
    return PTQC_BE_OK;
}

static uint32_t
host_width(void *self)
{
    const pq_test_plugin *p = self;
    return pq_pool_width(p->pool);
}

static void
host_for(void *self, uint64_t count, uint64_t grain, ptqc_task_fn fn,
         void *user)
{
    const pq_test_plugin *p = self;
    pq_pool_for(p->pool, count, grain, fn, user);
}

static void
host_run(void *self, ptqc_region_fn fn, void *user)
{
    const pq_test_plugin *p = self;
    pq_pool_run(p->pool, fn, user);
}

static ptqc_be_status
host_cache_get(void *self, const uint8_t key[32], ptqc_bytes *out)
{
    (void)self;
    (void)key;
    (void)out;
    return PTQC_BE_UNSUPPORTED;
}

static ptqc_be_status
host_cache_put(void *self, const uint8_t key[32], ptqc_bytes data)
{
    (void)self;
    (void)key;
    (void)data;
    return PTQC_BE_OK;
}

static loan *
find_loan(ptqc_call *call, uint64_t id)
{
    for (uint32_t i = 0; i < call->loan_count; i++) {
        if (call->loans[i].id == id) {
            return &call->loans[i];
        }
    }
    return NULL;
}

static const void *
host_map(ptqc_call *call, uint64_t id, uint64_t *out_bytes)
{
    uint64_t bytes = 0;
    const void *p =
        call->map != NULL ? call->map(call->user, id, &bytes) : NULL;
    loan *l = find_loan(call, id);
    if (p != NULL && l == NULL) {
        if (call->loans == NULL) {
            call->loans = calloc(LOANS, sizeof *call->loans);
        }
        assert_non_null(call->loans);
        assert_true(call->loan_count < LOANS);
        l = &call->loans[call->loan_count++];
        *l = (loan){id, aligned(bytes, 64), bytes};
        assert_non_null(l->p);
        memcpy(l->p, p, bytes);
    }
    *out_bytes = bytes;
    return p != NULL ? l->p : NULL;
}

// Whoever still reads the bytes reads poison, or is caught by a sanitizer.
static void
end_loan(ptqc_call *call, loan *l)
{
    memset(l->p, POISON, l->bytes);
    free(l->p);
    *l = call->loans[--call->loan_count];
}

static void
host_release(ptqc_call *call, uint64_t id)
{
    loan *l = find_loan(call, id);
    if (l != NULL) {
        end_loan(call, l);
    }
}

// What was not released is gone when the call returns.
static void
end_loans(ptqc_call *call)
{
    while (call->loan_count > 0) {
        end_loan(call, &call->loans[call->loan_count - 1]);
    }
    free(call->loans);
    call->loans = NULL;
}

static uint64_t
host_clock(void *self)
{
    (void)self;
    return pq_clock_ns();
}

static const ptqc_host_vt host_vt = {
    .h = {.size = sizeof(ptqc_host_vt), .type = PTQC_REC_HOST_VT},
    .alloc = host_alloc,
    .free = host_free,
    .diag = host_diag,
    .cancelled = host_cancelled,
    .emit = host_emit,
    .pool_width = host_width,
    .parallel_for = host_for,
    .pool_run = host_run,
    .barrier = pq_region_barrier,
    .cache_get = host_cache_get,
    .cache_put = host_cache_put,
    .constant_map = host_map,
    .clock_ns = host_clock,
    .constant_release = host_release,
};

// ---- open, close -----------------------------------------------------------

pq_test_plugin *
pq_test_plugin_open(ptqc_plugin_query_fn query, pq_pool *pool)
{
    pq_test_plugin *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->pool = pool;
    p->host = (ptqc_host){
        .h = {.size = sizeof p->host, .type = PTQC_REC_HOST},
        .abi_version = PTQC_ABI_VERSION,
    };
    assert_int_equal(query(&p->host, &p->plugin), PTQC_BE_OK);
    p->host.vt = &host_vt;
    p->host.self = p;
    ptqc_call call = {.owner = p};
    assert_int_equal(p->plugin->vt->create(&call, &p->host, &p->instance),
                     PTQC_BE_OK);
    return p;
}

static void *
unconst(const void *p)
{
    void *out;
    memcpy(&out, &p, sizeof out);
    return out;
}

static void
drop_compiled(pq_test_plugin *p)
{
    free(unconst(p->blob.p));
    for (uint32_t i = 0; i < p->constant_count; i++) {
        free(unconst(p->constants[i].p));
    }
    p->blob = (ptqc_bytes){NULL, 0};
    p->constant_count = 0;
}

void
pq_test_plugin_unload(pq_test_plugin *p)
{
    if (p->spec != NULL) {
        p->plugin->vt->spec_free(p->spec);
    }
    if (p->exe != NULL) {
        p->plugin->vt->exe_free(p->exe);
    }
    free(p->workspace);
    p->spec = NULL;
    p->exe = NULL;
    p->workspace = NULL;
}

void
pq_test_plugin_close(pq_test_plugin *p)
{
    if (p != NULL) {
        pq_test_plugin_unload(p);
        drop_compiled(p);
        p->plugin->vt->destroy(p->instance);
        free(p);
    }
}

const ptqc_host *
pq_test_plugin_host(const pq_test_plugin *p)
{
    return &p->host;
}

const char *
pq_test_plugin_message(const pq_test_plugin *p)
{
    return p->message;
}

uint64_t
pq_test_plugin_allocations(const pq_test_plugin *p)
{
    return atomic_load(&p->allocations);
}

// ---- target side -----------------------------------------------------------

static void
take_verdict(pq_test_plugin *p, const ptqc_hdr *record)
{
    const ptqc_verdict *v = (const ptqc_verdict *)(const void *)record;
    size_t n = strlen(p->message);
    snprintf(p->message + n, sizeof p->message - n, "node %u: %.*s\n", v->node,
             (int)v->reason.n, v->reason.p);
    p->declined++;
}

uint32_t
pq_test_plugin_check(pq_test_plugin *p, const char *target, ptqc_bytes block,
                     pq_test_constant_fn map, void *user)
{
    ptqc_call call = {.owner = p, .map = map, .user = user};
    ptqc_sink sink = {p, take_verdict};
    ptqc_gb g;
    const char *why;
    assert_true(ptqc_gb_open(block.p, block.n, &g, &why));
    uint32_t count = ptqc_gb_count(&g, PTQC_GB_NODES);
    uint32_t *nodes = calloc(count + 1, sizeof *nodes);
    assert_non_null(nodes);
    for (uint32_t i = 0; i < count; i++) {
        nodes[i] = i;
    }
    p->declined = 0;
    p->message[0] = '\0';
    ptqc_str t = {target, strlen(target)};
    ptqc_be_status st =
        p->plugin->vt->check(&call, p->instance, t, block, nodes, count, &sink);
    end_loans(&call);
    free(nodes);
    assert_int_equal(st, PTQC_BE_OK);
    return p->declined;
}

static ptqc_bytes
copy_of(ptqc_bytes from)
{
    ptqc_bytes out = {aligned(from.n, 64), from.n};
    assert_non_null(out.p);
    if (from.n > 0) {
        memcpy(unconst(out.p), from.p, from.n);
    }
    return out;
}

static void
take_compiled(pq_test_plugin *p, const ptqc_hdr *record)
{
    if (record->type == PTQC_REC_TEXT) {
        return; // for people
    }
    if (record->type == PTQC_REC_BLOB) {
        assert_null(p->blob.p);
        p->blob = copy_of(((const ptqc_blob *)(const void *)record)->data);
    } else {
        assert_int_equal(record->type, PTQC_REC_CONSTANT);
        assert_true(p->constant_count < CONSTANTS);
        p->constants[p->constant_count++] =
            copy_of(((const ptqc_packed_constant *)(const void *)record)->data);
    }
}

ptqc_be_status
pq_test_plugin_compile(pq_test_plugin *p, const char *target, ptqc_bytes block,
                       pq_test_constant_fn map, void *user)
{
    ptqc_call call = {.owner = p, .map = map, .user = user};
    ptqc_sink sink = {p, take_compiled};
    ptqc_str t = {target, strlen(target)};
    ptqc_entry entry = {.name = {"main", 4}, .graph = block};
    pq_test_plugin_unload(p);
    drop_compiled(p);
    ptqc_be_status st =
        p->plugin->vt->compile(&call, p->instance, t, &entry, 1, &sink);
    end_loans(&call);
    return st;
}

ptqc_bytes
pq_test_plugin_blob(const pq_test_plugin *p)
{
    return p->blob;
}

uint32_t
pq_test_plugin_constant_count(const pq_test_plugin *p)
{
    return p->constant_count;
}

// ---- device side -----------------------------------------------------------

static void
take_need(pq_test_plugin *p, const ptqc_hdr *record)
{
    if (record->type == PTQC_REC_NEEDS) {
        p->needs = *(const ptqc_needs *)(const void *)record;
    } else {
        assert_true(p->binding_count < BINDINGS);
        p->binding_bytes[p->binding_count++] =
            ((const ptqc_buffer_need *)(const void *)record)->bytes;
    }
}

ptqc_be_status
pq_test_plugin_load(pq_test_plugin *p, ptqc_bytes blob, const int64_t *dims,
                    uint64_t dim_count)
{
    ptqc_call call = {.owner = p};
    ptqc_sink sink = {p, take_need};
    char name[64]; // the plugin's first device
    int n = snprintf(name, sizeof name, "%.*s:0", (int)p->plugin->name.n,
                     p->plugin->name.p);
    ptqc_str device = {name, (uint64_t)n};
    pq_test_plugin_unload(p);
    const ptqc_plugin_vt *vt = p->plugin->vt;
    ptqc_be_status st =
        vt->load(&call, p->instance, device, blob.p != NULL ? blob : p->blob,
                 p->constants, p->constant_count, &p->exe);
    if (st == PTQC_BE_OK) {
        st = vt->specialize(&call, p->exe, 0, dims, dim_count, &p->spec);
    }
    p->binding_count = 0;
    if (st == PTQC_BE_OK) {
        st = vt->needs(&call, p->spec, &sink);
    }
    if (st == PTQC_BE_OK && p->needs.workspace_bytes > MEMORY_MAX) {
        return PTQC_BE_RESOURCE;
    }
    if (st == PTQC_BE_OK) {
        p->workspace = aligned(p->needs.workspace_bytes + GUARD_BYTES, 4096);
        assert_non_null(p->workspace);
    }
    return st;
}

uint64_t
pq_test_plugin_need(const pq_test_plugin *p, uint32_t binding)
{
    assert_true(binding < p->binding_count);
    return p->binding_bytes[binding];
}

void
pq_test_plugin_let_allocate(pq_test_plugin *p)
{
    p->may_allocate = true;
}

static ptqc_binding
to_device(pq_test_plugin *p, ptqc_call *call, const void *from, uint64_t bytes)
{
    const ptqc_plugin_vt *vt = p->plugin->vt;
    char name[64];
    ptqc_binding out = {.bytes = (bytes + 63) / 64 * 64};
    int n = snprintf(name, sizeof name, "%.*s:0", (int)p->plugin->name.n,
                     p->plugin->name.p);
    assert_int_equal(vt->buf_alloc(call, p->instance,
                                   (ptqc_str){name, (uint64_t)n}, out.bytes, 64,
                                   &out.buf),
                     PTQC_BE_OK);
    assert_int_equal(vt->buf_write(call, out.buf, 0, (ptqc_bytes){from, bytes}),
                     PTQC_BE_OK);
    return out;
}

// Bindings are copied to buffers of the device and back.
static ptqc_be_status
run_on_device(pq_test_plugin *p, ptqc_call *call, const ptqc_submit *host)
{
    const ptqc_plugin_vt *vt = p->plugin->vt;
    uint64_t count = host->binding_count;
    ptqc_binding buffers[BINDINGS];
    ptqc_submit submit = *host;
    assert_true(count <= BINDINGS);
    submit.bindings = buffers;
    submit.workspace =
        to_device(p, call, p->workspace, p->needs.workspace_bytes);
    for (uint64_t i = 0; i < count; i++) {
        buffers[i] =
            to_device(p, call, host->bindings[i].host, host->bindings[i].bytes);
    }
    ptqc_be_status st = vt->submit(call, p->spec, &submit);
    for (uint64_t i = 0; i < count; i++) {
        if (st == PTQC_BE_OK) {
            st = vt->buf_read(call, buffers[i].buf, 0, host->bindings[i].host,
                              host->bindings[i].bytes);
        }
        vt->buf_free(buffers[i].buf);
    }
    vt->buf_free(submit.workspace.buf);
    return st;
}

ptqc_be_status
pq_test_plugin_run(pq_test_plugin *p, const ptqc_binding *bindings,
                   uint64_t binding_count, ptqc_profile_fn profile, void *user)
{
    ptqc_call call = {.owner = p};
    uint64_t bytes = p->needs.workspace_bytes;
    ptqc_submit submit = {
        .h = {.size = sizeof submit},
        .bindings = bindings,
        .binding_count = binding_count,
        .workspace = {.host = p->workspace, .bytes = bytes},
        .profile = profile,
        .profile_user = user,
    };
    memset(p->workspace, POISON, bytes + GUARD_BYTES);
    if (p->plugin->vt->buf_alloc != NULL) {
        return run_on_device(p, &call, &submit);
    }
    uint64_t before = pq_test_plugin_allocations(p);
    ptqc_be_status st = p->plugin->vt->submit(&call, p->spec, &submit);
    assert_true(p->may_allocate || pq_test_plugin_allocations(p) == before);
    for (uint64_t i = 0; i < GUARD_BYTES; i++) {
        assert_int_equal(p->workspace[bytes + i], POISON);
    }
    return st;
}
