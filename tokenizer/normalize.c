// SPDX-License-Identifier: Apache-2.0
//
// Normalizers: one function per kind, run one after the other.
#include <string.h>

#include "tokenizer/steps.h"
#include "tokenizer/unicode.h"

enum {
    // Compatibility decomposition makes at most 11 bytes of one.
    GROWTH_MAX = 16,
    GROWTH_BASE = 1 << 16,
};

typedef ptqc_status normalize_fn(ptqc_ctx *ctx, const pq_tok_step *step,
                                 pq_str in, pq_strbuf *out);

static ptqc_status
to_form(ptqc_ctx *ctx, const pq_tok_step *step, pq_str in, pq_strbuf *out)
{
    static const pq_text_form forms[] = {
        [PQ_TOK_NORM_NFC] = PQ_TEXT_NFC,
        [PQ_TOK_NORM_NFD] = PQ_TEXT_NFD,
        [PQ_TOK_NORM_NFKC] = PQ_TEXT_NFKC,
        [PQ_TOK_NORM_NFKD] = PQ_TEXT_NFKD,
    };
    return pq_text_normalize(ctx, in, forms[step->kind], out);
}

static ptqc_status
lowercase(ptqc_ctx *ctx, const pq_tok_step *step, pq_str in, pq_strbuf *out)
{
    (void)ctx;
    (void)step;
    pq_text_lower(in, out);
    return PTQC_OK;
}

// Bytes of the white space that s begins with.
static size_t
leading_space(pq_str s)
{
    size_t at = 0, n;
    while (at < s.n &&
           pq_char_is_space(pq_char_get((pq_str){s.p + at, s.n - at}, &n))) {
        at += n;
    }
    return at;
}

// Bytes of s without the white space at its end.
static size_t
without_trailing_space(pq_str s)
{
    while (s.n != 0) {
        size_t at = s.n - 1, n;
        while (at > 0 && ((uint8_t)s.p[at] & 0xc0) == 0x80) {
            at--;
        }
        pq_str last = {s.p + at, s.n - at};
        if (!pq_char_is_space(pq_char_get(last, &n))) {
            break;
        }
        s.n = at;
    }
    return s.n;
}

static ptqc_status
strip(ptqc_ctx *ctx, const pq_tok_step *step, pq_str in, pq_strbuf *out)
{
    (void)ctx;
    if ((step->flags & PQ_TOK_STEP_LEFT) != 0) {
        size_t n = leading_space(in);
        in = (pq_str){in.p + n, in.n - n};
    }
    if ((step->flags & PQ_TOK_STEP_RIGHT) != 0) {
        in.n = without_trailing_space(in);
    }
    pq_strbuf_add(out, in);
    return PTQC_OK;
}

// Keeps the characters of which `drops` is false.
static void
filter(pq_str in, bool (*drops)(uint32_t c), pq_strbuf *out)
{
    for (size_t at = 0; at < in.n;) {
        size_t n;
        uint32_t c = pq_char_get((pq_str){in.p + at, in.n - at}, &n);
        if (!drops(c)) {
            pq_strbuf_add(out, (pq_str){in.p + at, n});
        }
        at += n;
    }
}

static ptqc_status
strip_accents(ptqc_ctx *ctx, const pq_tok_step *step, pq_str in, pq_strbuf *out)
{
    (void)ctx;
    (void)step;
    filter(in, pq_char_is_any_mark, out);
    return PTQC_OK;
}

static ptqc_status
replace_matches(ptqc_ctx *ctx, const pq_tok_step *step, pq_str in,
                pq_strbuf *out)
{
    pq_tok_matcher m;
    bool found;
    size_t at = 0, start, end;
    ptqc_status st;
    PQ_TRY_OR(done, pq_tok_matcher_init(&m, ctx, step->regex, in));
    for (;;) {
        PQ_TRY_OR(done, pq_tok_matcher_next(&m, &found, &start, &end));
        if (!found) {
            break;
        }
        pq_strbuf_add(out, (pq_str){in.p + at, start - at});
        pq_strbuf_add(out, step->b);
        at = end;
    }
    pq_strbuf_add(out, (pq_str){in.p + at, in.n - at});
done:
    pq_tok_matcher_deinit(&m);
    return st;
}

static ptqc_status
replace(ptqc_ctx *ctx, const pq_tok_step *step, pq_str in, pq_strbuf *out)
{
    if (step->regex != NULL) {
        return replace_matches(ctx, step, in, out);
    }
    while (in.n != 0) {
        const char *hit = memmem(in.p, in.n, step->a.p, step->a.n);
        size_t n = hit != NULL ? (size_t)(hit - in.p) : in.n;
        pq_strbuf_add(out, (pq_str){in.p, n});
        if (hit == NULL) {
            break;
        }
        pq_strbuf_add(out, step->b);
        n += step->a.n;
        in = (pq_str){in.p + n, in.n - n};
    }
    return PTQC_OK;
}

