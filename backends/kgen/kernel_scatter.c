// SPDX-License-Identifier: Apache-2.0
//
// SCATTER_ELEMENTS and SCATTER_ND (skeletons/move.kg; parameters as
// lower_index.c writes them): an element of y looks for the updates that name
// it, in their order, so that results do not depend on who is first. That
// takes as many looks as there are updates along the axis, or tuples.
#include "kernel_move.h"

#define REPLACE 0

static const char *const REDUCTIONS_F32[] = {NULL, "a + b", "a * b",
                                             "max_f32(a, b)", "min_f32(a, b)"};
static const char *const REDUCTIONS_I32[] = {NULL, "a + b", "a * b",
                                             "a > b ? a : b", "a < b ? a : b"};
static const char *const REDUCTIONS_I64[] = {
    NULL, "add_64(a, b)", "mul_64(a, b)", "max_i64(a, b)", "min_i64(a, b)"};

// ---- text ------------------------------------------------------------------

// VALUE: what the updates are joined in; LOAD(b, i): element i of a buffer as
// such; JOIN(a, b): b after a; BITS(v): word `part` of it.
static bool
define_values(pq_kg_module *m, int64_t reduction)
{
    uint32_t dtype = pq_kg_out(m->job, 0)->dtype;
    const char *value, *load, *bits, *join;
    if (reduction == REPLACE) {
        value = "u32";
        load = "RAW(b, (i) * PARTS + part)";
        bits = "v";
        join = "b";
    } else if (reduction < 0 || reduction > 4) {
        return false;
    } else if (dtype == PTQC_F32) {
        m->uses |= PQ_KG_USES_VALUES;
        value = "f32";
        load = "AS_F32(b[i])";
        bits = "AS_U32(v)";
        join = REDUCTIONS_F32[reduction];
    } else if (dtype == PTQC_I32) {
        value = "i32";
        load = "I32(b[i])";
        bits = "U32(v)";
        join = REDUCTIONS_I32[reduction];
    } else if (dtype == PTQC_I64) {
        m->uses |= PQ_KG_USES_VALUES | PQ_KG_USES_WIDE;
        value = "u32x2";
        load = "LD_WIDE(b, i)";
        bits = "(part == 0u ? v.x : v.y)";
        join = REDUCTIONS_I64[reduction];
    } else {
        return false;
    }
    pq_kg_module_define(m, "VALUE", "%s", value);
    pq_kg_module_define(m, "LOAD(b, i)", "%s", load);
    pq_kg_module_define(m, "JOIN(a, b)", "(%s)", join);
    pq_kg_module_define(m, "BITS(v)", "%s", bits);
    return true;
}

static bool
begin(pq_kg_module *m, const char *name, int64_t reduction)
{
    static const char *const NAMES[] = {"", "_add", "_mul", "_max", "_min"};
    if (!pq_kg_move_is_like_y(m->job, 0) || !pq_kg_move_is_like_y(m->job, 2) ||
        !pq_kg_move_is_index(pq_kg_in(m->job, 1))) {
        pq_kg_module_decline(m, "scatter between types");
        return false;
    }
    if (!pq_kg_move_begin(m, name)) {
        return false;
    }
    pq_kg_move_parts_define(m);
    if (!define_values(m, reduction)) {
        pq_kg_module_decline(m, "scatter by this reduction");
        return false;
    }
    pq_kg_module_name(m, "%s", NAMES[reduction]);
    return true;
}

static void
finish(pq_kg_module *m, const char *fetch)
{
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_move_ids(m, 1);
    pq_kg_module_buffer(m, 2, "updates", PQ_KG_READS);
    pq_kg_move_end(m, fetch);
}

