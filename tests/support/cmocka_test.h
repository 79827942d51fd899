// SPDX-License-Identifier: Apache-2.0
//
// cmocka with the headers that it needs before it.
#ifndef PTQC_TESTS_CMOCKA_TEST_H
#define PTQC_TESTS_CMOCKA_TEST_H

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
// clang-format on

#endif
