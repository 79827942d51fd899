// SPDX-License-Identifier: Apache-2.0
//
// What the verbs share: parsed options, output that notices a full disk,
// diagnostics, the context made from the global options.
#ifndef PTQC_CLI_CLI_H
#define PTQC_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ptqc/ptqc.h"

typedef enum cli_verb {
#define VERB(ID, name, min, max, operands, summary, example) CLI_VERB_##ID,
#include "cli/verbs.def"
#undef VERB
    CLI_VERB_COUNT
} cli_verb;

typedef enum cli_option {
#define OPTION(ID, name, letter, kind, arg, verbs, help) CLI_##ID,
#include "cli/options.def"
#undef OPTION
    CLI_OPTION_COUNT
} cli_option;

#define CLI_LIST_LIMIT    4096
#define CLI_OPERAND_LIMIT 64

typedef struct cli_value {
    uint32_t count;    // times given; 0 = not
    const char *text;  // the last one given
    const char **list; // LIST: all, owned
    double *numbers;   // NUMBERS and TOKENS: owned
    uint32_t number_count;
    double number;   // NUMBER
    int64_t integer; // COUNT, THREADS, INTEGER, SIZE
} cli_value;

typedef struct cli_args {
    cli_verb verb;
    const char *operands[CLI_OPERAND_LIMIT];
    uint32_t operand_count;
    cli_value values[CLI_OPTION_COUNT];
} cli_args;

// State of one run of the command.
typedef struct cli {
    cli_args args;
    ptqc_ctx *ctx;
    int stop_signal; // that asked to stop; 0: none did
    // Of a compile that looks at samples; to the end of the process, since the
    // thread that waits for signals looks at it. NULL: none.
    char *work_dir;
    uint32_t error_count; // diagnostics printed as errors
    bool is_quiet, shows_progress;
    uint64_t progress_ns, progress_start_ns; // throttle and ETA
    const char *phase;
} cli;

// ---- options.c ------------------------------------------------------------

// Fills args. PTQC_E_USAGE after printing one error line.
ptqc_status cli_parse(cli *c, int argc, char **argv);
void cli_args_deinit(cli_args *args);
void cli_print_help(FILE *to, bool has_verb, cli_verb verb);
bool cli_find_verb(const char *text, cli_verb *out);
// The known word nearest to `text`, NULL when none is near.
const char *cli_suggest_verb(const char *text);

static inline const cli_value *
cli_get(const cli *c, cli_option option)
{
    return &c->args.values[option];
}

static inline bool
cli_given(const cli *c, cli_option option)
{
    return c->args.values[option].count > 0;
}

// ---- output.c -------------------------------------------------------------

// Prints "ptqc: error: ..." with control bytes escaped (texts from files and
// the command line may be passed as they are); returns status.
__attribute__((format(printf, 3, 4))) ptqc_status cli_fail(cli *c,
                                                           ptqc_status status,
                                                           const char *format,
                                                           ...);
// Prints to stdout; use cli_finish_output for failures.
__attribute__((format(printf, 1, 2))) void cli_print(const char *format, ...);
// Prints and frees a document (NULL: out of memory).
ptqc_status cli_print_json(cli *c, json_t *document);
// Flushes stdout: PTQC_E_IO when anything could not be written.
ptqc_status cli_finish_output(cli *c);
// "26.1 MB"
const char *cli_size_text(uint64_t bytes, char out[32]);
// Copies text with control bytes escaped.
const char *cli_escape(const char *text, char *out, size_t room);

// ---- context.c ------------------------------------------------------------

// The context for the global options; threads 0 = as the options say.
ptqc_status cli_make_ctx(cli *c, uint32_t threads);
ptqc_backend_dirs cli_backend_dirs(const cli *c);
uint64_t cli_clock_ns(void);
const char *cli_dtype_name(ptqc_dtype dtype);
uint32_t cli_dtype_bytes(ptqc_dtype dtype); // 0: none, or sub-byte

// ---- verbs ----------------------------------------------------------------

#define VERB(ID, name, min, max, operands, summary, example)                   \
    ptqc_status cli_##name(cli *c);
#include "cli/verbs.def"
#undef VERB
ptqc_status cli_version(cli *c);

#endif
