// SPDX-License-Identifier: Apache-2.0
//
// ref's rules, made of rules.def: a line becomes a rule of an op when the
// interpreter takes the op with such operands.
#include <string.h>

#include "backends/ref/ref.h"
#include "base/dtype.h"
#include "ir/interp/interp.h"
#include "quant/scheme.h"

#define REF_OPERANDS 9 // most inputs of a line, and one output

// ---- terms ----------------------------------------------------------------

#define BIT(name) PTQC_DTYPE_BIT(PTQC_##name)
#define FLOATS    (BIT(F32) | BIT(F16) | BIT(BF16))
#define BYTES     (BIT(I8) | BIT(U8))
#define WORDS     (BYTES | BIT(I16) | BIT(U16))
#define NIBBLES   (BYTES | BIT(I4) | BIT(U4))
#define NUMBERS   (BIT(F8E4M3) | BIT(F8E5M2) | BIT(F4E2M1) | BIT(NF4))
#define INTEGERS  (WORDS | BIT(I32) | BIT(U32) | BIT(I64) | BIT(U64))
#define G(name)   PTQC_GRAN_BIT(PTQC_GRAN_##name)

// TERM(name, dtypes, granularities)
#define TERMS(TERM)                                                            \
    TERM(F, FLOATS, G(NONE))                                                   \
    TERM(E, BIT(F32), G(NONE))                                                 \
    TERM(D, BIT(F64), G(NONE))                                                 \
    TERM(I, INTEGERS, G(NONE))                                                 \
    TERM(B, BIT(BOOL), G(NONE))                                                \
    TERM(X, BIT(I64) | BIT(I32), G(NONE))                                      \
    TERM(N, FLOATS | BIT(F64) | INTEGERS | BIT(BOOL), G(NONE))                 \
    TERM(Q, WORDS, G(TENSOR) | G(CHANNEL))                                     \
    TERM(QT, BYTES, G(TENSOR))                                                 \
    TERM(Q8, BYTES, G(TENSOR))                                                 \
    TERM(Q4, NIBBLES, G(TENSOR) | G(CHANNEL))                                  \
    TERM(W, NIBBLES, G(TENSOR) | G(CHANNEL) | G(GROUP))                        \
    TERM(V, NUMBERS, G(TENSOR) | G(CHANNEL) | G(GROUP))                        \
    TERM(T, BIT(I8), G(TOKEN))                                                 \
    TERM(K, BIT(I8), G(NONE))                                                  \
    TERM(C, BYTES, G(NONE))                                                    \
    TERM(L, BIT(I32), G(NONE) | G(TENSOR) | G(CHANNEL))                        \
    TERM(S, BIT(I32), G(NONE))

typedef enum pq_term {
    TERM__, // nothing
#define TERM_ENUM(name, dtypes, granularities) TERM_##name, TERM_o##name,
    TERMS(TERM_ENUM)
#undef TERM_ENUM
} pq_term;

typedef struct pq_term_info {
    uint64_t dtypes;
    uint32_t granularities;
    bool is_optional;
} pq_term_info;

