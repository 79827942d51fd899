// SPDX-License-Identifier: Apache-2.0
//
// From a rule and a number to a graph with one op: a case for the shapes,
// one choice of type per operand, constants where the rule or the op wants
// them. Numbers run through cases and choices so that each occurs.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/interp/interp.h"
#include "ir/verify.h"
#include "tools/conform/conform.h"

#define CHOICE_LIMIT 160u
#define TRIAL_LIMIT  96u

// How one operand is stored. dtype NONE: absent.
typedef struct pq_choice {
    ptqc_dtype dtype;
    uint32_t granularity; // PTQC_GRAN_*
    uint32_t group;
    bool is_symmetric;
} pq_choice;

typedef struct pq_choices {
    pq_choice all[CHOICE_LIMIT];
    uint32_t count; // without being absent
    bool may_be_absent;
} pq_choices;

// ---- choices --------------------------------------------------------------

static void
add_choice(pq_choices *c, pq_choice choice)
{
    if (c->count < CHOICE_LIMIT) {
        c->all[c->count++] = choice;
    }
}

// Codes of at most 16 bits, i32 for biases, floats of 8 bits.
static bool
may_be_codes(ptqc_dtype t)
{
    return pq_dtype_is_float(t)
               ? pq_dtype_bits(t) == 8
               : t != PTQC_BOOL && t != PTQC_U32 && pq_dtype_bits(t) <= 32;
}

static void
add_symmetries(pq_choices *c, const pq_kit_operand *o, pq_choice choice)
{
    bool is_always = (o->flags & PTQC_OPERAND_SYMMETRIC) != 0 ||
                     choice.granularity == PTQC_GRAN_TOKEN ||
                     choice.dtype == PTQC_I32 ||
                     pq_dtype_is_float(choice.dtype);
    add_choice(c, choice);
    if (!is_always) {
        choice.is_symmetric = false;
        add_choice(c, choice);
    }
}

static void
add_codes(pq_choices *c, const pq_kit_operand *o, ptqc_dtype t)
{
    static const uint32_t any_groups[] = {16, 3};
    for (uint32_t g = PTQC_GRAN_TENSOR; g <= PTQC_GRAN_TOKEN; g++) {
        if ((o->granularities & PTQC_GRAN_BIT(g)) == 0) {
            continue;
        }
        if (g != PTQC_GRAN_GROUP) {
            add_symmetries(c, o, (pq_choice){t, g, 0, true});
            continue;
        }
        const uint32_t *groups = o->groups[0] != 0 ? o->groups : any_groups;
        for (uint32_t i = 0; i < 2 && groups[i] != 0; i++) {
            add_symmetries(c, o, (pq_choice){t, g, groups[i], true});
        }
    }
}

static void
list_choices(const pq_kit_operand *o, pq_choices *out)
{
    out->count = 0;
    out->may_be_absent =
        o->dtypes == 0 || (o->flags & PTQC_OPERAND_OPTIONAL) != 0;
    bool is_plain = o->granularities == 0 ||
                    (o->granularities & PTQC_GRAN_BIT(PTQC_GRAN_NONE)) != 0;
    for (ptqc_dtype t = PTQC_F32; (int)t <= PQ_DTYPE_LAST; t++) {
        if ((o->dtypes & PTQC_DTYPE_BIT(t)) == 0) {
            continue;
        }
        if (is_plain) {
            add_choice(out, (pq_choice){t, PTQC_GRAN_NONE, 0, false});
        }
        if (may_be_codes(t)) {
            add_codes(out, o, t);
        }
    }
}

uint32_t
pq_instance_count(const pq_kit_rule *rule, uint32_t least)
{
    uint32_t n = pq_kit_case_count(rule->op);
    n = n > least ? n : least;
    for (uint32_t i = 0; i < rule->operand_count; i++) {
        pq_choices c;
        list_choices(&rule->operands[i], &c);
        n = 2 * c.count > n ? 2 * c.count : n;
    }
    return n < TRIAL_LIMIT ? n : TRIAL_LIMIT;
}

// ---- making one -----------------------------------------------------------

