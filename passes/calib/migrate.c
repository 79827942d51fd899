// SPDX-License-Identifier: Apache-2.0
//
// Moving scales of inputs, see migrate.h.

#include "passes/calib/migrate.h"

#include "base/scratch.h"
#include "passes/match.h"

// Where 1 / s goes.
typedef struct pq_scale_home {
    pq_op_id op; // a norm, or a product by its rows
    pq_tie tie;
} pq_scale_home;

// ---- finding --------------------------------------------------------------

bool
pq_has_linear_rows(const pq_graph *g, pq_value_id v, int64_t channels)
{
    const pq_op *op = pq_producer(g, v, PQ_OP_MATMUL);
    if (op == NULL || pq_graph_value(g, v)->use_count != 1 ||
        pq_channel_count(g, op) != channels) {
        return false;
    }
    pq_value_id bias = pq_op_input(op, 2);
    return pq_is_real_constant(g, op->inputs[1]) &&
           pq_is_float(g, op->inputs[0]) &&
           (pq_value_is_none(bias) || pq_is_float_constant(g, bias)) &&
           pq_value_is_none(pq_op_input(op, 3)) &&
           pq_op_attr(op, PQ_ATTR_ACT) == NULL;
}

static bool
is_norm(const pq_graph *g, const pq_op *op, int64_t channels)
{
    pq_value_id bias = pq_op_input(op, 2);
    return (op->code == PQ_OP_RMS_NORM || op->code == PQ_OP_LAYER_NORM) &&
           pq_is_float_constant(g, op->inputs[1]) &&
           pq_graph_value(g, op->inputs[1])->type.rank == 1 &&
           pq_static_dim(g, op->inputs[1], 0) == channels &&
           (pq_value_is_none(bias) || pq_is_float_constant(g, bias));
}

static bool
find_in_mul(const pq_graph *g, const pq_op *op, int64_t channels,
            pq_scale_home *out)
{
    for (uint32_t i = op->code == PQ_OP_MUL ? 2 : 0; i-- > 0;) {
        pq_value_id v = op->inputs[i];
        if (pq_same_dims(g, v, op->outputs[0]) &&
            pq_has_linear_rows(g, v, channels)) {
            out->op = pq_producer_id(g, v);
            return true;
        }
    }
    return false;
}

// The value that an op of this code makes v of, when v has no other use.
static pq_value_id
behind(const pq_graph *g, pq_value_id v, pq_opcode code)
{
    const pq_op *op = pq_producer(g, v, code);
    return op != NULL && pq_graph_value(g, v)->use_count == 1 ? op->inputs[0]
                                                              : PQ_NO_VALUE;
}

static bool
swaps_heads(const pq_graph *g, pq_value_id v)
{
    static const int64_t perm[4] = {0, 2, 1, 3};
    const pq_op *op = pq_producer(g, v, PQ_OP_TRANSPOSE);
    for (uint32_t i = 0; op != NULL && i < 4; i++) {
        if (pq_op_int_at(op, PQ_ATTR_PERM, i, -1) != perm[i]) {
            return false;
        }
    }
    return op != NULL;
}

pq_value_id
pq_heads_source(const pq_graph *g, pq_value_id v)
{
    return swaps_heads(g, v)
               ? behind(g, behind(g, v, PQ_OP_TRANSPOSE), PQ_OP_RESHAPE)
               : PQ_NO_VALUE;
}

pq_op_id
pq_find_head_norm(const pq_graph *g, pq_value_id v, int64_t size)
{
    if (swaps_heads(g, v)) {
        v = behind(g, v, PQ_OP_TRANSPOSE);
    }
    pq_op_id id = pq_producer_id(g, v);
    bool is_it = !pq_op_is_none(id) && is_norm(g, pq_graph_op(g, id), size) &&
                 pq_graph_value(g, v)->use_count == 1;
    return is_it ? id : (pq_op_id){0};
}

// v as [B, heads, T, D] in an attention -> the product's result [B, T, K].
static pq_value_id
find_values(const pq_graph *g, pq_value_id v)
{
    const pq_op *update = pq_producer(g, v, PQ_OP_KV_UPDATE);
    const pq_op *codes = pq_producer(g, v, PQ_OP_KV_UPDATE_CODES);
    if (update != NULL) {
        v = update->inputs[1];
    } else if (codes != NULL) {
        v = codes->inputs[2];
    }
    return pq_heads_source(g, v);
}

