// SPDX-License-Identifier: Apache-2.0
//
// Statistics as text: YAML that is easily edited; lists of many numbers stand
// in one text each, so that a file of many activations has few values.

#include <float.h>
#include <math.h>

#include "passes/calib/stats.h"
#include "passes/yaml.h"

#define PQ_STATS_BYTES_MAX ((size_t)1 << 30)
#define PQ_STATS_NODES_MAX (1u << 22)

// ---- writing --------------------------------------------------------------

// The number of a well-formed character of n bytes.
static uint32_t
code_point(const char *p, size_t n)
{
    static const uint8_t masks[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = (uint8_t)p[0] & masks[n];
    for (size_t i = 1; i < n; i++) {
        c = c << 6 | ((uint8_t)p[i] & 0x3f);
    }
    return c;
}

// In double quotes. Bytes that are not UTF-8, which YAML lacks, become the
// text \xNN.
static void
print_name(pq_str name, pq_strbuf *out)
{
    pq_strbuf_add_z(out, "  - name: \"");
    for (size_t i = 0, n; i < name.n; i += n) {
        pq_str rest = {name.p + i, name.n - i};
        n = pq_str_printable(rest);
        if (n > 0) {
            bool is_special = *rest.p == '"' || *rest.p == '\\';
            pq_strbuf_add_z(out, is_special ? "\\" : "");
            pq_strbuf_add(out, (pq_str){rest.p, n});
        } else if ((n = pq_str_utf8(rest)) > 0) {
            pq_strbuf_addf(out, "\\U%08x", code_point(rest.p, n));
        } else {
            n = 1;
            pq_strbuf_addf(out, "\\\\x%02x", (uint8_t)*rest.p);
        }
    }
    pq_strbuf_add_z(out, "\"\n");
}

static void
print_float(const char *key, float x, pq_strbuf *out)
{
    pq_strbuf_addf(out, "    %s: ", key);
    pq_strbuf_add_f32(out, x);
    pq_strbuf_add_z(out, "\n");
}

static void
print_bins(const pq_histogram *h, pq_strbuf *out)
{
    print_float("width", h->width, out);
    pq_strbuf_addf(out, "    first: %lld\n    bins: \"", (long long)h->first);
    for (int64_t i = 0; i < h->count; i++) {
        pq_strbuf_addf(out, "%s%llu", i > 0 ? " " : "",
                       (unsigned long long)h->bins[i]);
    }
    pq_strbuf_add_z(out, "\"\n");
}

static void
print_numbers(const pq_stat *s, pq_strbuf *out)
{
    const pq_histogram *h = &s->histogram;
    print_float("min", s->min, out);
    print_float("max", s->max, out);
    pq_strbuf_addf(out, "    count: %llu\n", (unsigned long long)s->count);
    if (s->tensors > 0) {
        pq_strbuf_addf(out, "    tensors: %llu\n    mean_min: ",
                       (unsigned long long)s->tensors);
        pq_strbuf_add_f64(out, s->mean_min);
        pq_strbuf_add_z(out, "\n    mean_max: ");
        pq_strbuf_add_f64(out, s->mean_max);
        pq_strbuf_add_z(out, "\n");
    }
    if (s->refused > 0) {
        pq_strbuf_addf(out, "    refused: %llu\n",
                       (unsigned long long)s->refused);
    }
    if (h->zeros > 0) {
        pq_strbuf_addf(out, "    zeros: %llu\n", (unsigned long long)h->zeros);
    }
    if (h->count > 0) {
        print_bins(h, out);
    }
}

static void
print_list(const char *key, const float *x, int64_t n, pq_strbuf *out)
{
    pq_strbuf_addf(out, "    %s: \"", key);
    for (int64_t i = 0; i < n; i++) {
        pq_strbuf_add_z(out, i > 0 ? " " : "");
        pq_strbuf_add_f32(out, x[i]);
    }
    pq_strbuf_add_z(out, "\"\n");
}

static void
print_squares(const pq_stat *s, pq_strbuf *out)
{
    pq_strbuf_add_z(out, "    rows: ");
    pq_strbuf_add_f64(out, s->row_count);
    pq_strbuf_add_z(out, "\n");
    print_list("squares", s->squares, s->column_count, out);
}

static void
print_channels(const pq_stat *s, pq_strbuf *out)
{
    if (s->tokens > 0) {
        pq_strbuf_addf(out, "    tokens: %llu\n    token_mean: ",
                       (unsigned long long)s->tokens);
        pq_strbuf_add_f64(out, s->token_mean);
        pq_strbuf_add_z(out, "\n");
    }
    print_list("channel_min", s->channel_min, s->channel_count, out);
    print_list("channel_max", s->channel_max, s->channel_count, out);
}

void
pq_stats_print(const pq_stats *s, pq_strbuf *out)
{
    pq_strbuf_addf(out, "ptqc_stats: 1\nsamples: %llu\nvalues:%s\n",
                   (unsigned long long)s->sample_count,
                   s->count == 0 ? " []" : "");
    for (uint32_t i = 0; i < s->count; i++) {
        const pq_stat *stat = &s->all[i];
        print_name(stat->name, out);
        if (stat->has_range) {
            pq_strbuf_add_z(out, "    range: [");
            pq_strbuf_add_f32(out, stat->range_min);
            pq_strbuf_add_z(out, ", ");
            pq_strbuf_add_f32(out, stat->range_max);
            pq_strbuf_add_z(out, "]\n");
        }
        if (stat->has_numbers) {
            print_numbers(stat, out);
        }
        if (stat->squares != NULL) {
            print_squares(stat, out);
        }
        if (stat->channel_count > 0) {
            print_channels(stat, out);
        }
    }
}

// ---- reading --------------------------------------------------------------

typedef struct pq_stats_reader {
    ptqc_ctx *ctx;
    const char *what;
    pq_stats *s;
    pq_arena arena; // of the tree
} pq_stats_reader;

static ptqc_status
expected(const pq_stats_reader *r, const pq_yaml *node, const char *what)
{
    return PQ_FAIL(r->ctx, PTQC_E_INPUT, "%s:%u:%u: %.*s%sexpected %s", r->what,
                   node->line, node->column, PQ_STR_ARG(node->key),
                   node->key.n > 0 ? ": " : "", what);
}

static ptqc_status
read_u64(const pq_stats_reader *r, const pq_yaml *node, uint64_t *out)
{
    bool is_good = node->kind == PQ_YAML_SCALAR &&
                   pq_str_to_u64(node->text, out) && *out <= INT64_MAX;
    return is_good ? PTQC_OK : expected(r, node, "a whole number, 0 or more");
}

static ptqc_status
read_f32(const pq_stats_reader *r, const pq_yaml *node, float *out)
{
    double x;
    bool is_good = node->kind == PQ_YAML_SCALAR &&
                   pq_str_to_f64(node->text, &x) && fabs(x) <= (double)FLT_MAX;
    if (!is_good) {
        return expected(r, node, "a finite number");
    }
    *out = (float)x;
    return PTQC_OK;
}

static ptqc_status
read_range(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    if (node->kind != PQ_YAML_LIST || node->count != 2) {
        return expected(r, node, "[least, largest]");
    }
    PQ_TRY(read_f32(r, node->first, &s->range_min));
    PQ_TRY(read_f32(r, node->last, &s->range_max));
    s->has_range = true;
    return s->range_min <= 0 && s->range_max >= 0 && s->range_min < s->range_max
               ? PTQC_OK
               : expected(r, node, "a range that holds 0");
}

// The next of many numbers in one text; false at the end.
static bool
next_word(pq_str *rest, pq_str *out)
{
    while (rest->n > 0 && (*rest->p == ' ' || *rest->p == '\n')) {
        *rest = (pq_str){rest->p + 1, rest->n - 1};
    }
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\n') {
        n++;
    }
    *out = (pq_str){rest->p, n};
    *rest = (pq_str){rest->p + n, rest->n - n};
    return n > 0;
}

