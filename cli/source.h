// SPDX-License-Identifier: Apache-2.0
//
// Where calibration samples come from: what one --calib names, as a list of
// sources. Arrays are opened at once; pictures and ONNX test data sets are
// read one at a time, when they are asked for.
#ifndef PTQC_CLI_SOURCE_H
#define PTQC_CLI_SOURCE_H

#include "cli/array.h"

typedef enum cli_source_kind {
    CLI_SOURCE_ARRAYS, // .npy, .npz: the first axis counts samples
    CLI_SOURCE_IMAGE,
    CLI_SOURCE_TEST_DATA, // folder of input_0.pb, input_1.pb, ...
    CLI_SOURCE_RANDOM,    // "random", when it is typed
} cli_source_kind;

typedef struct cli_source {
    cli_source_kind kind;
    char *path;        // owned; RANDOM: NULL
    uint64_t count;    // samples
    cli_array *arrays; // owned: ARRAYS: [inputs]
} cli_source;

typedef struct cli_sources {
    cli_source *all; // owned
    size_t count, room;
} cli_sources;

// Adds what `path` names: a file, "random", a folder of pictures (also in
// folders inside it, at most 8 deep; in the order of their names), a
// test_data_set folder or one that holds such folders.
ptqc_status cli_sources_add(cli *c, const char *path, cli_sources *out);
void cli_sources_free(cli_sources *s, uint32_t input_count);

// One sample of a source that is no ARRAYS: [inputs] arrays, to be freed by
// the caller also after a failure.
ptqc_status cli_source_read(cli *c, const ptqc_model *model,
                            const cli_source *source, uint64_t index,
                            cli_array *arrays);

#endif
