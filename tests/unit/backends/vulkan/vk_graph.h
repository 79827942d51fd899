// SPDX-License-Identifier: Apache-2.0
//
// Graphs in the text form through the plugin's inside (check, compile, load,
// run) on the device that is there, with what an instance believes about
// devices changed before. Skips where no device is.
#ifndef PTQC_TESTS_VULKAN_GRAPH_H
#define PTQC_TESTS_VULKAN_GRAPH_H

#include "backends/kgen/kernel.h"
#include "backends/vulkan/plugin.h"
#include "tests/unit/backends/cpu/plugin_check.h"

// What is changed before a graph is compiled and loaded.
typedef struct vk_graph_change {
    int64_t range_bytes; // 0: as it is
    bool sets_features;  // exactly `features`, where there are
    uint32_t features;
} vk_graph_change;

static struct {
    const vk_graph_change *change;
    char reason[256]; // why there is no device
    uint32_t has;     // features of the first device
} vk_graph_state;

static ptqc_be_status
vk_graph_create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    ptqc_be_status st = pq_vk_instance_create(call, host, PQ_VK_LIBRARY, out);
    if (st == PTQC_BE_OK) {
        st = pq_vk_instance_look(call, *out);
    }
    if (st != PTQC_BE_OK) {
        return st;
    }
    snprintf(vk_graph_state.reason, sizeof vk_graph_state.reason, "%s",
             (*out)->reason);
    if (vk_graph_state.change->range_bytes > 0) {
        (*out)->range_bytes = vk_graph_state.change->range_bytes;
    }
    if (vk_graph_state.change->sets_features) {
        (*out)->features = vk_graph_state.change->features;
    }
    vk_graph_state.has =
        (*out)->gpu_count > 0 ? (*out)->gpus[0].features.has : 0;
    return st;
}

static ptqc_be_status
vk_graph_query(const ptqc_host *offer, const ptqc_plugin **out)
{
    static ptqc_plugin_vt table;
    static const ptqc_plugin plugin = {
        .h = {.size = sizeof(ptqc_plugin), .type = PTQC_REC_PLUGIN},
        .abi_version = PTQC_ABI_VERSION,
        .name = {"vulkan", 6},
        .vt = &table,
    };
    (void)offer;
    table = pq_vk_table;
    table.create = vk_graph_create;
    *out = &plugin;
    return PTQC_BE_OK;
}

// What the graphs of a test share.
typedef struct vk_graph_bench {
    pq_test_sink *sink; // static
    ptqc_ctx *ctx;
    pq_pool *pool;
} vk_graph_bench;

static inline vk_graph_bench
vk_graph_begin(void)
{
    static pq_test_sink sink;
    vk_graph_bench b = {.sink = &sink,
                        .ctx = pq_test_ctx_create(&sink, NULL, 1)};
    assert_int_equal(pq_pool_create(b.ctx, 1, &b.pool), PTQC_OK);
    return b;
}

static inline void
vk_graph_end(vk_graph_bench *b)
{
    pq_pool_destroy(b->pool);
    ptqc_ctx_destroy(b->ctx);
}

// What came out, and of what.
typedef struct vk_graph_result {
    void *outputs[PLUGIN_VALUES]; // owned
    size_t bytes[PLUGIN_VALUES];
    uint32_t count;
    uint32_t constants;
} vk_graph_result;

static inline void
vk_graph_free(vk_graph_result *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        free(r->outputs[i]);
    }
    *r = (vk_graph_result){0};
}

static inline void
vk_graph_expect_same(const char *what, const vk_graph_result *a,
                     const vk_graph_result *b)
{
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        if (memcmp(a->outputs[i], b->outputs[i], a->bytes[i]) != 0) {
            fail_msg("%s: result %u differs", what, i);
        }
    }
}

static inline void
vk_graph_run(const vk_graph_bench *b, const plugin_run *run,
             const vk_graph_change *change, vk_graph_result *out)
{
    ptqc_binding bindings[2 * PLUGIN_VALUES] = {{0}};
    uint32_t n = run->input_count;
    *out = (vk_graph_result){.count = run->output_count};
    vk_graph_state.change = change;
    pq_test_plugin *p = pq_test_plugin_open(vk_graph_query, b->pool);
    if (vk_graph_state.reason[0] != '\0') {
        print_message("skipped: %s\n", vk_graph_state.reason);
        pq_test_plugin_close(p);
        skip();
    }
    bool good =
        pq_test_plugin_check(p, "vulkan", run->block, plugin_constant,
                             run->g) == 0 &&
        pq_test_plugin_compile(p, "vulkan", run->block, plugin_constant,
                               run->g) == PTQC_BE_OK &&
        pq_test_plugin_load(p, (ptqc_bytes){NULL, 0}, run->c->symbols,
                            (uint64_t)run->c->symbol_count) == PTQC_BE_OK;
    out->constants = pq_test_plugin_constant_count(p);
    for (uint32_t i = 0; good && i < n + run->output_count; i++) {
        const pq_tensor *t = i < n ? &run->inputs[i] : &run->wants[i - n];
        bindings[i] = (ptqc_binding){.bytes = t->bytes, .host = t->p};
        if (i >= n) {
            bindings[i].host = out->outputs[i - n] = malloc(t->bytes + 1);
            assert_non_null(bindings[i].host);
            memset(bindings[i].host, 0xa5, t->bytes);
            out->bytes[i - n] = t->bytes;
        }
    }
    pq_test_plugin_let_allocate(p);
    good = good && pq_test_plugin_run(p, bindings, n + run->output_count, NULL,
                                      NULL) == PTQC_BE_OK;
    if (!good) {
        print_error("%s: %s\n", run->c->name, pq_test_plugin_message(p));
    }
    pq_test_plugin_close(p);
    assert_true(good);
}

#endif
