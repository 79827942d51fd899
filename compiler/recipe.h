// SPDX-License-Identifier: Apache-2.0
//
// The recipe that the options of a compile make, with the recipe they name.
#ifndef PTQC_COMPILER_RECIPE_H
#define PTQC_COMPILER_RECIPE_H

#include "ptqc/compile.h"

#include "passes/recipe.h"

// Texts live in arena; the caller owns *out (pq_recipe_deinit), also after a
// failure. PTQC_E_USAGE: not understood, or contradictory.
PTQC_MUST_USE ptqc_status pq_recipe_of_desc(ptqc_ctx *ctx,
                                            const ptqc_compile_desc *desc,
                                            pq_arena *arena, pq_recipe *out);
// PTQC_E_USAGE: a recipe was named, and a compile by it would do nothing.
PTQC_MUST_USE ptqc_status pq_recipe_check_use(ptqc_ctx *ctx,
                                              const ptqc_compile_desc *desc,
                                              const pq_recipe *r);
// PTQC_E_USAGE when a method wants samples and there are none: of a compile,
// not of what only tells about one.
PTQC_MUST_USE ptqc_status pq_recipe_check_samples(ptqc_ctx *ctx,
                                                  const ptqc_compile_desc *desc,
                                                  const pq_recipe *r);

#endif
