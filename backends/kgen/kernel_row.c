// SPDX-License-Identifier: Apache-2.0
//
// Steps along axes: reductions, softmax, norms, dynamic quantization, arg max,
// running sums (skeletons/rows.kg and the skeleton of each). A row is
// [outer][length][inner], as in the cpu's kernels.
#include "module.h"
#include "params.h"

typedef struct rows {
    int64_t outer, length, inner;
} rows;

// The row axes are `count` from `first` on.
static bool
row_shape(const pq_kg_tensor *x, int64_t first, int64_t count, rows *out)
{
    if (first < 0 || count < 0 || first > x->rank || count > x->rank - first) {
        return false;
    }
    uint32_t from = (uint32_t)first, to = from + (uint32_t)count;
    out->outer = pq_kg_extent(x, 0, from);
    out->length = pq_kg_extent(x, from, to);
    out->inner = pq_kg_extent(x, to, x->rank);
    return true;
}

static bool
is_f32_pair(const pq_kg_job *job)
{
    const pq_kg_tensor *x = pq_kg_in(job, 0), *y = pq_kg_out(job, 0);
    return x != NULL && y != NULL && x->dtype == PTQC_F32 &&
           y->dtype == PTQC_F32 && x->rank == y->rank;
}

// x, the words of the shape; y is declared by the caller, after other inputs.
static void
begin_rows(pq_kg_module *m, const char *name)
{
    pq_kg_module_name(m, "%s", name);
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_module_word(m, "rows");
    pq_kg_module_word(m, "length");
    pq_kg_module_word(m, "inner");
}

static void
use_teams(pq_kg_module *m)
{
    (void)pq_kg_module_may(m, PQ_KG_SUBGROUPS);
    pq_kg_module_spec(m, "TEAM");
    pq_kg_module_shared(m, "f32", "lanes_f32", 16);
    m->uses |= PQ_KG_USES_VALUES | PQ_KG_USES_ROWS;
}

static void
put_rows(pq_kg_launcher *l, const rows *r)
{
    pq_kg_put(l, r->outer * r->inner);
    pq_kg_put(l, r->length);
    pq_kg_put(l, r->inner);
}

// Items of a team (rows.kg).
#define TEAM_ITEMS 16u

// Reductions of each row, then a walk over it or none (turns of loops,
// rows.kg). Teams where rows are few or long: a single item would be slow. On a
// cpu a barrier costs more than the lanes give, but for few rows.
static void
launch_teams(pq_kg_launcher *l, const rows *r, int64_t passes, bool walks)
{
    int64_t count = r->outer * r->inner;
    bool is_cpu = l->limits->is_cpu;
    bool is_team =
        is_cpu ? count < 8 && r->length >= 64 : r->inner < 16 && r->length > 16;
    int64_t lines = r->length / TEAM_ITEMS + 1;
    int64_t alone = passes * lines + (walks ? r->length : 0);
    is_team = is_team || (l->limits->max_turns > 0 &&
                          alone > (int64_t)l->limits->max_turns);
    pq_kg_launch_turns(l, is_team ? (passes + walks) * lines : alone);
    if (is_team) {
        uint32_t subgroup = pq_kg_subgroup(l->limits);
        uint32_t teams = subgroup > TEAM_ITEMS ? subgroup / TEAM_ITEMS : 1;
        pq_kg_launch_rows(l, count / teams + (count % teams != 0),
                          teams * TEAM_ITEMS);
    } else {
        pq_kg_launch_items(l, count, is_cpu ? 8 : 64);
    }
    pq_kg_launch_spec(l, is_team ? TEAM_ITEMS : 1);
    l->out->work_ops = 8 * (uint64_t)count * (uint64_t)r->length;
}

// ---- reduce ----------------------------------------------------------------

typedef struct reduce_text {
    const char *first, *take, *join, *finish; // f32
} reduce_text;

