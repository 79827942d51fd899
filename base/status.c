// SPDX-License-Identifier: Apache-2.0
//
// Names and advice of the status codes, from the table in ptqc/status.h.
#include "ptqc/status.h"

PTQC_API const char *
ptqc_status_name(ptqc_status status)
{
    switch (status) {
#define PQ_STATUS_NAME(NAME, number, text, advice)                             \
    case PTQC_##NAME:                                                          \
        return text;
        PTQC_STATUSES(PQ_STATUS_NAME)
#undef PQ_STATUS_NAME
    }
    return "unknown"; // numbers from outside
}

PTQC_API const char *
ptqc_status_advice(ptqc_status status)
{
    switch (status) {
#define PQ_STATUS_ADVICE(NAME, number, text, advice)                           \
    case PTQC_##NAME:                                                          \
        return advice;
        PTQC_STATUSES(PQ_STATUS_ADVICE)
#undef PQ_STATUS_ADVICE
    }
    return "unknown";
}
