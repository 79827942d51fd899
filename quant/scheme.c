// SPDX-License-Identifier: Apache-2.0
//
// Spelling of schemes: w<bits>a<bits>[:dyn][:gN|:ch|:t][:sym|:asym],
// fp8[:e4m3|:e5m2], mxfp4, nf4, each with [:gN|:ch|:t] and
// [:scale=f32|f16|bf16|e8m0].

#include "quant/scheme.h"

#include "base/dtype.h"
#include "quant/format.h"

static const char *const granularity_names[PQ_GRAN_COUNT] = {
    [PQ_GRAN_NONE] = "none",       [PQ_GRAN_TENSOR] = "tensor",
    [PQ_GRAN_CHANNEL] = "channel", [PQ_GRAN_GROUP] = "group",
    [PQ_GRAN_TOKEN] = "token",
};

const char *
pq_granularity_name(pq_granularity granularity)
{
    return granularity_names[granularity];
}

bool
pq_granularity_parse(pq_str text, pq_granularity *out)
{
    for (int i = 0; i < PQ_GRAN_COUNT; i++) {
        if (pq_str_equal_z(text, granularity_names[i])) {
            *out = (pq_granularity)i;
            return true;
        }
    }
    return false;
}

// What a word like "w8a8" stands for.
typedef struct pq_scheme_word {
    const char *text;
    ptqc_dtype symmetric;   // weights; NONE: nothing executes it yet
    ptqc_dtype asymmetric;  // NONE: such weights have no zero points
    uint32_t bits;          // as in pq_scheme
    ptqc_dtype activations; // NONE: float
    uint32_t group;         // default of narrow weights; 0 = per channel
    bool dynamic;           // activations always per token
    ptqc_dtype scale;       // as in pq_scheme
} pq_scheme_word;

#define NONE PTQC_DTYPE_NONE
static const pq_scheme_word pq_scheme_words[] = {
    {"w8a8", PTQC_I8, PTQC_U8, 0, PTQC_U8, 0, false, NONE},
    {"w8a16", PTQC_I8, PTQC_U8, 0, NONE, 0, false, NONE},
    {"w7a16", PTQC_I8, PTQC_U8, 7, NONE, 0, false, NONE},
    {"w6a16", PTQC_I8, PTQC_U8, 6, NONE, 0, false, NONE},
    {"w5a16", PTQC_I8, PTQC_U8, 5, NONE, 0, false, NONE},
    {"w4a8", PTQC_U4, PTQC_U4, 0, PTQC_U8, 128, true, NONE},
    {"w4a16", PTQC_U4, PTQC_U4, 0, NONE, 128, false, NONE},
    {"w3a16", PTQC_I4, PTQC_U4, 3, NONE, 128, false, NONE},
    {"w2a16", PTQC_I4, PTQC_U4, 2, NONE, 64, false, NONE},
    {"fp8", PTQC_F8E4M3, NONE, 0, NONE, 0, false, NONE},
    {"mxfp4", PTQC_F4E2M1, NONE, 0, NONE, 32, false, PTQC_F8E8M0},
    {"nf4", PTQC_NF4, NONE, 0, NONE, 64, false, PTQC_F32},
    {.text = "w4a4"},
    {.text = "nvfp4"},
};
// w4a8:static. The integer products of static activations have kernels for
// bytes, so that the codes lie in those.
static const pq_scheme_word pq_static_w4a8 = {"w4a8",  PTQC_I8, PTQC_U8, 4,
                                              PTQC_U8, 0,       false,   NONE};
#undef NONE
#define WORDS (sizeof pq_scheme_words / sizeof *pq_scheme_words)

static const char pq_scheme_help[] =
    "expected w8a8, w8a8:dyn, w4a8:dyn, w4a8:static, w2a16 to w8a16, fp8, "
    "fp8:e5m2, mxfp4 "
    "or nf4, with :gN (group), :ch, :t, :sym, :asym, "
    ":scale=f32|f16|bf16|e8m0";

// What scales may be, as a suffix says it.
typedef struct pq_scale_word {
    const char *text;
    ptqc_dtype dtype;
} pq_scale_word;

static const pq_scale_word pq_scale_words[] = {
    {"scale=f32", PTQC_F32},
    {"scale=f16", PTQC_F16},
    {"scale=bf16", PTQC_BF16},
    {"scale=e8m0", PTQC_F8E8M0},
};
#define SCALE_WORDS (sizeof pq_scale_words / sizeof *pq_scale_words)

ptqc_dtype
pq_scheme_scale_format(const pq_scheme *scheme)
{
    if (scheme->scale_format != PTQC_DTYPE_NONE) {
        return scheme->scale_format;
    }
    return scheme->granularity == PQ_GRAN_GROUP ? PTQC_F16 : PTQC_F32;
}

