// SPDX-License-Identifier: Apache-2.0
//
// Calibration statistics that outlive a compile: what was seen of activations
// (range, histogram) and of the inputs of weights (mean squares per column,
// llama.cpp's imatrix), by name. They are saved as text, merged, edited and
// used again instead of samples. docs/statistics.md describes the text.
#ifndef PTQC_PASSES_CALIB_STATS_H
#define PTQC_PASSES_CALIB_STATS_H

#include "base/arena.h"
#include "base/strmap.h"
#include "quant/observer.h"

typedef struct pq_stat {
    pq_str name; // of an activation, or of a weight
    // ---- of an activation
    bool has_numbers;
    float min, max; // of the finite numbers, 0 included
    uint64_t count, refused;
    uint64_t tensors;          // that the numbers came in
    double mean_min, mean_max; // over those
    pq_histogram histogram;    // owned; without bins: not kept
    bool has_range;            // what codes cover, said by hand
    float range_min, range_max;
    // ---- of its channels and tokens
    float *channel_min, *channel_max; // [channel_count] 0 included; NULL: no
    int64_t channel_count;
    uint64_t tokens;   // rows of all channels; 0: it has none
    double token_mean; // over them, of the largest |x| of each
    // ---- of a weight's input
    float *squares; // [column_count], mean of x^2; NULL: not known
    int64_t column_count;
    double row_count; // rows (tokens) that the means are over
} pq_stat;

typedef struct pq_stats {
    ptqc_ctx *ctx;  // borrowed
    pq_arena arena; // names, squares
    pq_stat *all;   // owned, [count] in the order they came
    uint32_t count, capacity;
    pq_strmap by_name;     // indices
    uint64_t sample_count; // that activations were seen in
} pq_stats;

PTQC_MUST_USE ptqc_status pq_stats_create(ptqc_ctx *ctx, pq_stats **out);
void pq_stats_destroy(pq_stats *s); // NULL allowed
// NULL: there is none of that name.
const pq_stat *pq_stats_find(const pq_stats *s, pq_str name);
// The one of that name, made when new; valid until the next call.
PTQC_MUST_USE ptqc_status pq_stats_get(pq_stats *s, pq_str name, pq_stat **out);
// Adds what `from` saw, as if s had seen it, too. PTQC_E_INPUT (`what` names
// from): columns of one name differ, or one has a histogram and one has not.
// A range said by hand stays; two that differ are an error.
PTQC_MUST_USE ptqc_status pq_stats_merge(pq_stats *s, const pq_stats *from,
                                         const char *what);

// Keeps what an observer saw; nothing was kept of the name before.
PTQC_MUST_USE ptqc_status pq_stats_keep(pq_stats *s, pq_str name,
                                        const pq_observer *o);
typedef struct pq_channel_ranges {
    const float *min, *max; // [count] of each channel, 0 included
    int64_t count;
    uint64_t tokens; // 0: not rows of channels
    double token_mean;
} pq_channel_ranges;

// The same of its channels.
PTQC_MUST_USE ptqc_status pq_stats_keep_channels(pq_stats *s, pq_str name,
                                                 const pq_channel_ranges *r);
// The largest |x| of a channel over the mean of all channels'; 0: none is
// active.
double pq_stat_channel_spread(const pq_stat *s);
// The observer (initialized, empty) as it was. PTQC_E_USAGE: nothing is known
// of the name, or no histogram where the rule needs one.
PTQC_MUST_USE ptqc_status pq_stats_restore(const pq_stats *s, pq_str name,
                                           pq_observer *o);

// ---- text (stats_text.c) ---------------------------------------------------

void pq_stats_print(const pq_stats *s, pq_strbuf *out);
// `what` names the text in errors "what:line:column: ...". PTQC_E_INPUT.
PTQC_MUST_USE ptqc_status pq_stats_parse(ptqc_ctx *ctx, const char *what,
                                         pq_str text, pq_stats **out);

#endif
