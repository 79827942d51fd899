// SPDX-License-Identifier: Apache-2.0
//
// Reading the command line after the tables options.def and verbs.def, and
// the help made from the same tables.

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

typedef enum option_kind {
    KIND_FLAG,
    KIND_TEXT,
    KIND_LIST,
    KIND_COUNT,
    KIND_THREADS,
    KIND_NUMBER,
    KIND_NUMBERS,
    KIND_INTEGER,
    KIND_SIZE,
    KIND_TOKENS,
} option_kind;

enum {
#define VERB(ID, name, min, max, operands, summary, example)                   \
    BIT_##ID = 1u << CLI_VERB_##ID,
#include "cli/verbs.def"
#undef VERB
};
#define COMPILE    BIT_COMPILE
#define RUN        BIT_RUN
#define EVAL       BIT_EVAL
#define BENCH      BIT_BENCH
#define CHECK      BIT_CHECK
#define TOKENIZE   BIT_TOKENIZE
#define DETOKENIZE BIT_DETOKENIZE
#define RECIPE     BIT_RECIPE
#define EXPLAIN    BIT_EXPLAIN
#define PLAN       BIT_PLAN
#define DIFF       BIT_DIFF
#define STATS      BIT_STATS
// Those that take what a compile would do to a model.
#define QUANT (BIT_COMPILE | BIT_RECIPE | BIT_EXPLAIN | BIT_PLAN | BIT_DIFF)
#define ALL   UINT32_MAX

typedef struct option_row {
    const char *name;
    char letter;
    option_kind kind;
    const char *arg;
    uint32_t verbs;
    const char *help;
} option_row;

static const option_row options[CLI_OPTION_COUNT] = {
#define OPTION(ID, name, letter, kind, arg, verbs, help)                       \
    {name, letter, KIND_##kind, arg, verbs, help},
#include "cli/options.def"
#undef OPTION
};

typedef struct verb_row {
    const char *name;
    uint32_t min, max;
    const char *operands, *summary, *example;
} verb_row;

static const verb_row verbs[CLI_VERB_COUNT] = {
#define VERB(ID, name, min, max, operands, summary, example)                   \
    {#name, min, max, operands, summary, example},
#include "cli/verbs.def"
#undef VERB
};

// ---- suggestions ----------------------------------------------------------

#define WORD_LIMIT 32

// Edits (insert, delete, replace, swap of neighbours) between two words.
static unsigned
distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_LIMIT + 1];
    size_t m = strlen(a), n = strlen(b);
    if (m > WORD_LIMIT || n > WORD_LIMIT) {
        return 99;
    }
    for (size_t j = 0; j <= n; j++) {
        rows[1][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= m; i++) {
        unsigned *row = rows[(i + 1) % 3], *up = rows[i % 3],
                 *up2 = rows[(i + 2) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= n; j++) {
            unsigned best = up[j - 1] + (a[i - 1] != b[j - 1]);
            best = up[j] + 1 < best ? up[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
                a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best) {
                best = up2[j - 2] + 1;
            }
            row[j] = best;
        }
    }
    return rows[(m + 1) % 3][n];
}

const char *
cli_suggest_verb(const char *text)
{
    unsigned best = 3;
    const char *found = NULL;
    for (int i = 0; i < CLI_VERB_COUNT; i++) {
        unsigned d = distance(text, verbs[i].name);
        if (d < best) {
            best = d;
            found = verbs[i].name;
        }
    }
    return found;
}

static const char *
suggest_option(const char *text, cli_verb verb)
{
    unsigned best = 3;
    const char *found = NULL;
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        unsigned d = distance(text, options[i].name);
        if ((options[i].verbs & (1u << verb)) != 0 && d < best) {
            best = d;
            found = options[i].name;
        }
    }
    return found;
}

// ---- values ---------------------------------------------------------------

