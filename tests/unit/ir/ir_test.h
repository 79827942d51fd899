// SPDX-License-Identifier: Apache-2.0
//
// Tables of inference cases in the text form: one op per case over declared
// inputs, with the output type that inference must give or a part of the
// message that must be said.
#ifndef PTQC_TESTS_IR_TEST_H
#define PTQC_TESTS_IR_TEST_H

#include <stdio.h>
#include <string.h>

#include "ir/text.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

typedef struct ir_case {
    const char *inputs; // separated by ';': "%x: f32[1, 2]; %w: f32[2]"
    const char *line;   // "%y: f32[1, 2] = add(%x, %w)"
    const char *error;  // part of the message; NULL: accepted
} ir_case;

static inline size_t
ir_case_text(const ir_case *c, char *out, size_t size)
{
    int n = snprintf(out, size,
                     "ptir 1\ngraph \"t\" stage float\n"
                     "symbol N = [1, inf]\nsymbol M = [1, inf]\n"
                     "symbol E = [0, 64] multiple 16\n");
    for (const char *p = c->inputs; *p != '\0';) {
        size_t part = strcspn(p, ";");
        n += snprintf(
            out + n, size - (size_t)n, "%s%.*s\n",
            strncmp(p, "const", 5) == 0 || p[0] == '!' ? "" : "input ",
            (int)(p[0] == '!' ? part - 1 : part), p[0] == '!' ? p + 1 : p);
        p += part;
        p += strspn(p, "; ");
    }
    n += snprintf(out + n, size - (size_t)n, "%s\noutput %%y\n", c->line);
    return (size_t)n;
}

static inline void
ir_check_cases(const ir_case *cases, size_t count)
{
    static pq_test_sink sink;
    for (size_t i = 0; i < count; i++) {
        char text[8192];
        size_t n = ir_case_text(&cases[i], text, sizeof text);
        pq_test_sink_clear(&sink);
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_graph *g = NULL;
        ptqc_status st = pq_graph_parse(ctx, "case", (pq_str){text, n}, &g);
        bool is_good = cases[i].error == NULL
                           ? st == PTQC_OK && sink.error_count == 0
                           : st != PTQC_OK && sink.error_count == 1 &&
                                 strstr(sink.text, cases[i].error) != NULL;
        if (!is_good) {
            print_error("case %zu: status %d, expected \"%s\"\n%s%s\n", i,
                        (int)st, cases[i].error != NULL ? cases[i].error : "ok",
                        text, sink.text);
        }
        assert_true(is_good);
        pq_graph_destroy(g);
        assert_true(pq_live_bytes(ctx) == 0);
        ptqc_ctx_destroy(ctx);
    }
}

#define IR_CHECK(cases) ir_check_cases(cases, sizeof(cases) / sizeof(cases)[0])

#endif
