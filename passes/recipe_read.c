// SPDX-License-Identifier: Apache-2.0
//
// Recipe texts: recipe_keys.def says which keys there are, one reader each
// stands here. Settings are read from the base on up, so that the text
// replaces what its base says; rules the other way around, since the first
// that matches decides.

#include <stdarg.h>
#include <stdio.h>

#include "base/file.h"
#include "passes/method.h"
#include "passes/recipe.h"
#include "passes/yaml.h"

#define PQ_BASE_DEPTH_MAX 4u // bases of bases
#define PQ_BYTES_MAX      (1u << 20)
#define PQ_NODES_MAX      (1u << 16)

typedef struct pq_recipe_reader {
    ptqc_ctx *ctx;
    const char *what;
    pq_arena *arena;
    pq_recipe *r;
    pq_op_rule *rule; // NULL: at the top
    bool is_late;     // reading what is added to rules
    uint32_t depth;
} pq_recipe_reader;

typedef ptqc_status (*pq_key_fn)(pq_recipe_reader *rd, const pq_yaml *node);

// ---- errors ---------------------------------------------------------------

static ptqc_status
expected(const pq_recipe_reader *rd, const pq_yaml *node, const char *what)
{
    static const pq_str kinds[] = {
        [PQ_YAML_LIST] = PQ_STR("a list"), [PQ_YAML_MAP] = PQ_STR("a mapping")};
    bool is_text = node->kind == PQ_YAML_SCALAR;
    pq_str found = is_text ? node->text : kinds[node->kind];
    const char *quote = is_text ? "'" : "";
    const char *colon = node->key.n > 0 ? ": " : ""; // elements have no key
    return PQ_FAIL(rd->ctx, PTQC_E_USAGE,
                   "%s:%u:%u: %.*s%sexpected %s, found %s%.*s%s", rd->what,
                   node->line, node->column, PQ_STR_ARG(node->key), colon, what,
                   quote, PQ_STR_ARG(found), quote);
}

static ptqc_status
complain(const pq_recipe_reader *rd, const pq_yaml *node, const char *why)
{
    return PQ_FAIL(rd->ctx, PTQC_E_USAGE, "%s:%u:%u: %s", rd->what, node->line,
                   node->column, why);
}

// A message held back, to be said with its place.
typedef struct pq_held {
    char text[1024];
} pq_held;

static void
hold(void *user, ptqc_severity severity, ptqc_status status, const char *text)
{
    pq_held *h = user;
    (void)severity;
    (void)status;
    snprintf(h->text, sizeof h->text, "%s", text);
}

// ---- values ---------------------------------------------------------------

static ptqc_status
read_nothing(pq_recipe_reader *rd, const pq_yaml *node)
{
    (void)rd;
    (void)node;
    return PTQC_OK;
}

static ptqc_status
read_text(const pq_recipe_reader *rd, const pq_yaml *node, pq_str *out)
{
    if (node->kind != PQ_YAML_SCALAR || pq_yaml_is_null(node)) {
        return expected(rd, node, "text");
    }
    *out = node->text;
    return PTQC_OK;
}

static ptqc_status
read_count(const pq_recipe_reader *rd, const pq_yaml *node, uint64_t least,
           uint64_t *out)
{
    uint64_t n;
    if (node->kind != PQ_YAML_SCALAR || !node->is_plain ||
        !pq_str_to_u64(node->text, &n) || n < least || n > INT64_MAX) {
        return expected(rd, node,
                        least > 0 ? "a whole number above 0"
                                  : "a whole number, 0 or more");
    }
    *out = n;
    return PTQC_OK;
}

static ptqc_status
read_bool(const pq_recipe_reader *rd, const pq_yaml *node, bool *out)
{
    bool is_true = node->kind == PQ_YAML_SCALAR && node->is_plain &&
                   pq_str_equal_z(node->text, "true");
    bool is_false = node->kind == PQ_YAML_SCALAR && node->is_plain &&
                    pq_str_equal_z(node->text, "false");
    *out = is_true;
    return is_true || is_false ? PTQC_OK : expected(rd, node, "true or false");
}