typedef struct pq_maker {
    const pq_kit_rule *rule;
    uint32_t k;
    bool is_aligned; // all operands take the same choice, none is absent
    pq_random random;
    pq_instance *out;
    pq_builder b;
    bool is_transposed; // matmul: trans_b
    float x_scale;
    float w_scale[256]; // per channel, for the bias; the first for the output
    uint32_t w_scale_count;
    int64_t depth;         // products summed per output element
    pq_value_id scales[2]; // of updated keys and values
} pq_maker;

static const pq_kit_operand *
find_operand(const pq_kit_rule *rule, bool is_output, uint32_t index)
{
    for (uint32_t i = 0; i < rule->operand_count; i++) {
        if (rule->operands[i].is_output == is_output &&
            rule->operands[i].index == index) {
            return &rule->operands[i];
        }
    }
    return NULL;
}

// Within `count` consecutive numbers every choice occurs.
static pq_choice
choose(const pq_maker *m, const pq_kit_operand *o, uint32_t position)
{
    static const pq_choice absent;
    pq_choices c;
    if (o == NULL) {
        return absent;
    }
    list_choices(o, &c);
    if (c.count == 0) {
        return absent;
    }
    if (m->is_aligned) {
        return c.all[m->k % c.count];
    }
    uint32_t all = c.count + (c.may_be_absent ? 1 : 0);
    uint32_t at = (m->k + position * (m->k / all)) % all;
    return at < c.count ? c.all[at] : absent;
}

static bool
is_product(pq_opcode op)
{
    return op == PQ_OP_CONV || op == PQ_OP_CONV_TRANSPOSE || op == PQ_OP_MATMUL;
}

// Weights and parameters: constants in most models.
static bool
is_parameter(pq_opcode op, uint32_t i)
{
    switch ((int)op) {
    case PQ_OP_CONV:
    case PQ_OP_CONV_TRANSPOSE:
    case PQ_OP_MATMUL:
        return i == 1 || i == 2;
    case PQ_OP_LSTM:
    case PQ_OP_GRU:
    case PQ_OP_RNN:
        return (i >= 1 && i <= 3) || i == 7;
    case PQ_OP_BATCH_NORM:
    case PQ_OP_LAYER_NORM:
    case PQ_OP_RMS_NORM:
    case PQ_OP_INSTANCE_NORM:
    case PQ_OP_GROUP_NORM:
        return i >= 1;
    default: // everything else is data
        return false;
    }
}

static bool
has_symbol(const pq_kit_shape *s)
{
    for (uint32_t i = 0; i < s->rank; i++) {
        if (s->dims[i] < 0) {
            return true;
        }
    }
    return false;
}

// Whether input i becomes a constant.
static bool
is_constant(const pq_maker *m, const pq_kit_operand *o, pq_choice choice,
            uint32_t i)
{
    return (o->flags & PTQC_OPERAND_CONSTANT) != 0 ||
           pq_dtype_bits(choice.dtype) < 8 ||
           (is_parameter(m->rule->op, i) && m->k % 4 != 3);
}

// ---- quantization ---------------------------------------------------------

static uint32_t
scale_axis(const pq_maker *m, uint32_t input, uint32_t rank, bool is_group)
{
    bool is_weight = is_product(m->rule->op) && input == 1;
    if (is_weight && m->rule->op == PQ_OP_CONV) {
        return is_group ? 1 : 0;
    }
    if (is_weight && m->rule->op == PQ_OP_MATMUL) {
        return (m->is_transposed != is_group) ? rank - 2 : rank - 1;
    }
    if (m->rule->op == PQ_OP_GATHER && !is_group) {
        return 0; // a scale per row of the table
    }
    return rank > 1 ? 1 : 0;
}

static int32_t
zero_point(pq_maker *m, pq_choice choice)
{
    unsigned bits = pq_dtype_bits(choice.dtype);
    bool is_signed = pq_dtype_is_signed(choice.dtype);
    if (bits > 16 || pq_dtype_is_float(choice.dtype)) {
        return 0;
    }
    int32_t middle = is_signed ? 0 : 1 << (bits - 1);
    if (choice.is_symmetric) {
        return middle;
    }
    int32_t least = is_signed ? -(1 << (bits - 1)) : 0;
    return least + (int32_t)pq_random_below(&m->random, 1u << bits);
}

