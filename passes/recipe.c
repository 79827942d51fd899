// SPDX-License-Identifier: Apache-2.0
//
// What recipes say of an op, their expanded text, and the names they use.

#include "passes/recipe.h"

#include "base/json.h"
#include "passes/match.h"
#include "passes/method.h"

// ---- names ----------------------------------------------------------------

bool
pq_method_is_known(pq_str name)
{
    return pq_method_parse(name, NULL);
}

static const char *const pq_kv_names[] = {
    [PQ_KV_F16] = "f16",
    [PQ_KV_F32] = "f32",
    [PQ_KV_INT8] = "int8",
};

bool
pq_kv_type_parse(pq_str text, pq_kv_type *out)
{
    const size_t count = sizeof pq_kv_names / sizeof *pq_kv_names;
    for (size_t i = PQ_KV_F16; i < count; i++) {
        if (pq_str_equal_z(text, pq_kv_names[i])) {
            *out = (pq_kv_type)i;
            return true;
        }
    }
    return false;
}

static const char *const pq_equalizations[] = {
    [PQ_EQUALIZE_AUTO] = "auto",
    [PQ_EQUALIZE_ON] = "on",
    [PQ_EQUALIZE_OFF] = "off",
};

static const char *const pq_bias_corrections[] = {
    [PQ_BIAS_SEQUENTIAL] = "sequential",
    [PQ_BIAS_EMPIRICAL] = "empirical",
    [PQ_BIAS_ANALYTIC] = "analytic",
    [PQ_BIAS_OFF] = "off",
};

// Index of text among the names, or count.
static size_t
index_of(const char *const *names, size_t count, pq_str text)
{
    size_t i = 0;
    while (i < count && !pq_str_equal_z(text, names[i])) {
        i++;
    }
    return i;
}

bool
pq_equalization_parse(pq_str text, pq_equalization *out)
{
    const size_t n = sizeof pq_equalizations / sizeof *pq_equalizations;
    size_t i = index_of(pq_equalizations, n, text);
    *out = i < n ? (pq_equalization)i : *out;
    return i < n;
}

bool
pq_bias_correction_parse(pq_str text, pq_bias_correction *out)
{
    const size_t n = sizeof pq_bias_corrections / sizeof *pq_bias_corrections;
    size_t i = index_of(pq_bias_corrections, n, text);
    *out = i < n ? (pq_bias_correction)i : *out;
    return i < n;
}

static const pq_preset pq_presets[] = {
#define PRESET(name, summary, text) {name, summary, text},
#include "passes/presets.def"
#undef PRESET
};

const pq_preset *
pq_preset_at(uint32_t i)
{
    return i < sizeof pq_presets / sizeof *pq_presets ? &pq_presets[i] : NULL;
}

const pq_preset *
pq_preset_find(pq_str name)
{
    for (size_t i = 0; i < sizeof pq_presets / sizeof *pq_presets; i++) {
        if (pq_str_equal_z(name, pq_presets[i].name)) {
            return &pq_presets[i];
        }
    }
    return NULL;
}

// ---- what it says of an op ------------------------------------------------

// Mean squared error is what kept most accuracy on convolutional models.
void
pq_recipe_init(pq_recipe *r)
{
    *r = (pq_recipe){.method = PQ_STR("rtn"),
                     .observer = PQ_OBSERVER_MSE,
                     .percentile = 99.99,
                     .scale_search = PQ_SCALE_MINMAX};
}

void
pq_recipe_deinit(pq_recipe *r)
{
    pq_rules_destroy(r->rules);
    r->rules = NULL;
}

bool
pq_recipe_quantizes(const pq_recipe *r)
{
    bool does = r->has_scheme;
    for (uint32_t i = 0; r->rules != NULL && i < r->rules->count; i++) {
        const pq_op_rule *rule = &r->rules->rules[i];
        does |= (rule->sets & PQ_SETS_SCHEME) != 0 && !rule->settings.is_float;
    }
    return does;
}

static bool
is_static(const pq_scheme_request *s)
{
    return s->activations.format != PTQC_DTYPE_NONE && !s->activations.dynamic;
}

