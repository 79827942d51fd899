// SPDX-License-Identifier: Apache-2.0
//
// The embedding: rows of a table that the tokens choose. Rows of codes become
// numbers on the way.
#include "frontend/llm/builder.h"

ptqc_status
pq_llm_reshape(pq_llm_builder *b, pq_value_id x, const pq_dim *dims,
               uint32_t rank, pq_value_id *out)
{
    pq_builder op;
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_RESHAPE, (pq_str){0});
    pq_build_input(&op, x);
    pq_build_dims(&op, PQ_ATTR_SHAPE, dims, rank);
    return pq_build_end(&op, NULL, out, NULL);
}

ptqc_status
pq_llm_cast(pq_llm_builder *b, pq_value_id x, ptqc_dtype to, pq_value_id *out)
{
    pq_builder op;
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_CAST, (pq_str){0});
    pq_build_input(&op, x);
    pq_build_i64(&op, PQ_ATTR_TO, to);
    return pq_build_end(&op, NULL, out, NULL);
}

static ptqc_status
gather(pq_llm_builder *b, pq_value_id table, pq_value_id *out)
{
    pq_builder op;
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_GATHER, PQ_STR("embedding"));
    pq_build_input(&op, table);
    pq_build_input(&op, b->token_ids);
    pq_build_i64(&op, PQ_ATTR_AXIS, 0);
    return pq_build_end(&op, NULL, out, NULL);
}

// The minima of the chosen rows onto x [B, T, groups * group].
static ptqc_status
add_minima(pq_llm_builder *b, const pq_llm_tensor *table, pq_value_id *x)
{
    int64_t group = table->block->elements;
    pq_dim dims[4] = {b->batch, b->tokens,
                      pq_dim_const(b->g, table->dims[1] / group),
                      pq_dim_const(b->g, group)};
    pq_value_id minima;
    PQ_TRY(pq_llm_minima(b, table, &minima));
    if (pq_value_is_none(minima)) {
        return PTQC_OK;
    }
    PQ_TRY(pq_llm_reshape(b, *x, dims, 4, x));
    dims[3] = pq_dim_const(b->g, 1);
    PQ_TRY(gather(b, minima, &minima));
    PQ_TRY(pq_llm_cast(b, minima, PTQC_F32, &minima));
    PQ_TRY(pq_llm_reshape(b, minima, dims, 4, &minima));
    PQ_TRY(pq_build_binary(b->g, (pq_op_id){0}, PQ_OP_ADD, *x, minima, x));
    dims[2] = pq_dim_const(b->g, table->dims[1]);
    return pq_llm_reshape(b, *x, dims, 3, x);
}

ptqc_status
pq_llm_embed(pq_llm_builder *b, pq_llm_tensor *table, pq_value_id *out)
{
    pq_value_id x;
    PQ_TRY(pq_llm_constant(b, table, &x));
    PQ_TRY(gather(b, x, out));
    if (table->block != NULL && table->block->codes != PTQC_DTYPE_NONE) {
        return add_minima(b, table, out);
    }
    return pq_graph_value(b->g, *out)->type.dtype == PTQC_F32
               ? PTQC_OK
               : pq_llm_cast(b, *out, PTQC_F32, out);
}