// What scale i of an operand is. `input`: UINT32_MAX for the output.
static float
pick_scale(pq_maker *m, uint32_t input, uint32_t i)
{
    float unit = pq_random_unit(&m->random);
    bool of_product = is_product(m->rule->op);
    if (of_product && input == 2) { // of i32 sums
        return m->x_scale * m->w_scale[i < m->w_scale_count ? i : 0];
    }
    if (of_product && input == UINT32_MAX) { // most results fit
        return m->x_scale * m->w_scale[0] * sqrtf((float)m->depth) * 5329.0f /
               (40.0f + 20.0f * unit);
    }
    float scale = 0.01f + 0.04f * unit;
    if (input == 0 && i == 0) {
        m->x_scale = scale;
    }
    if (input == 1 && i < 256) {
        m->w_scale[i] = scale;
        m->w_scale_count = i + 1;
    }
    return scale;
}

#define SCALE_LIMIT 4096

// Number of scales, 0 when the granularity does not suit the shape.
static uint32_t
scale_count(const pq_kit_shape *s, pq_choice choice, uint32_t axis)
{
    int64_t n = 1;
    if (choice.granularity == PTQC_GRAN_TENSOR) {
        return 1;
    }
    if (axis >= s->rank || s->dims[axis] <= 0) {
        return 0;
    }
    n = s->dims[axis];
    if (choice.granularity == PTQC_GRAN_GROUP) {
        if (axis == 0 || s->dims[0] <= 0) {
            return 0;
        }
        n = s->dims[0] * ((n + choice.group - 1) / choice.group);
    }
    return n <= SCALE_LIMIT ? (uint32_t)n : 0;
}

static ptqc_status
add_scales(pq_maker *m, pq_choice choice, uint32_t input, uint32_t count,
           pq_quant *q)
{
    float scales[SCALE_LIMIT];
    int32_t zeros[SCALE_LIMIT];
    pq_graph *g = m->out->g;
    for (uint32_t i = 0; i < count; i++) {
        scales[i] = pick_scale(m, input, i);
        zeros[i] = zero_point(m, choice);
    }
    const int64_t dims[1] = {count};
    void *s = pq_arena_memdup(pq_graph_arena(g), scales, 4 * (size_t)count);
    void *z = pq_arena_memdup(pq_graph_arena(g), zeros, 4 * (size_t)count);
    if (s == NULL || z == NULL) {
        return PTQC_E_RESOURCE;
    }
    pq_constant cs = {PTQC_F32, 1, dims, s, 4 * (size_t)count};
    pq_constant cz = {PTQC_I32, 1, dims, z, 4 * (size_t)count};
    q->scale = pq_graph_add_constant(g, &cs);
    q->zero_point = pq_graph_add_constant(g, &cz);
    return pq_const_is_none(q->zero_point) ? PTQC_E_RESOURCE : PTQC_OK;
}

// Gives v (of the given shape) the choice's parameters. input: UINT32_MAX =
// the output.
static ptqc_status
quantize_value(pq_maker *m, pq_value_id v, const pq_kit_shape *s,
               pq_choice choice, uint32_t input)
{
    pq_quant q = {.scheme = {.format = choice.dtype,
                             .granularity = (pq_granularity)choice.granularity,
                             .group = choice.group,
                             .symmetric = choice.is_symmetric}};
    if (choice.granularity == PTQC_GRAN_TOKEN) {
        q.scheme.dynamic = true;
    } else {
        uint32_t axis = scale_axis(m, input, s->rank,
                                   choice.granularity == PTQC_GRAN_GROUP);
        uint32_t n = scale_count(s, choice, axis);
        if (n == 0) {
            return PTQC_E_UNSUPPORTED;
        }
        q.scheme.axis = choice.granularity == PTQC_GRAN_TENSOR ? 0 : axis;
        PQ_TRY(add_scales(m, choice, input, n, &q));
    }
    pq_quant_id id = pq_graph_add_quant(m->out->g, &q);
    if (pq_quant_is_none(id)) {
        return pq_graph_failure(m->out->g);
    }
    pq_value_set_quant(m->out->g, v, choice.dtype, id);
    return PTQC_OK;
}

// ---- inputs ---------------------------------------------------------------

