// SPDX-License-Identifier: Apache-2.0
//
// Whether the samples hold tokens enough for the Gram matrices of a stream's
// groups, told before any of its work.
#ifndef PTQC_PASSES_CALIB_ENOUGH_H
#define PTQC_PASSES_CALIB_ENOUGH_H

#include "passes/calib/stream.h"

// Warns, once, when there are fewer than 4 tokens per input of some group's
// products, and says how many are needed (algorithms section 1.4). Needs the
// number of samples (env->samples->limit); all of the first one's shape count
// the same. Says nothing when it is not known. *out_warned: whether it did.
PTQC_MUST_USE ptqc_status pq_warn_few_tokens(pq_graph *g,
                                             const pq_pass_env *env,
                                             const char *phase,
                                             const pq_stream_client *client,
                                             bool *out_warned);

#endif
