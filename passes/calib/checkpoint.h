// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints of a long pass: one file per finished unit of work, written all
// or nothing, in a folder of the user. A unit holds the codes of some weights
// and what the report says about them, so that a resumed pass gives the bytes
// of an uninterrupted one; the codes are mapped from there, never copied.
#ifndef PTQC_PASSES_CALIB_CHECKPOINT_H
#define PTQC_PASSES_CALIB_CHECKPOINT_H

#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

typedef struct pq_unit_weight {
    size_t scale_count, zero_count, code_bytes;
    const float *scales;        // [scale_count]
    const int32_t *zero_points; // [zero_count]
    const void *codes;          // packed, as the graph's constants
    pq_str note;                // for the report
} pq_unit_weight;

typedef struct pq_checkpoint {
    ptqc_ctx *ctx;
    const char *dir;       // borrowed, exists
    const char *pass;      // name of the files: "gptq"
    pq_sha256 fingerprint; // of everything that decides the results
} pq_checkpoint;

struct pq_pass_env;
// Of a compile's environment; dir NULL: it has none.
pq_checkpoint pq_checkpoint_of(ptqc_ctx *ctx, const struct pq_pass_env *env,
                               const char *pass);

// In: the counts that each weight must have. Out: the rest, pointing into
// *out_map, which the caller closes. PTQC_NO: there is no such unit, or it is
// damaged (said as a warning). PTQC_E_USAGE: it belongs to another model,
// recipe, calibration or version.
PTQC_MUST_USE ptqc_status pq_unit_read(const pq_checkpoint *c, uint32_t index,
                                       pq_unit_weight *weights, uint32_t count,
                                       pq_map *out_map);
PTQC_MUST_USE ptqc_status pq_unit_write(const pq_checkpoint *c, uint32_t index,
                                        const pq_unit_weight *weights,
                                        uint32_t count);
// PTQC_E_USAGE: a unit in dir is not of this compile: said before its work.
PTQC_MUST_USE ptqc_status pq_units_check(ptqc_ctx *ctx, const char *dir,
                                         const pq_sha256 *fingerprint);
// Removes the units and what streams left (resume.h) in `dir`, and dir itself
// when nothing else is in it. What cannot be removed stays.
void pq_units_remove(const char *dir);
// Removes what is of no use when no unit is finished, as pq_units_remove does;
// -> whether one is.
bool pq_units_leave(const char *dir);

#endif