static pq_fill
fill_of(const pq_maker *m, pq_choice choice, const pq_kit_shape *s, uint32_t i)
{
    bool is_codes = choice.granularity != PTQC_GRAN_NONE;
    bool is_wild =
        is_codes || pq_op_info_of(m->rule->op)->cls == PQ_CLASS_UNARY;
    return (pq_fill){
        .dtype = choice.dtype,
        .bound = s->bound,
        .is_positive = m->rule->op == PQ_OP_BATCH_NORM && i == 4,
        .is_scale = m->rule->op == PQ_OP_MATMUL && i == 4,
        .is_extreme = is_wild && m->k % 5 == 4,
        .is_bias = is_product(m->rule->op) && choice.dtype == PTQC_I32,
    };
}

static ptqc_status
make_constant(pq_maker *m, pq_choice choice, const pq_kit_shape *s, uint32_t i,
              pq_value_id *out)
{
    size_t bytes;
    if (has_symbol(s) ||
        !pq_dtype_bytes(choice.dtype, s->dims, s->rank, &bytes)) {
        return PTQC_E_UNSUPPORTED;
    }
    void *p = pq_arena_alloc(pq_graph_arena(m->out->g), bytes);
    PQ_TRY_ALLOC(p);
    pq_fill how = fill_of(m, choice, s, i);
    pq_kit_fill(&m->random, &how, p, bytes,
                s->rank > 0 ? s->dims[s->rank - 1] : 1);
    return pq_build_constant(m->out->g, (pq_str){0}, choice.dtype, s->dims,
                             s->rank, p, out);
}

// ---- states ---------------------------------------------------------------

static ptqc_status
add_named(pq_maker *m, const char *what, uint32_t i, ptqc_dtype dtype,
          const pq_kit_shape *s, pq_value_id *out)
{
    pq_dim dims[PTQC_MAX_RANK];
    pq_type type;
    char name[16];
    for (uint32_t d = 0; d < s->rank; d++) {
        dims[d] = pq_dim_const(m->out->g, s->dims[d]);
    }
    if (!pq_type_make(m->out->g, dtype, dims, s->rank, &type)) {
        return PTQC_E_RESOURCE;
    }
    snprintf(name, sizeof name, "%s%u", what, i);
    *out = pq_graph_add_value(m->out->g, pq_str_of(name), type);
    return pq_value_is_none(*out) ? PTQC_E_RESOURCE : PTQC_OK;
}

static ptqc_status
make_state(pq_maker *m, ptqc_dtype dtype, const pq_kit_shape *s, uint32_t i,
           pq_value_id *out)
{
    PQ_TRY(add_named(m, s->rank == 4 ? "state" : "scale", i, dtype, s, out));
    return pq_graph_add_state(m->out->g, *out);
}

// What the state is updated with: x f32, a few rows, and their positions.
static ptqc_status
make_rows(pq_maker *m, const pq_kit_shape *s, uint32_t i, pq_value_id out[2])
{
    enum {
        ROWS = 3,
    };
    pq_kit_shape shapes[2] = {*s, {.rank = 2, .dims = {s->dims[0], ROWS}}};
    static const ptqc_dtype dtypes[2] = {PTQC_F32, PTQC_I32};
    shapes[0].dims[2] = ROWS;
    shapes[1].bound = s->dims[2];
    for (uint32_t k = 0; k < 2; k++) {
        pq_instance *o = m->out;
        if (o->input_count == PQ_KIT_OPERANDS) {
            return PTQC_E_UNSUPPORTED;
        }
        PQ_TRY(add_named(m, k == 0 ? "x" : "at", i, dtypes[k], &shapes[k],
                         &out[k]));
        PQ_TRY(pq_graph_add_input(o->g, out[k]));
        o->shapes[o->input_count] = shapes[k];
        o->fills[o->input_count++] =
            (pq_fill){.dtype = dtypes[k], .bound = shapes[k].bound};
    }
    return PTQC_OK;
}