// What a key says: of the rule at hand, else of all ops.
static ptqc_status
keep(pq_recipe_reader *rd, uint32_t sets, const pq_settings *given)
{
    if (rd->rule == NULL) {
        pq_recipe_take(rd->r, given, sets);
        return PTQC_OK;
    }
    rd->rule->sets |= sets;
    pq_settings_take(&rd->rule->settings, given, sets);
    return PTQC_OK;
}

static ptqc_status
read_version(pq_recipe_reader *rd, const pq_yaml *node)
{
    bool is_good = node->kind == PQ_YAML_SCALAR && node->is_plain &&
                   pq_str_equal_z(node->text, "1");
    return is_good ? PTQC_OK : expected(rd, node, "version 1 of recipe texts");
}

static ptqc_status
read_description(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_str text;
    return read_text(rd, node, &text);
}

static ptqc_status
parse_scheme(const pq_recipe_reader *rd, const pq_yaml *node,
             pq_scheme_request *out)
{
    pq_held held = {.text = "out of memory"};
    ptqc_diag_fn fn = hold;
    void *user = &held;
    pq_ctx_swap_diag(rd->ctx, &fn, &user);
    ptqc_status st = pq_scheme_parse(rd->ctx, node->text, out);
    pq_ctx_swap_diag(rd->ctx, &fn, &user);
    return st == PTQC_OK ? PTQC_OK
                         : PQ_FAIL(rd->ctx, st, "%s:%u:%u: %s", rd->what,
                                   node->line, node->column, held.text);
}

// "float" or null: no codes.
static ptqc_status
read_scheme(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_scheme_request scheme = {0};
    pq_str text;
    bool is_float = pq_yaml_is_null(node);
    if (!is_float) {
        PQ_TRY(read_text(rd, node, &text));
        is_float = pq_str_equal_z(text, "float");
    }
    if (!is_float) {
        PQ_TRY(parse_scheme(rd, node, &scheme));
    }
    if (rd->rule != NULL && (rd->rule->sets & PQ_SETS_SCHEME) != 0) {
        return complain(rd, node, "keep and scheme in one rule");
    }
    const pq_settings given = {.is_float = is_float, .scheme = scheme};
    return keep(rd, PQ_SETS_SCHEME, &given);
}

static ptqc_status
read_method(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_str text;
    PQ_TRY(read_text(rd, node, &text));
    if (!pq_method_is_known(text)) {
        return expected(rd, node, PQ_METHOD_SPELLING);
    }
    const pq_settings given = {.method = text};
    return keep(rd, PQ_SETS_METHOD, &given);
}

static ptqc_status
read_observer(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_str text;
    int kind = 0;
    PQ_TRY(read_text(rd, node, &text));
    while (kind < PQ_OBSERVER_COUNT &&
           !pq_str_equal_z(text, pq_observer_name((pq_observer_kind)kind))) {
        kind++;
    }
    if (kind == PQ_OBSERVER_COUNT) {
        static const char names[] =
#define OBSERVER(NAME, text, needs_histogram, function) ", " text
#include "quant/observers.def"
#undef OBSERVER
            ;
        char what[256];
        snprintf(what, sizeof what, "an observer: %s", names + 2);
        return expected(rd, node, what);
    }
    const pq_settings given = {.observer = (pq_observer_kind)kind};
    return keep(rd, PQ_SETS_OBSERVER, &given);
}

static ptqc_status
read_percentile(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_settings given = {0};
    if (node->kind != PQ_YAML_SCALAR || !node->is_plain ||
        !pq_str_to_f64(node->text, &given.percentile) ||
        !(given.percentile > 50 && given.percentile <= 100)) {
        return expected(rd, node, "a number above 50, at most 100");
    }
    return keep(rd, PQ_SETS_PERCENTILE, &given);
}