static bool
read_integer(const char *text, int64_t min, int64_t *out)
{
    char *end;
    errno = 0;
    long long x = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || x < min) {
        return false;
    }
    *out = x;
    return true;
}

static bool
read_number(const char *text, char **out_end, double *out)
{
    errno = 0;
    *out = strtod(text, out_end);
    return *out_end != text && isfinite(*out);
}

static bool
read_size(const char *text, int64_t *out)
{
    static const char units[] = "kMGT";
    char *end;
    double x;
    if (!read_number(text, &end, &x) || x < 0) {
        return false;
    }
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    if (*end != '\0' &&
        (unit == NULL || (end[1] != '\0' && strcmp(end + 1, "iB") != 0))) {
        return false;
    }
    for (long i = 0; unit != NULL && i <= unit - units; i++) {
        x *= 1024;
    }
    *out = (int64_t)x;
    return x < 9e18;
}

// a,b,c; tokens are whole and not negative.
static bool
read_numbers(const char *text, bool is_tokens, cli_value *out)
{
    size_t room = 1;
    for (const char *p = text; *p != '\0'; p++) {
        room += *p == ',';
    }
    double *numbers = calloc(room, sizeof *numbers);
    uint32_t n = 0;
    bool good = numbers != NULL;
    for (const char *p = text; good; p++) {
        char *end;
        double x;
        good = read_number(p, &end, &x) && (*end == ',' || *end == '\0') &&
               (!is_tokens || (x >= 0 && x < 4e9 && x == floor(x)));
        if (good) {
            numbers[n++] = x;
            p = end;
        }
        if (good && *p == '\0') {
            break;
        }
    }
    if (!good) {
        free(numbers);
        return false;
    }
    free(out->numbers);
    out->numbers = numbers;
    out->number_count = n;
    return true;
}

static bool
append_list(cli_value *value, const char *text)
{
    if (value->count >= CLI_LIST_LIMIT) {
        return false;
    }
    const char **list = realloc(value->list, (value->count + 1) * sizeof *list);
    if (list == NULL) {
        return false;
    }
    value->list = list;
    list[value->count] = text;
    return true;
}

// What each kind expects, for messages.
static const char *const kind_words[] = {
    [KIND_FLAG] = "no value",
    [KIND_TEXT] = "text",
    [KIND_LIST] = "text",
    [KIND_COUNT] = "a whole number >= 0",
    [KIND_THREADS] = "a whole number >= 1",
    [KIND_NUMBER] = "a number",
    [KIND_NUMBERS] = "numbers separated by commas",
    [KIND_INTEGER] = "a whole number",
    [KIND_SIZE] = "a size in bytes, or with k, M, G, T",
    [KIND_TOKENS] = "token ids separated by commas",
};

static bool
read_value(const option_row *row, const char *text, cli_value *v)
{
    char *end;
    switch (row->kind) {
    case KIND_FLAG:
    case KIND_TEXT:
        return true;
    case KIND_LIST:
        return append_list(v, text);
    case KIND_COUNT:
        return read_integer(text, 0, &v->integer);
    case KIND_THREADS:
        return read_integer(text, 1, &v->integer) && v->integer <= 1024;
    case KIND_INTEGER:
        return read_integer(text, INT32_MIN, &v->integer);
    case KIND_NUMBER:
        return read_number(text, &end, &v->number) && *end == '\0';
    case KIND_SIZE:
        return read_size(text, &v->integer);
    case KIND_NUMBERS:
    case KIND_TOKENS:
        return read_numbers(text, row->kind == KIND_TOKENS, v);
    }
    return false;
}

// ---- parsing --------------------------------------------------------------

// Where parsing is.
typedef struct parser {
    cli *c;
    int argc, at;
    char **argv;
} parser;