// Keys (i = 1) or values (2) out of a state, or the scales (5, 6) that came
// with them.
static ptqc_status
make_updated(pq_maker *m, ptqc_dtype dtype, const pq_kit_shape *s, uint32_t i,
             pq_value_id *out)
{
    bool is_codes = dtype == PTQC_I8;
    pq_value_id state, scales, rows[2], made[2] = {PQ_NO_VALUE, PQ_NO_VALUE};
    pq_kit_shape scale_shape = *s;
    pq_builder b;
    if (i > 2) {
        *out = m->scales[i - 5];
        return pq_value_is_none(*out) ? PTQC_E_UNSUPPORTED : PTQC_OK;
    }
    PQ_TRY(make_state(m, dtype, s, i, &state));
    PQ_TRY(make_rows(m, s, i, rows));
    pq_build_begin(&b, m->out->g, (pq_op_id){0},
                   is_codes ? PQ_OP_KV_UPDATE_CODES : PQ_OP_KV_UPDATE,
                   (pq_str){0});
    pq_build_input(&b, state);
    if (is_codes) {
        scale_shape.rank = 3;
        PQ_TRY(make_state(m, PTQC_F32, &scale_shape, i, &scales));
        pq_build_input(&b, scales);
    }
    pq_build_input(&b, rows[0]);
    pq_build_input(&b, rows[1]);
    PQ_TRY(pq_build_end(&b, NULL, made, NULL));
    m->scales[i - 1] = made[1];
    *out = made[0];
    return PTQC_OK;
}

// ---- inputs ---------------------------------------------------------------

static ptqc_status
make_graph_input(pq_maker *m, pq_choice choice, const pq_kit_shape *s,
                 uint32_t i, pq_value_id *out)
{
    pq_graph *g = m->out->g;
    pq_dim dims[PTQC_MAX_RANK];
    pq_type type;
    for (uint32_t d = 0; d < s->rank; d++) {
        dims[d] = s->dims[d] < 0 ? pq_dim_symbol(g, PQ_STR("n"), 1, 64)
                                 : pq_dim_const(g, s->dims[d]);
        m->out->has_symbol |= s->dims[d] < 0;
    }
    if (!pq_type_make(g, choice.dtype, dims, s->rank, &type)) {
        return PTQC_E_RESOURCE;
    }
    char name[16];
    snprintf(name, sizeof name, "in%u", i);
    *out = pq_graph_add_value(g, pq_str_of(name), type);
    PQ_TRY(pq_graph_add_input(g, *out));
    m->out->shapes[m->out->input_count] = *s;
    m->out->fills[m->out->input_count++] = fill_of(m, choice, s, i);
    return PTQC_OK;
}

static void
describe(pq_maker *m, pq_choice choice)
{
    static const char *const names[] = {"", " tensor", " channel", " group",
                                        " token"};
    char *text = m->out->text;
    size_t n = strlen(text);
    bool is_codes = choice.granularity != PTQC_GRAN_NONE;
    snprintf(text + n, PQ_KIT_TEXT - n, "%s%s%s, ",
             choice.dtype == PTQC_DTYPE_NONE ? "-"
                                             : pq_dtype_name(choice.dtype),
             names[choice.granularity],
             is_codes && !choice.is_symmetric ? " asym" : "");
}

// A bias in i32 has the scales of its weight.
static pq_choice
suit_bias(const pq_maker *m, pq_choice choice, uint32_t i)
{
    bool is_sum = is_product(m->rule->op) && i == 2 &&
                  choice.dtype == PTQC_I32 &&
                  choice.granularity != PTQC_GRAN_NONE;
    if (is_sum) {
        choice.granularity =
            m->w_scale_count > 1 ? PTQC_GRAN_CHANNEL : PTQC_GRAN_TENSOR;
    }
    return choice;
}

