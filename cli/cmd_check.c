// SPDX-License-Identifier: Apache-2.0
//
// ptqc check: everything a target cannot run, at once.

#include "cli/cli.h"

static void
keep_problem(void *user, const ptqc_problem *p)
{
    json_t *where = json_array();
    char text[512];
    for (uint32_t i = 0; i < p->where_count; i++) {
        json_array_append_new(where, json_string_nocheck(cli_escape(
                                         p->where[i], text, sizeof text)));
    }
    char what[256], reason[512];
    json_array_append_new(
        user, json_pack("{s:s, s:s, s:s, s:I, s:o, s:b}", "code", p->code,
                        "what", cli_escape(p->what, what, sizeof what),
                        "reason", cli_escape(p->reason, reason, sizeof reason),
                        "count", (json_int_t)p->count, "where", where, "fatal",
                        (int)p->is_fatal));
}

static void
print_problems(const json_t *problems)
{
    size_t i, k;
    json_t *p, *w;
    json_array_foreach(problems, i, p)
    {
        cli_print("%-16s %s x%lld: %s\n",
                  json_string_value(json_object_get(p, "code")),
                  json_string_value(json_object_get(p, "what")),
                  (long long)json_integer_value(json_object_get(p, "count")),
                  json_string_value(json_object_get(p, "reason")));
        json_array_foreach(json_object_get(p, "where"), k, w)
        {
            cli_print("%s%s", k == 0 ? "                 " : ", ",
                      json_string_value(w));
        }
        cli_print("%s", k > 0 ? "\n" : "");
    }
}

ptqc_status
cli_check(cli *c)
{
    json_t *problems = json_array();
    ptqc_backend_dirs dirs = cli_backend_dirs(c);
    ptqc_status st = ptqc_model_check(c->ctx, c->args.operands[0],
                                      cli_get(c, CLI_TARGET)->text, dirs.dirs,
                                      dirs.dir_count, keep_problem, problems);
    bool is_answer =
        st == PTQC_OK || (st == PTQC_E_UNSUPPORTED && c->error_count == 0);
    if (!is_answer) {
        json_decref(problems);
        return st;
    }
    size_t count = json_array_size(problems);
    ptqc_status printed;
    if (cli_given(c, CLI_JSON)) {
        printed = cli_print_json(
            c, json_pack("{s:s, s:b, s:o}", "schema", "ptqc.check/1", "ok",
                         st == PTQC_OK, "problems", problems));
    } else {
        print_problems(problems);
        cli_print("%s", st == PTQC_OK ? "compilable\n" : "");
        json_decref(problems);
        printed = cli_finish_output(c);
    }
    if (printed != PTQC_OK || st == PTQC_OK) {
        return printed;
    }
    return cli_fail(c, st, "not compilable: %zu kinds of problems", count);
}
