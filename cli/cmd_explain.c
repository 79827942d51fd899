// SPDX-License-Identifier: Apache-2.0
//
// ptqc explain: which scheme each op would get, who runs it, and why nothing
// else. Static activations are explained as if samples were there.

#include <fnmatch.h>
#include <string.h>

#include "cli/desc.h"

typedef struct explanation {
    const char *glob; // NULL: products
    json_t *rows;     // shown
    uint64_t others;  // ops that are not
} explanation;

static bool
is_shown(const explanation *e, const ptqc_plan_row *row)
{
    return e->glob != NULL ? fnmatch(e->glob, row->name, 0) == 0
                           : row->is_product != 0;
}

static json_t *
text_json(const char *text)
{
    char escaped[1024];
    return json_string_nocheck(cli_escape(text, escaped, sizeof escaped));
}

static void
keep_row(void *user, const ptqc_plan_row *row)
{
    explanation *e = user;
    if (!is_shown(e, row)) {
        e->others++;
        return;
    }
    json_array_append_new(
        e->rows,
        json_pack("{s:o, s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I}", "name",
                  text_json(row->name), "op", row->op, "scheme", row->scheme,
                  "target", row->target, "rule", text_json(row->rule), "why",
                  text_json(row->why), "macs", (json_int_t)row->macs,
                  "weight_bytes", (json_int_t)row->weight_bytes, "coded_bytes",
                  (json_int_t)row->coded_bytes));
}

// ---- what else there is ---------------------------------------------------

static void
add_alternative(const explanation *e, const char *word, const json_t *rows)
{
    size_t i;
    json_t *row, *other;
    json_array_foreach(e->rows, i, row)
    {
        other = json_array_get(rows, i);
        json_t *list = json_object_get(row, "alternatives");
        if (list == NULL) {
            list = json_array();
            json_object_set_new(row, "alternatives", list);
        }
        json_array_append_new(
            list, json_pack("{s:s, s:O?, s:O?}", "asked", word, "scheme",
                            json_object_get(other, "scheme"), "why",
                            json_object_get(other, "why")));
    }
}

// The same ops under every word that there is, without rules.
static ptqc_status
find_alternatives(cli *c, ptqc_model *model, const ptqc_compile_desc *asked,
                  explanation *e)
{
    ptqc_compile_desc desc = {.target = asked->target,
                              .backends = asked->backends};
    for (uint32_t i = 0; ptqc_scheme_word(i) != NULL; i++) {
        explanation other = {.glob = e->glob, .rows = json_array()};
        ptqc_plan_facts facts;
        desc.scheme = ptqc_scheme_word(i);
        ptqc_status st = ptqc_compile_plan(
            c->ctx, model, &desc, PTQC_PLAN_SCHEMES, keep_row, &other, &facts);
        if (st == PTQC_OK) {
            add_alternative(e, desc.scheme, other.rows);
        }
        json_decref(other.rows);
        if (st != PTQC_OK) {
            return st;
        }
    }
    return PTQC_OK;
}

// ---- printing -------------------------------------------------------------

static const char *
text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text != NULL ? text : "";
}

static void
print_alternatives(const json_t *row)
{
    size_t i;
    json_t *a;
    json_array_foreach(json_object_get(row, "alternatives"), i, a)
    {
        cli_print("    %-9s %-18s %s\n", text_of(a, "asked"),
                  text_of(a, "scheme"), text_of(a, "why"));
    }
}

static void
print_row(const json_t *row)
{
    const char *target = text_of(row, "target");
    const char *rule = text_of(row, "rule");
    cli_print("%-36s %-10s %-18s %-7s %s%s%s\n", text_of(row, "name"),
              text_of(row, "op"), text_of(row, "scheme"),
              target[0] != '\0' ? target : "-", rule,
              rule[0] != '\0' ? " " : "", text_of(row, "why"));
    print_alternatives(row);
}

static ptqc_status
print(cli *c, const explanation *e, const ptqc_plan_facts *f)
{
    size_t i;
    json_t *row;
    if (cli_given(c, CLI_JSON)) {
        return cli_print_json(c, json_pack("{s:s, s:O}", "schema",
                                           "ptqc.explain/1", "ops", e->rows));
    }
    json_array_foreach(e->rows, i, row)
    {
        print_row(row);
    }
    cli_print("%llu of %llu products on codes", // of weights
              (unsigned long long)f->coded_product_count,
              (unsigned long long)f->product_count);
    cli_print(e->glob == NULL ? "; %llu other ops (--op '*' shows them)\n"
                              : "; %llu other ops\n",
              (unsigned long long)e->others);
    return cli_finish_output(c);
}

ptqc_status
cli_explain(cli *c)
{
    ptqc_compile_desc desc;
    ptqc_model *model = NULL;
    ptqc_plan_facts facts = {0};
    explanation e = {.glob = cli_get(c, CLI_OP)->text, .rows = json_array()};
    ptqc_status st = cli_desc_read(c, &desc);
    if (st == PTQC_OK) {
        st = ptqc_model_open(c->ctx, c->args.operands[0], &model);
    }
    if (st == PTQC_OK) {
        st = ptqc_compile_plan(c->ctx, model, &desc, 0, keep_row, &e, &facts);
    }
    if (st == PTQC_OK && e.glob != NULL && json_array_size(e.rows) == 0) {
        st = cli_fail(c, PTQC_E_USAGE, "--op '%s': no op has such a name",
                      e.glob);
    }
    // Of all ops together it would be a book.
    bool is_few = e.glob != NULL && strcmp(e.glob, "*") != 0;
    if (st == PTQC_OK && is_few) {
        st = find_alternatives(c, model, &desc, &e);
    }
    if (st == PTQC_OK) {
        st = print(c, &e, &facts);
    }
    json_decref(e.rows);
    ptqc_model_close(model);
    return st;
}