static const reduce_text REDUCES[PQ_REDUCE_COUNT] = {
    [PQ_REDUCE_SUM] = {"0.0f", "lane = lane + v", "JOIN_ADD", "s"},
    [PQ_REDUCE_MEAN] = {"0.0f", "lane = lane + v", "JOIN_ADD",
                        "(s) / F32(length)"},
    [PQ_REDUCE_MAX] = {"-INF_F32", "lane = max_f32(lane, v)", "JOIN_MAX", "s"},
    [PQ_REDUCE_MIN] = {"INF_F32", "lane = min_f32(lane, v)", "JOIN_MIN", "s"},
    [PQ_REDUCE_PROD] = {"1.0f", "lane = lane * v", "JOIN_MUL", "s"},
    [PQ_REDUCE_L1] = {"0.0f", "lane = lane + ABS(v)", "JOIN_ADD", "s"},
    [PQ_REDUCE_L2] = {"0.0f", "lane = FMA(v, v, lane)", "JOIN_ADD", "SQRT(s)"},
    [PQ_REDUCE_SUM_SQUARE] = {"0.0f", "lane = FMA(v, v, lane)", "JOIN_ADD",
                              "s"},
    [PQ_REDUCE_LOG_SUM] = {"0.0f", "lane = lane + v", "JOIN_ADD", "log_f32(s)"},
    [PQ_REDUCE_LOG_SUM_EXP] = {"0.0f", "", "JOIN_ADD", "high + log_f32(s)"},
};

static const reduce_text INT_REDUCES[PQ_REDUCE_COUNT] = {
    [PQ_REDUCE_SUM] = {"0", "lane = lane + v", "JOIN_ADD", "s"},
    [PQ_REDUCE_MEAN] = {"0", "lane = lane + v", "JOIN_ADD",
                        "div_i32(s, I32(length))"},
    [PQ_REDUCE_MAX] = {"(-2147483647 - 1)", "lane = lane > v ? lane : v",
                       "JOIN_MAX_INT", "s"},
    [PQ_REDUCE_MIN] = {"2147483647", "lane = lane < v ? lane : v",
                       "JOIN_MIN_INT", "s"},
    [PQ_REDUCE_PROD] = {"1", "lane = lane * v", "JOIN_MUL", "s"},
};

void
pq_kg_source_reduce(pq_kg_module *m)
{
    const pq_kg_tensor *x = pq_kg_in(m->job, 0), *y = pq_kg_out(m->job, 0);
    int64_t op = pq_kg_i64(m->job, 0);
    if (x == NULL || y == NULL || x->dtype != y->dtype || op < 0 ||
        op >= PQ_REDUCE_COUNT) {
        pq_kg_module_decline(m, "reduce: operands");
        return;
    }
    bool is_real = x->dtype == PTQC_F32;
    const reduce_text *t = is_real ? &REDUCES[op] : &INT_REDUCES[op];
    if (!(is_real || x->dtype == PTQC_I32) || t->first == NULL) {
        pq_kg_module_decline(m, "reduce of elements of this type");
        return;
    }
    begin_rows(m, is_real ? "reduce_f32" : "reduce_i32");
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    use_teams(m);
    pq_kg_module_shared(m, "i32", "lanes_i32", 16);
    pq_kg_module_define(m, "LOG_SUM_EXP", "%d", op == PQ_REDUCE_LOG_SUM_EXP);
    pq_kg_module_define(m, "TYPE", is_real ? "f32" : "i32");
    pq_kg_module_define(m, "LANES_ARRAY", is_real ? "lanes_f32" : "lanes_i32");
    pq_kg_module_define(m, "FIRST", "%s", t->first);
    pq_kg_module_define(m, "LOAD(at)",
                        is_real ? "LD_f32(x, at)" : "LD_i32(x, at)");
    pq_kg_module_define(m, "TAKE(lane, i)", "TYPE v = LOAD(AT(i)); %s",
                        t->take);
    pq_kg_module_define(m, "JOIN", "%s", t->join);
    pq_kg_module_define(m, "FINISH(s)", is_real ? "AS_U32(%s)" : "U32(%s)",
                        t->finish);
    if (op == PQ_REDUCE_LOG_SUM || op == PQ_REDUCE_LOG_SUM_EXP) {
        m->uses |= PQ_KG_USES_MATH;
    }
    pq_kg_module_body(m, pq_kg_text_reduce);
}

