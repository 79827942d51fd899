// SPDX-License-Identifier: Apache-2.0
//
// Target side of the ref plugin: check asks the interpreter node by node,
// compile wraps the graph blocks and passes their constants on as they are.
#include <stdlib.h>
#include <string.h>

#include "backends/ref/blob.h"
#include "backends/ref/ref.h"
#include "base/hash.h"
#include "base/vec.h"
#include "ir/block.h"
#include "ir/interp/interp.h"

// ---- reading blocks -------------------------------------------------------

// One call on the target side.
typedef struct pq_target_call {
    const ptqc_instance *inst;
    ptqc_call *call;
    ptqc_sink *sink;
    pq_ref_ctx r;
} pq_target_call;

static const void *
map_constant(void *user, uint64_t id, uint64_t *out_bytes)
{
    const pq_target_call *c = user;
    return c->inst->host.vt->constant_map(c->call, id, out_bytes);
}

// The host wrote the block: a bad one is the host's fault.
static ptqc_be_status
read_block(pq_target_call *c, ptqc_bytes block, ptqc_gb *gb, pq_graph **out)
{
    const char *reason = "";
    if (!ptqc_gb_open(block.p, block.n, gb, &reason)) {
        return pq_ref_say(&c->inst->host, c->call, PTQC_BE_INVALID, reason);
    }
    return pq_ref_status(
        pq_block_read(c->r.ctx, block.p, block.n, map_constant, c, out));
}

// ops[i] = op of node i. Nodes and ops have the same order.
static ptqc_be_status
list_ops(pq_target_call *c, pq_graph *g, uint32_t node_count, pq_op_id **out)
{
    pq_op_id *ops = pq_arena_array(pq_graph_arena(g), node_count, sizeof *ops);
    if (ops == NULL) {
        return PTQC_BE_RESOURCE;
    }
    uint32_t n = 0;
    PQ_FOR_EACH_OP(g, id)
    {
        if (n < node_count) {
            ops[n] = id;
        }
        n++;
    }
    *out = ops;
    return n == node_count
               ? PTQC_BE_OK
               : pq_ref_say(&c->inst->host, c->call, PTQC_BE_INTERNAL,
                            "the block's nodes and the graph's ops differ");
}

// ---- check ----------------------------------------------------------------

static ptqc_be_status
decline(const pq_target_call *c, uint32_t node, const char *reason)
{
    const ptqc_verdict verdict = {
        .h = {.size = sizeof verdict, .type = PTQC_REC_VERDICT},
        .node = node,
        .reason = pq_ref_str(reason),
    };
    return c->inst->host.vt->emit(c->sink, &verdict.h);
}

static ptqc_be_status
check_nodes(pq_target_call *c, ptqc_bytes block, const uint32_t *nodes,
            uint64_t node_count)
{
    ptqc_gb gb;
    pq_graph *g = NULL;
    pq_op_id *ops = NULL;
    ptqc_be_status st = read_block(c, block, &gb, &g);
    uint32_t all = st == PTQC_BE_OK ? ptqc_gb_count(&gb, PTQC_GB_NODES) : 0;
    if (st == PTQC_BE_OK) {
        st = list_ops(c, g, all, &ops);
    }
    for (uint64_t i = 0; i < node_count && st == PTQC_BE_OK; i++) {
        if (nodes[i] >= all) {
            st = pq_ref_say(&c->inst->host, c->call, PTQC_BE_INVALID,
                            "no such node");
            break;
        }
        const char *reason =
            pq_interp_declines(g, pq_graph_op(g, ops[nodes[i]]));
        if (reason != NULL) {
            st = decline(c, nodes[i], reason);
        }
    }
    pq_graph_destroy(g);
    return st;
}

ptqc_be_status
pq_ref_check(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
             ptqc_bytes graph, const uint32_t *nodes, uint64_t node_count,
             ptqc_sink *sink)
{
    pq_target_call c = {.inst = inst, .call = call, .sink = sink};
    ptqc_be_status st = pq_ref_check_target(inst, call, target);
    if (st == PTQC_BE_OK) {
        st = pq_ref_ctx_init(&c.r, &inst->host, call);
    }
    if (st == PTQC_BE_OK) {
        st = check_nodes(&c, graph, nodes, node_count);
    }
    pq_ref_ctx_deinit(&c.r);
    return st;
}

// ---- compile --------------------------------------------------------------

// Everything compile collects before it emits.
typedef struct pq_compile {
    pq_target_call c;
    const ptqc_entry *entries;
    uint32_t entry_count;
    uint64_t *ids; // owned: ascending, each once
    uint32_t id_count, id_capacity;
} pq_compile;

static ptqc_be_status
decline_entry(const pq_compile *k, pq_graph *g)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const char *reason = pq_interp_declines(g, pq_graph_op(g, id));
        if (reason != NULL) {
            return pq_ref_say(&k->c.inst->host, k->c.call, PTQC_BE_UNSUPPORTED,
                              reason);
        }
    }
    return PTQC_BE_OK;
}

