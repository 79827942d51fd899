// SPDX-License-Identifier: Apache-2.0
//
// Steps that pick elements by index or make indices (skeletons/move.kg):
// GATHER_ELEMENTS, GATHER_ND, ONE_HOT, TRILU, RANGE, SHAPE, REVERSE_SEQUENCE;
// parameters as lower_index.c writes them. PARTS is 2 for elements of 8 bytes.
#include "kernel_move.h"
#include "move.h"

// ---- gather elements -------------------------------------------------------

void
pq_kg_source_gather_elements(pq_kg_module *m)
{
    if (!pq_kg_move_is_like_y(m->job, 0) ||
        !pq_kg_move_is_index(pq_kg_in(m->job, 1))) {
        pq_kg_module_decline(m, "gather by indices of this type");
        return;
    }
    if (!pq_kg_move_begin(m, "gather_elements")) {
        return;
    }
    uint32_t rank = pq_kg_out(m->job, 0)->rank;
    pq_kg_move_parts_define(m);
    pq_kg_module_word(m, "axis");
    pq_kg_module_words(m, "dims", rank);
    pq_kg_module_words(m, "from", rank);
    pq_kg_module_define(m, "RANK", "%uu", rank);
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_move_ids(m, 1);
    pq_kg_move_end(m, "u32 part = rest % PARTS;\n"
                      "rest /= PARTS;\n"
                      "i32 id = ID(rest);\n"
                      "id = id < 0 ? id + I32(from(axis)) : id;\n"
                      "u32 at = 0u;\n"
                      "u32 stride = 1u;\n"
                      "for (u32 k = 0u; k < RANK; k++) {\n"
                      "    u32 d = RANK - 1u - k;\n"
                      "    u32 next = rest / dims(d);\n"
                      "    u32 i = rest - next * dims(d);\n"
                      "    at += (d == axis ? U32(id) : i) * stride;\n"
                      "    stride *= from(d);\n"
                      "    rest = next;\n"
                      "}\n"
                      "if (id >= 0 && id < I32(from(axis))) {\n"
                      "    element = RAW(x, at * PARTS + part);\n"
                      "}\n");
}

void
pq_kg_launch_gather_elements(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *ids = pq_kg_in(l->job, 1);
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    int64_t axis = pq_kg_i64(l->job, 0);
    if (!PQ_KG_NEED(l, x->rank == y->rank && ids->rank == y->rank &&
                           axis >= 0 && axis < y->rank)) {
        return;
    }
    for (uint32_t i = 0; i < y->rank; i++) {
        PQ_KG_NEED(l, ids->dims[i] == y->dims[i] &&
                          (i == axis || y->dims[i] <= x->dims[i]));
    }
    pq_kg_move_launch(l);
    pq_kg_put(l, axis);
    for (uint32_t i = 0; i < y->rank; i++) {
        pq_kg_put(l, y->dims[i]);
    }
    for (uint32_t i = 0; i < y->rank; i++) {
        pq_kg_put(l, x->dims[i]);
    }
}

// ---- gather by tuple -------------------------------------------------------

void
pq_kg_source_gather_nd(pq_kg_module *m)
{
    if (!pq_kg_move_is_like_y(m->job, 0) ||
        !pq_kg_move_is_index(pq_kg_in(m->job, 1))) {
        pq_kg_module_decline(m, "gather by indices of this type");
        return;
    }
    if (!pq_kg_move_begin(m, "gather_nd")) {
        return;
    }
    pq_kg_move_parts_define(m);
    pq_kg_module_word(m, "inner");
    pq_kg_module_word(m, "per_batch");
    pq_kg_module_word(m, "depth");
    pq_kg_module_words(m, "sizes", pq_kg_in(m->job, 0)->rank);
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_move_ids(m, 1);
    pq_kg_move_end(m, "u32 part = rest % PARTS;\n"
                      "rest /= PARTS;\n"
                      "u32 tuple = rest / inner;\n"
                      "u32 at = tuple / per_batch;\n"
                      "bool is_in = true;\n"
                      "for (u32 k = 0u; k < depth; k++) {\n"
                      "    i32 id = ID(tuple * depth + k);\n"
                      "    id = id < 0 ? id + I32(sizes(k)) : id;\n"
                      "    is_in = is_in && id >= 0 && id < I32(sizes(k));\n"
                      "    at = at * sizes(k) + U32(id);\n"
                      "}\n"
                      "at = at * inner + rest - tuple * inner;\n"
                      "if (is_in) {\n"
                      "    element = RAW(x, at * PARTS + part);\n"
                      "}\n");
}

