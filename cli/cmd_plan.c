// SPDX-License-Identifier: Apache-2.0
//
// ptqc plan: what a compile would give and take, before it is done.

#include <string.h>

#include "cli/desc.h"
#include "cli/feed.h"

// Rows of products that stay float, gathered by why.
typedef struct plan {
    json_t *reasons; // why -> {count, first}
    json_t *schemes; // scheme -> count of products
    json_t *targets; // plugin -> ops
} plan;

static void
count_in(json_t *counts, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(counts, key));
    json_object_set_new(counts, key, json_integer(n + 1));
}

static void
keep_row(void *user, const ptqc_plan_row *row)
{
    plan *p = user;
    char text[512], name[256];
    if (row->target[0] != '\0') {
        count_in(p->targets, row->target);
    }
    if (!row->is_product) {
        return;
    }
    count_in(p->schemes, row->scheme);
    if (row->why[0] == '\0') {
        return;
    }
    cli_escape(row->why, text, sizeof text);
    json_t *reason = json_object_get(p->reasons, text);
    if (reason == NULL) {
        reason = json_pack(
            "{s:i, s:o}", "count", 0, "first",
            json_string_nocheck(cli_escape(row->name, name, sizeof name)));
        json_object_set_new_nocheck(p->reasons, text, reason);
    }
    count_in(reason, "count");
}

// ---- what it takes --------------------------------------------------------

// The largest weight as f32 and as codes, and what a sample's observed values
// take, beside the session that calibrates.
static uint64_t
compile_bytes(const ptqc_plan_facts *f)
{
    return 2 * f->largest_weight_bytes + f->calibration_bytes +
           f->activation_bytes;
}

static double
seconds(const ptqc_plan_facts *f)
{
    return f->calibration_seconds + 2 * f->weight_seconds;
}

static json_t *
document(const plan *p, const ptqc_plan_facts *f)
{
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:b, "
        "s:O, "
        "s:O, s:O}",
        "schema", "ptqc.plan/1", "weight_bytes", (json_int_t)f->weight_bytes,
        "constant_bytes", (json_int_t)f->constant_bytes, "activation_bytes",
        (json_int_t)f->activation_bytes, "compile_bytes",
        (json_int_t)compile_bytes(f), "ops", (json_int_t)f->op_count,
        "products", (json_int_t)f->product_count, "coded_products",
        (json_int_t)f->coded_product_count, "macs", (json_int_t)f->macs,
        "coded_macs", (json_int_t)f->coded_macs, "samples",
        (json_int_t)f->sample_count, "seconds", seconds(f), "has_method",
        (int)f->has_method, "schemes", p->schemes, "targets", p->targets,
        "not_as_asked", p->reasons);
}

static void
print_counts(const char *title, const json_t *counts)
{
    const char *key;
    json_t *n;
    cli_print("%-9s", title);
    json_object_foreach((json_t *)(uintptr_t)counts, key, n)
    {
        cli_print(" %s:%lld", key, (long long)json_integer_value(n));
    }
    cli_print("\n");
}

static void
print_reasons(const json_t *reasons)
{
    const char *why;
    json_t *r;
    json_object_foreach((json_t *)(uintptr_t)reasons, why, r)
    {
        cli_print("          %lld x %s (first: %s)\n",
                  (long long)json_integer_value(json_object_get(r, "count")),
                  why, json_string_value(json_object_get(r, "first")));
    }
}

static void
print_sizes(const ptqc_plan_facts *f)
{
    char a[32], b[32];
    cli_print("size      about %s (weights in the model: %s)\n",
              cli_size_text(f->constant_bytes, a),
              cli_size_text(f->weight_bytes, b));
    cli_print("compile   about %s beyond the mapped model, about %.1f s",
              cli_size_text(compile_bytes(f), a), seconds(f));
    if (f->sample_count > 0) {
        cli_print(", %llu samples", (unsigned long long)f->sample_count);
    }
    cli_print("%s", f->has_method ? ", and the method's memory" : "");
    cli_print("\nrun       weights mapped, %s of results at a time",
              cli_size_text(f->activation_bytes, a));
    cli_print(" (symbolic dims at their least)\n");
}

static ptqc_status
print(cli *c, const plan *p, const ptqc_plan_facts *f)
{
    if (cli_given(c, CLI_JSON)) {
        return cli_print_json(c, document(p, f));
    }
    double share =
        f->macs > 0 ? 100 * (double)f->coded_macs / (double)f->macs : 0;
    cli_print("%s\n", c->args.operands[0]);
    print_sizes(f);
    print_counts("targets", p->targets);
    print_counts("products", p->schemes);
    cli_print("          %.1f %% of multiply-adds on codes\n", share);
    print_reasons(p->reasons);
    return cli_finish_output(c);
}

// Samples are counted, and the first is looked at: what is wrong with them
// shows now.
static ptqc_status
plan_with_samples(cli *c, ptqc_model *model, ptqc_compile_desc *desc, plan *p,
                  ptqc_plan_facts *facts)
{
    cli_samples samples;
    if (!cli_given(c, CLI_CALIB)) {
        return ptqc_compile_plan(c->ctx, model, desc, 0, keep_row, p, facts);
    }
    ptqc_status st = cli_samples_open(c, model, &samples);
    if (st != PTQC_OK) {
        return st;
    }
    desc->samples = cli_samples_get;
    desc->samples_user = &samples;
    desc->sample_count = samples.sample_count;
    st = ptqc_compile_plan(c->ctx, model, desc, 0, keep_row, p, facts);
    cli_samples_close(&samples);
    return st;
}

ptqc_status
cli_plan(cli *c)
{
    ptqc_compile_desc desc;
    ptqc_model *model = NULL;
    ptqc_plan_facts facts = {0};
    plan p = {json_object(), json_object(), json_object()};
    ptqc_status st = cli_desc_read(c, &desc);
    if (st == PTQC_OK) {
        st = ptqc_model_open(c->ctx, c->args.operands[0], &model);
    }
    if (st == PTQC_OK) {
        st = plan_with_samples(c, model, &desc, &p, &facts);
    }
    if (st == PTQC_OK) {
        st = print(c, &p, &facts);
    }
    json_decref(p.reasons);
    json_decref(p.schemes);
    json_decref(p.targets);
    ptqc_model_close(model);
    return st;
}
