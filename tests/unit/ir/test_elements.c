// SPDX-License-Identifier: Apache-2.0
//
// Known elements through the ops that models compute shapes with.
#include <stdio.h>
#include <string.h>

#include "ir/text.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

// The elements of %y as the shape of a value that expand gives, printed.
static const struct {
    const char *lines;
    const char *elements; // "" = not known
} cases[] = {
    {"%y: i64[3] = shape(%x)", "N, 4, M"},
    {"%s: i64[3] = shape(%x)\n%y: i64[] = gather(%s, %i)", "M"},
    {"%s: i64[3] = shape(%x)\n%y: i64[1] = gather(%s, %last)", "M"},
    {"%s: i64[3] = shape(%x)\n%y: i64[2] = slice(%s) {axes = [0], "
     "starts = [1], ends = [3]}",
     "4, M"},
    {"%s: i64[3] = shape(%x)\n%y: i64[3] = slice(%s) {axes = [0], "
     "starts = [2], ends = [-1], steps = [-1]}",
     "M, 4, N"},
    {"%s: i64[3] = shape(%x)\n%y: i64[1, 3] = reshape(%s) {shape = [1, 3]}",
     "N, 4, M"},
    {"%s: i64[3] = shape(%x)\n%y: i64[6] = concat(%s, %s) {axis = 0}",
     "N, 4, M, N, 4, M"},
    {"%s: i64[3] = shape(%x)\n%p: i64[1] = reduce_prod(%s)\n"
     "%y: i64[1] = div(%p, %four)",
     "N*M"},
    {"%s: i64[3] = shape(%x)\n%y: i64[1] = reduce_sum(%s)", "N + M + 4"},
    {"%s: i64[3] = shape(%x)\n%y: i64[] = reduce_max(%s) {keepdims = 0}",
     "max(M, max(N, 4))"},
    {"%s: i64[3] = shape(%x)\n%y: i64[3] = mul(%s, %four)", "N*4, 16, M*4"},
    {"%s: i64[3] = shape(%x)\n%y: i64[3] = mod(%s, %four)", "N%4, 0, M%4"},
    {"%s: i64[3] = shape(%x)\n%f: f32[3] = cast(%s) {to = f32}\n"
     "%h: f32[3] = mul(%f, %two)\n%g: f32[3] = floor(%h)\n"
     "%y: i64[3] = cast(%g) {to = i64}",
     "N*2, 8, M*2"},
    {"%s: i64[3] = shape(%x)\n%f: f32[3] = cast(%s) {to = f32}\n"
     "%y: f32[3] = div(%f, %two)",
     ""}, // N/2 may be no integer
    {"%s: i64[3] = shape(%x)\n%y: i64[3] = div(%s, %four)", "N/4, 1, M/4"},
    {"%s: i64[3] = shape(%x)\n%y: bool[3] = equal(%s, %minus)", "0, 0, 0"},
    {"%s: i64[3] = shape(%x)\n%y: bool[3] = equal(%s, %four)", ""},
    {"%s: i64[3] = shape(%x)\n%y: bool[3] = greater(%s, %minus)", "1, 1, 1"},
    {"%s: i64[3] = shape(%x)\n%c: bool[3] = equal(%s, %minus)\n"
     "%y: i64[3] = where(%c, %minus, %s)",
     "N, 4, M"},
    {"%y: i64[2, 3] = expand(%three) {shape = [2, 3]}", "1, 2, 3, 1, 2, 3"},
    {"%y: i64[6] = tile(%three) {repeats = [2]}", "1, 2, 3, 1, 2, 3"},
    {"%a: i64[2, 3] = expand(%three) {shape = [2, 3]}\n"
     "%y: i64[3, 2] = transpose(%a) {perm = [1, 0]}",
     "1, 1, 2, 2, 3, 3"},
    {"%a: i64[2, 3] = expand(%three) {shape = [2, 3]}\n"
     "%y: i64[2, 1] = reduce_sum(%a) {axes = [1]}",
     "6, 6"},
    {"%y: i64[3] = range() {shape = [3], start = [N], delta = 2}",
     "N, N + 2, N + 4"},
    {"%y: i64[1] = mul(%big, %big)", ""}, // overflows
    {"%y: i8[3] = cast(%three) {to = i8}", "1, 2, 3"},
    {"%y: i8[1] = cast(%big) {to = i8}", ""},
    {"%y: i64[1] = neg(%four)", "-4"},
    {"%f: f32[1] = cast(%big) {to = f32}\n%y: f32[1] = neg(%f)", ""},
    {"%y: i64[300] = expand(%four) {shape = [300]}", ""}, // too many
    {"%y: i64[0] = slice(%four) {axes = [0], starts = [1], ends = [1]}", "-"},
};

