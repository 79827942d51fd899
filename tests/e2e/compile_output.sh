#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# compile_output.sh PTQC: the output of compile is all or nothing. A full disk,
# an interrupt at any moment and a kill leave what was there, and nothing
# beside it; whatever the number of threads, the bytes are the same.
set -eu
ptqc=$1
model=examples/models/bible_lm # its weights take several blocks and threads
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/out

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

compile() { "$ptqc" compile $model --w8a16 -q -f -o "$out/m.ptqc" "$@"; }

# only_one WHAT: the folder holds the output and nothing else
only_one() {
    [ "$(ls -A "$out")" = m.ptqc ] || fail "$1: in the folder: $(ls -A "$out")"
}

mkdir "$out"
for threads in 1 2 3 8; do
    compile -j $threads
    cp "$out/m.ptqc" "$work/$threads.ptqc"
    cmp "$work/1.ptqc" "$work/$threads.ptqc" || fail "other bytes with $threads threads"
done

echo old >"$out/m.ptqc"
code=0
# the signal is ignored, so that the write fails as on a full disk
(trap '' XFSZ; ulimit -f 8; compile 2>"$work/stderr") || code=$?
[ $code = 8 ] || fail "full disk: expected exit 8, found $code: $(cat "$work/stderr")"
[ "$(grep -c '^ptqc: error' "$work/stderr")" = 1 ] || fail "full disk: expected one error line"
[ "$(cat "$out/m.ptqc")" = old ] || fail "full disk: the old output is gone"
only_one "full disk"

# An interrupt that comes before ptqc listens ends it without a word.
said=0
for signal in INT KILL; do
    for delay in 0.001 0.002 0.005 0.01 0.02 0.05 0.1 0.2; do
        what="$signal after $delay s"
        echo old >"$out/m.ptqc"
        code=0
        timeout --foreground --preserve-status -s $signal $delay \
            "$ptqc" compile $model --w8a16 -q -f -o "$out/m.ptqc" 2>"$work/stderr" || code=$?
        lines=$(grep -c '^ptqc: error' "$work/stderr" || true)
        case $signal:$code:$lines in
        INT:130:1) said=$((said + 1)) ;;
        INT:130:0 | INT:0:0 | KILL:137:0 | KILL:0:0) ;;
        *) fail "$what: exit $code: $(cat "$work/stderr")" ;;
        esac
        [ "$(head -c 3 "$out/m.ptqc")" = old ] || cmp "$work/1.ptqc" "$out/m.ptqc" ||
            fail "$what: neither the old nor the new output"
        only_one "$what"
    done
done
[ $said -gt 0 ] || fail "no interrupt met a compile"
