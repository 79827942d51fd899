// SPDX-License-Identifier: Apache-2.0
//
// From options to a recipe: the recipe that is named first, then what the
// options say themselves. Rules of options go before its rules.

#include "compiler/recipe.h"

#include <string.h>

#include "base/json.h"
#include "passes/method.h"

// ptqc_observer_kind -> ours.
static const pq_observer_kind pq_observers[] = {
    [PTQC_OBSERVER_DEFAULT] = PQ_OBSERVER_MSE,
    [PTQC_OBSERVER_MINMAX] = PQ_OBSERVER_MINMAX,
    [PTQC_OBSERVER_PERCENTILE] = PQ_OBSERVER_PERCENTILE,
    [PTQC_OBSERVER_MSE] = PQ_OBSERVER_MSE,
    [PTQC_OBSERVER_AVERAGE] = PQ_OBSERVER_AVERAGE,
    [PTQC_OBSERVER_ENTROPY] = PQ_OBSERVER_ENTROPY,
    [PTQC_OBSERVER_OCTAV] = PQ_OBSERVER_OCTAV,
};

// ---- rules of options ------------------------------------------------------

static ptqc_status
add_rule(ptqc_ctx *ctx, const pq_op_rule *rule, pq_recipe *out)
{
    if (out->rules == NULL) {
        PQ_TRY(pq_rules_create(ctx, &out->rules));
    }
    return pq_rules_add(out->rules, rule);
}

// The '=' before the scheme: names may have some, schemes have ":scale=".
static const char *
equals_of(const char *text)
{
    static const char own[] = ":scale";
    const char *equals = strrchr(text, '=');
    size_t n = sizeof own - 1;
    while (equals != NULL && (size_t)(equals - text) >= n &&
           memcmp(equals - n, own, n) == 0) {
        equals = memrchr(text, '=', (size_t)(equals - text));
    }
    return equals;
}

// "MATCH=SCHEME".
static ptqc_status
parse_rule(ptqc_ctx *ctx, const char *text, pq_op_rule *out)
{
    const char *equals = equals_of(text);
    if (equals == NULL || equals == text || equals[1] == '\0') {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "rule '%s': expected MATCH=SCHEME, as in "
                       "re:down_proj$=w8a16",
                       text);
    }
    *out = (pq_op_rule){.match = {text, (size_t)(equals - text)},
                        .sets = PQ_SETS_SCHEME,
                        .place = PQ_STR("--rule")};
    out->settings.is_float = strcmp(equals + 1, "float") == 0;
    return out->settings.is_float ? PTQC_OK
                                  : pq_scheme_parse(ctx, pq_str_of(equals + 1),
                                                    &out->settings.scheme);
}

static ptqc_status
add_rules(ptqc_ctx *ctx, const ptqc_compile_desc *desc, pq_recipe *out)
{
    for (uint32_t i = 0; i < desc->keep_count; i++) {
        pq_op_rule rule = {.match = pq_str_of(desc->keep[i]),
                           .sets = PQ_SETS_SCHEME,
                           .settings = {.is_float = true},
                           .place = PQ_STR("--keep")};
        if (rule.match.n == 0) {
            return PQ_FAIL(ctx, PTQC_E_USAGE, "keep: expected a name");
        }
        PQ_TRY(add_rule(ctx, &rule, out));
    }
    for (uint32_t i = 0; i < desc->rule_count; i++) {
        pq_op_rule rule;
        PQ_TRY(parse_rule(ctx, desc->rules[i], &rule));
        PQ_TRY(add_rule(ctx, &rule, out));
    }
    return PTQC_OK;
}

// ---- what options replace --------------------------------------------------

static ptqc_status
set_method(ptqc_ctx *ctx, const ptqc_compile_desc *desc, pq_recipe *out)
{
    if (desc->method == NULL) {
        return PTQC_OK;
    }
    out->method = pq_str_of(desc->method);
    return pq_method_is_known(out->method)
               ? PTQC_OK
               : PQ_FAIL(ctx, PTQC_E_USAGE,
                         "method '%s': expected " PQ_METHOD_SPELLING,
                         desc->method);
}

