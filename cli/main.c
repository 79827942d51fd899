// SPDX-License-Identifier: Apache-2.0
//
// The ptqc command: parse, make the context, run the verb, end with the
// documented exit code.

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

typedef ptqc_status (*verb_fn)(cli *c);

static const verb_fn verbs[CLI_VERB_COUNT] = {
#define VERB(ID, name, min, max, operands, summary, example) cli_##name,
#include "cli/verbs.def"
#undef VERB
};

// ---- Ctrl-C ---------------------------------------------------------------

// SIGINT, and SIGTERM of a compile, are blocked everywhere and waited for by
// one thread, so that nothing runs in a signal handler: the first asks the
// library to stop when the unit of work at hand is done, the second ends the
// process.
static void
watched_signals(const cli *c, sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGINT);
    if (c->args.verb == CLI_VERB_COMPILE) {
        sigaddset(out, SIGTERM);
    }
}

// After a signal: who asked by SIGTERM (a batch system) wants to know whether
// something was kept.
static ptqc_status
stopped_status(const cli *c, int number)
{
    const char *dir = __atomic_load_n(&c->work_dir, __ATOMIC_ACQUIRE);
    bool is_kept = dir != NULL && access(dir, F_OK) == 0;
    return number == SIGTERM && is_kept ? PTQC_E_CHECKPOINT : PTQC_E_CANCELLED;
}

static void *
wait_for_interrupt(void *user)
{
    cli *c = user;
    sigset_t set;
    int number;
    watched_signals(c, &set);
    for (int times = 0; sigwait(&set, &number) == 0; times++) {
        ptqc_ctx *ctx = __atomic_load_n(&c->ctx, __ATOMIC_ACQUIRE);
        if (times > 0 || ctx == NULL) {
            _exit((int)stopped_status(c, number));
        }
        __atomic_store_n(&c->stop_signal, number, __ATOMIC_RELEASE);
        ptqc_ctx_stop(ctx);
    }
    return NULL;
}

static void
watch_interrupts(cli *c)
{
    pthread_t thread;
    sigset_t set;
    watched_signals(c, &set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (pthread_create(&thread, NULL, wait_for_interrupt, c) == 0) {
        pthread_detach(thread);
    } else {
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    }
}

// ---- running --------------------------------------------------------------

static ptqc_status
run_verb(cli *c)
{
    if (cli_given(c, CLI_HELP)) {
        bool has_verb = c->args.verb != CLI_VERB_HELP;
        cli_print_help(stdout, has_verb, c->args.verb);
        return cli_finish_output(c);
    }
    ptqc_status st = cli_make_ctx(c, 0);
    if (st != PTQC_OK) {
        return st;
    }
    return cli_given(c, CLI_VERSION) ? cli_version(c) : verbs[c->args.verb](c);
}

int
main(int argc, char **argv)
{
    // On the heap: the interrupt thread may look at it until the very end.
    cli *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return PTQC_E_RESOURCE;
    }
    ptqc_status st = cli_parse(c, argc, argv);
    if (st == PTQC_OK) {
        watch_interrupts(c);
        st = run_verb(c);
    }
    if (st == PTQC_E_CANCELLED) {
        st = stopped_status(c,
                            __atomic_load_n(&c->stop_signal, __ATOMIC_ACQUIRE));
    }
    if (st > PTQC_NO && c->error_count == 0) {
        (void)cli_fail(c, st, "%s", ptqc_status_name(st));
    }
    ptqc_ctx *ctx = __atomic_exchange_n(&c->ctx, NULL, __ATOMIC_ACQ_REL);
    ptqc_ctx_destroy(ctx);
    cli_args_deinit(&c->args);
    fflush(stdout);
    return (int)st;
}
