// SPDX-License-Identifier: Apache-2.0
//
// Everything for embedders. Runtime-only programs include ptqc/runtime.h.
#ifndef PTQC_PTQC_H
#define PTQC_PTQC_H

#include "ptqc/compile.h"
#include "ptqc/context.h"
#include "ptqc/diff.h"
#include "ptqc/lm.h"
#include "ptqc/model.h"
#include "ptqc/plan.h"
#include "ptqc/runtime.h"
#include "ptqc/status.h"
#include "ptqc/types.h"

#endif
