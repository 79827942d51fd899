// SPDX-License-Identifier: Apache-2.0
//
// Status codes of the public API. A code says what the caller should do; the
// text that explains it goes to the context's diagnostics callback. The
// numbers are the exit codes of the ptqc command.
#ifndef PTQC_STATUS_H
#define PTQC_STATUS_H

#if defined(__cplusplus)
extern "C" {
#endif

// X(NAME, number, "name", "what to do")
#define PTQC_STATUSES(X)                                                       \
    X(OK, 0, "ok", "go on")                                                    \
    X(NO, 1, "no", "the check was made and the answer is no")                  \
    X(E_USAGE, 2, "usage", "correct the arguments or the recipe")              \
    X(E_INPUT, 3, "input refused", "the file is malformed or hostile")         \
    X(E_UNSUPPORTED, 4, "unsupported", "use another op, type or target")       \
    X(E_NUMERIC, 5, "numerical failure", "look at the named tensor")           \
    X(E_RESOURCE, 6, "out of resources", "free memory or raise the limit")     \
    X(E_BACKEND, 7, "backend failure", "check plugin, driver and device")      \
    X(E_IO, 8, "input/output error", "check path, rights and space")           \
    X(E_INTEGRITY, 9, "damaged artifact", "compile it again")                  \
    X(E_INTERNAL, 70, "internal bug", "please report it")                      \
    X(E_CHECKPOINT, 75, "stopped", "run again to resume")                      \
    X(E_CANCELLED, 130, "interrupted", "run again")

typedef enum ptqc_status {
#define PTQC_STATUS_ENUM(NAME, number, text, advice) PTQC_##NAME = number,
    PTQC_STATUSES(PTQC_STATUS_ENUM)
#undef PTQC_STATUS_ENUM
} ptqc_status;

#if defined(__GNUC__)
#define PTQC_MUST_USE __attribute__((warn_unused_result))
#define PTQC_API      __attribute__((visibility("default")))
#else
#define PTQC_MUST_USE
#define PTQC_API
#endif

// -> static text, "unknown" for other numbers.
PTQC_API const char *ptqc_status_name(ptqc_status status);
PTQC_API const char *ptqc_status_advice(ptqc_status status);

#if defined(__cplusplus)
}
#endif
#endif
