// SPDX-License-Identifier: Apache-2.0
//
// Rules, check, lowering of entries (target.h).
#include "target.h"

#include <string.h>

#include "lower.h"
#include "say.h"

#define ENTRIES_MAX 64u

// ---- rules -----------------------------------------------------------------

typedef struct term {
    char letter;
    uint64_t dtypes;
    uint32_t granularities;
    uint32_t flags;
    uint32_t groups[8];
} term;

#define BIT(name)  PTQC_DTYPE_BIT(PTQC_##name)
#define GRAN(name) PTQC_GRAN_BIT(PTQC_GRAN_##name)
// Kernels take any multiple of 16; these are what a rule has room to say.
#define WEIGHT_GROUPS {16, 32, 64, 96, 128, 192, 256}

static const term TERMS[] = {
    {'F', BIT(F32), GRAN(NONE), 0, {0}},
    {'H', BIT(F16) | BIT(BF16), GRAN(NONE), 0, {0}},
    {'J', BIT(I64), GRAN(NONE), 0, {0}},
    {'I', BIT(I32), GRAN(NONE), 0, {0}},
    {'B', BIT(BOOL), GRAN(NONE), 0, {0}},
    {'P', BIT(I8) | BIT(U8), GRAN(NONE), 0, {0}},
    {'K', BIT(I8), GRAN(NONE), 0, {0}},
    {'Q', BIT(I8) | BIT(U8), GRAN(TENSOR), 0, {0}},
    {'T', BIT(I8), GRAN(TOKEN), PTQC_OPERAND_SYMMETRIC, {0}},
    {'V', BIT(I8) | BIT(U8), GRAN(TENSOR) | GRAN(CHANNEL), 0, {0}},
    {'W', BIT(U8) | BIT(U4), GRAN(TENSOR) | GRAN(CHANNEL) | GRAN(GROUP), 0,
     WEIGHT_GROUPS},
    {'S', BIT(I8) | BIT(I4), GRAN(TENSOR) | GRAN(CHANNEL) | GRAN(GROUP),
     PTQC_OPERAND_SYMMETRIC, WEIGHT_GROUPS},
    {'E', BIT(F8E4M3) | BIT(F8E5M2), GRAN(TENSOR) | GRAN(CHANNEL) | GRAN(GROUP),
     PTQC_OPERAND_SYMMETRIC, WEIGHT_GROUPS},
    {'N', BIT(F4E2M1) | BIT(NF4), GRAN(TENSOR) | GRAN(CHANNEL) | GRAN(GROUP),
     PTQC_OPERAND_SYMMETRIC, WEIGHT_GROUPS},
    {'C',
     BIT(I8) | BIT(U8) | BIT(I4) | BIT(U4),
     GRAN(TENSOR) | GRAN(CHANNEL),
     0,
     {0}},
    {'L', BIT(I32), GRAN(NONE) | GRAN(TENSOR) | GRAN(CHANNEL), 0, {0}},
};

#define OPERANDS_MAX 8u

static void
read_operand(const char *p, size_t n, uint32_t index, ptqc_operand_rule *out)
{
    memset(out, 0, sizeof *out);
    out->h.size = sizeof *out;
    out->h.type = PTQC_REC_RULE;
    out->role = index == 0 ? PTQC_ROLE_OUTPUT : PTQC_ROLE_INPUT;
    out->index = index == 0 ? 0 : index - 1;
    for (size_t i = 0; i < n; i++) {
        out->flags |= p[i] == 'o'   ? PTQC_OPERAND_OPTIONAL
                      : p[i] == 'k' ? PTQC_OPERAND_CONSTANT
                                    : 0;
        for (size_t t = 0; t < sizeof TERMS / sizeof TERMS[0]; t++) {
            if (TERMS[t].letter == p[i]) {
                out->dtypes = TERMS[t].dtypes;
                out->granularities = TERMS[t].granularities;
                out->flags |= TERMS[t].flags;
                memcpy(out->group_sizes, TERMS[t].groups,
                       sizeof out->group_sizes);
            }
        }
    }
}

static uint32_t
read_operands(const char *text, ptqc_operand_rule *out)
{
    uint32_t count = 0;
    while (*text != '\0' && count < OPERANDS_MAX) {
        size_t n = strcspn(text, " ");
        read_operand(text, n, count, &out[count]);
        count++;
        text += n + strspn(text + n, " ");
    }
    return count;
}

static ptqc_be_status
emit_rule(const ptqc_host *host, const pq_kg_rule *row, ptqc_sink *sink)
{
    ptqc_operand_rule operands[OPERANDS_MAX];
    ptqc_rule rule = {
        .h = {.size = sizeof rule, .type = PTQC_REC_RULE},
        .operands = operands,
        .operand_count = read_operands(row->operands, operands),
        .operand_stride = sizeof operands[0],
        .numerics = row->tolerance > 0.0f ? PTQC_NUMERICS_TOLERANCE
                                          : PTQC_NUMERICS_BIT_EXACT,
        .tolerance = row->tolerance,
        .rank_min = row->rank_min,
        .rank_max = row->rank_max,
    };
    const char *op = row->ops;
    ptqc_be_status st = PTQC_BE_OK;
    while (*op != '\0' && st == PTQC_BE_OK) {
        size_t n = strcspn(op, " ");
        rule.op = (ptqc_str){op, n};
        st = host->vt->emit(sink, &rule.h);
        op += n + strspn(op + n, " ");
    }
    return st;
}