static ptqc_status
set_option(parser *p, const option_row *row, const char *text)
{
    cli_value *v = &p->c->args.values[row - options];
    if (!read_value(row, text, v)) {
        char escaped[200];
        return cli_fail(p->c, PTQC_E_USAGE, "--%s: expected %s, found '%s'",
                        row->name, kind_words[row->kind],
                        cli_escape(text, escaped, sizeof escaped));
    }
    v->text = text;
    v->count++;
    return PTQC_OK;
}

// The option's value: given with '=', or the next argument.
static ptqc_status
take_option(parser *p, const option_row *row, const char *inline_value)
{
    if (row->kind == KIND_FLAG) {
        return inline_value == NULL
                   ? set_option(p, row, "")
                   : cli_fail(p->c, PTQC_E_USAGE, "--%s takes no value",
                              row->name);
    }
    if (inline_value != NULL) {
        return set_option(p, row, inline_value);
    }
    if (p->at + 1 >= p->argc) {
        return cli_fail(p->c, PTQC_E_USAGE, "--%s: expected %s, found nothing",
                        row->name, kind_words[row->kind]);
    }
    return set_option(p, row, p->argv[++p->at]);
}

static ptqc_status
unknown_option(parser *p, const char *name)
{
    const char *near = suggest_option(name, p->c->args.verb);
    char escaped[100];
    cli_escape(name, escaped, sizeof escaped);
    if (near != NULL) {
        return cli_fail(p->c, PTQC_E_USAGE,
                        "unknown option --%s; did you mean --%s?", escaped,
                        near);
    }
    return cli_fail(p->c, PTQC_E_USAGE,
                    "unknown option --%s; `ptqc %s --help` lists them", escaped,
                    verbs[p->c->args.verb].name);
}

static ptqc_status
long_option(parser *p, const char *arg)
{
    char name[WORD_LIMIT + 1];
    size_t n = strcspn(arg, "=");
    if (n > WORD_LIMIT) {
        return unknown_option(p, arg);
    }
    memcpy(name, arg, n);
    name[n] = '\0';
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        if (strcmp(options[i].name, name) == 0 &&
            (options[i].verbs & (1u << p->c->args.verb)) != 0) {
            return take_option(p, &options[i],
                               arg[n] == '=' ? arg + n + 1 : NULL);
        }
    }
    return unknown_option(p, name);
}

static ptqc_status
short_option(parser *p, const char *arg)
{
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        if (options[i].letter == arg[0] &&
            (options[i].verbs & (1u << p->c->args.verb)) != 0) {
            return take_option(p, &options[i], arg[1] != '\0' ? arg + 1 : NULL);
        }
    }
    return unknown_option(p, arg);
}

static ptqc_status
operand(parser *p, const char *arg)
{
    cli_args *args = &p->c->args;
    const verb_row *verb = &verbs[args->verb];
    if (args->operand_count >= verb->max) {
        char escaped[200];
        return cli_fail(p->c, PTQC_E_USAGE, "%s: '%s' is one too many",
                        verb->name, cli_escape(arg, escaped, sizeof escaped));
    }
    args->operands[args->operand_count++] = arg;
    return PTQC_OK;
}

static ptqc_status
parse_rest(parser *p)
{
    bool is_open = true; // "--" closes the options
    for (; p->at < p->argc; p->at++) {
        const char *arg = p->argv[p->at];
        ptqc_status st;
        if (is_open && strcmp(arg, "--") == 0) {
            is_open = false;
            continue;
        }
        if (is_open && strncmp(arg, "--", 2) == 0) {
            st = long_option(p, arg + 2);
        } else if (is_open && arg[0] == '-' && arg[1] != '\0') {
            st = short_option(p, arg + 1);
        } else {
            st = operand(p, arg);
        }
        if (st != PTQC_OK) {
            return st;
        }
    }
    return PTQC_OK;
}

bool
cli_find_verb(const char *text, cli_verb *out)
{
    for (int i = 0; i < CLI_VERB_COUNT; i++) {
        if (strcmp(text, verbs[i].name) == 0) {
            *out = (cli_verb)i;
            return true;
        }
    }
    return false;
}

