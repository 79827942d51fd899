#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# calibrate_lm.sh PTQC: data-aware quantization of the demo language model from
# a text. Better than rounding; the same bytes for any number of threads and
# after interruptions of both kinds; bad calibration data is refused before any
# work.
set -eu
ptqc=$1
model=examples/models/bible_lm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# compile OUT options...
compile() {
    out=$1
    shift
    "$ptqc" compile $model -q --scheme w4a16:ch -o "$out" "$@"
}
text="--calib $model/calib.txt --calib-length 128 --calib-samples 24"

# refused WORDS options...: exit 2 or 3, the words, and no folder left behind
refused() {
    words=$1
    shift
    code=0
    compile "$work/bad.ptqc" "$@" 2>"$work/said" || code=$?
    [ $code -eq 2 ] || [ $code -eq 3 ] || fail "exit $code: $*"
    grep -q "$words" "$work/said" ||
        fail "expected '$words': $(cat "$work/said")"
    [ ! -e "$work/bad.ptqc.work" ] || fail "a work folder: $*"
}
printf 'In the beginning' >"$work/short.txt"
: >"$work/empty.txt"
printf '\377\377\377\177\001\000\000\000' >"$work/foreign.i32"
printf 'abc' >"$work/odd.i32"
refused "calibration samples" --method gptq
refused "too little" --method gptq --calib "$work/short.txt"
refused "empty\|too little" --method gptq --calib "$work/empty.txt"
refused "below the model's 2048" --method gptq --calib "$work/foreign.i32"
refused "whole 32-bit ids" --method gptq --calib "$work/odd.i32"
# shellcheck disable=SC2086
refused "too little" --method gptq $text --calib-skip 99999999
# shellcheck disable=SC2086
refused "method 'gptk'" --method gptk $text
# shellcheck disable=SC2086
refused "rule 'layer' matches nothing" --method gptq $text --rule layer=w8a16
# shellcheck disable=SC2086
refused "no static activations" --method gptq $text --observer minmax
# shellcheck disable=SC2086
refused "expected rtn, or" --method gptq+adaround $text

# A plan runs no samples, though it goes the way of a compile.
"$ptqc" plan $model --scheme w8a8 --kv int8 >"$work/said" || fail "plan"
grep -q "scales per channel from\|relative error" "$work/said" &&
    fail "a plan that measured: $(cat "$work/said")"

# Too few tokens: how many are needed, before the first group is done.
"$ptqc" compile $model --scheme w4a16:ch --method gptq -o "$work/few.ptqc" \
    --calib $model/calib.txt --calib-length 64 --calib-samples 4 \
    >/dev/null 2>"$work/said"
sed -n 1p "$work/said" | grep -q "256 calibration tokens are few for 36 of 36.*5632 are enough" ||
    fail "$(sed -n 1p "$work/said")"
[ "$(grep -c "tokens are few" "$work/said")" -eq 1 ] || fail "$(cat "$work/said")"

# The same bytes for any number of threads, nothing left behind.
# shellcheck disable=SC2086
for threads in 1 3; do
    for method in gptq awq+gptq smoothquant; do
        scheme=w4a16:ch
        [ $method != smoothquant ] || scheme=w8a8
        "$ptqc" compile $model -q -j $threads --scheme $scheme \
            --method $method $text -o "$work/$method.$threads.ptqc" 2>/dev/null
    done
done
for method in gptq awq+gptq smoothquant; do
    cmp "$work/$method.1.ptqc" "$work/$method.3.ptqc" || fail "$method differs"
    [ ! -e "$work/$method.1.ptqc.work" ] || fail "$method leaves its folder"
done

# Within a limit of memory (the model's weights take 28 MB as f32), or not at
# all: exit 6, and what was done stays for the next try.
# shellcheck disable=SC2086
compile "$work/limit.ptqc" -j 2 --memory-limit 28M --method gptq $text 2>/dev/null
cmp "$work/limit.ptqc" "$work/gptq.1.ptqc" || fail "limited memory"
rm "$work/limit.ptqc"
code=0
# shellcheck disable=SC2086
compile "$work/limit.ptqc" -j 2 --memory-limit 8M --method gptq $text 2>"$work/said" || code=$?
[ $code -eq 6 ] || fail "exit $code with 8 MB: $(cat "$work/said")"
grep -q "limit 8388608" "$work/said" || fail "$(cat "$work/said")"
[ ! -e "$work/limit.ptqc" ] || fail "an artifact without memory"