const char *
pq_scheme_word_at(uint32_t i)
{
    static const char *const words[] = {
        "w8a8",  "w8a8:dyn", "w4a8:dyn", "w4a8:static", "w8a16",
        "w7a16", "w6a16",    "w5a16",    "w4a16",       "w3a16",
        "w2a16", "fp8",      "fp8:e5m2", "mxfp4",       "nf4"};
    return i < sizeof words / sizeof *words ? words[i] : NULL;
}

static const pq_scheme_word *
find_word(pq_str text)
{
    for (size_t i = 0; i < WORDS; i++) {
        if (pq_str_equal_z(text, pq_scheme_words[i].text)) {
            return &pq_scheme_words[i];
        }
    }
    return NULL;
}

// What the suffixes said; granularity NONE = nothing.
typedef struct pq_suffixes {
    pq_granularity granularity;
    uint64_t group;
    bool dynamic, is_static, asymmetric, has_symmetry;
    ptqc_dtype float_format; // of fp8; NONE: not said
    ptqc_dtype scale;        // NONE: not said
} pq_suffixes;

static bool
set_granularity(pq_suffixes *s, pq_granularity granularity)
{
    bool is_first = s->granularity == PQ_GRAN_NONE;
    s->granularity = granularity;
    return is_first;
}

static bool
read_float_format(pq_str part, pq_suffixes *s)
{
    bool is_e5m2 = pq_str_equal_z(part, "e5m2");
    bool is_format = is_e5m2 || pq_str_equal_z(part, "e4m3");
    bool is_first = s->float_format == PTQC_DTYPE_NONE;
    s->float_format = is_e5m2 ? PTQC_F8E5M2 : PTQC_F8E4M3;
    return is_format && is_first;
}

static bool
read_suffix(pq_str part, bool is_fp8, pq_suffixes *s)
{
    if (pq_str_equal_z(part, "ch")) {
        return set_granularity(s, PQ_GRAN_CHANNEL);
    }
    if (pq_str_equal_z(part, "t")) {
        return set_granularity(s, PQ_GRAN_TENSOR);
    }
    if (pq_str_equal_z(part, "sym") || pq_str_equal_z(part, "asym")) {
        bool is_first = !s->has_symmetry;
        s->has_symmetry = true;
        s->asymmetric = part.p[0] == 'a';
        return is_first;
    }
    if (pq_str_equal_z(part, "dyn")) {
        bool is_first = !s->dynamic;
        s->dynamic = true;
        return is_first;
    }
    if (pq_str_equal_z(part, "static")) {
        bool is_first = !s->is_static;
        s->is_static = true;
        return is_first;
    }
    if (part.n > 1 && part.p[0] == 'g') {
        pq_str number = {part.p + 1, part.n - 1};
        return pq_str_to_u64(number, &s->group) && s->group >= 1 &&
               s->group <= (1u << 20) && set_granularity(s, PQ_GRAN_GROUP);
    }
    for (size_t i = 0; i < SCALE_WORDS; i++) {
        if (pq_str_equal_z(part, pq_scale_words[i].text)) {
            bool is_first = s->scale == PTQC_DTYPE_NONE;
            s->scale = pq_scale_words[i].dtype;
            return is_first;
        }
    }
    return read_float_format(part, s) && is_fp8;
}

static void
fill_weights(const pq_scheme_word *word, const pq_suffixes *s, pq_scheme *out)
{
    *out = (pq_scheme){
        .format = s->asymmetric ? word->asymmetric : word->symmetric,
        .bits = word->bits,
        .granularity = PQ_GRAN_CHANNEL,
        .symmetric = !s->asymmetric,
        .scale_format = s->scale != PTQC_DTYPE_NONE ? s->scale : word->scale};
    if (s->float_format != PTQC_DTYPE_NONE) {
        out->format = s->float_format;
    }
    if (word->group > 0) {
        out->granularity = PQ_GRAN_GROUP;
        out->group = word->group;
    }
    if (s->granularity != PQ_GRAN_NONE) {
        out->granularity = s->granularity;
        out->group = s->granularity == PQ_GRAN_GROUP ? (uint32_t)s->group : 0;
    }
}

static void
fill_activations(const pq_scheme_word *word, const pq_suffixes *s,
                 pq_scheme *out)
{
    bool dynamic = word->dynamic || s->dynamic;
    *out = (pq_scheme){
        .format = word->activations,
        .granularity = dynamic ? PQ_GRAN_TOKEN : PQ_GRAN_TENSOR,
        .symmetric = dynamic,
        .dynamic = dynamic,
    };
    if (word->activations == PTQC_DTYPE_NONE) {
        *out = (pq_scheme){0};
    } else if (dynamic) {
        out->format = PTQC_I8;
    }
}

