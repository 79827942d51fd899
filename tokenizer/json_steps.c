// SPDX-License-Identifier: Apache-2.0
//
// The steps of tokenizer.json, each an object with a "type"; a "Sequence"
// holds several. One function per type that has fields.
#include "tokenizer/json_steps.h"

#include <string.h>

typedef ptqc_status read_step_fn(const pq_tok_reader *r, const pq_json *v,
                                 pq_tok_step *out);

typedef struct step_type {
    const char *name;
    uint32_t kind;
    read_step_fn *read; // NULL: the type has no fields
} step_type;

// What stands in one place of the file.
typedef struct place {
    const char *key;  // of the root
    const char *list; // of a Sequence
    const step_type *types;
    size_t type_count;
} place;

// ---- fields
// -------------------------------------------------------------------

static ptqc_status
malformed(const pq_tok_reader *r, const char *field)
{
    return PQ_FAIL(r->t->ctx, PTQC_E_INPUT, "%s: '%s' is missing or malformed",
                   r->what, field);
}

static uint32_t
flag_of(const pq_json *v, const char *key, bool usual, uint32_t flag)
{
    bool is_set = usual;
    (void)pq_json_bool(pq_json_get(v, key), &is_set);
    return is_set ? flag : 0;
}

static ptqc_status
text_of(const pq_tok_reader *r, const pq_json *v, const char *key, pq_str *out)
{
    pq_str text;
    if (!pq_json_str(pq_json_get(v, key), &text)) {
        return malformed(r, key);
    }
    return pq_tok_keep(r->t, text, out) ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
pattern_of(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    const pq_json *pattern = pq_json_get(v, "pattern");
    if (pq_json_get(pattern, "Regex") != NULL) {
        out->flags |= PQ_TOK_STEP_REGEX;
        return text_of(r, pattern, "Regex", &out->a);
    }
    return text_of(r, pattern, "String", &out->a);
}

// Index of the text of a field among names; `usual` when it is absent.
static ptqc_status
choice_of(const pq_tok_reader *r, const pq_json *v, const char *key,
          const char *const *names, uint32_t *out)
{
    pq_str text;
    const pq_json *field = pq_json_get(v, key);
    if (field == NULL) {
        return PTQC_OK;
    }
    for (uint32_t i = 0; pq_json_str(field, &text) && names[i] != NULL; i++) {
        if (pq_str_equal_z(text, names[i])) {
            *out = i;
            return PTQC_OK;
        }
    }
    return malformed(r, key);
}

static const char *const behaviors[] = {
#define NAME_OF(NAME, text) text,
    PQ_TOK_BEHAVIORS(NAME_OF)
#undef NAME_OF
        NULL};

static const char *const schemes[] = {
#define NAME_OF(NAME, text) text,
    PQ_TOK_SCHEMES(NAME_OF)
#undef NAME_OF
        NULL};

// ---- normalizers
// --------------------------------------------------------------

static ptqc_status
read_strip(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    (void)r;
    out->flags = flag_of(v, "strip_left", true, PQ_TOK_STEP_LEFT) |
                 flag_of(v, "strip_right", true, PQ_TOK_STEP_RIGHT);
    return PTQC_OK;
}

static ptqc_status
read_replace(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    PQ_TRY(pattern_of(r, v, out));
    return text_of(r, v, "content", &out->b);
}

static ptqc_status
read_prepend(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    return text_of(r, v, "prepend", &out->a);
}

static ptqc_status
read_bert(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    (void)r;
    uint32_t lower = flag_of(v, "lowercase", true, PQ_TOK_STEP_LOWER);
    out->flags = lower | flag_of(v, "clean_text", true, PQ_TOK_STEP_CLEAN) |
                 flag_of(v, "handle_chinese_chars", true, PQ_TOK_STEP_CHINESE) |
                 flag_of(v, "strip_accents", lower != 0, PQ_TOK_STEP_ACCENTS);
    return PTQC_OK;
}

static const step_type normalizers[] = {
    {"NFC", PQ_TOK_NORM_NFC, NULL},
    {"NFD", PQ_TOK_NORM_NFD, NULL},
    {"NFKC", PQ_TOK_NORM_NFKC, NULL},
    {"NFKD", PQ_TOK_NORM_NFKD, NULL},
    {"Lowercase", PQ_TOK_NORM_LOWERCASE, NULL},
    {"Strip", PQ_TOK_NORM_STRIP, read_strip},
    {"StripAccents", PQ_TOK_NORM_STRIP_ACCENTS, NULL},
    {"Replace", PQ_TOK_NORM_REPLACE, read_replace},
    {"Prepend", PQ_TOK_NORM_PREPEND, read_prepend},
    {"BertNormalizer", PQ_TOK_NORM_BERT, read_bert},
};

// ---- pre-tokenizers
// -----------------------------------------------------------

static ptqc_status
read_byte_level(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    (void)r;
    out->flags = flag_of(v, "add_prefix_space", true, PQ_TOK_STEP_PREFIX) |
                 flag_of(v, "use_regex", true, PQ_TOK_STEP_WORDS);
    return PTQC_OK;
}

static ptqc_status
read_split(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    PQ_TRY(pattern_of(r, v, out));
    out->flags |= flag_of(v, "invert", false, PQ_TOK_STEP_INVERT);
    if (pq_json_get(v, "behavior") == NULL) {
        return malformed(r, "behavior");
    }
    return choice_of(r, v, "behavior", behaviors, &out->number);
}

static ptqc_status
read_delimiter(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    out->number = PQ_TOK_BEHAVIOR_REMOVED;
    return text_of(r, v, "delimiter", &out->a);
}

static ptqc_status
read_digits(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    (void)r;
    out->flags = flag_of(v, "individual_digits", false, PQ_TOK_STEP_SINGLY);
    return PTQC_OK;
}

static ptqc_status
read_punctuation(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    out->number = PQ_TOK_BEHAVIOR_ISOLATED;
    return choice_of(r, v, "behavior", behaviors, &out->number);
}

static ptqc_status
read_metaspace(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    // Older files have add_prefix_space instead of prepend_scheme.
    out->flags = flag_of(v, "split", true, PQ_TOK_STEP_WORDS);
    out->number = flag_of(v, "add_prefix_space", true, PQ_TOK_SCHEME_ALWAYS);
    PQ_TRY(choice_of(r, v, "prepend_scheme", schemes, &out->number));
    return text_of(r, v, "replacement", &out->a);
}

static const step_type splitters[] = {
    {"ByteLevel", PQ_TOK_SPLIT_BYTE_LEVEL, read_byte_level},
    {"Split", PQ_TOK_SPLIT_PATTERN, read_split},
    {"CharDelimiterSplit", PQ_TOK_SPLIT_PATTERN, read_delimiter},
    {"Digits", PQ_TOK_SPLIT_DIGITS, read_digits},
    {"Whitespace", PQ_TOK_SPLIT_WHITESPACE, NULL},
    {"WhitespaceSplit", PQ_TOK_SPLIT_WHITESPACE_SPLIT, NULL},
    {"BertPreTokenizer", PQ_TOK_SPLIT_BERT, NULL},
    {"Punctuation", PQ_TOK_SPLIT_PUNCTUATION, read_punctuation},
    {"Metaspace", PQ_TOK_SPLIT_METASPACE, read_metaspace},
};

// ---- decoders
// -----------------------------------------------------------------

static ptqc_status
read_wordpiece(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    out->flags = flag_of(v, "cleanup", true, PQ_TOK_STEP_CLEAN);
    return text_of(r, v, "prefix", &out->a);
}

static ptqc_status
read_replace_back(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    PQ_TRY(read_replace(r, v, out));
    if ((out->flags & PQ_TOK_STEP_REGEX) != 0) {
        return PQ_FAIL(r->t->ctx, PTQC_E_UNSUPPORTED,
                       "%s: a decoder with a regular expression is not "
                       "supported",
                       r->what);
    }
    return PTQC_OK;
}

static ptqc_status
read_strip_back(const pq_tok_reader *r, const pq_json *v, pq_tok_step *out)
{
    int64_t start = 0, stop = 0;
    if (!pq_json_i64(pq_json_get(v, "start"), &start) || start < 0 ||
        start > PQ_TOK_CONTENT_MAX) {
        return malformed(r, "start");
    }
    (void)pq_json_i64(pq_json_get(v, "stop"), &stop);
    if (stop != 0) {
        return PQ_FAIL(r->t->ctx, PTQC_E_UNSUPPORTED,
                       "%s: a decoder that strips the end is not supported",
                       r->what);
    }
    out->number = (uint32_t)start;
    return text_of(r, v, "content", &out->a);
}

static const step_type decoders[] = {
    {"ByteLevel", PQ_TOK_DEC_BYTE_LEVEL, NULL},
    {"WordPiece", PQ_TOK_DEC_WORDPIECE, read_wordpiece},
    {"Metaspace", PQ_TOK_DEC_METASPACE, read_metaspace},
    {"Replace", PQ_TOK_DEC_REPLACE, read_replace_back},
    {"ByteFallback", PQ_TOK_DEC_BYTE_FALLBACK, NULL},
    {"Fuse", PQ_TOK_DEC_FUSE, NULL},
    {"Strip", PQ_TOK_DEC_STRIP, read_strip_back},
};

// ---- lists of steps
// -----------------------------------------------------------

static ptqc_status
read_step(const pq_tok_reader *r, const place *p, const pq_json *v,
          pq_tok_step *out)
{
    pq_str name;
    if (!pq_json_str(pq_json_get(v, "type"), &name)) {
        return malformed(r, p->key);
    }
    for (size_t i = 0; i < p->type_count; i++) {
        const step_type *type = &p->types[i];
        if (pq_str_equal_z(name, type->name)) {
            out->kind = type->kind;
            return type->read != NULL ? type->read(r, v, out) : PTQC_OK;
        }
    }
    return PQ_FAIL(r->t->ctx, PTQC_E_UNSUPPORTED,
                   "%s: the %s '%.*s' is not supported", r->what, p->key,
                   PQ_STR_ARG(name));
}

// v itself, or what it holds when it is a Sequence.
static size_t
member_count(const pq_json *v, const char *list, const pq_json **out_list)
{
    pq_str name;
    bool is_sequence = pq_json_str(pq_json_get(v, "type"), &name) &&
                       pq_str_equal_z(name, "Sequence");
    *out_list = is_sequence ? pq_json_get(v, list) : NULL;
    return is_sequence ? pq_json_array_count(*out_list) : 1;
}

static ptqc_status
read_place(const pq_tok_reader *r, const pq_json *root, const place *p,
           pq_tok_steps *out)
{
    const pq_json *v = pq_json_get(root, p->key), *list;
    if (v == NULL || pq_json_is_null(v)) {
        return PTQC_OK;
    }
    size_t count = member_count(v, p->list, &list);
    if (count > PQ_TOK_STEP_MAX) {
        return malformed(r, p->list);
    }
    out->at = pq_arena_array(&r->t->arena, count, sizeof *out->at);
    PQ_TRY_ALLOC(out->at);
    for (size_t i = 0; i < count; i++) {
        const pq_json *step = list != NULL ? pq_json_at(list, i) : v;
        PQ_TRY(read_step(r, p, step, &out->at[i]));
        out->count = (uint32_t)i + 1;
    }
    return PTQC_OK;
}

// ---- post-processors
// ----------------------------------------------------------

// Ids that go around the text.
typedef struct around {
    pq_token before[PQ_TOK_AROUND_MAX], after[PQ_TOK_AROUND_MAX];
    uint32_t before_count, after_count;
} around;

static ptqc_status
add_around(const pq_tok_reader *r, around *a, bool is_after, const pq_json *id)
{
    int64_t x;
    uint32_t *count = is_after ? &a->after_count : &a->before_count;
    if (!pq_json_i64(id, &x) || x < 0 || x >= PQ_TOK_COUNT_MAX) {
        return malformed(r, "an id of the post_processor");
    }
    if (*count == PQ_TOK_AROUND_MAX) {
        return PQ_FAIL(r->t->ctx, PTQC_E_INPUT,
                       "%s: more than %d tokens around a text", r->what,
                       PQ_TOK_AROUND_MAX);
    }
    (is_after ? a->after : a->before)[(*count)++] = (pq_token)x;
    return PTQC_OK;
}

static ptqc_status
add_special(const pq_tok_reader *r, const pq_json *v, const pq_json *special,
            bool is_after, around *a)
{
    pq_str name;
    if (!pq_json_str(pq_json_get(special, "id"), &name)) {
        return malformed(r, "a part of the template");
    }
    // name.p ends with a NUL: it is text of the document.
    const pq_json *ids = pq_json_get(
        pq_json_get(pq_json_get(v, "special_tokens"), name.p), "ids");
    if (!pq_json_is_array(ids)) {
        return malformed(r, "a special token of the template");
    }
    for (size_t i = 0; i < pq_json_array_count(ids); i++) {
        PQ_TRY(add_around(r, a, is_after, pq_json_at(ids, i)));
    }
    return PTQC_OK;
}

static ptqc_status
read_template(const pq_tok_reader *r, const pq_json *v, around *a)
{
    const pq_json *single = pq_json_get(v, "single");
    bool is_after = false;
    for (size_t i = 0; i < pq_json_array_count(single); i++) {
        const pq_json *part = pq_json_at(single, i);
        const pq_json *special = pq_json_get(part, "SpecialToken");
        if (special != NULL) {
            PQ_TRY(add_special(r, v, special, is_after, a));
        } else if (pq_json_get(part, "Sequence") != NULL && !is_after) {
            is_after = true;
        } else {
            return malformed(r, "the template of the post_processor");
        }
    }
    return is_after ? PTQC_OK : malformed(r, "single");
}

// {"cls": [text, id], "sep": [text, id]}
static ptqc_status
read_cls_sep(const pq_tok_reader *r, const pq_json *v, around *a)
{
    PQ_TRY(add_around(r, a, false, pq_json_at(pq_json_get(v, "cls"), 1)));
    return add_around(r, a, true, pq_json_at(pq_json_get(v, "sep"), 1));
}

static ptqc_status
read_nothing(const pq_tok_reader *r, const pq_json *v, around *a)
{
    (void)r;
    (void)v;
    (void)a;
    return PTQC_OK;
}

static ptqc_status
read_processor(const pq_tok_reader *r, const pq_json *v, around *a)
{
    static const struct {
        const char *name;
        ptqc_status (*read)(const pq_tok_reader *r, const pq_json *v,
                            around *a);
    } types[] = {{"TemplateProcessing", read_template},
                 {"BertProcessing", read_cls_sep},
                 {"RobertaProcessing", read_cls_sep},
                 {"ByteLevel", read_nothing}}; // offsets only
    pq_str name;
    if (!pq_json_str(pq_json_get(v, "type"), &name)) {
        return malformed(r, "post_processor");
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (pq_str_equal_z(name, types[i].name)) {
            return types[i].read(r, v, a);
        }
    }
    return PQ_FAIL(r->t->ctx, PTQC_E_UNSUPPORTED,
                   "%s: the post_processor '%.*s' is not supported", r->what,
                   PQ_STR_ARG(name));
}

static bool
is_byte_level(const pq_json *v)
{
    pq_str name;
    return pq_json_str(pq_json_get(v, "type"), &name) &&
           pq_str_equal_z(name, "ByteLevel");
}

static ptqc_status
read_processors(pq_tok_reader *r, const pq_json *root)
{
    pq_tokenizer *t = r->t;
    const pq_json *v = pq_json_get(root, "post_processor"), *list;
    around a = {.before_count = 0};
    if (v == NULL || pq_json_is_null(v)) {
        return PTQC_OK;
    }
    size_t count = member_count(v, "processors", &list);
    for (size_t i = 0; i < count; i++) {
        const pq_json *step = list != NULL ? pq_json_at(list, i) : v;
        if (a.before_count + a.after_count != 0 && !is_byte_level(step)) {
            // The reference takes the tokens of the first for a second text.
            return PQ_FAIL(t->ctx, PTQC_E_UNSUPPORTED,
                           "%s: several templates are not supported", r->what);
        }
        PQ_TRY(read_processor(r, step, &a));
    }
    t->before =
        pq_arena_memdup(&t->arena, a.before, a.before_count * sizeof *a.before);
    PQ_TRY_ALLOC(t->before);
    t->after =
        pq_arena_memdup(&t->arena, a.after, a.after_count * sizeof *a.after);
    PQ_TRY_ALLOC(t->after);
    t->before_count = a.before_count;
    t->after_count = a.after_count;
    return PTQC_OK;
}

ptqc_status
pq_tok_read_steps(pq_tok_reader *r, const pq_json *root)
{
    static const place places[] = {
        {"normalizer", "normalizers", normalizers,
         sizeof normalizers / sizeof *normalizers},
        {"pre_tokenizer", "pretokenizers", splitters,
         sizeof splitters / sizeof *splitters},
        {"decoder", "decoders", decoders, sizeof decoders / sizeof *decoders},
    };
    pq_tok_steps *const lists[] = {&r->t->normalizers, &r->t->splitters,
                                   &r->t->decoders};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        PQ_TRY(read_place(r, root, &places[i], lists[i]));
    }
    return read_processors(r, root);
}
