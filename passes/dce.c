// SPDX-License-Identifier: Apache-2.0
//
// Dead code: ops whose results neither an op nor an output uses.

#include "ir/rewrite.h"
#include "passes/registry.h"

ptqc_status
pq_pass_dce(pq_graph *g, pq_pass_env *env)
{
    (void)env;
    (void)pq_erase_dead(g);
    return PTQC_OK;
}
