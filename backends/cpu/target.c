// SPDX-License-Identifier: Apache-2.0
//
// The target side but for compile: targets, rules, check.
#include <stdio.h>
#include <string.h>

#include "backends/kgen/say.h"
#include "lowering.h"
#include "plugin.h"

ptqc_str
pq_cpu_text(const char *z)
{
    ptqc_str s = {z, strlen(z)};
    return s;
}

// ---- targets ---------------------------------------------------------------

typedef struct target_name {
    const char *name, *summary;
    pq_isa cap;
} target_name;

static const target_name TARGETS[] = {
    {"cpu", "x86-64 with AVX2 and FMA or better; code is made at load",
     PQ_ISA_AMX},
    {"cpu;avx2", "as cpu, AVX2 at most", PQ_ISA_AVX2},
    {"cpu;avx512", "as cpu, AVX-512 without VNNI at most", PQ_ISA_AVX512},
    {"cpu;vnni", "as cpu, AVX-512 with VNNI at most", PQ_ISA_VNNI},
    {"cpu;amx", "as cpu, AMX at most", PQ_ISA_AMX},
};

ptqc_be_status
pq_cpu_target(const ptqc_host *host, ptqc_call *call, ptqc_str target,
              pq_isa *out_cap)
{
    for (size_t i = 0; i < sizeof TARGETS / sizeof TARGETS[0]; i++) {
        if (strlen(TARGETS[i].name) == target.n &&
            memcmp(TARGETS[i].name, target.p, target.n) == 0) {
            *out_cap = TARGETS[i].cap;
            return PTQC_BE_OK;
        }
    }
    return pq_kg_fail(host, call, PTQC_BE_UNSUPPORTED,
                      "cpu: no target '%.*s' (cpu, cpu;avx2, cpu;avx512, "
                      "cpu;vnni, cpu;amx)",
                      target.n < 64 ? (int)target.n : 64, target.p);
}

ptqc_be_status
pq_cpu_targets(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    ptqc_be_status st = PTQC_BE_OK;
    for (size_t i = 0;
         i < sizeof TARGETS / sizeof TARGETS[0] && st == PTQC_BE_OK; i++) {
        ptqc_target t = {
            .h = {.size = sizeof t, .type = PTQC_REC_TARGET},
            .name = pq_cpu_text(TARGETS[i].name),
            .summary = pq_cpu_text(TARGETS[i].summary),
        };
        st = inst->host->vt->emit(sink, &t.h);
    }
    return st;
}

// ---- rules -----------------------------------------------------------------

typedef struct rule_row {
    const char *ops; // separated by spaces
    uint32_t rank_min, rank_max;
    const char *operands;
} rule_row;

static const rule_row RULES[] = {
#define RULE(ops, min, max, operands) {ops, min, max, operands},
#include "rules.def"
#undef RULE
};

typedef struct term {
    char letter;
    uint64_t dtypes;
    uint32_t granularities;
    uint32_t flags;
    uint32_t groups[8];
} term;

#define BIT(name)  PTQC_DTYPE_BIT(PTQC_##name)
#define GRAN(name) PTQC_GRAN_BIT(PTQC_GRAN_##name)

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
    {'W',
     BIT(U8) | BIT(U4),
     GRAN(TENSOR) | GRAN(CHANNEL) | GRAN(GROUP),
     0,
     {16, 32, 64, 128, 256}},
    {'S',
     BIT(I8) | BIT(I4),
     GRAN(TENSOR) | GRAN(CHANNEL) | GRAN(GROUP),
     PTQC_OPERAND_SYMMETRIC,
     {16, 32, 64, 128, 256}},
    {'E',
     BIT(F8E4M3) | BIT(F8E5M2),
     GRAN(TENSOR) | GRAN(CHANNEL) | GRAN(GROUP),
     PTQC_OPERAND_SYMMETRIC,
     {16, 32, 64, 128, 256}},
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
emit_rule(const ptqc_host *host, const rule_row *row, ptqc_sink *sink)
{
    ptqc_operand_rule operands[OPERANDS_MAX];
    ptqc_rule rule = {
        .h = {.size = sizeof rule, .type = PTQC_REC_RULE},
        .operands = operands,
        .operand_count = read_operands(row->operands, operands),
        .operand_stride = sizeof operands[0],
        .numerics = PTQC_NUMERICS_BIT_EXACT,
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
pq_cpu_rules(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
             ptqc_sink *sink)
{
    pq_isa cap;
    ptqc_be_status st = pq_cpu_target(inst->host, call, target, &cap);
    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0] && st == PTQC_BE_OK;
         i++) {
        st = emit_rule(inst->host, &RULES[i], sink);
    }
    return st;
}

// ---- check -----------------------------------------------------------------

// Lowers one node with nothing emitted; a verdict when that is declined.
static ptqc_be_status
check_node(ptqc_call *call, const ptqc_host *host, const ptqc_gb *g,
           uint32_t node, ptqc_sink *sink)
{
    pq_mem mem = {host, NULL};
    pq_kg_entry entry = {0};
    pq_lower_constants pool = {0};
    pq_lower l = {
        .device = &pq_cpu_device,
        .host = host,
        .call = call,
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
            .reason = pq_cpu_text(l.reason),
        };
        st = host->vt->emit(sink, &v.h);
    }
    pq_mem_release(&mem);
    return st;
}

ptqc_be_status
pq_cpu_check(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
             ptqc_bytes graph, const uint32_t *nodes, uint64_t node_count,
             ptqc_sink *sink)
{
    pq_isa cap;
    ptqc_gb g;
    const char *why = "";
    ptqc_be_status st = pq_cpu_target(inst->host, call, target, &cap);
    if (st == PTQC_BE_OK && !ptqc_gb_open(graph.p, graph.n, &g, &why)) {
        st = pq_kg_fail(inst->host, call, PTQC_BE_INVALID,
                        "cpu: graph block: %s", why);
    }
    for (uint64_t i = 0; i < node_count && st == PTQC_BE_OK; i++) {
        if (nodes[i] >= ptqc_gb_count(&g, PTQC_GB_NODES)) {
            return pq_kg_fail(inst->host, call, PTQC_BE_INVALID,
                              "cpu: no node %u", nodes[i]);
        }
        st = check_node(call, inst->host, &g, nodes[i], sink);
    }
    return st;
}