static ptqc_status
prepend(ptqc_ctx *ctx, const pq_tok_step *step, pq_str in, pq_strbuf *out)
{
    (void)ctx;
    if (in.n != 0) {
        pq_strbuf_add(out, step->a);
        pq_strbuf_add(out, in);
    }
    return PTQC_OK;
}

// clean_text and handle_chinese_chars
static void
bert_clean(unsigned flags, pq_str in, pq_strbuf *out)
{
    for (size_t at = 0; at < in.n;) {
        size_t n;
        uint32_t c = pq_char_get((pq_str){in.p + at, in.n - at}, &n);
        pq_str text = {in.p + at, n};
        at += n;
        if ((flags & PQ_TOK_STEP_CLEAN) != 0) {
            bool is_kept_control = c == '\t' || c == '\n' || c == '\r';
            if (c == 0 || c == PQ_CHAR_REPLACEMENT ||
                (!is_kept_control && pq_char_is_control(c))) {
                continue;
            }
            text = pq_char_is_space(c) ? PQ_STR(" ") : text;
        }
        bool is_chinese =
            (flags & PQ_TOK_STEP_CHINESE) != 0 && pq_char_is_chinese(c);
        pq_strbuf_add(out, is_chinese ? PQ_STR(" ") : PQ_STR(""));
        pq_strbuf_add(out, text);
        pq_strbuf_add(out, is_chinese ? PQ_STR(" ") : PQ_STR(""));
    }
}

static pq_str
view(const pq_strbuf *b)
{
    return (pq_str){b->p, b->n};
}

static ptqc_status
bert(ptqc_ctx *ctx, const pq_tok_step *step, pq_str in, pq_strbuf *out)
{
    pq_strbuf clean, bare;
    ptqc_status st = PTQC_OK;
    pq_strbuf_init(&clean, ctx);
    pq_strbuf_init(&bare, ctx);
    bert_clean(step->flags, in, &clean);
    if ((step->flags & PQ_TOK_STEP_ACCENTS) != 0) {
        PQ_TRY_OR(done,
                  pq_text_normalize(ctx, view(&clean), PQ_TEXT_NFD, &bare));
        clean.n = 0;
        filter(view(&bare), pq_char_is_mark, &clean);
    }
    if ((step->flags & PQ_TOK_STEP_LOWER) != 0) {
        pq_text_lower(view(&clean), out);
    } else {
        pq_strbuf_add(out, view(&clean));
    }
    st = clean.failed || bare.failed ? PTQC_E_RESOURCE : PTQC_OK;
done:
    pq_strbuf_deinit(&clean);
    pq_strbuf_deinit(&bare);
    return st;
}

static normalize_fn *const functions[PQ_TOK_NORM_COUNT] = {
    [PQ_TOK_NORM_NFC] = to_form,
    [PQ_TOK_NORM_NFD] = to_form,
    [PQ_TOK_NORM_NFKC] = to_form,
    [PQ_TOK_NORM_NFKD] = to_form,
    [PQ_TOK_NORM_LOWERCASE] = lowercase,
    [PQ_TOK_NORM_STRIP] = strip,
    [PQ_TOK_NORM_STRIP_ACCENTS] = strip_accents,
    [PQ_TOK_NORM_REPLACE] = replace,
    [PQ_TOK_NORM_PREPEND] = prepend,
    [PQ_TOK_NORM_BERT] = bert,
};

ptqc_status
pq_tok_normalize(ptqc_ctx *ctx, const pq_tokenizer *t, pq_str text,
                 pq_strbuf *out)
{
    pq_strbuf buffers[2];
    ptqc_status st = PTQC_OK;
    uint64_t limit = (uint64_t)text.n * GROWTH_MAX + GROWTH_BASE;
    pq_strbuf_init(&buffers[0], ctx);
    pq_strbuf_init(&buffers[1], ctx);
    for (uint32_t i = 0; i < t->normalizers.count; i++) {
        const pq_tok_step *step = &t->normalizers.at[i];
        pq_strbuf *to = &buffers[i % 2];
        to->n = 0;
        PQ_TRY_OR(done, functions[step->kind](ctx, step, text, to));
        st = to->failed ? PTQC_E_RESOURCE : PTQC_OK;
        PQ_TRY_OR(done, st);
        text = view(to);
        if (text.n > limit) {
            st = PQ_FAIL(ctx, PTQC_E_INPUT,
                         "the text grows to %zu bytes by normalizing", text.n);
            goto done;
        }
    }
    pq_strbuf_add(out, text);
    st = out->failed ? PTQC_E_RESOURCE : PTQC_OK;
done:
    pq_strbuf_deinit(&buffers[0]);
    pq_strbuf_deinit(&buffers[1]);
    return st;
}
