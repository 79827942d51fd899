#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# demo_model.sh PTQC: the command on the demo model. One artifact gives the
# same bits at every ISA level, with every number of threads, and on ref; the
# same input gives the same artifact; refusals have their exit codes and leave
# nothing behind.
set -eu
ptqc=$1
model=examples/models/fashion_cnn
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# expect CODE command...: the exit code, and one error line unless it is 0
expect() {
    code=$1
    shift
    found=0
    "$@" >"$work/stdout" 2>"$work/stderr" || found=$?
    [ "$found" = "$code" ] || fail "expected exit $code of $*, found $found: $(cat "$work/stderr")"
    lines=$(grep -c '^ptqc: error' "$work/stderr" || true)
    [ "$code" = 0 ] || [ "$lines" = 1 ] || fail "expected one error line of $*, found $lines"
}

compile() { "$ptqc" compile $model/fashion_cnn.onnx -q -f "$@"; }
image=$model/samples/coat.png
norm="--scale 0.00392156862745098 --mean 0.2860 --std 0.3530"
# run ARTIFACT DIR options...
run() {
    artifact=$1 dir=$2
    shift 2
    # shellcheck disable=SC2086
    "$ptqc" run "$artifact" -q --input image=@$image $norm --output-dir "$work/$dir" "$@"
}

for scheme in float w8a8 w8a8:asym w8a8:t w8a16 w4a16; do
    args="--scheme $scheme"
    [ $scheme != float ] || args=""
    # shellcheck disable=SC2086
    compile $args --calib $model/calib.npy --calib-samples 16 -j 1 -o "$work/a.ptqc"
    # shellcheck disable=SC2086
    compile $args --calib $model/calib.npy --calib-samples 16 -j 2 -o "$work/b.ptqc"
    cmp "$work/a.ptqc" "$work/b.ptqc" || fail "$scheme: other bytes with other threads"
    run "$work/a.ptqc" cpu
    for cap in avx2 avx512 vnni; do
        run "$work/a.ptqc" $cap --target "cpu;$cap" -j 2
        cmp "$work/cpu/logits.npy" "$work/$cap/logits.npy" || fail "$scheme: other bits at $cap"
    done
    # shellcheck disable=SC2086
    compile $args --calib $model/calib.npy --calib-samples 16 --target ref -o "$work/ref.ptqc"
    run "$work/ref.ptqc" ref
    cmp "$work/cpu/logits.npy" "$work/ref/logits.npy" || fail "$scheme: other bits on ref"
done

expect 0 "$ptqc" check $model/fashion_cnn.onnx
expect 2 "$ptqc" compile $model/fashion_cnn.onnx -o "$work/a.ptqc"
expect 2 "$ptqc" compile $model/fashion_cnn.onnx --scheme w9q7 -o "$work/new"
expect 2 "$ptqc" compile $model/fashion_cnn.onnx --w8a8 -o "$work/new"
expect 2 "$ptqc" compile $model/fashion_cnn.onnx --scale-search mse -o "$work/new"
expect 2 "$ptqc" compile $model/fashion_cnn.onnx --kv "" -o "$work/new"
expect 3 "$ptqc" inspect $model/README.md
expect 8 "$ptqc" inspect "$work/absent.onnx"
head -c 20000 "$work/a.ptqc" >"$work/cut.ptqc"
expect 9 "$ptqc" inspect "$work/cut.ptqc"
[ ! -e "$work/new" ] || fail "a refused compile left a file"

# Two models on the same pictures: what both get right, and what only one does,
# add up to the share of each.
field() {
    sed -n "s/^ *\"$1\": \([0-9.eE+-]*\),*\$/\1/p" | head -n 1
}
# evaluate ARTIFACT BASELINE: JSON
evaluate() {
    # shellcheck disable=SC2086
    "$ptqc" eval "$1" -q --task topk --data $model/test_u8.npy --labels $model/test_labels.npy \
        $norm --baseline "$2" --json
}
compile -o "$work/float.ptqc"
compile --scheme w4a16:t -o "$work/coarse.ptqc"
evaluate "$work/coarse.ptqc" "$work/float.ptqc" >"$work/eval.json"
awk -v n="$(field samples <"$work/eval.json")" -v top1="$(field top1 <"$work/eval.json")" \
    -v base="$(field baseline_top1 <"$work/eval.json")" -v agree="$(field top1_agree <"$work/eval.json")" \
    -v both="$(field both <"$work/eval.json")" -v model="$(field model_only <"$work/eval.json")" \
    -v other="$(field baseline_only <"$work/eval.json")" 'BEGIN {
        near = 1e-6
        a = (both + model) / n - top1; b = (both + other) / n - base
        ok = a < near && a > -near && b < near && b > -near
        exit !(ok && model > 0 && other > 0 && model + other <= n * (1 - agree) + near)
    }' || fail "counts of pairs do not add up: $(cat "$work/eval.json")"
evaluate "$work/float.ptqc" "$work/float.ptqc" >"$work/eval.json"
[ "$(field model_only <"$work/eval.json") $(field baseline_only <"$work/eval.json")" = "0 0" ] ||
    fail "a model beside itself: $(cat "$work/eval.json")"