// What does not go together, or NULL.
static const char *
conflict(const pq_scheme_word *word, const pq_suffixes *s)
{
    bool has_codes = word->activations != PTQC_DTYPE_NONE;
    if (s->asymmetric && word->asymmetric == PTQC_DTYPE_NONE) {
        return "floating-point codes have no zero points (:asym)";
    }
    if (s->dynamic && !has_codes) {
        return "its activations stay float (:dyn)";
    }
    if (s->is_static && s->dynamic) {
        return "activations are :static or :dyn";
    }
    if (has_codes && !word->dynamic && !s->dynamic &&
        s->granularity == PQ_GRAN_GROUP) {
        return "static 8-bit activations need one weight scale per tensor "
               "(:t) or channel (:ch); groups go with :dyn";
    }
    return NULL;
}

static ptqc_status
read_suffixes(ptqc_ctx *ctx, pq_str text, pq_str rest, bool is_fp8,
              pq_suffixes *out)
{
    pq_str part;
    bool has_more = true;
    while (has_more) {
        has_more = pq_str_split(rest, ':', &part, &rest);
        if (!read_suffix(part, is_fp8, out)) {
            return PQ_FAIL(ctx, PTQC_E_USAGE, "scheme '%.*s': '%.*s': %s",
                           PQ_STR_ARG(text), PQ_STR_ARG(part), pq_scheme_help);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_scheme_parse(ptqc_ctx *ctx, pq_str text, pq_scheme_request *out)
{
    pq_str head, rest;
    pq_suffixes s = {0};
    bool has_suffix = pq_str_split(text, ':', &head, &rest);
    const pq_scheme_word *word = find_word(head);
    if (word == NULL) {
        return PQ_FAIL(ctx, PTQC_E_USAGE, "scheme '%.*s': %s", PQ_STR_ARG(text),
                       pq_scheme_help);
    }
    if (has_suffix) {
        PQ_TRY(read_suffixes(ctx, text, rest, pq_str_equal_z(head, "fp8"), &s));
    }
    if (word->symmetric == PTQC_DTYPE_NONE) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "scheme '%.*s': no backend executes it yet; %s",
                       PQ_STR_ARG(text), pq_scheme_help);
    }
    if (s.is_static && pq_str_equal_z(head, "w4a8")) {
        word = &pq_static_w4a8;
    } else if (s.is_static) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "scheme '%.*s': :static is of w4a8 (w8a8 is static "
                       "with samples)",
                       PQ_STR_ARG(text));
    }
    const char *why = conflict(word, &s);
    if (why != NULL) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED, "scheme '%.*s': %s",
                       PQ_STR_ARG(text), why);
    }
    fill_weights(word, &s, &out->weights);
    fill_activations(word, &s, &out->activations);
    return PTQC_OK;
}

static void
print_word(const pq_scheme_request *r, pq_strbuf *out)
{
    const pq_scheme *w = &r->weights;
    if (w->format == PTQC_F8E5M2) {
        pq_strbuf_add_z(out, "fp8:e5m2");
        return;
    }
    for (size_t i = 0; i < WORDS && pq_dtype_is_float(w->format); i++) {
        if (pq_scheme_words[i].symmetric == w->format) {
            pq_strbuf_add_z(out, pq_scheme_words[i].text);
            return;
        }
    }
    bool is_float = r->activations.format == PTQC_DTYPE_NONE;
    pq_strbuf_addf(out, "w%ua%s", pq_format_find(w->format, w->bits)->bits,
                   is_float ? "16" : "8");
    bool is_static = !is_float && !r->activations.dynamic && w->bits != 0;
    pq_strbuf_add_z(out, r->activations.dynamic ? ":dyn"
                         : is_static            ? ":static"
                                                : "");
}

void
pq_scheme_request_print(const pq_scheme_request *r, pq_strbuf *out)
{
    const pq_scheme *w = &r->weights;
    print_word(r, out);
    if (w->granularity == PQ_GRAN_GROUP) {
        pq_strbuf_addf(out, ":g%u", w->group);
    } else {
        pq_strbuf_add_z(out, w->granularity == PQ_GRAN_TENSOR ? ":t" : ":ch");
    }
    if (!pq_dtype_is_float(w->format)) {
        pq_strbuf_add_z(out, w->symmetric ? ":sym" : ":asym");
    }
    for (size_t i = 0; i < SCALE_WORDS; i++) {
        if (pq_scale_words[i].dtype == w->scale_format) {
            pq_strbuf_addf(out, ":%s", pq_scale_words[i].text);
        }
    }
}

pq_scheme
pq_scheme_symmetric(const pq_scheme *scheme)
{
    pq_scheme s = *scheme;
    s.symmetric = true;
    if (s.format == PTQC_U8) {
        s.format = PTQC_I8;
    }
    if (s.format == PTQC_U4 && s.bits != 0) { // the middle code is not the
        s.format = PTQC_I4;                   // container's
    }
    return s;
}
