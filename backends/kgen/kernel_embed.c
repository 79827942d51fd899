// SPDX-License-Identifier: Apache-2.0
//
// PLANAR_EMBED: rows of planar weights by index (skeletons/embed.kg).
#include "module.h"
#include "planar.h"

typedef struct embed {
    int64_t rows, depth, format, segment, scales;
    int64_t first, table_rows; // a part of a table
} embed;

static const char *
read_step(const pq_kg_job *job, embed *e)
{
    const pq_kg_tensor *index = pq_kg_in(job, 2), *y = pq_kg_out(job, 0);
    *e = (embed){pq_kg_i64(job, 0), pq_kg_i64(job, 1), pq_kg_i64(job, 2),
                 pq_kg_i64(job, 3), pq_kg_i64(job, 4), pq_kg_i64(job, 5),
                 pq_kg_i64(job, 6)};
    if (pq_kg_in(job, 0) == NULL || index == NULL || y == NULL ||
        e->format < 0 || e->format >= PQ_KG_WEIGHT_COUNT || e->scales < 0 ||
        e->scales >= PQ_KG_SCALES_COUNT || e->rows < 1 || e->rows > INT32_MAX ||
        e->table_rows < e->rows || e->table_rows > INT32_MAX || e->first < 0 ||
        e->first > e->table_rows - e->rows || e->depth < 1 ||
        e->depth > INT32_MAX || e->segment < 1 || e->segment > e->depth ||
        (e->scales != PQ_KG_SCALES_NONE && pq_kg_in(job, 1) == NULL)) {
        return "embedding: sizes";
    }
    bool is_index = index->dtype == PTQC_I32 || index->dtype == PTQC_I64;
    return is_index && pq_kg_is_float(y->dtype) ? NULL : "embedding: types";
}

static bool
is_part(const embed *e)
{
    return e->rows != e->table_rows;
}

// Whether items make words of y that other parts make bits of.
static bool
shares_words(const embed *e, uint32_t dtype)
{
    return is_part(e) && e->depth % (4 / pq_kg_element_bytes(dtype)) != 0;
}

static void
define_part(pq_kg_module *m, const embed *e)
{
    uint32_t dtype = pq_kg_out(m->job, 0)->dtype;
    pq_kg_module_define(m, "PART", is_part(e) ? "1" : "0");
    pq_kg_module_define(m, "TABLE_ROWS", is_part(e) ? "table_rows" : "rows");
    if (is_part(e)) {
        pq_kg_module_word(m, "table_rows");
        pq_kg_module_word(m, "first_row");
    }
    pq_kg_module_store_row(m, dtype, shares_words(e, dtype) ? 1 : 4, "value");
}

void
pq_kg_source_planar_embed(pq_kg_module *m)
{
    static const char *const NAMES[PQ_KG_WEIGHT_COUNT] = {
        "F32", "F16", "BF16", "F8E4M3", "F8E5M2", "I8", "I4", "F4E2M1", "NF4"};
    static const char *const SCALES[PQ_KG_SCALES_COUNT] = {
        [PQ_KG_SCALES_NONE] = "",
        [PQ_KG_SCALES_F32] = "value = value * AS_F32(scales[s * rows + row]);",
        [PQ_KG_SCALES_F16] =
            "u32 scale = scales[s * rows + row];\n"
            "value = (value - f16_to_f32(scale >> 16)) * f16_to_f32(scale & "
            "0xffffu);",
        [PQ_KG_SCALES_WIDE] =
            "u32 scale = 2u * (s * rows + row);\n"
            "value = (value - F32(I32(scales[scale + 1u]))) * "
            "AS_F32(scales[scale]);",
        [PQ_KG_SCALES_ZERO] = "value = value - F32(I32(scales[row]));"};
    embed e;
    const char *why = read_step(m->job, &e);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    pq_kg_module_name(m, "embed_%s", NAMES[e.format]);
    pq_kg_module_buffer(m, 0, "weights", PQ_KG_READS);
    if (e.scales != PQ_KG_SCALES_NONE) {
        pq_kg_module_buffer(m, 1, "scales", PQ_KG_READS);
    }
    pq_kg_module_buffer(m, 2, "indices", PQ_KG_READS);
    pq_kg_module_buffer(m, 3, "y", PQ_KG_WRITES);
    static const char *const WORDS[] = {"count", "words_out", "rows",
                                        "depth", "segment",   "blocks"};
    for (uint32_t i = 0; i < 6; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    pq_kg_module_define(m, "BLOCK", "%uu",
                        (unsigned)pq_kg_planar_block((pq_kg_weight)e.format));
    pq_kg_module_define(m, "ELEMENT(at, i)", "ELEMENT_%s(weights, at, i)",
                        NAMES[e.format]);
    pq_kg_module_define(m, "LOAD_INDEX(at)", "LD_%s(indices, at)",
                        pq_kg_dtype_name(pq_kg_in(m->job, 2)->dtype));
    pq_kg_text scale = {.mem = m->mem};
    pq_kg_text_add(&scale, "%s\n", SCALES[e.scales]);
    pq_kg_module_hook(m, "scale", pq_kg_module_text(m, &scale));
    define_part(m, &e);
    m->uses |= PQ_KG_USES_BLOCKS;
    pq_kg_module_body(m, pq_kg_text_embed);
}

void
pq_kg_launch_planar_embed(pq_kg_launcher *l)
{
    embed e;
    const char *why = read_step(l->job, &e);
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    const pq_kg_tensor *w = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    pq_kg_weight format = (pq_kg_weight)e.format;
    int64_t tokens, count, have, want;
    int64_t segments = (e.depth + e.segment - 1) / e.segment;
    int64_t blocks = pq_kg_planar_blocks(format, e.segment);
    (void)pq_kg_count(pq_kg_in(l->job, 2), &tokens);
    (void)pq_kg_count(y, &count);
    (void)pq_kg_count(w, &have);
    bool fits = !__builtin_mul_overflow(segments * 16, blocks, &want) &&
                !__builtin_mul_overflow(want, e.rows, &want) &&
                want <= UINT32_MAX;
    PQ_KG_NEED(l, fits && have * pq_kg_element_bytes(w->dtype) >= want);
    PQ_KG_NEED(l, count == tokens * e.depth);
    int64_t words =
        shares_words(&e, y->dtype) ? count : pq_kg_words_of(y->dtype, count);
    const int64_t own[] = {count, words, e.rows, e.depth, e.segment, blocks};
    for (uint32_t i = 0; i < 6; i++) {
        pq_kg_put(l, own[i]);
    }
    if (is_part(&e)) {
        pq_kg_put(l, e.table_rows);
        pq_kg_put(l, e.first);
    }
    pq_kg_launch_items(l, words, l->limits->is_cpu ? 32 : 64);
}