void
pq_kg_launch_reduce(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    rows r;
    int64_t count;
    if (!PQ_KG_NEED(
            l, row_shape(x, pq_kg_i64(l->job, 1), pq_kg_i64(l->job, 2), &r))) {
        return;
    }
    (void)pq_kg_count(y, &count);
    PQ_KG_NEED(l, count == r.outer * r.inner);
    put_rows(l, &r);
    launch_teams(l, &r, pq_kg_i64(l->job, 0) == PQ_REDUCE_LOG_SUM_EXP ? 2 : 1,
                 false);
}

// ---- mean of codes ---------------------------------------------------------

static bool
is_code(uint32_t dtype)
{
    return dtype == PTQC_U8 || dtype == PTQC_I8;
}

void
pq_kg_source_code_mean(pq_kg_module *m)
{
    const pq_kg_tensor *x = pq_kg_in(m->job, 0), *y = pq_kg_out(m->job, 0);
    if (x == NULL || y == NULL || !is_code(x->dtype) ||
        (!is_code(y->dtype) && y->dtype != PTQC_F32)) {
        pq_kg_module_decline(m, "mean of codes: types");
        return;
    }
    bool has_codes = is_code(y->dtype);
    begin_rows(m, "code_mean");
    pq_kg_module_name(m, "_%s_%s", pq_kg_dtype_name(x->dtype),
                      pq_kg_dtype_name(y->dtype));
    pq_kg_module_define(m, "LOAD(i)", "LD_%s(x, i)",
                        pq_kg_dtype_name(x->dtype));
    pq_kg_module_define(m, "LOW", y->dtype == PTQC_I8 ? "-128" : "0");
    pq_kg_module_define(m, "HIGH", y->dtype == PTQC_I8 ? "127" : "255");
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    static const char *const WORDS[] = {"words_out", "x_zero", "y_zero",
                                        "factor"};
    for (uint32_t i = 0; i < 4; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    pq_kg_module_define(m, "LANES", has_codes ? "4u" : "1u");
    pq_kg_module_define(m, "HAS_CODES", has_codes ? "1" : "0");
    m->uses |= PQ_KG_USES_VALUES;
    pq_kg_module_body(m, pq_kg_text_code_mean);
}

void
pq_kg_launch_code_mean(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    rows r;
    int64_t count, y_zero = pq_kg_i64(l->job, 4);
    if (!PQ_KG_NEED(
            l, row_shape(x, pq_kg_i64(l->job, 0), pq_kg_i64(l->job, 1), &r))) {
        return;
    }
    (void)pq_kg_count(y, &count);
    PQ_KG_NEED(l, count == r.outer * r.inner);
    PQ_KG_NEED(l, r.length <= INT32_MAX / 256);
    PQ_KG_NEED(l, y_zero >= -128 && y_zero <= 255);
    float sx = pq_kg_f32(l->job, 3), sy = pq_kg_f32(l->job, 5);
    float mult =
        (y->dtype == PTQC_F32 ? sx : sx / sy) * (1.0f / (float)r.length);
    put_rows(l, &r);
    pq_kg_put(l, pq_kg_words_of(y->dtype, count));
    pq_kg_put_i32(l, pq_kg_i64(l->job, 2));
    pq_kg_put_i32(l, y_zero);
    pq_kg_put_f32(l, mult);
    pq_kg_launch_turns(l, 4 * (r.length / 4 + 1)); // code_mean.kg: 4 lanes
    pq_kg_launch_items(l, pq_kg_words_of(y->dtype, count),
                       l->limits->is_cpu ? 8 : 64);
}

// ---- softmax and norms -----------------------------------------------------

void
pq_kg_source_softmax(pq_kg_module *m)
{
    bool is_log = pq_kg_i64(m->job, 1) != 0;
    if (!is_f32_pair(m->job)) {
        pq_kg_module_decline(m, "softmax: types");
        return;
    }
    begin_rows(m, is_log ? "log_softmax" : "softmax");
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    use_teams(m);
    m->uses |= PQ_KG_USES_MATH;
    pq_kg_module_define(m, "LOG", is_log ? "1" : "0");
    pq_kg_module_body(m, pq_kg_text_softmax);
}

static void
launch_along(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    rows r;
    int64_t a, b;
    (void)pq_kg_count(x, &a);
    (void)pq_kg_count(y, &b);
    if (PQ_KG_NEED(l, row_shape(x, pq_kg_i64(l->job, 0), 1, &r)) &&
        PQ_KG_NEED(l, a == b)) {
        put_rows(l, &r);
        launch_teams(l, &r, 2, true);
    }
}

void
pq_kg_launch_softmax(pq_kg_launcher *l)
{
    launch_along(l);
}

void
pq_kg_source_lp_norm(pq_kg_module *m)
{
    int64_t p = pq_kg_i64(m->job, 1);
    if (!is_f32_pair(m->job) || (p != 1 && p != 2)) {
        pq_kg_module_decline(m, "lp norm: types");
        return;
    }
    begin_rows(m, "lp_norm");
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    use_teams(m);
    pq_kg_module_define(m, "SQUARES", p == 2 ? "1" : "0");
    pq_kg_module_body(m, pq_kg_text_lp_norm);
}

void
pq_kg_launch_lp_norm(pq_kg_launcher *l)
{
    launch_along(l);
}

// Modes of a NORM step: lower_row.c.
#define NORM_ROWS     0
#define NORM_INSTANCE 1
#define NORM_LAST     2
#define NORM_GROUPS   3

void
pq_kg_source_norm(pq_kg_module *m)
{
    int64_t kind = pq_kg_i64(m->job, 0), mode = pq_kg_i64(m->job, 2);
    const pq_kg_tensor *scale = pq_kg_in(m->job, 1);
    const pq_kg_tensor *bias = pq_kg_in(m->job, 2);
    bool is_real = (scale == NULL || scale->dtype == PTQC_F32) &&
                   (bias == NULL || bias->dtype == PTQC_F32);
    if (!is_f32_pair(m->job) || !is_real || mode < 0 || mode > NORM_GROUPS ||
        (kind != PQ_NORM_LAYER && kind != PQ_NORM_RMS)) {
        pq_kg_module_decline(m, "norm: types");
        return;
    }
    begin_rows(m, kind == PQ_NORM_RMS ? "rms_norm" : "layer_norm");
    if (scale != NULL) {
        pq_kg_module_buffer(m, 1, "scale", PQ_KG_READS);
    }
    if (bias != NULL) {
        pq_kg_module_buffer(m, 2, "bias", PQ_KG_READS);
    }
    pq_kg_module_buffer(m, 3, "y", PQ_KG_WRITES);
    pq_kg_module_word(m, "epsilon");
    pq_kg_module_word(m, "groups");
    pq_kg_module_word(m, "group_channels");
    pq_kg_module_word(m, "channel_length");
    use_teams(m);
    pq_kg_module_define(m, "RMS", kind == PQ_NORM_RMS ? "1" : "0");
    pq_kg_module_define(m, "HAS_SCALE", scale != NULL ? "1" : "0");
    pq_kg_module_define(m, "HAS_BIAS", bias != NULL ? "1" : "0");
    pq_kg_module_define(m, "CHANNEL(i)",
                        mode == NORM_ROWS   ? "(i)"
                        : mode == NORM_LAST ? "column"
                                            : "(row %% groups * group_channels "
                                              "+ (i) / channel_length)");
    pq_kg_module_body(m, pq_kg_text_norm);
}

typedef struct norm_shape {
    rows r;
    int64_t params; // elements of scale and bias
    int64_t groups, group_channels, channel_length;
} norm_shape;

static void
read_norm(pq_kg_launcher *l, norm_shape *out)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0);
    int64_t mode = pq_kg_i64(l->job, 2), detail = pq_kg_i64(l->job, 3);
    *out = (norm_shape){.groups = 1, .group_channels = 1, .channel_length = 1};
    if (mode == NORM_ROWS) {
        PQ_KG_NEED(l, detail >= 0 && detail < x->rank &&
                          row_shape(x, detail, x->rank - detail, &out->r));
        out->params = out->r.length;
        return;
    }
    if (!PQ_KG_NEED(l, x->rank >= 3)) {
        return;
    }
    if (mode == NORM_LAST) {
        (void)row_shape(x, 1, x->rank - 2, &out->r);
        out->params = out->r.inner;
        return;
    }
    int64_t channels = x->dims[1], count;
    out->groups = mode == NORM_GROUPS ? detail : channels;
    out->params = channels;
    if (PQ_KG_NEED(l, out->groups > 0 && channels % out->groups == 0)) {
        (void)pq_kg_count(x, &count);
        int64_t n = x->dims[0] * out->groups;
        out->r = (rows){n, n > 0 ? count / n : 0, 1};
        out->group_channels = channels / out->groups;
        out->channel_length = out->r.length / out->group_channels;
    }
}