static ptqc_status
read_scale_search(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_str text;
    PQ_TRY(read_text(rd, node, &text));
    bool is_mse = pq_str_equal_z(text, pq_scale_search_name(PQ_SCALE_MSE));
    if (!is_mse &&
        !pq_str_equal_z(text, pq_scale_search_name(PQ_SCALE_MINMAX))) {
        return expected(rd, node, "minmax or mse");
    }
    const pq_settings given = {.scale_search =
                                   is_mse ? PQ_SCALE_MSE : PQ_SCALE_MINMAX};
    return keep(rd, PQ_SETS_SCALE_SEARCH, &given);
}

static ptqc_status
read_equalize(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_str text;
    PQ_TRY(read_text(rd, node, &text));
    return pq_equalization_parse(text, &rd->r->equalize)
               ? PTQC_OK
               : expected(rd, node, "auto, on or off");
}

static ptqc_status
read_absorb_bias(pq_recipe_reader *rd, const pq_yaml *node)
{
    return read_bool(rd, node, &rd->r->absorbs_bias);
}

static ptqc_status
read_bias_correction(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_str text;
    PQ_TRY(read_text(rd, node, &text));
    return pq_bias_correction_parse(text, &rd->r->bias_correction)
               ? PTQC_OK
               : expected(rd, node, "sequential, empirical, analytic or off");
}

static ptqc_status
read_kv(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_str text;
    PQ_TRY(read_text(rd, node, &text));
    return pq_kv_type_parse(text, &rd->r->kv)
               ? PTQC_OK
               : expected(rd, node, "f16, f32 or int8");
}

static ptqc_status
read_calib_samples(pq_recipe_reader *rd, const pq_yaml *node)
{
    return read_count(rd, node, 1, &rd->r->sample_limit);
}

static ptqc_status
read_seed(pq_recipe_reader *rd, const pq_yaml *node)
{
    return read_count(rd, node, 0, &rd->r->seed);
}

// ---- keys -----------------------------------------------------------------

enum { TOP = 1, LATE = 2, RULE = 4, BOTH = TOP | RULE };

typedef struct pq_key_row {
    const char *name;
    pq_key_fn read;
    unsigned where;
} pq_key_row;

// Defined below: their readers need the table.
static ptqc_status read_rules(pq_recipe_reader *rd, const pq_yaml *node);
static ptqc_status read_keep(pq_recipe_reader *rd, const pq_yaml *node);
static ptqc_status read_keep_float(pq_recipe_reader *rd, const pq_yaml *node);
static ptqc_status read_match(pq_recipe_reader *rd, const pq_yaml *node);
static ptqc_status read_op(pq_recipe_reader *rd, const pq_yaml *node);
static ptqc_status read_optional(pq_recipe_reader *rd, const pq_yaml *node);

static const pq_key_row keys[] = {
#define KEY(name, reader, where) {name, reader, where},
#include "passes/recipe_keys.def"
#undef KEY
};

static ptqc_status
unknown_key(const pq_recipe_reader *rd, const pq_yaml *node, unsigned where)
{
    unsigned best = 3; // edits that a slip of the finger may make, and one
    const char *near = NULL;
    pq_strbuf list;
    pq_strbuf_init(&list, rd->ctx);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if ((keys[i].where & where) == 0) {
            continue;
        }
        unsigned d = pq_str_distance(node->key, pq_str_of(keys[i].name));
        near = d < best ? keys[i].name : near;
        best = d < best ? d : best;
        pq_strbuf_addf(&list, "%s%s", list.n > 0 ? ", " : "", keys[i].name);
    }
    ptqc_status st = PQ_FAIL(
        rd->ctx, PTQC_E_USAGE, "%s:%u:%u: unknown key '%.*s'; %s%s%s", rd->what,
        node->key_line, node->key_column, PQ_STR_ARG(node->key),
        near != NULL ? "did you mean '" : "expected one of: ",
        near != NULL  ? near
        : list.failed ? ""
                      : list.p,
        near != NULL ? "'?" : "");
    pq_strbuf_deinit(&list);
    return st;
}

static const pq_key_row *
find_key(pq_str name, unsigned where)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if ((keys[i].where & where) != 0 &&
            pq_str_equal_z(name, keys[i].name)) {
            return &keys[i];
        }
    }
    return NULL;
}