// x = reshape(transpose(attention(q, k, v))): [B, T, heads * D].
static bool
find_in_attention(const pq_graph *g, pq_value_id x, int64_t channels,
                  pq_scale_home *out)
{
    const pq_op *reshape = pq_producer(g, x, PQ_OP_RESHAPE);
    if (reshape == NULL || !swaps_heads(g, reshape->inputs[0])) {
        return false;
    }
    pq_value_id y = behind(g, reshape->inputs[0], PQ_OP_TRANSPOSE);
    const pq_op *attention = pq_producer(g, y, PQ_OP_ATTENTION);
    if (attention == NULL || pq_graph_value(g, y)->use_count != 1 ||
        pq_graph_value(g, y)->type.rank != 4) {
        return false;
    }
    int64_t heads = pq_static_dim(g, y, 1);
    int64_t size = pq_static_dim(g, y, 3);
    int64_t kv_heads = pq_static_dim(g, attention->inputs[2], 1);
    if (heads < 1 || size < 1 || kv_heads < 1 || heads % kv_heads != 0 ||
        heads * size != channels) {
        return false;
    }
    pq_value_id v = find_values(g, attention->inputs[2]);
    if (pq_value_is_none(v) || !pq_has_linear_rows(g, v, kv_heads * size)) {
        return false;
    }
    *out = (pq_scale_home){.op = pq_producer_id(g, v),
                           .tie = {.repeat = heads / kv_heads, .inner = size}};
    return true;
}

static int64_t
width_of(const pq_graph *g, const pq_stream_group *group)
{
    const pq_type *t = &pq_graph_value(g, group->x)->type;
    return pq_static_dim(g, group->x, t->rank - 1);
}

static bool
find_home(const pq_graph *g, const pq_stream_group *group, pq_scale_home *out)
{
    pq_op_id producer = pq_producer_id(g, group->x);
    const pq_op *op = pq_graph_op(g, producer);
    int64_t channels = width_of(g, group);
    *out = (pq_scale_home){.op = producer};
    if (op == NULL || channels < 1 ||
        pq_graph_value(g, group->x)->use_count != group->op_count) {
        return false;
    }
    return is_norm(g, op, channels) || find_in_mul(g, op, channels, out) ||
           find_in_attention(g, group->x, channels, out);
}

// ---- collecting -----------------------------------------------------------

ptqc_status
pq_migration_init(pq_migration *m, pq_graph *g, pq_arena *arena)
{
    *m = (pq_migration){.g = g, .arena = arena};
    m->columns =
        pq_arena_array(arena, pq_graph_op_count(g), sizeof *m->columns);
    m->rows = pq_arena_array(arena, pq_graph_op_count(g), sizeof *m->rows);
    PQ_TRY_ALLOC(m->columns);
    PQ_TRY_ALLOC(m->rows);
    return PTQC_OK;
}

bool
pq_migration_find(const pq_migration *m, const pq_stream_group *group,
                  pq_tie *out_tie)
{
    pq_scale_home home;
    bool found = find_home(m->g, group, &home);
    *out_tie = home.tie;
    return found;
}

const char *
pq_migration_refusal(const pq_migration *m, const pq_stream_group *group)
{
    return pq_graph_value(m->g, group->x)->use_count != group->op_count
               ? "others read the value, too"
               : "nothing before it takes scales";
}

bool
pq_migration_is_norm(const pq_migration *m, const pq_stream_group *group)
{
    pq_scale_home home;
    return find_home(m->g, group, &home) &&
           !pq_is_product(pq_graph_op(m->g, home.op)->code);
}

// Channel of the home that input channel i comes from.
static int64_t
home_channel(const pq_tie *tie, int64_t i)
{
    return tie->repeat > 1
               ? i / (tie->repeat * tie->inner) * tie->inner + i % tie->inner
               : i;
}

ptqc_status
pq_migration_add(pq_migration *m, const pq_stream_group *group, const float *s)
{
    pq_scale_home home;
    int64_t d = width_of(m->g, group);
    (void)find_home(m->g, group, &home);
    double *columns = pq_arena_array(m->arena, (size_t)d, sizeof *columns);
    double *rows = pq_arena_array(m->arena, (size_t)d, sizeof *rows);
    PQ_TRY_ALLOC(columns);
    PQ_TRY_ALLOC(rows);
    for (int64_t i = 0; i < d; i++) {
        columns[i] = (double)s[i];
        rows[home_channel(&home.tie, i)] = 1 / (double)s[i];
    }
    m->rows[home.op.index] = rows;
    for (uint32_t i = 0; i < group->op_count; i++) {
        m->columns[group->ops[i].index] = columns;
    }
    return PTQC_OK;
}

ptqc_status
pq_migration_read(pq_migration *m, const pq_checkpoint *c,
                  const pq_stream_group *group, const char **out_note)
{
    pq_unit_weight unit = {.scale_count = (size_t)width_of(m->g, group)};
    pq_map map;
    if (c->dir == NULL) {
        return PTQC_NO;
    }
    PQ_TRY(pq_unit_read(c, group->index, &unit, 1, &map));
    *out_note = pq_arena_strndup(m->arena, unit.note.p, unit.note.n);
    ptqc_status st = *out_note != NULL ? pq_migration_add(m, group, unit.scales)
                                       : PTQC_E_RESOURCE;
    pq_map_close(&map);
    return st;
}

ptqc_status
pq_migration_keep(pq_migration *m, const pq_checkpoint *c,
                  const pq_stream_group *group, const float *s,
                  const char *note)
{
    const pq_unit_weight unit = {.scale_count = (size_t)width_of(m->g, group),
                                 .scales = s,
                                 .note = pq_str_of(note)};
    PQ_TRY(pq_migration_add(m, group, s));
    return c->dir != NULL ? pq_unit_write(c, group->index, &unit, 1) : PTQC_OK;
}