static ptqc_status
make_input(pq_maker *m, const pq_kit_shape *s, uint32_t i)
{
    const pq_kit_operand *o = find_operand(m->rule, false, i);
    pq_choice choice = suit_bias(m, choose(m, o, i), i);
    pq_value_id v = PQ_NO_VALUE;
    if (!s->is_given || choice.dtype == PTQC_DTYPE_NONE) {
        bool is_needed = o != NULL && o->dtypes != 0 &&
                         (o->flags & PTQC_OPERAND_OPTIONAL) == 0;
        describe(m, (pq_choice){0});
        pq_build_input(&m->b, v);
        return is_needed ? PTQC_E_UNSUPPORTED : PTQC_OK;
    }
    describe(m, choice);
    if (i == 0 && s->rank > 0) {
        m->depth = s->dims[s->rank - 1];
    }
    if (i < pq_op_updates(m->rule->op)) {
        PQ_TRY(make_state(m, choice.dtype, s, i, &v));
    } else if (s->is_updated) {
        PQ_TRY(make_updated(m, choice.dtype, s, i, &v));
    } else if (is_constant(m, o, choice, i)) {
        PQ_TRY(make_constant(m, choice, s, i, &v));
    } else {
        PQ_TRY(make_graph_input(m, choice, s, i, &v));
    }
    pq_build_input(&m->b, v);
    return choice.granularity == PTQC_GRAN_NONE
               ? PTQC_OK
               : quantize_value(m, v, s, choice, i);
}

// Products summed per output element of a conv.
static void
measure_depth(pq_maker *m, const pq_kit_shape *w)
{
    if (m->rule->op != PQ_OP_MATMUL) {
        m->depth = 1;
        for (uint32_t d = 1; d < w->rank; d++) {
            m->depth *= w->dims[d];
        }
    }
}

// ---- the op and its output ------------------------------------------------

static bool
takes_to(pq_opcode op)
{
    return op == PQ_OP_CAST || op == PQ_OP_QUANTIZE || op == PQ_OP_DEQUANTIZE ||
           op == PQ_OP_DYNAMIC_QUANTIZE || op == PQ_OP_RANGE;
}

static bool
has_attr(const pq_builder *b, pq_attr_name name)
{
    for (uint32_t i = 0; i < b->attr_count; i++) {
        if (b->attrs[i].name == name && b->attrs[i].i != 0) {
            return true;
        }
    }
    return false;
}

// The first choice that is a plain `dtype`, or has codes when wanted.
static bool
find_choice(const pq_choices *c, ptqc_dtype dtype, bool is_codes,
            pq_choice *out)
{
    for (uint32_t i = 0; i < c->count; i++) {
        bool has_codes = c->all[i].granularity != PTQC_GRAN_NONE;
        if (has_codes == is_codes && (is_codes || c->all[i].dtype == dtype)) {
            *out = c->all[i];
            return true;
        }
    }
    return false;
}

static ptqc_status
finish_output(pq_maker *m, pq_value_id v, pq_choice choice)
{
    pq_value *value = pq_graph_value(m->out->g, v);
    const pq_kit_operand *o = find_operand(m->rule, true, 0);
    pq_choices c = {.count = 0};
    if (o != NULL) {
        list_choices(o, &c);
    }
    if (!pq_quant_is_none(value->quant)) { // codes that only move
        const pq_quant *q = pq_graph_quant(m->out->g, value->quant);
        return o == NULL ||
                       ((o->dtypes & PTQC_DTYPE_BIT(value->type.dtype)) != 0 &&
                        (o->granularities &
                         PTQC_GRAN_BIT(q->scheme.granularity)) != 0)
                   ? PTQC_OK
                   : PTQC_E_UNSUPPORTED;
    }
    bool is_plain = choice.granularity == PTQC_GRAN_NONE;
    if (is_plain && choice.dtype != value->type.dtype &&
        !find_choice(&c, value->type.dtype, false, &choice) &&
        !find_choice(&c, value->type.dtype, true, &choice)) {
        return o == NULL ? PTQC_OK : PTQC_E_UNSUPPORTED;
    }
    describe(m, choice);
    if (choice.granularity == PTQC_GRAN_NONE) {
        return PTQC_OK;
    }
    pq_kit_shape s = {.rank = value->type.rank};
    for (uint32_t d = 0; d < s.rank; d++) {
        if (!pq_dim_is_const(m->out->g, value->type.dims[d], &s.dims[d])) {
            s.dims[d] = -1;
        }
    }
    return quantize_value(m, v, &s, choice, UINT32_MAX);
}

