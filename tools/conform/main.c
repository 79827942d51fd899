// SPDX-License-Identifier: Apache-2.0
//
// ptqc-conform PLUGIN.so: arguments, and the workers that do the trials.
// Exit codes: 0 conforms, 1 does not, 2 wrong arguments, 8 cannot be read.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/conform/conform.h"

static const char usage[] =
    "usage: ptqc-conform PLUGIN.so [--target T] [--list] [--json]\n"
    "                    [--samples N] [--rule N] [--part I/N] [--timeout N]\n"
    "                    [--cache-dir DIR]\n"
    "  --target T   the target to test (default: the plugin's first)\n"
    "  --list       print the rules and stop\n"
    "  --json       print the results as JSON\n"
    "  --samples N  at least N trials of each rule (default 16)\n"
    "  --rule N     only the rule of that number\n"
    "  --part I/N   only every N-th rule, from the I-th\n"
    "  --cache-dir  DIR: kernel cache for the plugin (default: none)\n"
    "  --timeout N  seconds a trial may take (default 60)\n";

static bool
read_number(const char *text, uint32_t most, uint32_t *out)
{
    uint64_t n;
    if (text == NULL || !pq_str_to_u64(pq_str_of(text), &n) || n < 1 ||
        n > most) {
        return false;
    }
    *out = (uint32_t)n;
    return true;
}

// "2/5"
static bool
read_part(const char *text, pq_options *o)
{
    pq_str head, rest;
    uint64_t i, n;
    if (text == NULL || !pq_str_split(pq_str_of(text), '/', &head, &rest) ||
        !pq_str_to_u64(head, &i) || !pq_str_to_u64(rest, &n) || i < 1 ||
        i > n || n > PQ_KIT_RULES) {
        return false;
    }
    o->part = (uint32_t)i;
    o->parts = (uint32_t)n;
    return true;
}

static bool
read_options(char **args, pq_options *o)
{
    *o = (pq_options){.samples = 16, .seconds = 60};
    for (; *args != NULL; args++) {
        bool has_value = true, is_good = true;
        if (strcmp(*args, "--target") == 0) {
            is_good = (o->target = args[1]) != NULL;
        } else if (strcmp(*args, "--samples") == 0) {
            is_good = read_number(args[1], 10000, &o->samples);
        } else if (strcmp(*args, "--rule") == 0) {
            is_good = read_number(args[1], PQ_KIT_RULES, &o->only_rule);
        } else if (strcmp(*args, "--part") == 0) {
            is_good = read_part(args[1], o);
        } else if (strcmp(*args, "--cache-dir") == 0) {
            is_good = (o->cache_dir = args[1]) != NULL;
        } else if (strcmp(*args, "--timeout") == 0) {
            is_good = read_number(args[1], 86400, &o->seconds);
        } else {
            has_value = false;
            if (strcmp(*args, "--list") == 0) {
                o->is_list = true;
            } else if (strcmp(*args, "--json") == 0) {
                o->is_json = true;
            } else {
                is_good = (*args)[0] != '-' && o->path == NULL;
                o->path = *args;
            }
        }
        if (!is_good) {
            return false;
        }
        args += has_value ? 1 : 0;
    }
    return o->path != NULL;
}

// The worker died at a rule: that rule fails, the next worker goes on.
static void
note_death(pq_board *board, int status)
{
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    bool at_rule =
        board->has_started != 0 && board->next_rule < board->rule_count;
    pq_result *r = at_rule                   ? &board->rules[board->next_rule]
                   : board->has_started != 0 ? &board->parts[PQ_PART_DECLINED]
                                             : &board->parts[PQ_PART_START];
    if (number == SIGALRM) {
        pq_result_say(r, PQ_FAIL, "%sdoes not come to an end", board->doing);
    } else {
        pq_result_say(r, PQ_FAIL, "%sends the process (%s %d)", board->doing,
                      number != 0 ? "signal" : "exit status",
                      number != 0 ? number : WEXITSTATUS(status));
    }
    if (at_rule) {
        board->next_rule++;
    } else {
        board->has_ended = 1;
    }
}

static void
run_workers(const pq_options *o, pq_board *board)
{
    while (board->has_ended == 0) {
        int status = 0;
        (void)fflush(stdout);
        pid_t child = fork();
        if (child < 0) {
            pq_result_say(&board->parts[PQ_PART_START], PQ_FAIL,
                          "no process can be started");
            return;
        }
        if (child == 0) {
            pq_worker(o, board);
            _exit(0);
        }
        if (waitpid(child, &status, 0) != child || board->has_ended == 0) {
            note_death(board, status);
        }
    }
}

int
main(int argc, char **argv)
{
    pq_options o;
    if (argc < 2 || !read_options(argv + 1, &o)) {
        (void)fputs(usage, stderr);
        return 2;
    }
    if (access(o.path, R_OK) != 0) {
        (void)fprintf(stderr, "ptqc-conform: %s: cannot be read\n", o.path);
        return 8;
    }
    pq_board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) {
        (void)fputs("ptqc-conform: no memory\n", stderr);
        return 6;
    }
    ptqc_ctx *ctx = NULL;
    if (ptqc_ctx_create(NULL, &ctx) != PTQC_OK) {
        return 6;
    }
    pq_kit_check_file(ctx, o.path, &board->parts[PQ_PART_FILE]);
    ptqc_ctx_destroy(ctx);
    run_workers(&o, board);
    return pq_report(&o, board);
}
