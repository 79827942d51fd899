// SPDX-License-Identifier: Apache-2.0
//
// Rows of a matrix by index, where the matrix is packed as weights: codes,
// which become real numbers, and tables that the output matrix of a language
// model is tied to.
//
// EMBED step: inputs packed weights, indices; output [indices.., K]. Parameters
//     [0] k  [1] n  [2] weight format  [3] asymmetric  [4] group
//     [5] half scales
#include "lower_weights.h"
#include "lowering.h"

static void
write_embed(pq_lower *l, const pq_cpu_weights *w)
{
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_identity(perm, PTQC_MAX_RANK);
    uint32_t packed = pq_cpu_weights_emit(l, w);
    pq_ref ids = pq_use_identity(l, pq_in_index(l, 1));
    pq_ref y = pq_define(l, pq_out_index(l, 0), perm);
    pq_step_begin(l, PQ_STEP_EMBED, "embedding k%lld n%lld",
                  (long long)w->shape.k, (long long)w->shape.n);
    pq_step_in(l, packed);
    pq_step_in(l, ids.value);
    pq_step_out(l, y.value);
    pq_step_i64(l, w->shape.k);
    pq_step_i64(l, w->shape.n);
    pq_step_i64(l, w->shape.format);
    pq_step_i64(l, w->shape.asymmetric);
    pq_step_i64(l, w->shape.group);
    pq_step_i64(l, w->shape.half_scales);
}

bool
pq_cpu_lower_embedding(pq_lower *l)
{
    const ptqc_gb_value *table = pq_in(l, 0), *ids = pq_in(l, 1);
    if (!pq_lower_is_packed_table(l, table) || pq_attr_i64(l, "axis", 0) != 0 ||
        pq_attr_i64(l, "batch_dims", 0) != 0) {
        return false;
    }
    pq_cpu_weights w;
    if (ids == NULL || (ids->dtype != PTQC_I32 && ids->dtype != PTQC_I64)) {
        pq_decline(l, "indices have to be i32 or i64");
        return true;
    }
    if (!pq_cpu_weights_open(l, pq_in_index(l, 0), true, &w)) {
        return true;
    }
    pq_cpu_weights_read(l, false, false, &w);
    if (table->quant != PTQC_GB_NONE && !pq_weight_is_fixed(w.shape.format)) {
        pq_decline(l, "type of the codes");
    }
    if (pq_lower_ok(l)) {
        write_embed(l, &w);
    }
    return true;
}