ptqc_be_status
pq_kg_emit_rules(const ptqc_host *host, ptqc_sink *sink,
                 const pq_kg_rule *rules, uint32_t count)
{
    ptqc_be_status st = PTQC_BE_OK;
    for (uint32_t i = 0; i < count && st == PTQC_BE_OK; i++) {
        st = emit_rule(host, &rules[i], sink);
    }
    return st;
}

// ---- check -----------------------------------------------------------------

static ptqc_be_status
open_graph(const pq_kg_teller *t, ptqc_bytes graph, ptqc_gb *out)
{
    const char *why = "";
    return ptqc_gb_open(graph.p, graph.n, out, &why)
               ? PTQC_BE_OK
               : pq_kg_fail(t->host, t->call, PTQC_BE_INVALID,
                            "%s: graph block: %s", t->name, why);
}

// Lowers one node with nothing emitted; a verdict when that is declined.
static ptqc_be_status
check_node(const pq_kg_teller *t, const pq_kg_device *device, const ptqc_gb *g,
           uint32_t node, ptqc_sink *sink)
{
    pq_mem mem = {t->host, NULL};
    pq_kg_entry entry = {0};
    pq_lower_constants pool = {0};
    pq_lower l = {
        .device = device,
        .host = t->host,
        .call = t->call,
        .mem = &mem,
        .g = g,
        .entry = &entry,
        .pool = &pool,
        .dry = true,
    };
    ptqc_be_status st = pq_lower_try(&l, node);
    if (st == PTQC_BE_UNSUPPORTED) {
        ptqc_verdict v = {
            .h = {.size = sizeof v, .type = PTQC_REC_VERDICT},
            .node = node,
            .reason = {l.reason, strlen(l.reason)},
        };
        st = t->host->vt->emit(sink, &v.h);
    }
    pq_mem_release(&mem);
    return st;
}

ptqc_be_status
pq_kg_check(const pq_kg_teller *t, const pq_kg_device *device, ptqc_bytes graph,
            const uint32_t *nodes, uint64_t node_count, ptqc_sink *sink)
{
    ptqc_gb g;
    ptqc_be_status st = open_graph(t, graph, &g);
    for (uint64_t i = 0; i < node_count && st == PTQC_BE_OK; i++) {
        if (nodes[i] >= ptqc_gb_count(&g, PTQC_GB_NODES)) {
            return pq_kg_fail(t->host, t->call, PTQC_BE_INVALID,
                              "%s: no node %u", t->name, nodes[i]);
        }
        st = check_node(t, device, &g, nodes[i], sink);
    }
    return st;
}

// ---- compile ---------------------------------------------------------------

static ptqc_be_status
lower_entry(const pq_kg_teller *t, const pq_kg_device *device,
            const ptqc_entry *from, pq_mem *mem, pq_lower_constants *pool,
            pq_kg_entry *out)
{
    ptqc_gb g;
    ptqc_be_status st = open_graph(t, from->graph, &g);
    pq_lower l = {
        .device = device,
        .host = t->host,
        .call = t->call,
        .mem = mem,
        .g = &g,
        .entry = out,
        .pool = pool,
    };
    return st == PTQC_BE_OK ? pq_lower_entry(&l) : st;
}

ptqc_be_status
pq_kg_lower_entries(const pq_kg_teller *t, const pq_kg_device *device,
                    const ptqc_entry *entries, uint64_t entry_count,
                    pq_mem *mem, ptqc_sink *sink, pq_kg_program *out)
{
    pq_lower_constants pool = {.sink = sink};
    if (entry_count == 0 || entry_count > ENTRIES_MAX) {
        return pq_kg_fail(t->host, t->call, PTQC_BE_INVALID, "%s: %llu entries",
                          t->name, (unsigned long long)entry_count);
    }
    out->entries = pq_mem_array(mem, entry_count, sizeof *out->entries);
    if (out->entries == NULL) {
        return pq_kg_fail(t->host, t->call, PTQC_BE_RESOURCE,
                          "%s: out of memory", t->name);
    }
    out->entry_count = (uint32_t)entry_count;
    ptqc_be_status st = PTQC_BE_OK;
    for (uint32_t i = 0; i < out->entry_count && st == PTQC_BE_OK; i++) {
        st = lower_entry(t, device, &entries[i], mem, &pool, &out->entries[i]);
        if (st == PTQC_BE_OK && t->host->vt->cancelled(t->call) != 0) {
            st = PTQC_BE_CANCELLED;
        }
    }
    out->constant_count = pool.constant_count;
    return st;
}