void
pq_kg_launch_gather_nd(pq_kg_launcher *l)
{
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    pq_kg_tuples t;
    int64_t count;
    if (!pq_kg_tuples_read(l, pq_kg_in(l->job, 0), pq_kg_i64(l->job, 0), &t)) {
        return;
    }
    (void)pq_kg_count(y, &count);
    PQ_KG_NEED(l, count == t.count * t.inner);
    pq_kg_move_launch(l);
    pq_kg_put(l, t.inner > 0 ? t.inner : 1);
    pq_kg_put(l, t.per_batch > 0 ? t.per_batch : 1);
    pq_kg_tuples_put(l, &t);
}

// ---- one hot ---------------------------------------------------------------

void
pq_kg_source_one_hot(pq_kg_module *m)
{
    if (!pq_kg_move_is_index(pq_kg_in(m->job, 0)) ||
        !pq_kg_move_is_like_y(m->job, 1)) {
        pq_kg_module_decline(m, "one_hot of this type");
        return;
    }
    if (!pq_kg_move_begin(m, "one_hot")) {
        return;
    }
    pq_kg_move_parts_define(m);
    pq_kg_module_word(m, "depth");
    pq_kg_module_word(m, "inner");
    pq_kg_move_ids(m, 0);
    pq_kg_module_buffer(m, 1, "values", PQ_KG_READS);
    pq_kg_move_end(m, "u32 part = rest % PARTS;\n"
                      "rest /= PARTS;\n"
                      "u32 row = rest / inner;\n"
                      "u32 line = row / depth;\n"
                      "i32 id = ID(line * inner + rest - row * inner);\n"
                      "id = id < 0 ? id + I32(depth) : id;\n"
                      "bool on = I32(row - line * depth) == id;\n"
                      "element = RAW(values, (on ? PARTS : 0u) + part);\n");
}

void
pq_kg_launch_one_hot(pq_kg_launcher *l)
{
    const pq_kg_tensor *ids = pq_kg_in(l->job, 0), *v = pq_kg_in(l->job, 1);
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    int64_t axis = pq_kg_i64(l->job, 0), a, b, pair;
    if (!PQ_KG_NEED(l, axis >= 0 && axis < y->rank)) {
        return;
    }
    int64_t depth = y->dims[axis];
    (void)pq_kg_count(ids, &a);
    (void)pq_kg_count(y, &b);
    (void)pq_kg_count(v, &pair);
    PQ_KG_NEED(l, a * depth == b && pair == 2);
    pq_kg_move_launch(l);
    pq_kg_put(l, depth);
    pq_kg_put(l, pq_kg_extent(y, (uint32_t)axis + 1, y->rank));
}

// ---- triangles -------------------------------------------------------------

void
pq_kg_source_trilu(pq_kg_module *m)
{
    if (!pq_kg_move_is_like_y(m->job, 0)) {
        pq_kg_module_decline(m, "trilu between types");
        return;
    }
    bool upper = pq_kg_i64(m->job, 1) != 0;
    if (!pq_kg_move_begin(m, upper ? "triangle_upper" : "triangle_lower")) {
        return;
    }
    pq_kg_move_parts_define(m);
    pq_kg_module_word(m, "columns");
    pq_kg_module_word(m, "lines");
    pq_kg_module_word(m, "shift");
    pq_kg_module_words(m, "fill", 2);
    pq_kg_module_define(m, "STAYS(d)",
                        upper ? "(d) >= I32(shift)" : "(d) <= I32(shift)");
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_move_end(m, "u32 place = rest / PARTS;\n"
                      "u32 row = place / columns;\n"
                      "i32 d = I32(place - row * columns) - I32(row % lines);\n"
                      "if (STAYS(d)) {\n"
                      "    element = RAW(x, rest);\n"
                      "} else {\n"
                      "    element = fill(rest % PARTS);\n"
                      "}\n");
}

void
pq_kg_launch_trilu(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    int64_t a, b;
    (void)pq_kg_count(x, &a);
    (void)pq_kg_count(y, &b);
    if (!PQ_KG_NEED(l, x->rank >= 2 && a == b)) {
        return;
    }
    int64_t k = pq_kg_i64(l->job, 0);
    k = k < INT32_MIN ? INT32_MIN : k > INT32_MAX ? INT32_MAX : k;
    pq_kg_move_launch(l);
    pq_kg_put(l, x->dims[x->rank - 1]);
    pq_kg_put(l, x->dims[x->rank - 2]);
    pq_kg_put_i32(l, k);
    pq_kg_move_put_fill(l, pq_kg_i64(l->job, 2));
}

// ---- numbers ---------------------------------------------------------------

