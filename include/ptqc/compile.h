// SPDX-License-Identifier: Apache-2.0
//
// From a model to an artifact: passes, calibration, quantization, placement,
// kernels.
#ifndef PTQC_COMPILE_H
#define PTQC_COMPILE_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/context.h"
#include "ptqc/model.h"
#include "ptqc/runtime.h"

#if defined(__cplusplus)
extern "C" {
#endif

// Calibration data. Fills inputs[0..input_count) of sample `index`
// (borrowed until the next call); PTQC_NO ends the samples.
typedef ptqc_status (*ptqc_sample_fn)(void *user, uint64_t index,
                                      ptqc_tensor *inputs,
                                      uint32_t input_count);

typedef enum ptqc_observer_kind {
    PTQC_OBSERVER_DEFAULT, // what the method's documentation says
    PTQC_OBSERVER_MINMAX,
    PTQC_OBSERVER_PERCENTILE,
    PTQC_OBSERVER_MSE,
    PTQC_OBSERVER_AVERAGE, // moving average of samples' ranges
    PTQC_OBSERVER_ENTROPY, // least divergence of the distributions
    PTQC_OBSERVER_OCTAV,   // least squared error by its fixed point
} ptqc_observer_kind;

// How scales of weights are chosen.
typedef enum ptqc_scale_search {
    PTQC_SCALE_DEFAULT, // minmax
    PTQC_SCALE_MINMAX,  // from the largest weight
    PTQC_SCALE_MSE,     // least squared error of the weights
} ptqc_scale_search;

// A text of a kernel, as a plugin made it for another compiler to take:
// "vulkan", "03_conv.comp". Called while compiling, for every program.
typedef void (*ptqc_text_fn)(void *user, const char *plugin, const char *name,
                             const char *text, size_t bytes);

// Zero = default everywhere. What is given here goes before what the recipe
// says.
typedef struct ptqc_compile_desc {
    const char *target; // "cpu" by default; list "vulkan,cpu", cap "cpu;avx2"
    const char *recipe; // a preset ("draft", "default", "best") or a file,
                        // docs/recipes.md; NULL: "default"
    const char *recipe_text; // a recipe's text instead (of an artifact's
                             // metadata, say); NULL: none
    const char *scheme; // "w8a8", "w4a16:g128:sym", ...; NULL: stay as it is
    const char *method; // "rtn" by default; "awq+gptq", docs/methods.md
    ptqc_observer_kind observer;
    double percentile; // default 99.99
    ptqc_scale_search scale_search;
    const char *equalize;    // cross-layer equalization: "auto" (default; where
                             // weights have one scale per tensor), "on", "off"
    const char *absorb_bias; // high biases into the next layer: "on", "off"
    const char *bias_correction; // "sequential" (default), "empirical",
                                 // "analytic", "off"
    ptqc_sample_fn samples;      // needed for static activations
    void *samples_user;
    uint64_t sample_count;   // that there are; 0: not known
    uint64_t sample_limit;   // that are used; default: all
    const char *const *keep; // [keep_count] op or tensor names (glob * ?) that
                             // stay float
    uint32_t keep_count;
    const char *const *rules; // [rule_count] "MATCH=SCHEME": ops that take
                              // another scheme ("float": none)
    uint32_t rule_count;
    const char *kv; // type of key and value states (language models): "f16",
                    // "f32", "int8"; NULL: the model's own, f16
    ptqc_backend_dirs backends;
    uint64_t seed;
    // Files of statistics (docs/statistics.md): ranges of static activations
    // come from `stats` instead of samples; what samples show is written to
    // `stats_out`, which may be replaced. NULL: none.
    const char *stats, *stats_out;
    // Folder (made when missing) for scratch files of calibration, which runs
    // piece by piece then, and checkpoints of the passes that look at samples
    // (of compiles with a method, and of language models);
    // NULL: all stays in memory. A compile that was interrupted goes on where
    // its checkpoints end when everything is equal that decides the result,
    // else it is refused (PTQC_E_USAGE). ptqc_compile_file removes the
    // checkpoints when it has succeeded.
    const char *work_dir;
    // Provenance text about the calibration data ("calib.npy sha256:..").
    const char *calibration_note;
    // Told once, when everything is done but the file's appearance: the
    // artifact's metadata (as ptqc_artifact_metadata) and its size. May be
    // NULL.
    void (*report)(void *user, const char *metadata, uint64_t bytes);
    void *report_user;
    ptqc_text_fn text; // NULL: kernel texts are not wanted
    void *text_user;
} ptqc_compile_desc;

// PTQC_E_USAGE: scheme, method, recipe or target is not understood, or options
// contradict each other.
PTQC_API PTQC_MUST_USE ptqc_status
ptqc_compile_check_desc(ptqc_ctx *ctx, const ptqc_compile_desc *desc);

// ---- statistics -----------------------------------------------------------

// What statistics know of one name.
typedef struct ptqc_stat {
    const char *name;            // borrowed
    double min, max;             // of what was seen; NaN: no activation
    double range_min, range_max; // said by hand; NaN: not
    uint64_t count;              // numbers seen
    uint64_t columns;            // with mean squares (importance); 0: none
    double rows;                 // that those are over
    uint64_t channels;           // whose ranges are known; 0: none
    double channel_spread;       // largest |x| of a channel over their mean
    uint64_t tokens;             // 0: none, or not rows of channels
    double token_mean;           // over tokens, of the largest |x| of each
} ptqc_stat;
typedef void (*ptqc_stat_fn)(void *user, const ptqc_stat *stat);

// Reads files of statistics (ours; llama.cpp's imatrix, .dat and GGUF), merges
// them, tells each name, and writes the result to `output` (NULL: nowhere),
// which may be replaced when flags has PTQC_COMPILE_REPLACE. PTQC_E_INPUT:
// malformed, or they do not fit together.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_stats_merge(
    ptqc_ctx *ctx, const char *const *paths, uint32_t path_count,
    const char *output, uint32_t flags, ptqc_stat_fn fn, void *user);

// One tensor of an ONNX test data set ("input_0.pb"). name: its name, cut to
// the room (NULL with room 0). out->data is freed with ptqc_buffer_free.
// PTQC_E_INPUT: malformed.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_read_onnx_tensor(ptqc_ctx *ctx,
                                                         const char *path,
                                                         char *name,
                                                         size_t name_room,
                                                         ptqc_tensor *out);

// ---- recipes --------------------------------------------------------------

// Presets: name, summary, and their text (YAML).
typedef void (*ptqc_preset_fn)(void *user, const char *name,
                               const char *summary, const char *text);
PTQC_API void ptqc_recipe_presets(ptqc_preset_fn fn, void *user);
// What desc (recipe, scheme and all other options) says when its presets are
// resolved: one JSON object, a recipe text itself; the same stands in the
// artifact's metadata. *out_text is freed with ptqc_buffer_free.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_recipe_expand(
    ptqc_ctx *ctx, const ptqc_compile_desc *desc, char **out_text);

#define PTQC_COMPILE_REPLACE 1u // an existing file may be replaced

// Writes the artifact by rename: on any failure `path` is as before. The
// model is not changed.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_compile_file(
    ptqc_ctx *ctx, ptqc_model *model, const ptqc_compile_desc *desc,
    const char *path, uint32_t flags);
// Into memory: *out_bytes is 64-byte aligned, freed with ptqc_buffer_free.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_compile_memory(
    ptqc_ctx *ctx, ptqc_model *model, const ptqc_compile_desc *desc,
    void **out_bytes, size_t *out_count);

#if defined(__cplusplus)
}
#endif
#endif
