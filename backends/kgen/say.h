// SPDX-License-Identifier: Apache-2.0
//
// Saying errors through a call.
#ifndef PTQC_BACKENDS_KGEN_SAY_H
#define PTQC_BACKENDS_KGEN_SAY_H

#include "ptqc/backend.h"

// Says one error through the call and returns `status`; `status` is the
// caller's return value. printf-like; what is longer than 511 bytes is cut.
__attribute__((format(printf, 4, 5))) ptqc_be_status
pq_kg_fail(const ptqc_host *host, ptqc_call *call, ptqc_be_status status,
           const char *format, ...);

#endif
