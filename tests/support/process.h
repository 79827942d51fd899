// SPDX-License-Identifier: Apache-2.0
//
// Child processes for tests that must not harm the test program: system calls
// that fail, other users, kills at chosen moments.
#ifndef PTQC_TESTS_PROCESS_H
#define PTQC_TESTS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

// Runs in the child; cmocka's assertions must not be used there. -> exit code.
typedef int (*pq_test_child_fn)(void *user);

#define PQ_TEST_CHILD_SKIP 77 // the child could not set its scene

// Forks, runs fn, waits. -> its exit code; fails the running test when the
// child is killed by a signal.
int pq_test_child_run(pq_test_child_fn fn, void *user);

// The same, but the child is killed at its k-th stop at a system call (two
// stops per call: before and after it), counted from 1. -> false when it
// ended before with exit code 0; another exit code fails the running test.
// *out_can_trace = false, and nothing is run, where tracing is forbidden.
bool pq_test_child_kill(pq_test_child_fn fn, void *user, unsigned k,
                        bool *out_can_trace);

// From now on system call `number` of this process fails with `error`: always
// (argument < 0), or when the low half of that argument has a bit of mask.
// False where the kernel refuses.
bool pq_test_deny(int number, int argument, uint32_t mask, int error);

#endif