static int64_t
word_count(pq_str text)
{
    pq_str word;
    int64_t n = 0;
    while (next_word(&text, &word)) {
        n++;
    }
    return n;
}

static ptqc_status
read_bins(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    pq_histogram *h = &s->histogram;
    pq_str rest = node->text, word;
    int64_t n = node->kind == PQ_YAML_SCALAR ? word_count(rest) : 0;
    if (n < 1 || n > PQ_HISTOGRAM_BINS) {
        return expected(r, node, "1 to 16384 numbers in one text");
    }
    h->bins = pq_alloc_array(r->ctx, (size_t)n, sizeof *h->bins);
    PQ_TRY_ALLOC(h->bins);
    while (next_word(&rest, &word)) {
        if (!pq_str_to_u64(word, &h->bins[h->count]) ||
            h->bins[h->count] > INT64_MAX / PQ_HISTOGRAM_BINS) {
            return expected(r, node, "whole numbers");
        }
        h->others += h->bins[h->count++];
    }
    return PTQC_OK;
}

// Numbers from least to most; what they are, for the message.
static ptqc_status
read_list(const pq_stats_reader *r, const pq_yaml *node, double least,
          double most, const char *what, float **out, int64_t *out_count)
{
    pq_str rest = node->text, word;
    int64_t n = node->kind == PQ_YAML_SCALAR ? word_count(rest) : 0;
    int64_t count = 0;
    if (n < 1) {
        return expected(r, node, "numbers in one text");
    }
    float *list = pq_arena_array(&r->s->arena, (size_t)n, sizeof *list);
    PQ_TRY_ALLOC(list);
    while (next_word(&rest, &word)) {
        double x;
        if (!pq_str_to_f64(word, &x) || !(x >= least && x <= most)) {
            return expected(r, node, what);
        }
        list[count++] = (float)x;
    }
    *out = list;
    *out_count = count;
    return PTQC_OK;
}

