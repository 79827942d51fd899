// SPDX-License-Identifier: Apache-2.0
//
// TOPK (skeletons/topk.kg; parameters as lower_index.c writes them).
#include "module.h"
#include "move.h"

// Items of a team; shared arrays have as many elements.
#define TEAM_MAX 64u

// The key of element `at`; numbers of 32 bits have it in the high word. FLIP
// turns the order round for the smallest. NaN is the best of both ends, and
// zeros are equal (docs/numerics.md, section 2).
static const char KEY_F32[] =
    "u32 u = x[at];\n"
    "u32 size = u & 0x7fffffffu;\n"
    "u32 bits = size != 0u ? u ^ FLIP : 0u;\n"
    "bits = (bits >> 31) != 0u ? ~bits : bits | 0x80000000u;\n"
    "u32x2 key = MAKE_U32X2(0u, size > 0x7f800000u ? 0xffffffffu : bits);\n";
static const char KEY_I32[] =
    "u32x2 key = MAKE_U32X2(0u, x[at] ^ 0x80000000u ^ FLIP);\n";
static const char KEY_I64[] =
    "u32x2 key = MAKE_U32X2(x[2u * at] ^ FLIP, x[2u * at + 1u] ^ 0x80000000u ^ "
    "FLIP);\n";

void
pq_kg_source_topk(pq_kg_module *m)
{
    const pq_kg_tensor *x = pq_kg_in(m->job, 0), *y = pq_kg_out(m->job, 0);
    const pq_kg_tensor *indices = pq_kg_out(m->job, 1);
    if (x == NULL || y == NULL || indices == NULL || x->dtype != y->dtype ||
        (x->dtype != PTQC_F32 && x->dtype != PTQC_I32 &&
         x->dtype != PTQC_I64) ||
        indices->dtype != PTQC_I64) {
        pq_kg_module_decline(m, "topk of elements of this type");
        return;
    }
    bool is_real = x->dtype == PTQC_F32, is_wide = x->dtype == PTQC_I64;
    bool is_largest = pq_kg_i64(m->job, 1) != 0;
    static const char *const WORDS[] = {"rows", "length", "inner", "kept"};
    static const char *const SHARED[] = {"lows", "highs", "places"};
    pq_kg_module_name(m, "topk_%s", pq_kg_dtype_name(x->dtype));
    for (uint32_t i = 0; i < 4; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    for (uint32_t i = 0; i < 3; i++) {
        pq_kg_module_shared(m, "u32", SHARED[i], TEAM_MAX);
    }
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    pq_kg_module_buffer(m, 2, "indices", PQ_KG_WRITES);
    pq_kg_module_spec(m, "TEAM");
    pq_kg_module_define(m, "PARTS", is_wide ? "2u" : "1u");
    pq_kg_module_define(m, "FLIP",
                        is_largest ? "0u"
                        : is_real  ? "0x80000000u"
                                   : "0xffffffffu");
    pq_kg_module_hook(m, "key",
                      is_real   ? KEY_F32
                      : is_wide ? KEY_I64
                                : KEY_I32);
    m->uses |= PQ_KG_USES_VALUES | PQ_KG_USES_WIDE;
    pq_kg_module_body(m, pq_kg_text_topk);
}

// Turns of an item's loops (topk.kg).
static int64_t
turns_of(int64_t length, int64_t kept, uint32_t team)
{
    int64_t turns = 0;
    return __builtin_mul_overflow(length / (4 * team) + (team > 1 ? 8 : 1) + 2,
                                  kept, &turns)
               ? INT64_MAX
               : turns;
}

// Teams where rows are few and long, as rows of reductions have them
// (kernel_row.c), and where an item would turn too often.
static uint32_t
team_of(const pq_kg_limits *limits, int64_t rows, int64_t length, int64_t kept)
{
    int64_t most = limits->max_turns > 0 ? limits->max_turns : INT64_MAX;
    bool is_team = limits->is_cpu ? rows < 8 && length >= 64 : length > 64;
    uint32_t team = !is_team ? 1 : limits->is_cpu ? 16 : TEAM_MAX;
    return turns_of(length, kept, team) > most ? TEAM_MAX : team;
}

void
pq_kg_launch_topk(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    const pq_kg_tensor *indices = pq_kg_out(l->job, 1);
    int64_t axis = pq_kg_i64(l->job, 0), count, index_count;
    if (!PQ_KG_NEED(l, axis >= 0 && axis < x->rank && y->rank == x->rank)) {
        return;
    }
    uint32_t at = (uint32_t)axis;
    int64_t length = x->dims[at], kept = y->dims[at];
    int64_t inner = pq_kg_extent(x, at + 1, x->rank);
    int64_t rows = pq_kg_extent(x, 0, at) * inner;
    (void)pq_kg_count(y, &count);
    (void)pq_kg_count(indices, &index_count);
    PQ_KG_NEED(l,
               kept <= length && count == rows * kept && index_count == count);
    pq_kg_put(l, rows);
    pq_kg_put(l, length);
    pq_kg_put(l, inner > 0 ? inner : 1);
    pq_kg_put(l, kept);
    uint32_t team = team_of(l->limits, rows, length, kept);
    pq_kg_launch_turns(l, turns_of(length, kept, team));
    if (team > 1) {
        pq_kg_launch_rows(l, rows, team);
    } else {
        pq_kg_launch_items(l, rows, l->limits->is_cpu ? 8 : 64);
    }
    pq_kg_launch_spec(l, team);
    l->out->work_ops = 8 * (uint64_t)rows * (uint64_t)length * (uint64_t)kept;
}