static const char head[] =
    "ptir 1\ngraph \"e\" stage float\n"
    "symbol N = [1, inf]\nsymbol M = [1, inf]\n"
    "const c1: i64[] = [2]\nconst c2: i64[1] = [-1]\n"
    "const c3: i64[1] = [4]\nconst c4: f32[1] = [2]\n"
    "const c5: i64[1] = [4611686018427387904]\nconst c6: i64[3] = [1, 2, 3]\n"
    "input %x: f32[N, 4, M]\n"
    "%i: i64[] = c1\n%last: i64[1] = c2\n%minus: i64[1] = c2\n"
    "%four: i64[1] = c3\n%two: f32[1] = c4\n%big: i64[1] = c5\n"
    "%three: i64[3] = c6\n";

// Each element becomes the dim of one more input, whose line in the printed
// graph shows it.
static void
print_elements(pq_graph *g, const pq_value *v, char *out, size_t size)
{
    pq_strbuf text;
    pq_strbuf_init(&text, pq_graph_ctx(g));
    pq_type type;
    out[0] = '\0';
    if (v->elements == NULL) {
        return;
    }
    if (v->element_count == 0) {
        strcpy(out, "-");
        return;
    }
    for (uint32_t i = 0; i < v->element_count; i++) {
        assert_true(pq_type_make(g, PTQC_F32, &v->elements[i], 1, &type));
        pq_value_id id = pq_graph_add_value(g, PQ_STR("probe"), type);
        assert_int_equal(pq_graph_add_input(g, id), PTQC_OK);
        text.n = 0;
        assert_int_equal(pq_graph_print(g, 0, &text), PTQC_OK);
        // The last input line is "input %probe...: f32[...]".
        char *line = NULL;
        for (char *p = text.p; (p = strstr(p, "input %probe")) != NULL; p++) {
            line = p;
        }
        assert_non_null(line);
        char *from = strchr(line, '[') + 1;
        char *to = strchr(from, ']');
        assert_true(strlen(out) + (size_t)(to - from) + 3 < size);
        strcat(out, i != 0 ? ", " : "");
        strncat(out, from, (size_t)(to - from));
    }
    pq_strbuf_deinit(&text);
}

static void
test_elements(void **state)
{
    (void)state;
    static pq_test_sink sink;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[4096];
        char got[512];
        int n = snprintf(text, sizeof text, "%s%s\noutput %%y\n", head,
                         cases[i].lines);
        pq_test_sink_clear(&sink);
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_graph *g = NULL;
        ptqc_status st =
            pq_graph_parse(ctx, "case", (pq_str){text, (size_t)n}, &g);
        if (st != PTQC_OK || sink.error_count != 0) {
            print_error("case %zu:\n%s%s", i, text, sink.text);
        }
        assert_int_equal(st, PTQC_OK);
        assert_int_equal(sink.error_count, 0);
        const pq_value *y =
            pq_graph_value(g, pq_graph_find_value(g, PQ_STR("y")));
        print_elements(g, y, got, sizeof got);
        if (strcmp(got, cases[i].elements) != 0) {
            print_error("case %zu: %s\n", i, cases[i].lines);
        }
        assert_string_equal(got, cases[i].elements);
        pq_graph_destroy(g);
        assert_true(pq_live_bytes(ctx) == 0);
        ptqc_ctx_destroy(ctx);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