static ptqc_status
read_squares(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    return read_list(r, node, 0, (double)FLT_MAX, "finite numbers, 0 or more",
                     &s->squares, &s->column_count);
}

// The other end of the channels must have as many.
static ptqc_status
check_channels(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s,
               int64_t count)
{
    if (s->channel_count != 0 && s->channel_count != count) {
        return expected(r, node, "as many numbers as the other end has");
    }
    s->channel_count = count;
    return PTQC_OK;
}

static ptqc_status
read_channel_min(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    int64_t n;
    PQ_TRY(read_list(r, node, -(double)FLT_MAX, 0, "finite numbers, 0 or less",
                     &s->channel_min, &n));
    return check_channels(r, node, s, n);
}

static ptqc_status
read_channel_max(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    int64_t n;
    PQ_TRY(read_list(r, node, 0, (double)FLT_MAX, "finite numbers, 0 or more",
                     &s->channel_max, &n));
    return check_channels(r, node, s, n);
}

static ptqc_status
read_tokens(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    return read_u64(r, node, &s->tokens);
}

// A width that histograms have (a power of two), bins that f32 can fall into.
static ptqc_status
check_histogram(const pq_stats_reader *r, const pq_yaml *node, const pq_stat *s)
{
    const pq_histogram *h = &s->histogram;
    int exponent;
    double least = (double)h->first * (double)h->width;
    double most = (double)(h->first + h->count) * (double)h->width;
    if (h->count == 0) {
        return h->width == 0 ? PTQC_OK
                             : expected(r, node, "bins beside width and first");
    }
    // Powers of two have one mantissa.
    bool is_power = h->width > 0 && frexpf(h->width, &exponent) == 0.5f;
    return is_power && least >= -0x1p128 && most <= 0x1p128
               ? PTQC_OK
               : expected(r, node,
                          "a width that is a power of two, and bins "
                          "within f32");
}

static ptqc_status
check_ends(const pq_stats_reader *r, const pq_yaml *node, const pq_stat *s)
{
    return (s->channel_min == NULL) == (s->channel_max == NULL)
               ? PTQC_OK
               : expected(r, node, "channel_min and channel_max together");
}

// Keys of a value, by how they are read.
typedef struct pq_stat_key {
    const char *name;
    ptqc_status (*read)(const pq_stats_reader *r, const pq_yaml *node,
                        pq_stat *s);
} pq_stat_key;

static ptqc_status
read_min(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    PQ_TRY(read_f32(r, node, &s->min));
    return s->min <= 0 ? PTQC_OK : expected(r, node, "0 or less");
}

static ptqc_status
read_max(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    PQ_TRY(read_f32(r, node, &s->max));
    return s->max >= 0 ? PTQC_OK : expected(r, node, "0 or more");
}

static ptqc_status
read_count(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    s->has_numbers = true;
    return read_u64(r, node, &s->count);
}

static ptqc_status
read_refused(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    return read_u64(r, node, &s->refused);
}

static ptqc_status
read_tensors(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    return read_u64(r, node, &s->tensors);
}

static ptqc_status
read_mean(const pq_stats_reader *r, const pq_yaml *node, double *out)
{
    float x; // of its range
    PQ_TRY(read_f32(r, node, &x));
    (void)pq_str_to_f64(node->text, out);
    return PTQC_OK;
}

static ptqc_status
read_mean_min(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    return read_mean(r, node, &s->mean_min);
}

static ptqc_status
read_mean_max(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    return read_mean(r, node, &s->mean_max);
}

static ptqc_status
read_token_mean(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    PQ_TRY(read_mean(r, node, &s->token_mean));
    return s->token_mean >= 0 ? PTQC_OK : expected(r, node, "0 or more");
}

static ptqc_status
read_zeros(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    return read_u64(r, node, &s->histogram.zeros);
}