void
pq_kg_launch_norm(pq_kg_launcher *l)
{
    norm_shape s;
    read_norm(l, &s);
    for (uint32_t i = 1; i < 3 && l->st == PTQC_BE_OK; i++) {
        int64_t count = s.params;
        if (pq_kg_in(l->job, i) != NULL) {
            (void)pq_kg_count(pq_kg_in(l->job, i), &count);
        }
        PQ_KG_NEED(l, count == s.params);
    }
    if (l->st != PTQC_BE_OK) {
        return;
    }
    put_rows(l, &s.r);
    pq_kg_put_f32(l, pq_kg_f32(l->job, 1));
    pq_kg_put(l, s.groups);
    pq_kg_put(l, s.group_channels);
    pq_kg_put(l, s.channel_length > 0 ? s.channel_length : 1);
    launch_teams(l, &s.r, 2, true);
}

void
pq_kg_source_lrn(pq_kg_module *m)
{
    if (!is_f32_pair(m->job)) {
        pq_kg_module_decline(m, "lrn: types");
        return;
    }
    pq_kg_module_name(m, "lrn");
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    static const char *const WORDS[] = {"count", "length", "inner", "before",
                                        "after", "factor", "power", "offset"};
    for (uint32_t i = 0; i < 8; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    m->uses |= PQ_KG_USES_MATH;
    pq_kg_module_body(m, pq_kg_text_lrn);
}

void
pq_kg_launch_lrn(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0);
    int64_t size = pq_kg_i64(l->job, 1), count;
    rows r;
    if (!PQ_KG_NEED(l, row_shape(x, pq_kg_i64(l->job, 0), 1, &r)) ||
        !PQ_KG_NEED(l, size >= 1 && size <= INT32_MAX)) {
        return;
    }
    (void)pq_kg_count(x, &count);
    pq_kg_put(l, count);
    pq_kg_put(l, r.length);
    pq_kg_put(l, r.inner);
    pq_kg_put(l, (size - 1) / 2);
    pq_kg_put(l, size / 2);
    pq_kg_put_f32(l, pq_kg_f32(l->job, 2) / (float)size);
    pq_kg_put_f32(l, pq_kg_f32(l->job, 3));
    pq_kg_put_f32(l, pq_kg_f32(l->job, 4));
    pq_kg_launch_items(l, count, pq_kg_flat_local(l->limits));
}

