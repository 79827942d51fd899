// SPDX-License-Identifier: Apache-2.0
//
// Reading, merging and writing files of statistics.

#include "compiler/statistics.h"

#include <math.h>

#include "ptqc/compile.h"

#include "base/bits.h"
#include "base/file.h"

// A .dat file begins with a number of entries; a text, read as one, with a
// much larger one.
#define PQ_DAT_ENTRIES_MAX (1u << 20)

static ptqc_status
read_bytes(ptqc_ctx *ctx, const char *path, const pq_map *map, pq_stats **out)
{
    bool is_gguf = map->n >= 4 && pq_load_le32(map->p) == 0x46554747; // "GGUF"
    bool is_dat = map->n >= 4 && pq_load_le32(map->p) <= PQ_DAT_ENTRIES_MAX;
    if (!is_gguf && !is_dat) {
        pq_str text = {(const char *)map->p, map->n};
        return pq_stats_parse(ctx, path, text, out);
    }
    PQ_TRY(pq_stats_create(ctx, out));
    return is_gguf ? pq_imatrix_read_gguf(ctx, path, map->p, map->n, *out)
                   : pq_imatrix_read_dat(ctx, path, map->p, map->n, *out);
}

ptqc_status
pq_stats_read(ptqc_ctx *ctx, const char *path, pq_stats **out)
{
    pq_map map;
    *out = NULL;
    PQ_TRY(pq_map_open(ctx, path, &map));
    ptqc_status st = read_bytes(ctx, path, &map, out);
    pq_map_close(&map);
    if (st != PTQC_OK) {
        pq_stats_destroy(*out);
        *out = NULL;
    }
    return st;
}

ptqc_status
pq_stats_write(ptqc_ctx *ctx, const pq_stats *s, const char *path,
               unsigned flags)
{
    pq_strbuf text;
    pq_writer *writer = NULL;
    pq_strbuf_init(&text, ctx);
    pq_stats_print(s, &text);
    ptqc_status st = text.failed ? PTQC_E_RESOURCE : PTQC_OK;
    if (st == PTQC_OK) {
        st = pq_writer_open(ctx, path, flags, &writer);
    }
    if (st == PTQC_OK) {
        st = pq_writer_write(writer, text.p, text.n);
    }
    pq_strbuf_deinit(&text);
    if (st == PTQC_OK) {
        return pq_writer_commit(writer);
    }
    pq_writer_abort(writer);
    return st;
}

// ---- public ---------------------------------------------------------------

static ptqc_status
merge_file(ptqc_ctx *ctx, const char *path, pq_stats *all)
{
    pq_stats *one;
    PQ_TRY(pq_stats_read(ctx, path, &one));
    ptqc_status st = pq_stats_merge(all, one, path);
    pq_stats_destroy(one);
    return st;
}

static void
tell(const pq_stats *s, ptqc_stat_fn fn, void *user)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const pq_stat *from = &s->all[i];
        const ptqc_stat stat = {
            .name = from->name.p, // the arena's copy ends with a NUL
            .min = from->has_numbers ? (double)from->min : (double)NAN,
            .max = from->has_numbers ? (double)from->max : (double)NAN,
            .range_min =
                from->has_range ? (double)from->range_min : (double)NAN,
            .range_max =
                from->has_range ? (double)from->range_max : (double)NAN,
            .count = from->count,
            .columns = (uint64_t)from->column_count,
            .rows = from->row_count,
            .channels = (uint64_t)from->channel_count,
            .channel_spread = pq_stat_channel_spread(from),
            .tokens = from->tokens,
            .token_mean = from->token_mean,
        };
        fn(user, &stat);
    }
}

ptqc_status
ptqc_stats_merge(ptqc_ctx *ctx, const char *const *paths, uint32_t path_count,
                 const char *output, uint32_t flags, ptqc_stat_fn fn,
                 void *user)
{
    pq_stats *all = NULL;
    ptqc_status st = pq_stats_create(ctx, &all);
    for (uint32_t i = 0; st == PTQC_OK && i < path_count; i++) {
        st = merge_file(ctx, paths[i], all);
    }
    if (st == PTQC_OK && output != NULL) {
        st = pq_stats_write(
            ctx, all, output,
            (flags & PTQC_COMPILE_REPLACE) != 0 ? PQ_WRITE_REPLACE : 0);
    }
    if (st == PTQC_OK && fn != NULL) {
        tell(all, fn, user);
    }
    pq_stats_destroy(all);
    return st;
}