static ptqc_status
set_observer(ptqc_ctx *ctx, const ptqc_compile_desc *desc, pq_recipe *out)
{
    const size_t count = sizeof pq_observers / sizeof *pq_observers;
    if ((size_t)desc->observer >= count) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "observer: expected 0 to %zu, found %u", count - 1,
                       (unsigned)desc->observer);
    }
    if (desc->observer != PTQC_OBSERVER_DEFAULT) {
        out->observer = pq_observers[desc->observer];
    }
    if (desc->percentile == 0) {
        return PTQC_OK;
    }
    if (!(desc->percentile > 50 && desc->percentile <= 100)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "percentile: expected above 50, at most 100, found %g",
                       desc->percentile);
    }
    out->percentile = desc->percentile;
    return PTQC_OK;
}

static ptqc_status
set_scale_search(ptqc_ctx *ctx, const ptqc_compile_desc *desc, pq_recipe *out)
{
    if ((unsigned)desc->scale_search > PTQC_SCALE_MSE) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "scale search: expected 0 to %d, found %u",
                       PTQC_SCALE_MSE, (unsigned)desc->scale_search);
    }
    if (desc->scale_search != PTQC_SCALE_DEFAULT) {
        out->scale_search = desc->scale_search == PTQC_SCALE_MSE
                                ? PQ_SCALE_MSE
                                : PQ_SCALE_MINMAX;
    }
    return PTQC_OK;
}

static ptqc_status
set_corrections(ptqc_ctx *ctx, const ptqc_compile_desc *desc, pq_recipe *out)
{
    if (desc->equalize != NULL &&
        !pq_equalization_parse(pq_str_of(desc->equalize), &out->equalize)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "equalize '%s': expected auto, on or off",
                       desc->equalize);
    }
    if (desc->absorb_bias != NULL) {
        out->absorbs_bias = strcmp(desc->absorb_bias, "on") == 0;
        if (!out->absorbs_bias && strcmp(desc->absorb_bias, "off") != 0) {
            return PQ_FAIL(ctx, PTQC_E_USAGE,
                           "absorb bias '%s': expected on or off",
                           desc->absorb_bias);
        }
    }
    if (desc->bias_correction != NULL &&
        !pq_bias_correction_parse(pq_str_of(desc->bias_correction),
                                  &out->bias_correction)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "bias correction '%s': expected sequential, empirical, "
                       "analytic or off",
                       desc->bias_correction);
    }
    return PTQC_OK;
}

static ptqc_status
set_others(ptqc_ctx *ctx, const ptqc_compile_desc *desc, pq_recipe *out)
{
    if (desc->kv != NULL && !pq_kv_type_parse(pq_str_of(desc->kv), &out->kv)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE, "kv '%s': expected f16, f32 or int8",
                       desc->kv);
    }
    out->sample_limit =
        desc->sample_limit > 0 ? desc->sample_limit : out->sample_limit;
    out->seed = desc->seed > 0 ? desc->seed : out->seed;
    if (desc->scheme == NULL) {
        return PTQC_OK;
    }
    out->has_scheme = strcmp(desc->scheme, "float") != 0;
    return out->has_scheme
               ? pq_scheme_parse(ctx, pq_str_of(desc->scheme), &out->scheme)
               : PTQC_OK;
}

// ---- contradictions --------------------------------------------------------

// An option that only counts beside a scheme, or NULL.
static const char *
needs_scheme(const ptqc_compile_desc *desc)
{
    return desc->method != NULL                       ? "method"
           : desc->observer != PTQC_OBSERVER_DEFAULT  ? "observer"
           : desc->percentile != 0                    ? "percentile"
           : desc->scale_search != PTQC_SCALE_DEFAULT ? "scale search"
           : desc->equalize != NULL                   ? "equalize"
           : desc->absorb_bias != NULL                ? "absorb bias"
           : desc->bias_correction != NULL            ? "bias correction"
           : desc->keep_count > 0                     ? "keep"
           : desc->rule_count > 0                     ? "rule"
                                                      : NULL;
}

static ptqc_status
check(ptqc_ctx *ctx, const ptqc_compile_desc *desc, const pq_recipe *r)
{
    const char *idle = needs_scheme(desc);
    if (idle != NULL && desc->recipe == NULL && !pq_recipe_quantizes(r)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "%s: without a scheme nothing becomes codes", idle);
    }
    if (desc->percentile != 0 &&
        !pq_recipe_uses_observer(r, PQ_OBSERVER_PERCENTILE)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "percentile: only the observer percentile has one, the "
                       "observer is %s",
                       pq_observer_name(r->observer));
    }
    if (desc->observer != PTQC_OBSERVER_DEFAULT && !pq_recipe_is_static(r)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "observer: the scheme has no static activations that "
                       "it could observe");
    }
    return PTQC_OK;
}

