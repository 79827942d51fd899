// SPDX-License-Identifier: Apache-2.0
//
// Child processes for tests. System calls are made to fail by a seccomp
// filter; kills are placed by ptrace.
#include "tests/support/process.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cmocka_test.h"

int
pq_test_child_run(pq_test_child_fn fn, void *user)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(fn(user));
    }
    int state;
    assert_int_equal(waitpid(child, &state, 0), child);
    assert_true(WIFEXITED(state));
    return WEXITSTATUS(state);
}

// Ends a stopped child and collects it.
static void
kill_child(pid_t child)
{
    int state;
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &state, 0), child);
    assert_true(WIFSIGNALED(state));
}

bool
pq_test_child_kill(pq_test_child_fn fn, void *user, unsigned k,
                   bool *out_can_trace)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(PQ_TEST_CHILD_SKIP);
        }
        (void)raise(SIGSTOP);
        _exit(fn(user));
    }
    int state;
    assert_int_equal(waitpid(child, &state, 0), child);
    *out_can_trace = WIFSTOPPED(state);
    if (!*out_can_trace) {
        return false;
    }
    for (unsigned i = 0; i < k; i++) {
        assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
        assert_int_equal(waitpid(child, &state, 0), child);
        if (WIFEXITED(state)) {
            assert_int_equal(WEXITSTATUS(state), 0);
            return false;
        }
        assert_true(WIFSTOPPED(state));
    }
    kill_child(child);
    return true;
}

bool
pq_test_deny(int number, int argument, uint32_t mask, int error)
{
    uint32_t value_at = (uint32_t)offsetof(struct seccomp_data, args) +
                        8u * (uint32_t)(argument < 0 ? 0 : argument);
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 (uint32_t)offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, value_at),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, mask, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    if (argument < 0) { // fails whatever the argument is
        rules[3] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 0, 0, 0);
    }
    struct sock_fprog program = {
        .len = sizeof rules / sizeof rules[0],
        .filter = rules,
    };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
