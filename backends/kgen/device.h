// SPDX-License-Identifier: Apache-2.0
//
// What the shared lowering asks of a device: data and functions, one constant
// table per device (or family of devices). A device that has no row for an op
// and no kernel for a step declines it, with the reason.
#ifndef PTQC_BACKENDS_KGEN_DEVICE_H
#define PTQC_BACKENDS_KGEN_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "program.h"

typedef struct pq_lower pq_lower;
typedef void (*pq_lower_fn)(pq_lower *l);

// An op and what lowers its nodes.
typedef struct pq_lower_op {
    const char *op;
    pq_lower_fn fn;
} pq_lower_op;

typedef struct pq_kg_device {
    const char *name; // begins its messages and the names of its layouts
    // Ops lowered in the device's own way (constant weights in its layout),
    // looked up before the shared ones of lower_ops.def.
    const pq_lower_op *ops;
    uint32_t op_count;
    // Lowers a gather whose table is packed as weights; false: it is not such
    // a gather, or NULL: there are none.
    bool (*embedding)(pq_lower *l);
    // States that only updates and attention read lie in lines (kv_layout.h);
    // false: every state lies as the graph says.
    bool has_kv_lines;
    // s8 codes of activations stay s8; false: they are kept as u8, with 128
    // added to code and zero point.
    bool keeps_s8;
    // SCATTER_ND finds the elements that no update names in its result, where a
    // MOVE has put them; false: it copies them itself, from its first input.
    bool scatters_in_place;
    // Bytes of one buffer that a kernel can bind on every device there is; 0:
    // no limit. Larger weights are cut (planar_lower.h).
    int64_t range_bytes;
    // Why the device has no kernel for a complete step of the entry that is
    // being lowered (static text, or in the lower's arena); NULL: it has one.
    // The function may be NULL: it has all of steps.def.
    const char *(*refuse)(pq_lower *l, const pq_kg_step *step);
} pq_kg_device;

#endif
