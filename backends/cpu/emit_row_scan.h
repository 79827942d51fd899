// SPDX-License-Identifier: Apache-2.0
//
// One walk over the elements of a row, with an accumulator, a stored result,
// or both. Two forms give the same bits:
//   row     the row is contiguous; a vector is elements i .. i+15, so that
//           lane l holds the elements with index mod 16 = l
//   column  rows are 16 columns side by side; a vector is element k of all
//           16, and there are 16 accumulators, one per k mod 16
// After the walk the 16 accumulators are combined l and l+8, l+4, l+2, l+1.
#ifndef PTQC_BACKENDS_CPU_EMIT_ROW_SCAN_H
#define PTQC_BACKENDS_CPU_EMIT_ROW_SCAN_H

#include <llvm-c/Types.h>
#include <stdint.h>

#include "emit.h"

#define PQ_SCAN_SOURCES 3

typedef enum pq_scan_fold {
    PQ_SCAN_NONE, // no accumulator: a map
    PQ_SCAN_ADD,
    PQ_SCAN_MUL,
    PQ_SCAN_MAX, // NaN when one is
    PQ_SCAN_MIN,
} pq_scan_fold;

// One step on a vector of 16 elements: v_in[i] of source i (NULL when
// absent), *v_acc (in: before, out: after; unused in a map), *v_out what is
// stored (when the scan has a destination).
typedef void (*pq_scan_body)(pq_emitter *e, const void *user,
                             const LLVMValueRef *v_in, LLVMValueRef *v_acc,
                             LLVMValueRef *v_out);

typedef struct pq_scan {
    int is_column;
    LLVMValueRef v_source[PQ_SCAN_SOURCES]; // f32; NULL = absent. Column: only
                                            // the first
    LLVMValueRef v_target;                  // NULL: nothing is stored
    uint32_t target_bytes;                  // of a stored element
    LLVMValueRef v_length;                  // i64, elements of the row
    LLVMValueRef v_stride; // column: bytes from element to element, of source
                           // and target
    LLVMValueRef v_mask;   // column: columns in use
    pq_scan_fold fold;
    pq_scan_body body;
    const void *user;
} pq_scan;

// -> the folded value: a scalar f32 (row) or one per column; NULL for a map.
LLVMValueRef pq_emit_scan(pq_emitter *e, const pq_scan *scan);

#endif
