// SPDX-License-Identifier: Apache-2.0
//
// Products of codes per token (w8a8, w4a8) with weight scales per channel and
// per group of k, through the plugin against the interpreter: bit for bit. A
// form that the plugin declines is skipped: another plugin runs it.
#include "tests/unit/backends/cpu/plugin_check.h"

typedef struct dynamic_case {
    const char *format;
    int32_t least, codes; // zero points: least .. least + codes - 1
    int32_t middle;
    bool asymmetric;
    int group; // 0: per channel
    int m, n, k;
} dynamic_case;

static const dynamic_case formats[] = {
    {.format = "i8", .least = -128, .codes = 256, .middle = 0},
    {.format = "u8", .least = 0, .codes = 256, .middle = 128},
    {.format = "i4", .least = -8, .codes = 16, .middle = 0},
    {.format = "u4", .least = 0, .codes = 16, .middle = 8},
};
#define FORMATS (sizeof formats / sizeof *formats)

// Odd k, k below and no multiple of the group, tails of n, many columns.
static const int shapes[][3] = {
    {1, 33, 77}, {3, 16, 200}, {7, 5, 15},   {20, 50, 129},
    {2, 1, 1},   {5, 64, 256}, {1, 272, 96}, {13, 18, 161},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static size_t
write_zeros(const dynamic_case *c, int count, char *out, size_t room)
{
    pq_test_random r = pq_test_random_seed(3);
    size_t n = 0;
    for (int i = 0; i < count; i++) {
        int32_t zero = c->middle;
        if (c->asymmetric) {
            zero = c->least + (int32_t)pq_test_random_int(&r, 0, c->codes - 1);
        }
        n += (size_t)snprintf(out + n, room - n, "%s%d", i > 0 ? ", " : "",
                              zero);
    }
    return n;
}

// Rows of zeros, of large and of tiny numbers, of infinities among the others.
static size_t
write_factors(int m, char *out, size_t room)
{
    static const char *const factors[] = {"1",     "0", "1e30",
                                          "1e-44", "3", "inf"};
    size_t n = 0;
    for (int i = 0; i < m; i++) {
        n += (size_t)snprintf(out + n, room - n, "%s%s", i > 0 ? ", " : "",
                              factors[i % 6]);
    }
    return n;
}

static void
write_text(const dynamic_case *c, char *out, size_t room)
{
    int groups = c->group > 0 ? (c->k + c->group - 1) / c->group : 1;
    char scales[32];
    snprintf(scales, sizeof scales, c->group > 0 ? "%d, %d" : "%d", c->n,
             groups);
    size_t n = (size_t)snprintf(out, room,
                                "graph \"g\" stage quantized\nconst c1: "
                                "$f32[%s]\nconst c2: i32[%s] = [",
                                scales, scales);
    n += write_zeros(c, c->n * groups, out + n, room - n);
    n += (size_t)snprintf(out + n, room - n,
                          "]\nconst c3: $%s[%d, %d]\nconst c4: $f32[%d]\n"
                          "const c5: f32[%d, 1] = [",
                          c->format, c->n, c->k, c->n, c->m);
    n += write_factors(c->m, out + n, room - n);
    snprintf(out + n, room - n,
             "]\nquant q1 = {format = %s, granularity = %s, axis = %d, "
             "group = %d, symmetric = %d, dynamic = 0, scale = c1, zero_point "
             "= c2}\n"
             "quant q2 = {format = i8, granularity = token, axis = 0, group = "
             "0, symmetric = 1, dynamic = 1}\n"
             "input %%x: f32[%d, %d]\ninput %%r: f32[%d, %d]\n"
             "%%w: %s[%d, %d] q1 = c3\n%%b: f32[%d] = c4\n"
             "%%f: f32[%d, 1] = c5\n%%z: f32[%d, %d] = mul(%%x, %%f)\n"
             "%%q: i8[%d, %d] q2, %%s: f32[%d, 1] = dynamic_quantize(%%z) "
             "{to = i8}\n"
             "%%y: f32[%d, %d] = matmul(%%q, %%w, %%b, %%r, %%s) "
             "{trans_b = 1, act = silu}\noutput %%y\n",
             c->format, c->group > 0 ? "group" : "channel", c->group > 0,
             c->group, !c->asymmetric, c->m, c->k, c->m, c->n, c->format, c->n,
             c->k, c->n, c->m, c->m, c->k, c->m, c->k, c->m, c->m, c->n);
}

static void
check_case(const dynamic_case *c)
{
    char name[96];
    char *text = malloc(PLUGIN_TEXT_BYTES);
    assert_non_null(text);
    snprintf(name, sizeof name, "%s%s group %d m %d n %d k %d", c->format,
             c->asymmetric ? " asym" : "", c->group, c->m, c->n, c->k);
    write_text(c, text, PLUGIN_TEXT_BYTES);
    const plugin_case plugin = {.name = name, .text = text};
    plugin_check_cases(&plugin, 1);
    free(text);
}

// Every format and symmetry with `group`, over the shapes.
static void
check_group(int group)
{
    for (size_t i = 0; i < 2 * FORMATS; i++) {
        dynamic_case c = formats[i % FORMATS];
        const int *shape = shapes[(i + (size_t)group / 16) % SHAPES];
        c.asymmetric = i >= FORMATS;
        c.group = group;
        c.m = shape[0];
        c.n = shape[1];
        c.k = shape[2];
        check_case(&c);
    }
}

static void
channels(void **state)
{
    (void)state;
    check_group(0);
}

static void
groups_of_16(void **state)
{
    (void)state;
    check_group(16);
}

static void
groups_of_32(void **state)
{
    (void)state;
    check_group(32);
}

static void
groups_of_128(void **state)
{
    (void)state;
    check_group(128);
}

// Every number of rows that a tile may have.
static void
row_counts(void **state)
{
    (void)state;
    for (int m = 1; m <= 20; m++) {
        dynamic_case c = formats[m % 2 == 0 ? 3 : 0];
        c.group = 32;
        c.asymmetric = m % 4 == 0;
        c.m = m;
        c.n = 35;
        c.k = 77;
        check_case(&c);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels),     cmocka_unit_test(groups_of_16),
        cmocka_unit_test(groups_of_32), cmocka_unit_test(groups_of_128),
        cmocka_unit_test(row_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
