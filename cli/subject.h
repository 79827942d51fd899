// SPDX-License-Identifier: Apache-2.0
//
// MODEL|ARTIFACT on the command line: an artifact is opened, a model is
// compiled into memory.
#ifndef PTQC_CLI_SUBJECT_H
#define PTQC_CLI_SUBJECT_H

#include "cli/cli.h"

typedef struct cli_subject {
    void *bytes; // owned: a model compiled into memory
    ptqc_artifact *artifact;
    ptqc_session *session;
    bool is_model;
} cli_subject;

bool cli_is_artifact(const char *path);
// The artifact alone, without a session.
ptqc_status cli_subject_open_artifact(cli *c, const char *path,
                                      cli_subject *out);
ptqc_status cli_subject_open(cli *c, const char *path, cli_subject *out);
void cli_subject_close(cli *c, cli_subject *s);

#endif
