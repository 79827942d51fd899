// SPDX-License-Identifier: Apache-2.0
//
// Lowering for devices with kernels as text (kernel.h): constant weights in
// the planar layout, sums with an expression behind them. A plugin's
// pq_kg_device takes the ops, the embedding and pq_planar_refuse from here.
#ifndef PTQC_BACKENDS_KGEN_PLANAR_LOWER_H
#define PTQC_BACKENDS_KGEN_PLANAR_LOWER_H

#include "kernel.h"
#include "lower.h"
#include "plan.h"
#include "planar.h"

// Ops with constant weights, matmul of two results too: pq_kg_device.ops.
#define PQ_PLANAR_OPS                                                          \
    {"matmul", pq_planar_matmul}, {"conv", pq_planar_conv},                    \
    {                                                                          \
        "conv_transpose", pq_planar_conv                                       \
    }

void pq_planar_matmul(pq_lower *l);
void pq_planar_conv(pq_lower *l);
// pq_kg_device.embedding.
bool pq_planar_embedding(pq_lower *l);

// The step as a job for kernel.h; arrays live in mem. shapes: of the entry's
// values (plan.h); NULL: dims are not known. dims: of the entry's dim
// expressions, or NULL. false: out of memory.
bool pq_kg_job_of(pq_mem *mem, const pq_kg_entry *entry, const pq_kg_step *step,
                  const pq_kg_shape *shapes, const int64_t *dims,
                  pq_kg_job *out);
// The text of the step's kernel, as pq_kg_source_of.
ptqc_be_status pq_kg_step_source(pq_mem *mem, const pq_kg_entry *entry,
                                 const pq_kg_step *step,
                                 const pq_kg_dialect *dialect,
                                 pq_kg_source *out, const char **out_why);
// For pq_kg_device.refuse: makes the text and forgets it.
const char *pq_planar_refuse(pq_lower *l, const pq_kg_step *step,
                             const pq_kg_dialect *dialect);

// ---- shared by the families ------------------------------------------------

// Rows of weights that lie together: no part is larger than the device's
// range_bytes.
typedef struct pq_planar_part {
    int64_t first, n;       // rows
    uint32_t value, scales; // program values; PQ_KG_NONE: no scales
} pq_planar_part;

// Cuts n >= 1 rows of row_bytes each into parts without values, which live in
// the node's scratch; 0 bytes: more than a number holds. -> their count; 0:
// the lowering failed.
uint32_t pq_planar_cut(pq_lower *l, int64_t row_bytes, int64_t n,
                       pq_planar_part **out_parts);
// ".rFIRST.COUNT" of a layout's name; "" of the part that is all n rows.
#define PQ_PLANAR_PART_NAME 48
void pq_planar_part_name(const pq_planar_part *part, int64_t n,
                         char out[PQ_PLANAR_PART_NAME]);

// A matrix of weights on the device.
typedef struct pq_planar_weights {
    pq_kg_weight format;
    int64_t k, n, segment;
    pq_kg_scales form;
    const pq_planar_part *parts; // in the node's scratch
    uint32_t part_count;         // >= 1
} pq_planar_weights;

// The constant matrix gv. is_integer: codes whose factors follow in the
// expression (scales are NONE, or ZERO when `zeros` [n] is not NULL). Sticky.
// Where it is cut depends on sizes and format alone, so that equal matrices
// have equal parts.
void pq_planar_weights_use(pq_lower *l, uint32_t gv, bool trans,
                           bool is_integer, const int32_t *zeros,
                           pq_planar_weights *out);
// A value as floats: as it lies when it is that, else dequantized.
pq_ref pq_planar_use_float(pq_lower *l, uint32_t gv, const uint8_t *perm);
// [count] 4-byte elements as a program value; PQ_KG_NONE when values is NULL.
uint32_t pq_planar_array(pq_lower *l, uint32_t dtype, const void *values,
                         int64_t count);
// The zero points of rows, form ZERO; or form NONE when there are none.
uint32_t pq_planar_zeros(pq_lower *l, const int32_t *zeros, int64_t n,
                         pq_kg_scales *out_form);

#endif