bool
pq_recipe_is_static(const pq_recipe *r)
{
    bool is = r->has_scheme && is_static(&r->scheme);
    for (uint32_t i = 0; r->rules != NULL && i < r->rules->count; i++) {
        const pq_op_rule *rule = &r->rules->rules[i];
        is |= (rule->sets & PQ_SETS_SCHEME) != 0 && !rule->settings.is_float &&
              is_static(&rule->settings.scheme);
    }
    return is;
}

void
pq_settings_take(pq_settings *to, const pq_settings *from, uint32_t sets)
{
    if ((sets & PQ_SETS_SCHEME) != 0) {
        to->is_float = from->is_float;
        to->scheme = from->scheme;
    }
#define SETTING(FLAG, field)                                                   \
    if ((sets & PQ_SETS_##FLAG) != 0) {                                        \
        to->field = from->field;                                               \
    }
#include "passes/settings.def"
#undef SETTING
}

void
pq_recipe_take(pq_recipe *r, const pq_settings *from, uint32_t sets)
{
    if ((sets & PQ_SETS_SCHEME) != 0) {
        r->has_scheme = !from->is_float;
        r->scheme = from->scheme;
    }
#define SETTING(FLAG, field)                                                   \
    if ((sets & PQ_SETS_##FLAG) != 0) {                                        \
        r->field = from->field;                                                \
    }
#include "passes/settings.def"
#undef SETTING
}

static pq_settings
settings_by(const pq_recipe *r, const pq_op_rule *rule)
{
    pq_settings s = {.is_float = !r->has_scheme,
#define SETTING(FLAG, field) .field = r->field,
#include "passes/settings.def"
#undef SETTING
                     .scheme = r->scheme};
    if (rule != NULL) {
        pq_settings_take(&s, &rule->settings, rule->sets);
    }
    return s;
}

pq_settings
pq_recipe_settings(const pq_recipe *r, const pq_graph *g, const pq_op *op)
{
    pq_str name = op->output_count > 0 ? pq_graph_value(g, op->outputs[0])->name
                                       : (pq_str){0};
    return settings_by(r, pq_rules_find(r->rules, name));
}

pq_settings
pq_recipe_settings_of_value(const pq_recipe *r, const pq_graph *g,
                            pq_value_id v)
{
    pq_op_id producer = pq_producer_id(g, v);
    return pq_op_is_none(producer)
               ? settings_by(
                     r, pq_rules_find(r->rules, pq_graph_value(g, v)->name))
               : pq_recipe_settings(r, g, pq_graph_op(g, producer));
}

// Method i: that of the recipe, then those of rules; false past the end.
static bool
method_at(const pq_recipe *r, uint32_t i, pq_str *out)
{
    uint32_t count = r->rules != NULL ? r->rules->count : 0;
    *out = (pq_str){0};
    if (i == 0) {
        *out = r->method;
    } else if (i <= count &&
               (r->rules->rules[i - 1].sets & PQ_SETS_METHOD) != 0) {
        *out = r->rules->rules[i - 1].settings.method;
    }
    return i <= count;
}

void
pq_recipe_steps(const pq_recipe *r, pq_method *out)
{
    pq_str text;
    *out = (pq_method){0};
    for (uint32_t i = 0; method_at(r, i, &text); i++) {
        pq_method m = {0};
        (void)pq_method_parse(text, &m);
        out->does_smooth |= m.does_smooth;
        out->does_awq |= m.does_awq;
        out->does_gptq |= m.does_gptq;
        out->does_adaround |= m.does_adaround;
        out->is_asymmetric |= m.does_gptq && m.is_asymmetric;
        out->learns_from_gram |= m.does_adaround && m.learns_from_gram;
    }
}

bool
pq_recipe_streams(const pq_recipe *r, pq_str *out_method)
{
    pq_str text;
    for (uint32_t i = 0; method_at(r, i, &text); i++) {
        pq_method m;
        if (pq_method_parse(text, &m) && pq_method_streams(&m)) {
            if (out_method != NULL) {
                *out_method = text;
            }
            return true;
        }
    }
    return false;
}

bool
pq_recipe_uses_observer(const pq_recipe *r, pq_observer_kind kind)
{
    bool does = r->observer == kind;
    for (uint32_t i = 0; r->rules != NULL && i < r->rules->count; i++) {
        const pq_op_rule *rule = &r->rules->rules[i];
        does |= (rule->sets & PQ_SETS_OBSERVER) != 0 &&
                rule->settings.observer == kind;
    }
    return does;
}

// ---- text -----------------------------------------------------------------

static void
write_scheme(pq_json_writer *w, bool is_float, const pq_scheme_request *scheme)
{
    pq_strbuf text;
    if (is_float) {
        pq_jw_null(w, "scheme");
        return;
    }
    pq_strbuf_init(&text, w->out->ctx);
    pq_scheme_request_print(scheme, &text);
    w->out->failed |= text.failed;
    pq_jw_str(w, "scheme", (pq_str){text.p, text.n});
    pq_strbuf_deinit(&text);
}

static void
write_settings(pq_json_writer *w, const pq_settings *s, uint32_t sets)
{
    if ((sets & PQ_SETS_SCHEME) != 0) {
        write_scheme(w, s->is_float, &s->scheme);
    }
    if ((sets & PQ_SETS_METHOD) != 0) {
        pq_jw_str(w, "method", s->method);
    }
    if ((sets & PQ_SETS_OBSERVER) != 0) {
        pq_jw_str(w, "observer", pq_str_of(pq_observer_name(s->observer)));
    }
    if ((sets & PQ_SETS_PERCENTILE) != 0) {
        pq_jw_f64(w, "percentile", s->percentile);
    }
    if ((sets & PQ_SETS_SCALE_SEARCH) != 0) {
        pq_jw_str(w, "scale_search",
                  pq_str_of(pq_scale_search_name(s->scale_search)));
    }
}

static void
write_rule(pq_json_writer *w, const pq_op_rule *rule)
{
    pq_jw_begin_object(w, NULL);
    if (rule->match.n > 0) {
        pq_jw_str(w, "match", rule->match);
    }
    if (rule->has_op) {
        pq_jw_str(w, "op", pq_str_of(pq_op_info_of(rule->op)->name));
    }
    write_settings(w, &rule->settings, rule->sets);
    if (rule->is_optional) {
        pq_jw_bool(w, "optional", true);
    }
    pq_jw_end_object(w);
}

void
pq_recipe_write(const pq_recipe *r, pq_json_writer *w)
{
    const pq_settings all = settings_by(r, NULL);
    uint32_t sets = PQ_SETS_SCHEME;
    pq_jw_i64(w, "ptqc", 1);
    if (r->kv != PQ_KV_AS_IS) {
        pq_jw_str(w, "kv", pq_str_of(pq_kv_names[r->kv]));
    }
    if (pq_recipe_quantizes(r)) {
        sets |= PQ_SETS_METHOD | PQ_SETS_OBSERVER | PQ_SETS_SCALE_SEARCH;
        sets |= pq_recipe_uses_observer(r, PQ_OBSERVER_PERCENTILE)
                    ? PQ_SETS_PERCENTILE
                    : 0;
    }
    write_settings(w, &all, sets);
    if (!pq_recipe_quantizes(r)) {
        return;
    }
    pq_jw_str(w, "equalize", pq_str_of(pq_equalizations[r->equalize]));
    pq_jw_bool(w, "absorb_bias", r->absorbs_bias);
    pq_jw_str(w, "bias_correction",
              pq_str_of(pq_bias_corrections[r->bias_correction]));
    pq_jw_begin_array(w, "rules");
    for (uint32_t i = 0; r->rules != NULL && i < r->rules->count; i++) {
        write_rule(w, &r->rules->rules[i]);
    }
    pq_jw_end_array(w);
    if (r->sample_limit > 0) {
        pq_jw_i64(w, "calib_samples", (int64_t)r->sample_limit);
    }
    pq_jw_i64(w, "seed", (int64_t)r->seed);
}
