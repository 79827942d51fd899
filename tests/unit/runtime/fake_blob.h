// SPDX-License-Identifier: Apache-2.0
//
// The program of the fake plugin: y = k * a + b over f32 tensors of `inner`
// elements per unit of the one symbol; k is its only constant.
#ifndef PTQC_TESTS_RUNTIME_FAKE_BLOB_H
#define PTQC_TESTS_RUNTIME_FAKE_BLOB_H

#include <stdint.h>

#define FAKE_MAGIC 0x454b4146u // "FAKE"

// What the plugin does besides, or how it misbehaves.
typedef enum fake_mode {
    FAKE_HONEST,
    FAKE_FEW_NEEDS,  // one buffer less than bindings
    FAKE_MANY_NEEDS, // one more
    FAKE_HUGE_ALIGN, // of the workspace
    FAKE_FAILS,      // submit, with a diagnostic and a hint
    FAKE_STATE,      // b is a state: it becomes y
} fake_mode;

typedef struct fake_blob {
    uint32_t magic, mode, inner, reserved;
} fake_blob;

#endif
