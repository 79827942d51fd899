// SPDX-License-Identifier: Apache-2.0
//
// From a placed graph to a container: each part becomes one program of its
// plugin and one step of the plan.
#ifndef PTQC_COMPILER_BUILD_H
#define PTQC_COMPILER_BUILD_H

#include "compiler/place.h"
#include "runtime/container.h"

// Adds programs, steps and interface to the (empty) container.
PTQC_MUST_USE ptqc_status pq_build_container(pq_graph *g, pq_targets *targets,
                                             const pq_placement *placement,
                                             pq_container *out);

// Makes every graph output the result of an op of its own, so that a plan
// can deliver it: outputs that are inputs, constants or repeated get an
// identity op.
PTQC_MUST_USE ptqc_status pq_separate_outputs(pq_graph *g);

#endif
