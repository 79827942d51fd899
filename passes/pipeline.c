// SPDX-License-Identifier: Apache-2.0
//
// The loop over passes and the lists of passes that make a compile.

#include "passes/pipeline.h"

#include "base/threads.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/method.h"

#if defined(NDEBUG)
#define PQ_VERIFY_ALWAYS false
#else
#define PQ_VERIFY_ALWAYS true
#endif

// ---- one pass -------------------------------------------------------------

// The clone owns its bytes: the graph it was made of goes.
static ptqc_status
replace_by_clone(pq_graph **g)
{
    pq_graph *clone = NULL;
    PQ_TRY(pq_graph_clone(*g, true, &clone));
    pq_graph_destroy(*g);
    *g = clone;
    return PTQC_OK;
}

static ptqc_status
replace_by_text(pq_graph **g)
{
    ptqc_ctx *ctx = pq_graph_ctx(*g);
    pq_graph *parsed = NULL;
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    ptqc_status st = PTQC_OK;
    PQ_TRY_OR(done, pq_graph_print(*g, 0, &text));
    if (text.failed) {
        st = PTQC_E_RESOURCE;
        goto done;
    }
    PQ_TRY_OR(done, pq_graph_parse(ctx, "torture", (pq_str){text.p, text.n},
                                   &parsed));
    pq_graph_destroy(*g);
    *g = parsed;
done:
    pq_strbuf_deinit(&text);
    return st;
}

static ptqc_status
check_stage(pq_graph *g, const pq_pass_info *info)
{
    pq_stage stage = pq_graph_stage(g);
    bool fits = info->before == info->after ? stage >= info->before
                                            : stage == info->before;
    if (!fits) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_INTERNAL,
                       "pass %s: the graph is at stage %d, expected %d",
                       info->name, (int)stage, (int)info->before);
    }
    return PTQC_OK;
}

static ptqc_status
run_pass(pq_graph **g, pq_pass_env *env, const pq_pass_info *info,
         const pq_pipeline_desc *desc)
{
    ptqc_ctx *ctx = pq_graph_ctx(*g);
    uint64_t torture = pq_torture_flags(ctx);
    PQ_TRY(pq_check_cancelled(ctx));
    PQ_TRY(check_stage(*g, info));
    if ((torture & PTQC_TORTURE_CLONE) != 0) {
        PQ_TRY(replace_by_clone(g));
    }
    uint64_t start = pq_clock_ns();
    ptqc_status st = info->run(*g, env);
    uint64_t ns = pq_clock_ns() - start;
    pq_arena_deinit(env->scratch);
    pq_arena_init(env->scratch, ctx);
    PQ_TRY(st);
    if (info->before != info->after) {
        pq_graph_set_stage(*g, info->after);
    }
    if (PQ_VERIFY_ALWAYS || torture != 0 ||
        (desc != NULL && (desc->flags & PQ_PIPELINE_VERIFY) != 0)) {
        PQ_TRY(pq_graph_verify(*g));
    }
    if ((torture & PTQC_TORTURE_TEXT) != 0) {
        PQ_TRY(replace_by_text(g));
    }
    if (desc != NULL && desc->hook != NULL) {
        desc->hook(desc->hook_user, info, *g, ns);
    }
    return PTQC_OK;
}

ptqc_status
pq_pipeline_run(pq_graph **g, pq_pass_env *env, const char *const *passes,
                uint32_t pass_count, const pq_pipeline_desc *desc)
{
    for (uint32_t i = 0; i < pass_count; i++) {
        const pq_pass_info *info = pq_pass_find(pq_str_of(passes[i]));
        if (info == NULL) {
            return PQ_FAIL(pq_graph_ctx(*g), PTQC_E_USAGE,
                           "no pass is called '%s'", passes[i]);
        }
        PQ_TRY(run_pass(g, env, info, desc));
    }
    return PTQC_OK;
}

// ---- the lists ------------------------------------------------------------

static const char *const simplify[] = {
    "fold-constants",
    "canonicalize",
    "fold-constants",
    "cse",
    "fold-batchnorm",
    "canonicalize",
    "fuse-bias",
    "fold-scale",
    "fuse-bias",
    "detect-norm",
    "detect-gelu",
    "detect-gate",
    "detect-softmax",
    "fold-constants",
    "canonicalize",
    "fuse-residual",
    "fuse-activation",
    "cse",
    "dce",
};

// When the recipe names a type of key and value states.
static const char *const retype[] = {"kv-type"};
static const char *const narrow[] = {
    "smooth-keys"}; // with samples or statistics

// From a scheme to annotations.
static const char *const assign[] = {"assign-schemes"};

// When the method says so.
static const char *const smooth[] = {"smoothquant"};
static const char *const protect[] = {"awq"};
static const char *const solve[] = {"gptq"};
static const char *const learn[] = {"adaround"};

