// SPDX-License-Identifier: Apache-2.0
//
// Small things every op needs: counts, axes, scratch, messages.
#include <stdarg.h>
#include <stdio.h>

#include "base/checked.h"
#include "ir/interp/eval.h"

int64_t
pq_size_product(const int64_t *dims, uint32_t begin, uint32_t end)
{
    int64_t n = 1;
    for (uint32_t i = begin; i < end; i++) {
        n *= dims[i];
    }
    return n;
}

int64_t
pq_tensor_count(const pq_tensor *t)
{
    return pq_size_product(t->dims, 0, t->rank);
}

ptqc_status
pq_eval_fail(pq_eval *e, ptqc_status st, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return PQ_FAIL(e->ctx, st, "%s '%.*s': %s",
                   pq_op_info_of(e->op->code)->name, PQ_STR_ARG(e->op->name),
                   text);
}

ptqc_status
pq_eval_axis(pq_eval *e, int64_t otherwise, uint32_t rank, uint32_t *out)
{
    int64_t axis = pq_op_i64(e->op, PQ_ATTR_AXIS, otherwise);
    int64_t at = axis < 0 ? axis + (int64_t)rank : axis;
    if (at < 0 || at >= (int64_t)rank) {
        return pq_eval_fail(e, PTQC_E_INPUT, "axis %lld of rank %u",
                            (long long)axis, rank);
    }
    *out = (uint32_t)at;
    return PTQC_OK;
}

void *
pq_scratch(pq_eval *e, int64_t count, size_t size)
{
    if (count < 0) {
        pq_eval_fail(e, PTQC_E_RESOURCE, "scratch size overflows");
        return NULL;
    }
    // One element more, so that empty tensors have a valid pointer.
    return pq_arena_array(&e->arena, (size_t)count + 1, size);
}