static ptqc_status
finish(pq_maker *m, pq_choice out_choice)
{
    pq_graph *g = m->out->g;
    pq_value_id outputs[4];
    pq_op_id op;
    if (takes_to(m->rule->op)) {
        pq_build_i64(&m->b, PQ_ATTR_TO, (int64_t)out_choice.dtype);
    }
    PQ_TRY(pq_build_end(&m->b, NULL, outputs, &op));
    PQ_TRY(finish_output(m, outputs[0], out_choice));
    for (uint32_t i = 0; i < pq_op_info_of(m->rule->op)->outputs; i++) {
        PQ_TRY(pq_graph_add_output(g, outputs[i]));
    }
    m->out->op_count = pq_graph_live_op_count(g);
    pq_graph_set_stage(g, PQ_STAGE_LEGAL);
    PQ_TRY(pq_graph_verify(g));
    return pq_interp_declines(g, pq_graph_op(g, op)) != NULL
               ? PTQC_E_UNSUPPORTED
               : PTQC_OK;
}

static bool
is_rank_allowed(const pq_kit_rule *rule, const pq_kit_shape *first)
{
    return (rule->rank_min == 0 || first->rank >= rule->rank_min) &&
           (rule->rank_max == 0 || first->rank <= rule->rank_max);
}

static ptqc_status
build(pq_maker *m)
{
    pq_kit_shape shapes[PQ_KIT_OPERANDS];
    const pq_kit_case *c = m->out->its_case;
    uint32_t count = pq_kit_case_shapes(c, shapes);
    if (!is_rank_allowed(m->rule, &shapes[0])) {
        return PTQC_E_UNSUPPORTED;
    }
    pq_choice out = choose(m, find_operand(m->rule, true, 0), 5);
    if (out.dtype == PTQC_DTYPE_NONE && takes_to(m->rule->op)) {
        return PTQC_E_UNSUPPORTED;
    }
    pq_build_begin(&m->b, m->out->g, (pq_op_id){0}, m->rule->op,
                   PQ_STR("trial"));
    pq_kit_case_attrs(c, &m->b);
    m->is_transposed = has_attr(&m->b, PQ_ATTR_TRANS_B);
    for (uint32_t i = 0; i < count; i++) {
        if (i == 1 && is_product(m->rule->op)) {
            measure_depth(m, &shapes[1]);
        }
        PQ_TRY(make_input(m, &shapes[i], i));
    }
    for (uint32_t i = 0; i < m->rule->operand_count; i++) {
        const pq_kit_operand *o = &m->rule->operands[i];
        if (!o->is_output && o->index >= count && o->dtypes != 0 &&
            (o->flags & PTQC_OPERAND_OPTIONAL) == 0) {
            return PTQC_E_UNSUPPORTED; // no shape for it
        }
    }
    return finish(m, out);
}

static ptqc_status
attempt(ptqc_ctx *ctx, const pq_kit_rule *rule, uint32_t k, bool is_aligned,
        pq_instance *out)
{
    uint32_t cases = pq_kit_case_count(rule->op);
    if (cases == 0) {
        return PTQC_E_UNSUPPORTED;
    }
    *out = (pq_instance){.its_case = pq_kit_case_at(rule->op, k % cases)};
    pq_maker m = {.rule = rule,
                  .k = k,
                  .is_aligned = is_aligned,
                  .random = {UINT64_C(0x5eed) + k},
                  .out = out,
                  .x_scale = 1.0f,
                  .w_scale = {1.0f},
                  .depth = 1};
    PQ_TRY(pq_graph_create(ctx, &out->g));
    snprintf(out->text, sizeof out->text, "trial %u: %s [%s] (%s): ", k,
             pq_op_info_of(rule->op)->name, out->its_case->shapes,
             out->its_case->attrs);
    ptqc_status st = build(&m);
    if (st != PTQC_OK) {
        pq_instance_deinit(out);
    }
    return st;
}

ptqc_status
pq_instance_make(ptqc_ctx *ctx, const pq_kit_rule *rule, uint32_t k,
                 pq_instance *out)
{
    ptqc_status st = attempt(ctx, rule, k, false, out);
    if (st != PTQC_OK && st != PTQC_E_RESOURCE) {
        st = attempt(ctx, rule, k, true, out);
    }
    return st == PTQC_OK || st == PTQC_E_RESOURCE ? st : PTQC_E_UNSUPPORTED;
}

void
pq_instance_deinit(pq_instance *i)
{
    pq_graph_destroy(i->g);
    i->g = NULL;
}
