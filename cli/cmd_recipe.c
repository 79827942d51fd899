// SPDX-License-Identifier: Apache-2.0
//
// ptqc recipe: presets, recipe files and the recipes of artifacts.

#include <string.h>

#include "cli/array.h"
#include "cli/desc.h"
#include "cli/subject.h"

// ---- list -----------------------------------------------------------------

static void
keep_preset(void *user, const char *name, const char *summary, const char *text)
{
    json_array_append_new(user, json_pack("{s:s, s:s, s:s}", "name", name,
                                          "summary", summary, "text", text));
}

static ptqc_status
list(cli *c)
{
    json_t *presets = json_array(), *p;
    size_t i;
    ptqc_recipe_presets(keep_preset, presets);
    if (cli_given(c, CLI_JSON)) {
        return cli_print_json(c,
                              json_pack("{s:s, s:o}", "schema",
                                        "ptqc.recipes/1", "presets", presets));
    }
    json_array_foreach(presets, i, p)
    {
        cli_print("%-8s %s\n", json_string_value(json_object_get(p, "name")),
                  json_string_value(json_object_get(p, "summary")));
    }
    json_decref(presets);
    return cli_finish_output(c);
}

// ---- show -----------------------------------------------------------------

static ptqc_status
show_artifact(cli *c, const char *path)
{
    ptqc_artifact *artifact = NULL;
    ptqc_status st = ptqc_artifact_open(c->ctx, path, &artifact);
    if (st != PTQC_OK) {
        return st;
    }
    json_t *meta = json_loads(ptqc_artifact_metadata(artifact), 0, NULL);
    json_t *recipe = json_incref(json_object_get(meta, "recipe"));
    json_decref(meta);
    ptqc_artifact_close(artifact);
    return recipe != NULL
               ? cli_print_json(c, recipe)
               : cli_fail(c, PTQC_E_INTEGRITY, "%s: holds no recipe", path);
}

// A preset that is looked for.
typedef struct search {
    const char *name, *text;
} search;

static void
take_named(void *user, const char *name, const char *summary, const char *text)
{
    search *s = user;
    (void)summary;
    s->text = strcmp(name, s->name) == 0 ? text : s->text;
}

static ptqc_status
show_file(cli *c, const char *path)
{
    void *map;
    size_t bytes;
    const ptqc_compile_desc desc = {.recipe = path};
    char *expanded;
    ptqc_status st = ptqc_recipe_expand(c->ctx, &desc, &expanded);
    if (st != PTQC_OK) {
        return st;
    }
    ptqc_buffer_free(c->ctx, expanded);
    st = cli_map_file(c, path, &map, &bytes);
    if (st == PTQC_OK) {
        fwrite(map, 1, bytes, stdout);
        cli_unmap_file(map, bytes);
        st = cli_finish_output(c);
    }
    return st;
}

static ptqc_status
show(cli *c, const char *name)
{
    search s = {.name = name};
    if (cli_is_artifact(name)) {
        return show_artifact(c, name);
    }
    ptqc_recipe_presets(take_named, &s);
    if (s.text == NULL) {
        return show_file(c, name);
    }
    cli_print("%s", s.text);
    return cli_finish_output(c);
}

// ---- expand, validate -----------------------------------------------------

static ptqc_status
expand(cli *c, const char *name, char **out)
{
    ptqc_compile_desc desc;
    ptqc_status st = cli_desc_read(c, &desc);
    desc.recipe = name;
    return st == PTQC_OK ? ptqc_recipe_expand(c->ctx, &desc, out) : st;
}

static ptqc_status
print_expanded(cli *c, const char *name)
{
    char *text;
    ptqc_status st = expand(c, name, &text);
    if (st == PTQC_OK) {
        cli_print("%s\n", text);
        ptqc_buffer_free(c->ctx, text);
        st = cli_finish_output(c);
    }
    return st;
}

// Whether its rules match the model's ops.
static ptqc_status
validate_for(cli *c, const char *name, const char *path)
{
    ptqc_model *model = NULL;
    ptqc_compile_desc desc;
    ptqc_plan_facts facts;
    ptqc_status st = cli_desc_read(c, &desc);
    desc.recipe = name;
    if (st == PTQC_OK) {
        st = ptqc_model_open(c->ctx, path, &model);
    }
    if (st == PTQC_OK) {
        st = ptqc_compile_plan(c->ctx, model, &desc, PTQC_PLAN_SCHEMES, NULL,
                               NULL, &facts);
    }
    ptqc_model_close(model);
    return st;
}

static ptqc_status
validate(cli *c, const char *name)
{
    char *text;
    ptqc_status st = expand(c, name, &text);
    if (st == PTQC_OK) {
        ptqc_buffer_free(c->ctx, text);
        if (c->args.operand_count > 2) {
            st = validate_for(c, name, c->args.operands[2]);
        }
    }
    if (st != PTQC_OK) {
        return st;
    }
    if (cli_given(c, CLI_JSON)) {
        return cli_print_json(
            c, json_pack("{s:s, s:b}", "schema", "ptqc.recipe/1", "ok", 1));
    }
    cli_print("%s: a recipe\n", name);
    return cli_finish_output(c);
}

ptqc_status
cli_recipe(cli *c)
{
    static const struct {
        const char *name;
        uint32_t min, max; // operands behind the word
        ptqc_status (*run)(cli *c, const char *name);
    } words[] = {{"show", 1, 1, show},
                 {"validate", 1, 2, validate},
                 {"expand", 1, 1, print_expanded}};
    const char *word = c->args.operands[0];
    uint32_t given = c->args.operand_count - 1;
    if (strcmp(word, "list") == 0 && given == 0) {
        return list(c);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(word, words[i].name) == 0 && given >= words[i].min &&
            given <= words[i].max) {
            return words[i].run(c, c->args.operands[1]);
        }
    }
    return cli_fail(c, PTQC_E_USAGE,
                    "expected: ptqc recipe list | show R | validate R [MODEL] "
                    "| expand R");
}