static ptqc_status
read_width(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    return read_f32(r, node, &s->histogram.width);
}

static ptqc_status
read_first(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    int64_t *first = &s->histogram.first;
    bool is_good = node->kind == PQ_YAML_SCALAR &&
                   pq_str_to_i64(node->text, first) &&
                   *first > -(INT64_C(1) << 62) && *first < INT64_C(1) << 62;
    return is_good ? PTQC_OK : expected(r, node, "a whole number");
}

static ptqc_status
read_rows(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    float rows;
    PQ_TRY(read_f32(r, node, &rows));
    (void)pq_str_to_f64(node->text, &s->row_count);
    return rows >= 0 ? PTQC_OK : expected(r, node, "0 or more");
}

static ptqc_status
read_name(const pq_stats_reader *r, const pq_yaml *node, pq_stat *s)
{
    (void)s; // it was read before all others
    return node->kind == PQ_YAML_SCALAR ? PTQC_OK : expected(r, node, "text");
}

static const pq_stat_key keys[] = {
    {"tensors", read_tensors},
    {"mean_min", read_mean_min},
    {"mean_max", read_mean_max},
    {"name", read_name},
    {"min", read_min},
    {"max", read_max},
    {"count", read_count},
    {"range", read_range},
    {"zeros", read_zeros},
    {"refused", read_refused},
    {"width", read_width},
    {"first", read_first},
    {"bins", read_bins},
    {"rows", read_rows},
    {"squares", read_squares},
    {"tokens", read_tokens},
    {"token_mean", read_token_mean},
    {"channel_min", read_channel_min},
    {"channel_max", read_channel_max},
};

static ptqc_status
read_value(const pq_stats_reader *r, const pq_yaml *node)
{
    const pq_yaml *name = pq_yaml_get(node, "name");
    pq_stat *s;
    if (name == NULL || name->kind != PQ_YAML_SCALAR) {
        return expected(r, node, "a value with a name");
    }
    if (pq_stats_find(r->s, name->text) != NULL) {
        return expected(r, name, "each name once");
    }
    PQ_TRY(pq_stats_get(r->s, name->text, &s));
    for (const pq_yaml *m = node->first; m != NULL; m = m->next) {
        size_t k = 0;
        while (k < sizeof keys / sizeof *keys &&
               !pq_str_equal_z(m->key, keys[k].name)) {
            k++;
        }
        if (k == sizeof keys / sizeof *keys) {
            return expected(r, m, "a key that statistics have");
        }
        PQ_TRY(keys[k].read(r, m, s));
    }
    PQ_TRY(check_ends(r, node, s));
    return check_histogram(r, node, s);
}

static ptqc_status
read_root(const pq_stats_reader *r, const pq_yaml *root)
{
    const pq_yaml *version = pq_yaml_get(root, "ptqc_stats");
    const pq_yaml *samples = pq_yaml_get(root, "samples");
    const pq_yaml *values = pq_yaml_get(root, "values");
    if (version == NULL || version->kind != PQ_YAML_SCALAR ||
        !pq_str_equal_z(version->text, "1")) {
        return expected(r, root, "statistics: ptqc_stats: 1");
    }
    if (samples == NULL || values == NULL || values->kind != PQ_YAML_LIST ||
        root->count != 3) {
        return expected(r, root, "ptqc_stats, samples and values, a list");
    }
    PQ_TRY(read_u64(r, samples, &r->s->sample_count));
    for (const pq_yaml *v = values->first; v != NULL; v = v->next) {
        PQ_TRY(read_value(r, v));
    }
    return PTQC_OK;
}

ptqc_status
pq_stats_parse(ptqc_ctx *ctx, const char *what, pq_str text, pq_stats **out)
{
    const pq_yaml_desc desc = {.what = what,
                               .bad = PTQC_E_INPUT,
                               .bytes_max = PQ_STATS_BYTES_MAX,
                               .nodes_max = PQ_STATS_NODES_MAX};
    pq_stats_reader r = {.ctx = ctx, .what = what};
    const pq_yaml *root;
    *out = NULL;
    PQ_TRY(pq_stats_create(ctx, &r.s));
    pq_arena_init(&r.arena, ctx);
    ptqc_status st = pq_yaml_parse(ctx, &desc, text, &r.arena, &root);
    if (st == PTQC_OK) {
        st = read_root(&r, root);
    }
    pq_arena_deinit(&r.arena);
    if (st != PTQC_OK) {
        pq_stats_destroy(r.s);
        return st;
    }
    *out = r.s;
    return PTQC_OK;
}