// ---- dynamic quantization --------------------------------------------------

void
pq_kg_source_row_quantize(pq_kg_module *m)
{
    const pq_kg_tensor *x = pq_kg_in(m->job, 0), *y = pq_kg_out(m->job, 0);
    const pq_kg_tensor *scales = pq_kg_out(m->job, 1);
    if (x == NULL || y == NULL || scales == NULL || x->dtype != PTQC_F32 ||
        !is_code(y->dtype) || scales->dtype != PTQC_F32 || x->rank == 0) {
        pq_kg_module_decline(m, "dynamic quantization: types");
        return;
    }
    begin_rows(m, "row_quantize");
    pq_kg_module_name(m, "_%s", pq_kg_dtype_name(y->dtype));
    pq_kg_module_define(m, "BIAS", y->dtype == PTQC_U8 ? "128" : "0");
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    pq_kg_module_buffer(m, 2, "scales", PQ_KG_WRITES);
    use_teams(m);
    pq_kg_module_spec(m, "WHOLE");
    m->uses |= PQ_KG_USES_EXACT;
    pq_kg_module_body(m, pq_kg_text_row_quantize);
}

void
pq_kg_launch_row_quantize(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    int64_t codes, scales, count;
    rows r;
    (void)row_shape(x, x->rank - 1, 1, &r);
    (void)pq_kg_count(x, &count);
    (void)pq_kg_count(y, &codes);
    (void)pq_kg_count(pq_kg_out(l->job, 1), &scales);
    PQ_KG_NEED(l, codes == count && scales == r.outer);
    put_rows(l, &r);
    launch_teams(l, &r, 1, true);
    pq_kg_launch_spec(l, r.length % 4 == 0 ? 1 : 0);
}