# Static activations, too: one piece is in memory at a time.
static="--scheme w8a8 --method rtn $text"
# shellcheck disable=SC2086
"$ptqc" compile $model -q -j 2 $static -o "$work/static.ptqc"
# shellcheck disable=SC2086
"$ptqc" compile $model -q -j 1 $static --memory-limit 14M -o "$work/less.ptqc" ||
    fail "static activations within 14 MB"
cmp "$work/static.ptqc" "$work/less.ptqc" || fail "static: limited memory"
[ ! -e "$work/static.ptqc.work" ] || fail "static: a folder is left"

# And comparisons, where whole graphs would take 150 MB and more.
# shellcheck disable=SC2086
"$ptqc" diff $model $static -j 2 --json >"$work/diff.json" 2>/dev/null
# shellcheck disable=SC2086
"$ptqc" diff $model $static -j 1 --json --memory-limit 48M \
    >"$work/less.json" 2>"$work/said" || fail "diff: $(cat "$work/said")"
cmp "$work/diff.json" "$work/less.json" || fail "diff: limited memory"

# Better than rounding.
# ppl ARTIFACT
ppl() {
    "$ptqc" eval "$1" -q --task ppl --data $model/heldout.txt --chunks 24 --json |
        sed -n 's/^ *"ppl": \([0-9.eE+-]*\),*$/\1/p'
}
compile "$work/rtn.ptqc"
rtn=$(ppl "$work/rtn.ptqc") gptq=$(ppl "$work/gptq.1.ptqc")
awk "BEGIN { exit !($gptq < $rtn) }" || fail "gptq $gptq, rtn $rtn"

# Interrupted by Ctrl-C and by a kill, then resumed.
for signal in INT KILL; do
    # shellcheck disable=SC2086
    "$ptqc" compile $model -q --scheme w4a16:ch -o "$work/cut.ptqc" \
        --method gptq $text 2>/dev/null &
    pid=$!
    i=0
    while [ $i -lt 600 ] && [ ! -e "$work/cut.ptqc.work/gptq-00004.unit" ]; do
        sleep 0.05
        i=$((i + 1))
    done
    kill -$signal $pid 2>/dev/null || true
    wait $pid || true
    if [ ! -e "$work/cut.ptqc" ]; then
        units=$(ls "$work/cut.ptqc.work" | wc -l)
        [ "$units" -ge 5 ] || fail "$signal: $units checkpoints"
        code=0
        # shellcheck disable=SC2086
        "$ptqc" compile $model -q --scheme w4a16:g32 --method gptq $text \
            -o "$work/cut.ptqc" 2>"$work/said" || code=$?
        [ $code -eq 2 ] || fail "exit $code with another recipe's checkpoint"
        grep -q "another model, recipe" "$work/said" || fail "$(cat "$work/said")"
    fi
    if [ ! -e "$work/cut.ptqc" ]; then
        # A pass before the one that left them would have work to do.
        code=0
        # shellcheck disable=SC2086
        "$ptqc" compile $model --scheme w8a8:dyn --method smoothquant+gptq $text \
            -o "$work/cut.ptqc" 2>"$work/said" || code=$?
        [ $code -eq 2 ] || fail "exit $code with another method's checkpoint"
        grep -q "gptq-.*another model, recipe" "$work/said" || fail "$(cat "$work/said")"
        [ ! -e "$work/cut.ptqc.work/smoothquant-00000.unit" ] || fail "work was done"
    fi
    # shellcheck disable=SC2086
    compile "$work/cut.ptqc" -f --method gptq $text 2>/dev/null
    cmp "$work/cut.ptqc" "$work/gptq.1.ptqc" || fail "resumed after $signal"
    [ ! -e "$work/cut.ptqc.work" ] || fail "a work folder after $signal"
    rm "$work/cut.ptqc"
done
echo ok