static ptqc_status
find_verb(cli *c, const char *text)
{
    if (text[0] == '-') { // "ptqc --help"
        c->args.verb = CLI_VERB_HELP;
        return PTQC_OK;
    }
    if (cli_find_verb(text, &c->args.verb)) {
        return PTQC_OK;
    }
    const char *near = cli_suggest_verb(text);
    char escaped[100];
    cli_escape(text, escaped, sizeof escaped);
    return near != NULL
               ? cli_fail(c, PTQC_E_USAGE, "no verb '%s'; did you mean %s?",
                          escaped, near)
               : cli_fail(c, PTQC_E_USAGE,
                          "no verb '%s'; `ptqc help` lists them", escaped);
}

ptqc_status
cli_parse(cli *c, int argc, char **argv)
{
    if (argc < 2) {
        return cli_fail(c, PTQC_E_USAGE,
                        "expected a verb; `ptqc help` lists them");
    }
    ptqc_status st = find_verb(c, argv[1]);
    if (st != PTQC_OK) {
        return st;
    }
    parser p = {
        .c = c, .argc = argc, .argv = argv, .at = argv[1][0] == '-' ? 1 : 2};
    st = parse_rest(&p);
    if (st != PTQC_OK || cli_given(c, CLI_HELP) || cli_given(c, CLI_VERSION)) {
        return st;
    }
    const verb_row *verb = &verbs[c->args.verb];
    if (c->args.operand_count < verb->min) {
        return cli_fail(c, PTQC_E_USAGE, "expected: ptqc %s %s", verb->name,
                        verb->operands);
    }
    return PTQC_OK;
}

void
cli_args_deinit(cli_args *args)
{
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        free(args->values[i].list);
        free(args->values[i].numbers);
    }
}

// ---- help -----------------------------------------------------------------

static void
print_option(FILE *to, const option_row *row)
{
    char left[64];
    snprintf(left, sizeof left, "%c%c%s--%s%s%s", row->letter != 0 ? '-' : ' ',
             row->letter != 0 ? row->letter : ' ',
             row->letter != 0 ? ", " : "  ", row->name,
             row->arg != NULL ? " " : "", row->arg != NULL ? row->arg : "");
    fprintf(to, "  %-30s %s\n", left, row->help);
}

static void
print_verb_help(FILE *to, cli_verb verb)
{
    const verb_row *row = &verbs[verb];
    fprintf(to, "ptqc %s: %s\n\nusage: ptqc %s %s [options]\n", row->name,
            row->summary, row->name, row->operands);
    fprintf(to, "example: %s\n\noptions:\n", row->example);
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        if (options[i].verbs != ALL && (options[i].verbs & (1u << verb)) != 0) {
            print_option(to, &options[i]);
        }
    }
    fprintf(to, "\noptions of every verb:\n");
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        if (options[i].verbs == ALL) {
            print_option(to, &options[i]);
        }
    }
}

void
cli_print_help(FILE *to, bool has_verb, cli_verb verb)
{
    if (has_verb) {
        print_verb_help(to, verb);
        return;
    }
    fprintf(to, "ptqc: compile, quantize and run neural networks\n\n"
                "usage: ptqc VERB ... ; ptqc VERB --help\n\nverbs:\n");
    for (int i = 0; i < CLI_VERB_COUNT; i++) {
        fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
    }
    fprintf(to, "\nexamples:\n");
    for (int i = 0; i < 3; i++) {
        fprintf(to, "  %s\n", verbs[i].example);
    }
    fprintf(to, "\nexit codes: 0 ok, 1 the answer is no, 2 usage, 3 input "
                "refused, 4 unsupported,\n5 numerical, 6 resources, 7 backend, "
                "8 input/output, 9 damaged artifact,\n70 internal bug, 75 "
                "stopped with a checkpoint, 130 interrupted\n");
}
