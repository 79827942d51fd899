// SPDX-License-Identifier: Apache-2.0
//
// ptqc stats: files of calibration statistics, shown and merged.

#include <math.h>
#include <string.h>

#include "cli/cli.h"

static json_t *
number_json(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

static void
keep_stat(void *user, const ptqc_stat *s)
{
    char name[1024];
    json_array_append_new(
        user,
        json_pack(
            "{s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:f, s:I, s:f, s:I, s:f}",
            "name", json_string_nocheck(cli_escape(s->name, name, sizeof name)),
            "min", number_json(s->min), "max", number_json(s->max), "range_min",
            number_json(s->range_min), "range_max", number_json(s->range_max),
            "count", (json_int_t)s->count, "columns", (json_int_t)s->columns,
            "rows", s->rows, "channels", (json_int_t)s->channels,
            "channel_spread", s->channel_spread, "tokens",
            (json_int_t)s->tokens, "token_mean", s->token_mean));
}

// How much channels, and tokens, differ: what scales per channel or per token
// would gain over one.
static void
print_spread(const json_t *s)
{
    json_int_t channels = json_integer_value(json_object_get(s, "channels"));
    double mean = json_number_value(json_object_get(s, "token_mean"));
    if (channels > 0) {
        cli_print(" %lld channels, largest %.3g x mean", (long long)channels,
                  json_number_value(json_object_get(s, "channel_spread")));
    }
    if (json_integer_value(json_object_get(s, "tokens")) > 0) {
        cli_print(" tokens reach %.4g on average", mean);
    }
}

static void
print_stat(const json_t *s)
{
    const json_t *min = json_object_get(s, "min");
    const json_t *range = json_object_get(s, "range_min");
    long long columns =
        (long long)json_integer_value(json_object_get(s, "columns"));
    cli_print("%-40s", json_string_value(json_object_get(s, "name")));
    if (json_is_number(min)) {
        cli_print(" %10.4g to %-10.4g %lld numbers", json_number_value(min),
                  json_number_value(json_object_get(s, "max")),
                  (long long)json_integer_value(json_object_get(s, "count")));
    }
    if (json_is_number(range)) {
        cli_print(" range %g to %g", json_number_value(range),
                  json_number_value(json_object_get(s, "range_max")));
    }
    print_spread(s);
    if (columns > 0) {
        cli_print(" importance of %lld columns, %.0f rows", columns,
                  json_number_value(json_object_get(s, "rows")));
    }
    cli_print("\n");
}

static ptqc_status
print(cli *c, json_t *all)
{
    size_t i;
    json_t *s;
    if (cli_given(c, CLI_JSON)) {
        return cli_print_json(c, json_pack("{s:s, s:o}", "schema",
                                           "ptqc.stats/1", "values", all));
    }
    json_array_foreach(all, i, s)
    {
        print_stat(s);
    }
    json_decref(all);
    return cli_finish_output(c);
}

ptqc_status
cli_stats(cli *c)
{
    const char *word = c->args.operands[0];
    const char *output = cli_get(c, CLI_OUTPUT)->text;
    bool is_merge = strcmp(word, "merge") == 0;
    if (!is_merge && strcmp(word, "show") != 0) {
        return cli_fail(c, PTQC_E_USAGE,
                        "expected: ptqc stats show F... | merge F... -o OUT");
    }
    if (is_merge != (output != NULL)) {
        return cli_fail(c, PTQC_E_USAGE,
                        is_merge ? "merge: expected -o OUT"
                                 : "show: writes no output (-o)");
    }
    json_t *all = json_array();
    ptqc_status st = ptqc_stats_merge(
        c->ctx, c->args.operands + 1, c->args.operand_count - 1, output,
        cli_given(c, CLI_FORCE) ? PTQC_COMPILE_REPLACE : 0, keep_stat, all);
    if (st == PTQC_OK && (!is_merge || cli_given(c, CLI_JSON))) {
        return print(c, all);
    }
    json_decref(all);
    return st;
}