static const pq_term_info term_infos[] = {[TERM__] = {0},
#define TERM_INFO(name, dtypes, granularities)                                 \
    [TERM_##name] = {dtypes, granularities, false},                            \
    [TERM_o##name] = {dtypes, granularities, true},
                                          TERMS(TERM_INFO)
#undef TERM_INFO
};

// ---- lines of rules.def ---------------------------------------------------

typedef struct pq_line {
    pq_opcode op; // NONE: all ops of the class
    pq_op_class cls;
    pq_term terms[REF_OPERANDS]; // output, inputs; ends with TERM__
} pq_line;

#define T(x)                                       TERM_##x
#define T1(a)                                      T(a)
#define T2(a, b)                                   T(a), T(b)
#define T3(a, b, c)                                T(a), T(b), T(c)
#define T4(a, b, c, d)                             T2(a, b), T2(c, d)
#define T5(a, ...)                                 T(a), T4(__VA_ARGS__)
#define T6(a, ...)                                 T(a), T5(__VA_ARGS__)
#define T7(a, ...)                                 T(a), T6(__VA_ARGS__)
#define T8(a, ...)                                 T(a), T7(__VA_ARGS__)
#define T9(a, ...)                                 T(a), T8(__VA_ARGS__)
#define PICK(a, b, c, d, e, f, g, h, i, name, ...) name
#define TERM_LIST(...)                                                         \
    PICK(__VA_ARGS__, T9, T8, T7, T6, T5, T4, T3, T2, T1, )(__VA_ARGS__)

static const pq_line lines[] = {
#define ON_CLASS(class, ...)                                                   \
    {PQ_OP_NONE, PQ_CLASS_##class, {TERM_LIST(__VA_ARGS__)}},
#define ON_OP(op, ...) {PQ_OP_##op, PQ_CLASS_OTHER, {TERM_LIST(__VA_ARGS__)}},
#include "backends/ref/rules.def"
#undef ON_CLASS
#undef ON_OP
};

// ---- asking the interpreter -----------------------------------------------

typedef struct pq_rules {
    const ptqc_host *host;
    ptqc_sink *sink;
    pq_graph *g;                    // owned: values to ask with
    pq_type one[PQ_DTYPE_LAST + 1]; // [1, 1, 1, 1] of every dtype
    pq_quant_id codes[PQ_DTYPE_LAST + 1], tokens;
} pq_rules;

static ptqc_dtype
lowest_dtype(uint64_t mask)
{
    return (ptqc_dtype)__builtin_ctzll(mask);
}

static bool
add_codes(pq_rules *r, ptqc_dtype t)
{
    static const float one = 1.0f;
    static const int32_t zero = 0;
    static const int64_t dims[1] = {1};
    pq_constant scale = {PTQC_F32, 1, dims, &one, sizeof one};
    pq_constant zero_point = {PTQC_I32, 1, dims, &zero, sizeof zero};
    pq_quant q = {.scheme = {.format = t, .granularity = PQ_GRAN_TENSOR}};
    q.scale = pq_graph_add_constant(r->g, &scale);
    q.zero_point = pq_graph_add_constant(r->g, &zero_point);
    r->codes[t] = pq_graph_add_quant(r->g, &q);
    return r->codes[t].index != 0;
}

static bool
prepare(pq_rules *r)
{
    pq_dim one = pq_dim_const(r->g, 1);
    pq_dim dims[4] = {one, one, one, one};
    for (ptqc_dtype t = PTQC_F32; (int)t <= PQ_DTYPE_LAST; t++) {
        if (!pq_type_make(r->g, t, dims, 4, &r->one[t]) || !add_codes(r, t)) {
            return false;
        }
    }
    pq_quant token = {.scheme = {.format = PTQC_I8,
                                 .granularity = PQ_GRAN_TOKEN,
                                 .symmetric = true,
                                 .dynamic = true}};
    r->tokens = pq_graph_add_quant(r->g, &token);
    return r->tokens.index != 0;
}

// A value as the term has it; none for a term of nothing.
static pq_value_id
make_value(pq_rules *r, pq_term term)
{
    const pq_term_info *info = &term_infos[term];
    if (info->dtypes == 0) {
        return PQ_NO_VALUE;
    }
    ptqc_dtype t = lowest_dtype(info->dtypes);
    pq_value_id v = pq_graph_add_value(r->g, (pq_str){0}, r->one[t]);
    pq_value *value = pq_graph_value(r->g, v);
    if (value != NULL && (info->granularities & G(NONE)) == 0) {
        value->quant =
            (info->granularities & G(TOKEN)) != 0 ? r->tokens : r->codes[t];
    }
    return v;
}

// Whether the interpreter takes the op with the line's operands.
static bool
is_taken(pq_rules *r, pq_opcode code, const pq_line *line, uint32_t count)
{
    pq_value_id inputs[REF_OPERANDS], outputs[3];
    const pq_op_info *info = pq_op_info_of(code);
    pq_op op = {.code = code,
                .input_count = count,
                .output_count = info->outputs,
                .inputs = inputs,
                .outputs = outputs};
    for (uint32_t i = 0; i < count; i++) {
        inputs[i] = make_value(r, line->terms[1 + i]);
    }
    for (uint32_t i = 0; i < info->outputs; i++) {
        outputs[i] = make_value(r, line->terms[0]);
    }
    if (code == PQ_OP_DYNAMIC_QUANTIZE) {
        outputs[1] = make_value(r, TERM_F); // the scales
    }
    if (code == PQ_OP_TOPK) {
        outputs[1] = make_value(r, TERM_X); // the indices
    }
    return pq_interp_declines(r->g, &op) == NULL;
}

// ---- emitting -------------------------------------------------------------

static ptqc_operand_rule
operand_rule(pq_term term, uint32_t role, uint32_t index)
{
    const pq_term_info *info = &term_infos[term];
    return (ptqc_operand_rule){
        .h = {.size = sizeof(ptqc_operand_rule)},
        .role = role,
        .index = index,
        .dtypes = info->dtypes,
        .granularities = info->granularities,
        .flags = info->is_optional ? PTQC_OPERAND_OPTIONAL : 0,
    };
}

static ptqc_be_status
emit_rule(pq_rules *r, pq_opcode code, const pq_line *line, uint32_t count)
{
    ptqc_operand_rule operands[REF_OPERANDS];
    operands[0] = operand_rule(line->terms[0], PTQC_ROLE_OUTPUT, 0);
    for (uint32_t i = 0; i < count; i++) {
        operands[1 + i] = operand_rule(line->terms[1 + i], PTQC_ROLE_INPUT, i);
    }
    const ptqc_rule rule = {
        .h = {.size = sizeof rule, .type = PTQC_REC_RULE},
        .op = pq_ref_str(pq_op_info_of(code)->name),
        .operands = operands,
        .operand_count = 1 + count,
        .operand_stride = sizeof *operands,
        .numerics = PTQC_NUMERICS_BIT_EXACT,
    };
    return r->host->vt->emit(r->sink, &rule.h);
}

// The interpreter would take integers, too; graphs have bool only.
static bool
is_logical(pq_opcode code)
{
    return code == PQ_OP_AND || code == PQ_OP_OR || code == PQ_OP_XOR ||
           code == PQ_OP_NOT;
}

static ptqc_be_status
try_line(pq_rules *r, pq_opcode code, const pq_line *line)
{
    const pq_op_info *info = pq_op_info_of(code);
    uint32_t count = 0, needed = 0;
    while (1 + count < REF_OPERANDS && line->terms[1 + count] != TERM__) {
        needed += !term_infos[line->terms[1 + count]].is_optional;
        count++;
    }
    bool fits = needed >= info->min_inputs && count <= info->max_inputs &&
                (!is_logical(code) || line->terms[0] == TERM_B);
    return fits && is_taken(r, code, line, count)
               ? emit_rule(r, code, line, count)
               : PTQC_BE_OK;
}

static ptqc_be_status
try_all(pq_rules *r)
{
    ptqc_be_status st = PTQC_BE_OK;
    for (unsigned op = PQ_OP_NONE + 1; op < PQ_OP_COUNT; op++) {
        pq_opcode code = (pq_opcode)op;
        pq_op_class cls = pq_op_info_of(code)->cls;
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            bool is_for = lines[i].op == PQ_OP_NONE ? lines[i].cls == cls
                                                    : lines[i].op == code;
            if (is_for && st == PTQC_BE_OK) {
                st = try_line(r, code, &lines[i]);
            }
        }
    }
    return st;
}

ptqc_be_status
pq_ref_rules(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
             ptqc_sink *sink)
{
    pq_ref_ctx ctx = {0};
    pq_rules r = {.host = &inst->host, .sink = sink};
    ptqc_be_status st = pq_ref_check_target(inst, call, target);
    if (st == PTQC_BE_OK) {
        st = pq_ref_ctx_init(&ctx, &inst->host, call);
    }
    if (st == PTQC_BE_OK) {
        st = pq_ref_status(pq_graph_create(ctx.ctx, &r.g));
    }
    if (st == PTQC_BE_OK) {
        st = prepare(&r) ? try_all(&r) : PTQC_BE_RESOURCE;
    }
    pq_graph_destroy(r.g);
    pq_ref_ctx_deinit(&ctx);
    return st;
}
