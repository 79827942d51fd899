// SPDX-License-Identifier: Apache-2.0
//
// How many cores this process may use: the affinity mask, and the cpu quota
// of its control group and of the groups above it (Linux, cgroup v2: cpu.max
// holds "quota period" in microseconds, or "max period").
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "base/threads.h"

enum {
    TEXT_BYTES = 4096, // of the /proc and cgroup files that are read
    CORES_MAX = 4096,
};

// Reads at most TEXT_BYTES; empty when it cannot be read.
static pq_str
read_text(const char *path, char text[TEXT_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return (pq_str){NULL, 0};
    }
    ssize_t n = read(fd, text, TEXT_BYTES);
    (void)close(fd);
    return (pq_str){text, n > 0 ? (size_t)n : 0};
}

static uint32_t
affinity_count(void)
{
    cpu_set_t *set = CPU_ALLOC(CORES_MAX);
    size_t bytes = CPU_ALLOC_SIZE(CORES_MAX);
    int count = 0;
    if (set != NULL && sched_getaffinity(0, bytes, set) == 0) {
        count = CPU_COUNT_S(bytes, set);
    }
    CPU_FREE(set);
    return count > 0 ? (uint32_t)count : 1;
}

// Cores of one cpu.max, rounded up; UINT32_MAX without a quota.
static uint32_t
quota_of(const char *folder)
{
    char path[TEXT_BYTES];
    char text[TEXT_BYTES];
    int n = snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", folder);
    if (n < 0 || (size_t)n >= sizeof path) {
        return UINT32_MAX;
    }
    pq_str quota_text;
    pq_str period_text;
    uint64_t quota;
    uint64_t period;
    pq_str line;
    pq_str rest;
    (void)pq_str_split(read_text(path, text), '\n', &line, &rest);
    if (!pq_str_split(line, ' ', &quota_text, &period_text) ||
        !pq_str_to_u64(quota_text, &quota) ||
        !pq_str_to_u64(period_text, &period) || period == 0 || quota == 0) {
        return UINT32_MAX;
    }
    uint64_t cores = (quota - 1) / period + 1;
    return cores < UINT32_MAX ? (uint32_t)cores : UINT32_MAX;
}

// The smallest quota from the process's own group up to the root.
static uint32_t
quota_count(void)
{
    char text[TEXT_BYTES];
    char folder[TEXT_BYTES] = "";
    pq_str rest = read_text("/proc/self/cgroup", text);
    while (rest.n != 0) { // cgroup v2 is the line "0::/path"
        pq_str line;
        (void)pq_str_split(rest, '\n', &line, &rest);
        if (pq_str_starts(line, "0::/") && line.n - 3 < sizeof folder) {
            memcpy(folder, line.p + 3, line.n - 3);
            folder[line.n - 3] = '\0';
        }
    }
    uint32_t least = UINT32_MAX;
    for (;;) {
        uint32_t cores = quota_of(folder);
        least = cores < least ? cores : least;
        char *slash = strrchr(folder, '/');
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

uint32_t
pq_core_count(void)
{
    uint32_t cores = affinity_count();
    uint32_t quota = quota_count();
    return quota < cores ? quota : cores;
}
