// SPDX-License-Identifier: Apache-2.0
//
// Texts of skeletons/*.kg, without the licence, each ending with a NUL:
// made by the build (embed.cmake) from the list below.
#ifndef PTQC_BACKENDS_KGEN_SKELETONS_H
#define PTQC_BACKENDS_KGEN_SKELETONS_H

#define SKELETON(name) extern const char pq_kg_text_##name[];
#include "skeletons.def"
#undef SKELETON

#endif