void
pq_kg_source_scatter_elements(pq_kg_module *m)
{
    if (!begin(m, "scatter_elements", pq_kg_i64(m->job, 1))) {
        return;
    }
    uint32_t rank = pq_kg_out(m->job, 0)->rank;
    pq_kg_module_word(m, "axis");
    pq_kg_module_words(m, "dims", rank);
    pq_kg_module_words(m, "counts", rank);
    pq_kg_module_define(m, "RANK", "%uu", rank);
    finish(m, "u32 part = rest % PARTS;\n"
              "rest /= PARTS;\n"
              "VALUE value = LOAD(x, rest);\n"
              "i32 own = 0;\n"
              "u32 first = 0u;\n"
              "u32 next = 0u;\n"
              "u32 stride = 1u;\n"
              "bool is_named = true;\n"
              "for (u32 k = 0u; k < RANK; k++) {\n"
              "    u32 d = RANK - 1u - k;\n"
              "    u32 outer = rest / dims(d);\n"
              "    u32 i = rest - outer * dims(d);\n"
              "    own = d == axis ? I32(i) : own;\n"
              "    next = d == axis ? stride : next;\n"
              "    first += d == axis ? 0u : i * stride;\n"
              "    is_named = is_named && (d == axis || i < counts(d));\n"
              "    stride *= counts(d);\n"
              "    rest = outer;\n"
              "}\n"
              "u32 looks = is_named ? counts(axis) : 0u;\n"
              "for (u32 j = 0u; j < looks; j++) {\n"
              "    u32 at = first + j * next;\n"
              "    i32 id = ID(at);\n"
              "    id = id < 0 ? id + I32(dims(axis)) : id;\n"
              "    if (id == own) {\n"
              "        value = JOIN(value, LOAD(updates, at));\n"
              "    }\n"
              "}\n"
              "element = BITS(value);\n");
}

void
pq_kg_source_scatter_nd(pq_kg_module *m)
{
    if (!begin(m, "scatter_nd", pq_kg_i64(m->job, 0))) {
        return;
    }
    pq_kg_module_word(m, "inner");
    pq_kg_module_word(m, "tuples");
    pq_kg_module_word(m, "depth");
    pq_kg_module_words(m, "sizes", pq_kg_in(m->job, 0)->rank);
    finish(m, "u32 part = rest % PARTS;\n"
              "rest /= PARTS;\n"
              "VALUE value = LOAD(x, rest);\n"
              "u32 row = rest / inner;\n"
              "u32 i = rest - row * inner;\n"
              "for (u32 t = 0u; t < tuples; t++) {\n"
              "    u32 at = 0u;\n"
              "    bool is_in = true;\n"
              "    for (u32 k = 0u; k < depth; k++) {\n"
              "        i32 id = ID(t * depth + k);\n"
              "        id = id < 0 ? id + I32(sizes(k)) : id;\n"
              "        is_in = is_in && id >= 0 && id < I32(sizes(k));\n"
              "        at = at * sizes(k) + U32(id);\n"
              "    }\n"
              "    if (is_in && at == row) {\n"
              "        value = JOIN(value, LOAD(updates, t * inner + i));\n"
              "    }\n"
              "}\n"
              "element = BITS(value);\n");
}

// ---- launch ----------------------------------------------------------------

static bool
same_dims(const pq_kg_tensor *a, const pq_kg_tensor *b)
{
    bool same = a->rank == b->rank;
    for (uint32_t i = 0; same && i < a->rank; i++) {
        same = a->dims[i] == b->dims[i];
    }
    return same;
}

void
pq_kg_launch_scatter_elements(pq_kg_launcher *l)
{
    const pq_kg_tensor *ids = pq_kg_in(l->job, 1), *y = pq_kg_out(l->job, 0);
    int64_t axis = pq_kg_i64(l->job, 0);
    if (!PQ_KG_NEED(l, same_dims(pq_kg_in(l->job, 0), y) &&
                           same_dims(pq_kg_in(l->job, 2), ids) &&
                           ids->rank == y->rank && axis >= 0 &&
                           axis < y->rank)) {
        return;
    }
    for (uint32_t i = 0; i < y->rank; i++) {
        PQ_KG_NEED(l, i == axis || ids->dims[i] <= y->dims[i]);
    }
    pq_kg_move_launch(l);
    pq_kg_put(l, axis);
    for (uint32_t i = 0; i < y->rank; i++) {
        pq_kg_put(l, y->dims[i]);
    }
    for (uint32_t i = 0; i < y->rank; i++) {
        pq_kg_put(l, ids->dims[i]);
    }
}

void
pq_kg_launch_scatter_nd(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0);
    pq_kg_tuples t;
    int64_t updates;
    if (!pq_kg_tuples_read(l, 0, &t)) {
        return;
    }
    (void)pq_kg_count(pq_kg_in(l->job, 2), &updates);
    PQ_KG_NEED(l, same_dims(x, pq_kg_out(l->job, 0)) &&
                      updates == t.count * t.inner);
    pq_kg_move_launch(l);
    pq_kg_put(l, t.inner > 0 ? t.inner : 1);
    pq_kg_put(l, t.count);
    pq_kg_tuples_put(l, &t);
}