// Float arithmetic that codes suit better.
static const char *const prepare[] = {"clip-dead", "equalize"};
static const char *const absorb[] = {"absorb-bias"};

// From annotations to scales.
static const char *const scale[] = {
    "spare-outliers",
    "calibrate",
    "propagate-params",
    "scale-weights",
};

// From scales to codes.
static const char *const encode[] = {"correct-bias", "insert-qdq"};

// Graphs with codes, ours and those that come quantized.
static const char *const integrate[] = {
    "cse",
    "qdq-to-integer",
    "fold-constants",
    "canonicalize",
    "fold-constants",
    "qdq-to-integer",
    "cse",
    "dce",
};

// After ours alone: in models that come quantized roundings are wanted.
static const char *const clean[] = {"drop-fake-quant", "dce"};

#define PQ_RUN(list)                                                           \
    pq_pipeline_run(g, env, list, sizeof list / sizeof *list, desc)

// Weights of a file that are codes already.
static bool
has_codes(const pq_graph *g)
{
    PQ_FOR_EACH_OP(g, id)
    {
        if (pq_graph_op(g, id)->code == PQ_OP_DEQUANTIZE) {
            return true;
        }
    }
    return false;
}

// A rule that matches nothing ends the compile before its long part.
static ptqc_status
bind_rules(const pq_graph *g, const pq_recipe *recipe)
{
    return recipe->rules != NULL ? pq_rules_bind(recipe->rules, g) : PTQC_OK;
}

ptqc_status
pq_pipeline_assign(pq_graph **g, pq_pass_env *env, const pq_pipeline_desc *desc)
{
    bool quantizes = pq_recipe_quantizes(env->recipe);
    if (quantizes && pq_graph_stage(*g) != PQ_STAGE_FLOAT) {
        return PQ_FAIL(pq_graph_ctx(*g), PTQC_E_USAGE,
                       "the model is quantized already: compile it without "
                       "a scheme");
    }
    PQ_TRY(PQ_RUN(simplify));
    if (env->recipe->kv != PQ_KV_AS_IS) {
        PQ_TRY(PQ_RUN(retype));
    }
    if (!quantizes) {
        return PTQC_OK;
    }
    PQ_TRY(bind_rules(*g, env->recipe));
    return PQ_RUN(assign);
}

ptqc_status
pq_pipeline_prepare(pq_graph **g, pq_pass_env *env,
                    const pq_pipeline_desc *desc)
{
    pq_method method;
    bool has_facts = env->stats != NULL ||
                     (env->samples != NULL && env->make_runner != NULL);
    if (env->recipe->kv == PQ_KV_INT8 && has_facts) {
        PQ_TRY(PQ_RUN(narrow));
    }
    if (!pq_recipe_quantizes(env->recipe)) {
        return PTQC_OK;
    }
    pq_recipe_steps(env->recipe, &method);
    PQ_TRY(PQ_RUN(prepare));
    if (env->recipe->absorbs_bias) {
        PQ_TRY(PQ_RUN(absorb));
    }
    if (method.does_smooth) {
        PQ_TRY(PQ_RUN(smooth));
    }
    return method.does_awq ? PQ_RUN(protect) : PTQC_OK;
}

ptqc_status
pq_pipeline_encode(pq_graph **g, pq_pass_env *env, const pq_pipeline_desc *desc)
{
    pq_method method;
    if (!pq_recipe_quantizes(env->recipe)) {
        if (has_codes(*g)) {
            pq_graph_set_stage(*g, PQ_STAGE_QUANTIZED);
        }
        return PTQC_OK;
    }
    pq_recipe_steps(env->recipe, &method);
    PQ_TRY(PQ_RUN(scale));
    if (method.does_gptq) {
        PQ_TRY(PQ_RUN(solve));
    }
    if (method.does_adaround) {
        PQ_TRY(PQ_RUN(learn));
    }
    return PQ_RUN(encode);
}

ptqc_status
pq_pipeline_integrate(pq_graph **g, pq_pass_env *env,
                      const pq_pipeline_desc *desc)
{
    if (pq_graph_stage(*g) == PQ_STAGE_QUANTIZED) {
        PQ_TRY(PQ_RUN(integrate));
    }
    return pq_recipe_quantizes(env->recipe) ? PQ_RUN(clean) : PTQC_OK;
}

ptqc_status
pq_pipeline_compile(pq_graph **g, pq_pass_env *env,
                    const pq_pipeline_desc *desc)
{
    PQ_TRY(pq_pipeline_assign(g, env, desc));
    PQ_TRY(pq_pipeline_prepare(g, env, desc));
    PQ_TRY(pq_pipeline_encode(g, env, desc));
    return pq_pipeline_integrate(g, env, desc);
}
