// SPDX-License-Identifier: Apache-2.0
//
// The language-model side of run, eval and bench.
#ifndef PTQC_CLI_LM_H
#define PTQC_CLI_LM_H

#include "cli/subject.h"

typedef struct cli_lm {
    cli_subject subject;
    ptqc_lm *lm;
    const ptqc_tokenizer *tokenizer; // NULL: none
} cli_lm;

ptqc_status cli_lm_open(cli *c, const char *path, cli_lm *out);
void cli_lm_close(cli *c, cli_lm *m);

ptqc_status cli_run_lm(cli *c);
ptqc_status cli_eval_ppl(cli *c);
ptqc_status cli_bench_lm(cli *c);

// Whole file as text; freed with free.
ptqc_status cli_read_text(cli *c, const char *path, char **out,
                          size_t *out_bytes);
// Token ids of a file: `.i32` holds ids, all else is text for the tokenizer
// (flags: PTQC_ENCODE_*). Freed with free.
ptqc_status cli_read_tokens(cli *c, const char *path,
                            const ptqc_tokenizer *tokenizer, uint32_t flags,
                            int32_t **out, size_t *out_count);

#endif