static ptqc_be_status
add_ids(pq_compile *k, const ptqc_gb *gb)
{
    uint32_t n = ptqc_gb_count(gb, PTQC_GB_CONSTANTS);
    void *ids = k->ids;
    if (pq_vec_reserve(k->c.r.ctx, &ids, &k->id_capacity,
                       (size_t)k->id_count + n, sizeof *k->ids) != PTQC_OK) {
        return PTQC_BE_RESOURCE;
    }
    k->ids = ids;
    for (uint32_t i = 0; i < n; i++) {
        k->ids[k->id_count++] = ptqc_gb_constant_at(gb, i)->id;
    }
    return PTQC_BE_OK;
}

static ptqc_be_status
look_at_entry(pq_compile *k, ptqc_bytes block)
{
    ptqc_gb gb;
    pq_graph *g = NULL;
    ptqc_be_status st = read_block(&k->c, block, &gb, &g);
    if (st == PTQC_BE_OK) {
        st = decline_entry(k, g);
    }
    if (st == PTQC_BE_OK) {
        st = add_ids(k, &gb);
    }
    pq_graph_destroy(g);
    return st;
}

static int
compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void
sort_ids(pq_compile *k)
{
    uint32_t n = 0;
    if (k->id_count > 0) {
        qsort(k->ids, k->id_count, sizeof *k->ids, compare_ids);
    }
    for (uint32_t i = 0; i < k->id_count; i++) {
        if (n == 0 || k->ids[n - 1] != k->ids[i]) {
            k->ids[n++] = k->ids[i];
        }
    }
    k->id_count = n;
}

static ptqc_be_status
emit_constants(const pq_compile *k)
{
    const ptqc_host_vt *vt = k->c.inst->host.vt;
    for (uint32_t i = 0; i < k->id_count; i++) {
        ptqc_packed_constant record = {
            .h = {.size = sizeof record, .type = PTQC_REC_CONSTANT},
            .source_id = k->ids[i],
            .layout = pq_ref_str("dense"),
        };
        record.data.p = vt->constant_map(k->c.call, k->ids[i], &record.data.n);
        if (record.data.p == NULL) {
            return pq_ref_say(&k->c.inst->host, k->c.call, PTQC_BE_INVALID,
                              "the graph names an unknown constant");
        }
        ptqc_be_status st = vt->emit(k->c.sink, &record.h);
        vt->constant_release(k->c.call, k->ids[i]);
        if (st != PTQC_BE_OK) {
            return st;
        }
    }
    return PTQC_BE_OK;
}

static uint64_t
align8(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

static ptqc_be_status
emit_blob(const pq_compile *k)
{
    size_t ids_at = sizeof(pq_ref_blob);
    size_t entries_at = ids_at + k->id_count * sizeof(uint64_t);
    size_t at = entries_at + k->entry_count * sizeof(pq_ref_entry);
    size_t total = at;
    for (uint32_t i = 0; i < k->entry_count; i++) {
        total += align8(k->entries[i].graph.n);
    }
    uint8_t *blob = pq_alloc(k->c.r.ctx, total); // zeroed
    if (blob == NULL) {
        return PTQC_BE_RESOURCE;
    }
    if (k->id_count > 0) {
        memcpy(blob + ids_at, k->ids, k->id_count * sizeof *k->ids);
    }
    for (uint32_t i = 0; i < k->entry_count; i++) {
        pq_ref_entry e = {at, k->entries[i].graph.n};
        memcpy(blob + entries_at + i * sizeof e, &e, sizeof e);
        memcpy(blob + at, k->entries[i].graph.p, e.bytes);
        at += align8(e.bytes);
    }
    pq_ref_blob header = {.magic = REF_BLOB_MAGIC,
                          .version = REF_BLOB_VERSION,
                          .total_bytes = total,
                          .constant_count = k->id_count,
                          .entry_count = k->entry_count};
    memcpy(blob, &header, sizeof header);
    header.hash =
        pq_hash64(blob + REF_BLOB_HASHED_FROM, total - REF_BLOB_HASHED_FROM);
    memcpy(blob, &header, sizeof header);
    const ptqc_blob record = {
        .h = {.size = sizeof record, .type = PTQC_REC_BLOB},
        .data = {blob, total},
    };
    ptqc_be_status st = k->c.inst->host.vt->emit(k->c.sink, &record.h);
    pq_free(k->c.r.ctx, blob);
    return st;
}

static ptqc_be_status
compile_all(pq_compile *k)
{
    ptqc_be_status st = PTQC_BE_OK;
    for (uint32_t i = 0; i < k->entry_count && st == PTQC_BE_OK; i++) {
        st = look_at_entry(k, k->entries[i].graph);
    }
    if (st == PTQC_BE_OK) {
        sort_ids(k);
        st = emit_constants(k);
    }
    if (st == PTQC_BE_OK) {
        st = emit_blob(k);
    }
    pq_free(k->c.r.ctx, k->ids);
    return st;
}

ptqc_be_status
pq_ref_compile(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
               const ptqc_entry *entries, uint64_t entry_count, ptqc_sink *sink)
{
    pq_compile k = {.c = {.inst = inst, .call = call, .sink = sink},
                    .entries = entries,
                    .entry_count = (uint32_t)entry_count};
    ptqc_be_status st = pq_ref_check_target(inst, call, target);
    if (st == PTQC_BE_OK) {
        st = pq_ref_ctx_init(&k.c.r, &inst->host, call);
    }
    if (st == PTQC_BE_OK) {
        st = compile_all(&k);
    }
    pq_ref_ctx_deinit(&k.c.r);
    return st;
}