ptqc_status
pq_recipe_of_desc(ptqc_ctx *ctx, const ptqc_compile_desc *desc, pq_arena *arena,
                  pq_recipe *out)
{
    pq_recipe_init(out);
    PQ_TRY(add_rules(ctx, desc, out));
    if (desc->recipe != NULL && desc->recipe_text != NULL) {
        return PQ_FAIL(ctx, PTQC_E_USAGE, "recipe: two are given");
    }
    const char *name = desc->recipe != NULL ? desc->recipe : "default";
    PQ_TRY(desc->recipe_text == NULL
               ? pq_recipe_load(ctx, name, arena, out)
               : pq_recipe_read(ctx, "recipe", pq_str_of(desc->recipe_text),
                                arena, out));
    PQ_TRY(set_method(ctx, desc, out));
    PQ_TRY(set_observer(ctx, desc, out));
    PQ_TRY(set_scale_search(ctx, desc, out));
    PQ_TRY(set_corrections(ctx, desc, out));
    PQ_TRY(set_others(ctx, desc, out));
    return check(ctx, desc, out);
}

ptqc_status
pq_recipe_check_use(ptqc_ctx *ctx, const ptqc_compile_desc *desc,
                    const pq_recipe *r)
{
    if (desc->recipe != NULL && desc->scheme == NULL &&
        !pq_recipe_quantizes(r) && r->kv == PQ_KV_AS_IS) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "recipe '%s' names no scheme: give one beside it, or "
                       "in a recipe with it as base",
                       desc->recipe);
    }
    return PTQC_OK;
}

ptqc_status
pq_recipe_check_samples(ptqc_ctx *ctx, const ptqc_compile_desc *desc,
                        const pq_recipe *r)
{
    pq_str method;
    if (pq_recipe_streams(r, &method) &&
        (!pq_recipe_quantizes(r) || desc->samples == NULL)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "method '%.*s': expected a scheme and calibration "
                       "samples",
                       PQ_STR_ARG(method));
    }
    return PTQC_OK;
}

// ---- public ----------------------------------------------------------------

ptqc_status
ptqc_compile_check_desc(ptqc_ctx *ctx, const ptqc_compile_desc *desc)
{
    static const ptqc_compile_desc defaults;
    pq_recipe recipe;
    pq_arena arena;
    pq_arena_init(&arena, ctx);
    desc = desc != NULL ? desc : &defaults;
    ptqc_status st = pq_recipe_of_desc(ctx, desc, &arena, &recipe);
    if (st == PTQC_OK) {
        st = pq_recipe_check_use(ctx, desc, &recipe);
    }
    if (st == PTQC_OK) {
        st = pq_recipe_check_samples(ctx, desc, &recipe);
    }
    pq_recipe_deinit(&recipe);
    pq_arena_deinit(&arena);
    return st;
}

void
ptqc_recipe_presets(ptqc_preset_fn fn, void *user)
{
    const pq_preset *p;
    for (uint32_t i = 0; (p = pq_preset_at(i)) != NULL; i++) {
        fn(user, p->name, p->summary, p->text);
    }
}

// The text becomes the caller's buffer.
static ptqc_status
give_text(const pq_strbuf *text, char **out)
{
    char *copy = text->failed ? NULL : pq_alloc(text->ctx, text->n + 1);
    PQ_TRY_ALLOC(copy);
    memcpy(copy, text->p, text->n);
    *out = copy;
    return PTQC_OK;
}

ptqc_status
ptqc_recipe_expand(ptqc_ctx *ctx, const ptqc_compile_desc *desc,
                   char **out_text)
{
    static const ptqc_compile_desc defaults;
    pq_recipe recipe;
    pq_arena arena;
    pq_strbuf text;
    pq_json_writer w;
    *out_text = NULL;
    pq_arena_init(&arena, ctx);
    pq_strbuf_init(&text, ctx);
    ptqc_status st = pq_recipe_of_desc(ctx, desc != NULL ? desc : &defaults,
                                       &arena, &recipe);
    if (st == PTQC_OK) {
        pq_jw_init(&w, &text);
        pq_jw_begin_object(&w, NULL);
        pq_recipe_write(&recipe, &w);
        pq_jw_end_object(&w);
        st = give_text(&text, out_text);
    }
    pq_strbuf_deinit(&text);
    pq_recipe_deinit(&recipe);
    pq_arena_deinit(&arena);
    return st;
}