void
pq_kg_source_range(pq_kg_module *m)
{
    const pq_kg_tensor *y = pq_kg_out(m->job, 0);
    bool wide = y != NULL && y->dtype == PTQC_I64;
    if (y == NULL || (!wide && y->dtype != PTQC_I32 && y->dtype != PTQC_F32)) {
        pq_kg_module_decline(m, "range of this type");
        return;
    }
    if (!pq_kg_move_begin(m, "range")) {
        return;
    }
    pq_kg_module_name(m, "_%s", pq_kg_dtype_name(y->dtype));
    pq_kg_move_parts_define(m);
    pq_kg_module_word(m, "start");
    pq_kg_module_word(m, "delta");
    pq_kg_move_end(
        m, wide ? "i32 v = I32(start + (rest / PARTS) * delta);\n"
                  "element = U32(rest % PARTS == 0u ? v : v >> 31);\n"
           : y->dtype == PTQC_F32 ? "element = AS_U32(F32(I32(start + rest * "
                                    "delta)));\n"
                                  : "element = start + rest * delta;\n");
}

void
pq_kg_launch_range(pq_kg_launcher *l)
{
    int64_t start = 0, delta = pq_kg_i64(l->job, 1), count, last;
    (void)pq_kg_count(pq_kg_out(l->job, 0), &count);
    if (!PQ_KG_NEED(l, pq_kg_dim_of(l->job, 0, &start) &&
                           !__builtin_mul_overflow(count, delta, &last) &&
                           !__builtin_add_overflow(last, start, &last))) {
        return;
    }
    pq_kg_move_launch(l);
    pq_kg_put_i32(l, last); // all between start and this fit 32 bits
    l->word_count--;
    pq_kg_put_i32(l, start);
    pq_kg_put_i32(l, delta);
}

void
pq_kg_source_shape(pq_kg_module *m)
{
    const pq_kg_tensor *y = pq_kg_out(m->job, 0);
    if (y == NULL || y->dtype != PTQC_I64) {
        pq_kg_module_decline(m, "shape of this type");
    } else if (pq_kg_move_begin(m, "shape")) {
        pq_kg_module_words(m, "dims", m->job->param_count);
        pq_kg_move_end(m, "element = rest % 2u == 0u ? dims(rest / 2u) : "
                          "0u;\n");
    }
}

void
pq_kg_launch_shape(pq_kg_launcher *l)
{
    int64_t count, dim = 0;
    (void)pq_kg_count(pq_kg_out(l->job, 0), &count);
    PQ_KG_NEED(l, count == l->job->param_count);
    pq_kg_move_launch(l);
    for (uint32_t i = 0; i < l->job->param_count; i++) {
        PQ_KG_NEED(l, pq_kg_dim_of(l->job, i, &dim));
        pq_kg_put(l, dim);
    }
}

// ---- reversed sequences ----------------------------------------------------

void
pq_kg_source_reverse_sequence(pq_kg_module *m)
{
    if (!pq_kg_move_is_like_y(m->job, 0) ||
        !pq_kg_move_is_index(pq_kg_in(m->job, 1))) {
        pq_kg_module_decline(m, "reverse_sequence of this type");
        return;
    }
    if (!pq_kg_move_begin(m, "reverse_sequence")) {
        return;
    }
    static const char *const WORDS[] = {"times", "time_step", "batches",
                                        "batch_step"};
    for (uint32_t i = 0; i < 4; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_move_ids(m, 1);
    pq_kg_move_end(m, "i32 t = I32(rest / time_step % times);\n"
                      "i32 n = ID(rest / batch_step % batches);\n"
                      "i32 by = t < n && n <= I32(times) ? n - 1 - 2 * t : 0;\n"
                      "element = RAW(x, U32(I32(rest) + by * "
                      "I32(time_step)));\n");
}

void
pq_kg_launch_reverse_sequence(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *n = pq_kg_in(l->job, 1);
    int64_t time = pq_kg_i64(l->job, 0), batch = pq_kg_i64(l->job, 1), a, b;
    (void)pq_kg_count(x, &a);
    (void)pq_kg_count(pq_kg_out(l->job, 0), &b);
    if (!PQ_KG_NEED(l, a == b && time >= 0 && time < x->rank && batch >= 0 &&
                           batch < x->rank && batch != time && n->rank == 1 &&
                           n->dims[0] == x->dims[batch])) {
        return;
    }
    int64_t parts = pq_kg_move_parts(x->dtype);
    pq_kg_move_launch(l);
    pq_kg_put(l, x->dims[time]);
    pq_kg_put(l, pq_kg_extent(x, (uint32_t)time + 1, x->rank) * parts);
    pq_kg_put(l, x->dims[batch]);
    pq_kg_put(l, pq_kg_extent(x, (uint32_t)batch + 1, x->rank) * parts);
}