// Members of a mapping whose keys are allowed `where`; those of `now` are
// read.
static ptqc_status
read_members(pq_recipe_reader *rd, const pq_yaml *map, unsigned where,
             unsigned now)
{
    for (const pq_yaml *m = map->first; m != NULL; m = m->next) {
        const pq_key_row *row = find_key(m->key, where);
        if (row == NULL) {
            return unknown_key(rd, m, where);
        }
        if ((row->where & now) != 0) {
            PQ_TRY(row->read(rd, m));
        }
    }
    return PTQC_OK;
}

// ---- rules ----------------------------------------------------------------

static ptqc_status
add_rule(pq_recipe_reader *rd, const pq_yaml *node, pq_op_rule *rule)
{
    char place[512];
    snprintf(place, sizeof place, "%s:%u:%u", rd->what, node->line,
             node->column);
    rule->place = pq_str_of(place);
    if (rd->r->rules == NULL) {
        PQ_TRY(pq_rules_create(rd->ctx, &rd->r->rules));
    }
    return pq_rules_add(rd->r->rules, rule);
}

static ptqc_status
read_match(pq_recipe_reader *rd, const pq_yaml *node)
{
    PQ_TRY(read_text(rd, node, &rd->rule->match));
    bool is_empty =
        rd->rule->match.n == 0 || pq_str_equal_z(rd->rule->match, "re:");
    return is_empty ? expected(rd, node, "a name, a glob or re:REGEX")
                    : PTQC_OK;
}

static ptqc_status
read_op(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_str text;
    PQ_TRY(read_text(rd, node, &text));
    rd->rule->has_op = pq_opcode_parse(text.p, text.n, &rd->rule->op);
    return rd->rule->has_op ? PTQC_OK
                            : expected(rd, node,
                                       "an op (conv, matmul, ...: see "
                                       "docs/operators.md)");
}

static ptqc_status
read_optional(pq_recipe_reader *rd, const pq_yaml *node)
{
    return read_bool(rd, node, &rd->rule->is_optional);
}

static ptqc_status
read_keep_float(pq_recipe_reader *rd, const pq_yaml *node)
{
    if (node->kind != PQ_YAML_SCALAR || !pq_str_equal_z(node->text, "float")) {
        return expected(rd, node, "float");
    }
    return read_scheme(rd, node);
}

// A list of names that stay float.
static ptqc_status
read_keep(pq_recipe_reader *rd, const pq_yaml *node)
{
    if (node->kind != PQ_YAML_LIST) {
        return expected(rd, node, "a list of names or globs");
    }
    for (const pq_yaml *e = node->first; e != NULL; e = e->next) {
        pq_op_rule rule = {.sets = PQ_SETS_SCHEME,
                           .settings = {.is_float = true}};
        pq_recipe_reader inner = *rd;
        inner.rule = &rule;
        PQ_TRY(read_match(&inner, e));
        PQ_TRY(add_rule(rd, e, &rule));
    }
    return PTQC_OK;
}

static ptqc_status
read_rule(pq_recipe_reader *rd, const pq_yaml *node)
{
    pq_op_rule rule = {0};
    pq_recipe_reader inner = *rd;
    inner.rule = &rule;
    if (node->kind != PQ_YAML_MAP) {
        return expected(rd, node, "a rule {match: NAME, scheme: S}");
    }
    PQ_TRY(read_members(&inner, node, RULE, RULE));
    if (rule.match.n == 0 && !rule.has_op) {
        return complain(rd, node, "a rule without match or op");
    }
    if (rule.sets == 0) {
        return complain(rd, node,
                        "a rule that sets nothing: expected scheme, keep, "
                        "method, observer, percentile or scale_search");
    }
    if (rule.settings.is_float && rule.sets != PQ_SETS_SCHEME) {
        return complain(rd, node,
                        "a rule that keeps ops float sets nothing else");
    }
    return add_rule(rd, node, &rule);
}

