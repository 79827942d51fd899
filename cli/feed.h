// SPDX-License-Identifier: Apache-2.0
//
// From what the user names to what a model eats: inputs of run and bench,
// samples of compile and eval.
#ifndef PTQC_CLI_FEED_H
#define PTQC_CLI_FEED_H

#include "cli/array.h"
#include "cli/source.h"

// Preprocessing of pixels: (x * scale - mean[c]) / std[c], in f32.
typedef struct cli_norm {
    float scale;
    float mean[16], std[16]; // one entry serves all channels
    uint32_t mean_count, std_count;
    bool is_given; // any of the three options was
} cli_norm;

ptqc_status cli_norm_read(cli *c, cli_norm *out);
// How a model input of rank 4 is laid out for `channels`: false = NHWC.
bool cli_wants_nchw(const ptqc_tensor_info *info, int64_t channels);
// One picture [H, W, C] or [C, H, W] (is_nchw) of a u8 or f32 array, into
// f32 `to` in the layout `to_nchw`.
void cli_norm_apply(const cli_norm *n, const ptqc_tensor *array,
                    size_t first_element, const int64_t dims[3], bool is_nchw,
                    bool to_nchw, float *to);

// A picture file for a model input: decoded, resized to the input's static
// size, normalized, laid out [1, ...].
ptqc_status cli_image_input(cli *c, const char *path,
                            const ptqc_tensor_info *info, cli_array *out);

// ---- inputs.c: --input NAME=@FILE -----------------------------------------

typedef struct cli_inputs {
    cli_array *arrays; // [count] in the order of the subject's inputs
    ptqc_tensor *tensors;
    uint32_t count;
} cli_inputs;

typedef void (*cli_info_fn)(const void *subject, uint32_t i,
                            ptqc_tensor_info *out);
ptqc_status cli_inputs_read(cli *c, const ptqc_artifact *artifact,
                            cli_inputs *out);
// Every input filled with seeded numbers; symbolic dims as --shape, else 1.
ptqc_status cli_inputs_random(cli *c, const ptqc_artifact *artifact,
                              cli_inputs *out);
void cli_inputs_deinit(cli_inputs *in);
// Floats in [-1, 1), bools 0 or 1; integers stay.
void cli_fill_random(ptqc_tensor *t, uint64_t *state);

// ---- samples.c: --calib ---------------------------------------------------

typedef struct cli_samples {
    cli *c;
    const ptqc_model *model;
    cli_sources sources;
    cli_array *single;    // owned: [inputs] the last sample that was read alone
    size_t single_source; // index + 1 of its source
    uint64_t single_index;
    char *note; // "x.npy, y.npy"
    uint64_t sample_count;
} cli_samples;

// Whether the model takes tokens and positions, so that a text can feed it.
bool cli_takes_text(const ptqc_model *model);
// calib_text.c: the sequences of a text or of ids (.i32) as one array per
// model input, the first axis counting them.
ptqc_status cli_text_samples(cli *c, const ptqc_model *model, const char *path,
                             cli_array *arrays);

ptqc_status cli_samples_open(cli *c, const ptqc_model *model, cli_samples *out);
// The same of the files of another option.
ptqc_status cli_samples_open_of(cli *c, const ptqc_model *model,
                                cli_option option, cli_samples *out);
void cli_samples_close(cli_samples *s);
// A ptqc_sample_fn.
ptqc_status cli_samples_get(void *user, uint64_t index, ptqc_tensor *inputs,
                            uint32_t input_count);

#endif