// ---- one item a row --------------------------------------------------------

static bool
has_plain_type(const pq_kg_tensor *x)
{
    return x != NULL && (x->dtype == PTQC_F32 || x->dtype == PTQC_I32 ||
                         x->dtype == PTQC_U8 || x->dtype == PTQC_I8);
}

void
pq_kg_source_arg_reduce(pq_kg_module *m)
{
    const pq_kg_tensor *x = pq_kg_in(m->job, 0), *y = pq_kg_out(m->job, 0);
    int64_t flags = pq_kg_i64(m->job, 1);
    if (!has_plain_type(x) || y == NULL || y->dtype != PTQC_I64) {
        pq_kg_module_decline(m, "arg reduce of elements of this type");
        return;
    }
    bool is_min = (flags & PQ_ARG_MIN) != 0;
    begin_rows(m, "arg_reduce");
    pq_kg_module_name(m, "_%s", pq_kg_dtype_name(x->dtype));
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    pq_kg_module_define(m, "TYPE", "%s", pq_kg_register_type(x->dtype));
    pq_kg_module_define(m, "LOAD(at)", "LD_%s(x, at)",
                        pq_kg_dtype_name(x->dtype));
    pq_kg_module_define(m, "IS_NAN(v)",
                        x->dtype == PTQC_F32 ? "((v) != (v))" : "false");
    pq_kg_module_define(m, "BEFORE(a, b)", is_min ? "(a) < (b)" : "(a) > (b)");
    pq_kg_module_define(m, "LAST", "%d", (flags & PQ_ARG_LAST) != 0);
    pq_kg_module_body(m, pq_kg_text_arg_reduce);
}

static void
launch_plain(pq_kg_launcher *l, bool is_reduced)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0);
    rows r;
    int64_t count, want;
    if (!PQ_KG_NEED(l, row_shape(x, pq_kg_i64(l->job, 0), 1, &r))) {
        return;
    }
    (void)pq_kg_count(pq_kg_out(l->job, 0), &count);
    (void)pq_kg_count(x, &want);
    want = is_reduced ? r.outer * r.inner : want;
    PQ_KG_NEED(l, count == want && (!is_reduced || r.length > 0));
    put_rows(l, &r);
    pq_kg_launch_turns(l, r.length / 16 + 1); // arg_reduce.kg, cumsum.kg
    pq_kg_launch_items(l, r.outer * r.inner, l->limits->is_cpu ? 8 : 64);
}

void
pq_kg_launch_arg_reduce(pq_kg_launcher *l)
{
    launch_plain(l, true);
}

void
pq_kg_source_cumsum(pq_kg_module *m)
{
    const pq_kg_tensor *x = pq_kg_in(m->job, 0), *y = pq_kg_out(m->job, 0);
    int64_t flags = pq_kg_i64(m->job, 1);
    if (x == NULL || y == NULL || x->dtype != y->dtype ||
        (x->dtype != PTQC_F32 && x->dtype != PTQC_I32)) {
        pq_kg_module_decline(m, "cumsum of elements of this type");
        return;
    }
    begin_rows(m, "cumsum");
    pq_kg_module_name(m, "_%s", pq_kg_dtype_name(x->dtype));
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    pq_kg_module_define(m, "TYPE", "%s", pq_kg_register_type(x->dtype));
    pq_kg_module_define(m, "LOAD(at)", "LD_%s(x, at)",
                        pq_kg_dtype_name(x->dtype));
    pq_kg_module_define(m, "STORE(at, v)", "y[at] = BITS_%s(v)",
                        pq_kg_dtype_name(x->dtype));
    pq_kg_module_define(m, "EXCLUSIVE", "%d",
                        (flags & PQ_CUMSUM_EXCLUSIVE) != 0);
    pq_kg_module_define(m, "REVERSE", "%d", (flags & PQ_CUMSUM_REVERSE) != 0);
    pq_kg_module_body(m, pq_kg_text_cumsum);
}

void
pq_kg_launch_cumsum(pq_kg_launcher *l)
{
    launch_plain(l, false);
}