static ptqc_status
read_rules(pq_recipe_reader *rd, const pq_yaml *node)
{
    if (node->kind != PQ_YAML_LIST) {
        return expected(rd, node, "a list of rules");
    }
    for (const pq_yaml *e = node->first; e != NULL; e = e->next) {
        PQ_TRY(read_rule(rd, e));
    }
    return PTQC_OK;
}

// ---- texts ----------------------------------------------------------------

static ptqc_status
parse(ptqc_ctx *ctx, const char *what, pq_str text, pq_arena *arena,
      const pq_yaml **out)
{
    const pq_yaml_desc desc = {.what = what,
                               .bad = PTQC_E_USAGE,
                               .bytes_max = PQ_BYTES_MAX,
                               .nodes_max = PQ_NODES_MAX};
    return pq_yaml_parse(ctx, &desc, text, arena, out);
}

static ptqc_status read_tree(pq_recipe_reader *rd, const pq_yaml *root);

static ptqc_status
base_of(const pq_recipe_reader *rd, const pq_yaml *root, const pq_preset **out)
{
    const pq_yaml *node = pq_yaml_get(root, "base");
    pq_str name;
    *out = NULL;
    if (node == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(read_text(rd, node, &name));
    *out = pq_preset_find(name);
    return *out != NULL ? PTQC_OK
                        : expected(rd, node, "a preset (`ptqc recipe list`)");
}

// The settings or (is_late) the rules of a base.
static ptqc_status
read_base(const pq_recipe_reader *rd, const pq_yaml *root)
{
    const pq_preset *base;
    const pq_yaml *tree;
    PQ_TRY(base_of(rd, root, &base));
    if (base == NULL) {
        return PTQC_OK;
    }
    pq_recipe_reader inner = *rd;
    inner.what = base->name;
    if (++inner.depth > PQ_BASE_DEPTH_MAX) {
        return complain(rd, root, "too many bases");
    }
    PQ_TRY(parse(rd->ctx, base->name, pq_str_of(base->text), rd->arena, &tree));
    return read_tree(&inner, tree);
}

static ptqc_status
read_tree(pq_recipe_reader *rd, const pq_yaml *root)
{
    if (root->kind != PQ_YAML_MAP || pq_yaml_get(root, "ptqc") == NULL) {
        return complain(rd, root, "no recipe: expected a mapping with ptqc: 1");
    }
    if (rd->is_late) {
        PQ_TRY(read_members(rd, root, TOP | LATE, LATE));
        return read_base(rd, root);
    }
    PQ_TRY(read_base(rd, root));
    return read_members(rd, root, TOP | LATE, TOP);
}

ptqc_status
pq_recipe_read(ptqc_ctx *ctx, const char *what, pq_str text, pq_arena *arena,
               pq_recipe *r)
{
    const pq_yaml *root;
    pq_recipe_reader rd = {.ctx = ctx, .what = what, .arena = arena, .r = r};
    PQ_TRY(parse(ctx, what, text, arena, &root));
    PQ_TRY(read_tree(&rd, root));
    rd.is_late = true;
    PQ_TRY(read_tree(&rd, root));
    const pq_yaml *percentile = pq_yaml_get(root, "percentile");
    if (percentile != NULL &&
        !pq_recipe_uses_observer(r, PQ_OBSERVER_PERCENTILE)) {
        return complain(&rd, percentile,
                        "percentile without observer: percentile");
    }
    return PTQC_OK;
}

ptqc_status
pq_recipe_load(ptqc_ctx *ctx, const char *name, pq_arena *arena, pq_recipe *r)
{
    const pq_preset *preset = pq_preset_find(pq_str_of(name));
    if (preset != NULL) {
        return pq_recipe_read(ctx, preset->name, pq_str_of(preset->text), arena,
                              r);
    }
    pq_map map;
    PQ_TRY(pq_map_open(ctx, name, &map));
    ptqc_status st = pq_recipe_read(
        ctx, name, (pq_str){(const char *)map.p, map.n}, arena, r);
    pq_map_close(&map);
    return st;
}