// ---- applying -------------------------------------------------------------

// input i of the op, a vector, times factor.
static ptqc_status
scale_vector(pq_migration *m, pq_op_id id, uint32_t i, const double *factor,
             pq_arena *local)
{
    pq_value_id v = pq_op_input(pq_graph_op(m->g, id), i);
    if (pq_value_is_none(v)) {
        return PTQC_OK;
    }
    float *p = pq_copy_floats(m->g, v, local);
    PQ_TRY_ALLOC(p);
    int64_t n = pq_static_dim(m->g, v, 0);
    for (int64_t k = 0; k < n; k++) {
        p[k] = (float)((double)p[k] * factor[k]);
    }
    PQ_TRY(pq_make_vector(m->g, p, n, &v));
    return pq_set_input(m->g, id, i, v);
}

// p, bytes of a weight, as a constant of the graph: in a scratch file.
static ptqc_status
spill(pq_migration *m, const char *dir, const pq_constant *c, pq_const_id *out)
{
    ptqc_ctx *ctx = pq_graph_ctx(m->g);
    pq_scratch *scratch = NULL;
    pq_constant own = *c;
    uint64_t offset;
    pq_map map = {0};
    PQ_TRY(pq_scratch_open(ctx, dir, &scratch));
    ptqc_status st = pq_scratch_append(scratch, c->p, c->bytes, &offset);
    if (st == PTQC_OK) {
        st = pq_scratch_map(scratch, &map);
    }
    pq_scratch_close(scratch);
    if (st == PTQC_OK) {
        own.p = map.p;
        st = pq_graph_adopt_map(m->g, map);
        if (st != PTQC_OK) {
            pq_map_close(&map);
        }
    } else if (st == PTQC_NO) {
        own.p = pq_arena_memdup(pq_graph_arena(m->g), c->p, c->bytes);
        st = own.p != NULL ? PTQC_OK : PTQC_E_RESOURCE;
    }
    PQ_TRY(st);
    *out = pq_graph_add_constant(m->g, &own);
    return pq_const_is_none(*out) ? pq_graph_failure(m->g) : PTQC_OK;
}

static ptqc_status
scale_matrix(pq_migration *m, pq_op_id id, const char *dir, pq_arena *local)
{
    pq_graph *g = m->g;
    const pq_op *op = pq_graph_op(g, id);
    const double *columns = m->columns[id.index];
    const double *rows = m->rows[id.index];
    pq_value *old = pq_graph_value(g, op->inputs[1]);
    pq_constant c = *pq_graph_constant(g, old->constant);
    bool is_turned = pq_op_i64(op, PQ_ATTR_TRANS_B, 0) == 0; // [K][N]
    float *w = pq_copy_floats(g, op->inputs[1], local);
    PQ_TRY_ALLOC(w);
    for (int64_t i = 0; i < c.dims[0]; i++) {
        for (int64_t k = 0; k < c.dims[1]; k++) {
            int64_t row = is_turned ? k : i;
            int64_t column = is_turned ? i : k;
            double f = rows != NULL ? rows[row] : 1;
            f *= columns != NULL ? columns[column] : 1;
            float *x = &w[i * c.dims[1] + k];
            *x = (float)((double)*x * f);
        }
    }
    pq_const_id scaled;
    c.dtype = PTQC_F32;
    c.p = w;
    c.bytes = (size_t)(c.dims[0] * c.dims[1]) * sizeof *w;
    PQ_TRY(spill(m, dir, &c, &scaled));
    pq_value_id v = pq_graph_add_constant_value(g, old->name, scaled);
    if (pq_value_is_none(v)) {
        return pq_graph_failure(g);
    }
    pq_graph_value(g, v)->quant = old->quant;
    return pq_set_input(g, id, 1, v);
}

static ptqc_status
apply_to(pq_migration *m, pq_op_id id, const char *dir, pq_arena *local)
{
    const pq_op *op = pq_graph_op(m->g, id);
    const double *rows = m->rows[id.index];
    if (!pq_is_product(op->code)) {
        PQ_TRY(scale_vector(m, id, 1, rows, local));
        return scale_vector(m, id, 2, rows, local);
    }
    if (rows != NULL) {
        PQ_TRY(scale_vector(m, id, 2, rows, local));
    }
    return scale_matrix(m, id, dir, local);
}

ptqc_status
pq_migration_apply(pq_migration *m, const char *dir)
{
    PQ_FOR_EACH_OP(m->g, id)
    {
        if (m->rows[id.index] == NULL && m->columns[id.index] == NULL) {
            continue;
        }
        pq_arena local;
        pq_arena_init(&local, pq_graph_ctx(m->g));
        ptqc_status st = apply_to(m, id, dir, &local);
        pq_arena_deinit(&local);
        PQ_TRY(st);
    }
    return PTQC_OK;
}
