// SPDX-License-Identifier: Apache-2.0
//
// The embedding: rows of a table that the tokens choose. A table of codes
// stays one: its rows are chosen as bytes, and only they become numbers.
#include "base/dtype.h"
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

// Another value of a constant's bytes, as type `dtype` and without meaning.
static ptqc_status
bytes_of(pq_llm_builder *b, pq_value_id v, ptqc_dtype dtype,
         const int64_t *dims, pq_value_id *out)
{
    const pq_value *value = pq_graph_value(b->g, v);
    pq_constant c = *pq_graph_constant(b->g, value->constant);
    c.dtype = dtype;
    c.dims = dims;
    c.rank = 2;
    pq_const_id id = pq_graph_add_constant(b->g, &c);
    *out = pq_const_is_none(id)
               ? PQ_NO_VALUE
               : pq_graph_add_constant_value(b->g, value->name, id);
    return pq_value_is_none(*out) ? pq_graph_failure(b->g) : PTQC_OK;
}

static ptqc_status
arithmetic(pq_llm_builder *b, pq_opcode code, pq_value_id x, float number,
           pq_value_id *out)
{
    pq_value_id y;
    PQ_TRY(
        pq_build_constant(b->g, (pq_str){0}, PTQC_F32, NULL, 0, &number, &y));
    return pq_build_binary(b->g, (pq_op_id){0}, code, x, y, out);
}

// Bytes f32 [B, T, d / 2] that hold two codes each: low and high halves side
// by side, [B, T, d / 2, 2].
static ptqc_status
split_bytes(pq_llm_builder *b, pq_value_id x, int64_t width, pq_value_id *out)
{
    const pq_dim dims[4] = {b->batch, b->tokens, pq_dim_const(b->g, width / 2),
                            pq_dim_const(b->g, 1)};
    pq_value_id low, high, taken;
    PQ_TRY(arithmetic(b, PQ_OP_MUL, x, 1.0f / 16.0f, &high));
    PQ_TRY(pq_build_unary(b->g, (pq_op_id){0}, PQ_OP_FLOOR, high, &high));
    PQ_TRY(arithmetic(b, PQ_OP_MUL, high, 16.0f, &taken));
    PQ_TRY(pq_build_binary(b->g, (pq_op_id){0}, PQ_OP_SUB, x, taken, &low));
    PQ_TRY(pq_llm_reshape(b, low, dims, 4, &low));
    PQ_TRY(pq_llm_reshape(b, high, dims, 4, &high));
    pq_builder op;
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_CONCAT, (pq_str){0});
    pq_build_input(&op, low);
    pq_build_input(&op, high);
    pq_build_i64(&op, PQ_ATTR_AXIS, 3);
    return pq_build_end(&op, NULL, out, NULL);
}

// The chosen rows of codes as numbers, without their zero point.
static ptqc_status
gather_codes(pq_llm_builder *b, const pq_llm_tensor *table, pq_value_id codes,
             pq_value_id *out)
{
    bool is_packed = pq_dtype_bits(table->block->codes) == 4;
    const int64_t dims[2] = {table->dims[0],
                             table->dims[1] / (is_packed ? 2 : 1)};
    pq_value_id x;
    PQ_TRY(bytes_of(b, codes, is_packed ? PTQC_U8 : table->block->codes, dims,
                    &x));
    PQ_TRY(gather(b, x, &x));
    PQ_TRY(pq_llm_cast(b, x, PTQC_F32, &x));
    if (is_packed) {
        PQ_TRY(split_bytes(b, x, table->dims[1], &x));
    }
    *out = x;
    return table->block->zero_point == 0
               ? PTQC_OK
               : arithmetic(b, PQ_OP_SUB, x, (float)table->block->zero_point,
                            out);
}

// The minima of the chosen rows onto x [B, T, groups, group].
static ptqc_status
add_minima(pq_llm_builder *b, const pq_llm_tensor *table, pq_value_id *x)
{
    const pq_dim dims[4] = {
        b->batch, b->tokens,
        pq_dim_const(b->g, table->dims[1] / table->block->elements),
        pq_dim_const(b->g, 1)};
    pq_value_id minima;
    PQ_TRY(pq_llm_minima(b, table, &minima));
    if (pq_value_is_none(minima)) {
        return PTQC_OK;
    }
    PQ_TRY(gather(b, minima, &minima));
    PQ_TRY(pq_llm_cast(b, minima, PTQC_F32, &minima));
    PQ_TRY(pq_llm_reshape(b, minima, dims, 4, &minima));
    return pq_build_binary(b->g, (pq_op_id){0}, PQ_OP_ADD, *x, minima, x);
}

// Only the rows that are needed become numbers: scale * (code - zero point),
// plus a minimum where there is one.
static ptqc_status
embed_codes(pq_llm_builder *b, pq_llm_tensor *table, pq_value_id *out)
{
    int64_t group = table->block->elements;
    pq_dim dims[4] = {b->batch, b->tokens,
                      pq_dim_const(b->g, table->dims[1] / group),
                      pq_dim_const(b->g, group)};
    pq_value_id codes, x, scales;
    PQ_TRY(pq_llm_constant(b, table, &codes));
    pq_quant_id quant = pq_graph_value(b->g, codes)->quant;
    PQ_TRY(gather_codes(b, table, codes, &x));
    PQ_TRY(pq_llm_reshape(b, x, dims, 4, &x));
    scales = pq_graph_add_constant_value(b->g, (pq_str){0},
                                         pq_graph_quant(b->g, quant)->scale);
    if (pq_value_is_none(scales)) {
        return pq_graph_failure(b->g);
    }
    PQ_TRY(gather(b, scales, &scales));
    dims[3] = pq_dim_const(b->g, 1);
    PQ_TRY(pq_llm_reshape(b, scales, dims, 4, &scales));
    PQ_TRY(pq_build_binary(b->g, (pq_op_id){0}, PQ_OP_MUL, x, scales, &x));
    PQ_TRY(add_minima(b, table, &x));
    dims[2] = pq_dim_const(b->g, table->dims[1]);
    return pq_llm_reshape(b, x, dims, 3, out);
}

ptqc_status
pq_llm_embed(pq_llm_builder *b, pq_llm_tensor *table, pq_value_id *out)
{
    if (table->block != NULL && table->block->codes != PTQC_DTYPE_NONE) {
        return embed_codes(b, table, out);
    }
    pq_value_id x;
    PQ_TRY(pq_llm_constant(b, table, &x));
    PQ_TRY(gather(b, x, out));
    return pq_graph_value(b->g, *out)->type.dtype == PTQC_F32
               ? PTQC_OK
               : pq_llm_cast(b, *out, PTQC_F32, out);
}
