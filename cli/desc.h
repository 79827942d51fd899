// SPDX-License-Identifier: Apache-2.0
//
// The options of a compile as the library takes them.
#ifndef PTQC_CLI_DESC_H
#define PTQC_CLI_DESC_H

#include "cli/cli.h"

// Fills all but samples and report. Texts are borrowed from the arguments.
// Options that contradict each other here are refused; those that contradict
// the recipe, by the library.
ptqc_status cli_desc_read(cli *c, ptqc_compile_desc *out);

#endif
