// SPDX-License-Identifier: Apache-2.0
//
// One diagnostic (say.h).
#include "say.h"

#include <stdarg.h>
#include <stdio.h>

ptqc_be_status
pq_kg_fail(const ptqc_host *host, ptqc_call *call, ptqc_be_status status,
           const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t bytes = n < 0 ? 0 : (size_t)n;
    ptqc_diag diag = {
        .h = {.size = sizeof diag, .type = PTQC_REC_DIAG},
        .severity = PTQC_SEV_ERROR,
        .text = {text, bytes < sizeof text ? bytes : sizeof text - 1},
    };
    host->vt->diag(call, &diag);
    return status;
}
