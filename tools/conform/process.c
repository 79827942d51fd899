// SPDX-License-Identifier: Apache-2.0
//
// State of the process that a plugin must leave as it was: signal
// dispositions, floating-point control, working directory, environment,
// umask, open files.
#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "base/hash.h"
#include "tools/conform/conform.h"

extern char **environ;

static uint64_t
hash_signals(void)
{
    uint64_t all = 0;
    for (int s = 1; s < 32; s++) {
        struct sigaction a;
        memset(&a, 0, sizeof a);
        if (sigaction(s, NULL, &a) == 0) {
            uintptr_t handler;
            memcpy(&handler, &a.sa_handler, sizeof handler);
            all = all * 31 + pq_hash64(&handler, sizeof handler) +
                  (uint64_t)a.sa_flags;
        }
    }
    return all;
}

static uint64_t
hash_environment(void)
{
    uint64_t all = 0;
    for (char **e = environ; *e != NULL; e++) {
        all = all * 31 + pq_hash64(*e, strlen(*e));
    }
    return all;
}

void
pq_process_take(pq_process *out)
{
    char directory[4096] = "";
    *out = (pq_process){.signals = hash_signals(),
                        .environment = hash_environment()};
    if (getcwd(directory, sizeof directory) != NULL) {
        out->directory = pq_hash64(directory, strlen(directory));
    }
    mode_t mask = umask(0);
    (void)umask(mask);
    out->umask = (uint32_t)mask;
#if defined(__x86_64__)
    uint16_t control = 0;
    out->mxcsr = _mm_getcsr() & ~0x3fu; // without the sticky flags
    __asm__ volatile("fnstcw %0" : "=m"(control));
    out->x87 = control;
#endif
}

const char *
pq_process_differs(const pq_process *before, const pq_process *after)
{
    const char *what = NULL;
    what = before->signals != after->signals ? "signal handlers" : what;
    what = before->mxcsr != after->mxcsr ? "MXCSR" : what;
    what = before->x87 != after->x87 ? "the x87 control word" : what;
    what = before->directory != after->directory ? "working directory" : what;
    what = before->environment != after->environment ? "environment" : what;
    return before->umask != after->umask ? "umask" : what;
}

uint32_t
pq_process_open_files(void)
{
    uint32_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL) {
        n++;
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return n;
}
