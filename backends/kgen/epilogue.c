// SPDX-License-Identifier: Apache-2.0
//
// Which epilogues there are (epilogue.h).
#include "epilogue.h"

int
pq_epilogue_is_valid(const pq_epilogue *epilogue)
{
    uint32_t known = PQ_EPI_BIAS | PQ_EPI_ROW_SCALE | PQ_EPI_SCALE |
                     PQ_EPI_SATURATE | PQ_EPI_WEIGHT_ZERO | PQ_EPI_GATE;
    uint32_t of_sums = PQ_EPI_ROW_SCALE | PQ_EPI_WEIGHT_ZERO;
    if (epilogue->kind > PQ_EPI_INTEGER || epilogue->act >= PQ_ACT_COUNT ||
        epilogue->residual > PQ_ELEM_U8 || (epilogue->flags & ~known) != 0 ||
        (epilogue->out != PQ_ELEM_F32 && epilogue->out != PQ_ELEM_U8)) {
        return 0;
    }
    if ((epilogue->flags & PQ_EPI_SATURATE) && epilogue->out != PQ_ELEM_U8) {
        return 0;
    }
    if ((epilogue->flags & PQ_EPI_GATE) && epilogue->residual != PQ_ELEM_F32) {
        return 0;
    }
    if (epilogue->kind == PQ_EPI_INTEGER) {
        return epilogue->act == PQ_ACT_NONE &&
               (epilogue->flags & ~(PQ_EPI_SATURATE | PQ_EPI_WEIGHT_ZERO)) ==
                   0 &&
               epilogue->out == PQ_ELEM_U8 && epilogue->residual != PQ_ELEM_F32;
    }
    return epilogue->kind == PQ_EPI_REAL || (epilogue->flags & of_sums) == 0;
}

int
pq_epilogue_is_long(const pq_epilogue *epilogue)
{
    // those with an exponential, logarithm or error function
    return epilogue->act >= PQ_ACT_SIGMOID;
}

int64_t
pq_epilogue_out_bytes(const pq_epilogue *epilogue)
{
    return epilogue->out == PQ_ELEM_F32 ? 4 : 1;
}
