#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# demo_lm.sh PTQC: the command on the demo language model. Perplexity is that
# of PyTorch and grows as quantization says, and its windows add up to it; a
# scheme gives the same tokens at every ISA level and with every number of
# threads, and ref scores as cpu does.
set -eu
ptqc=$1
model=examples/models/bible_lm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# field NAME < JSON: one number
field() {
    sed -n "s/^ *\"$1\": \([0-9.eE+-]*\),*\$/\1/p" | head -n 1
}
# holds EXPRESSION: of numbers
holds() {
    awk "BEGIN { exit !($1) }" || fail "expected $1"
}
# ppl ARTIFACT options...
ppl() {
    artifact=$1
    shift
    "$ptqc" eval "$artifact" -q --task ppl --data $model/heldout.txt "$@" --json | field ppl
}
# tokens ARTIFACT options...: 24 greedy ones
tokens() {
    artifact=$1
    shift
    "$ptqc" run "$artifact" -q --prompt "And God said," -n 24 --temp 0 --json "$@"
}

# As many tokens as the script that trained it counted, and their mean loss, in
# the same windows: f32 there and here, with sums in another order.
"$ptqc" compile $model -q -o "$work/float.ptqc"
"$ptqc" eval "$work/float.ptqc" -q --task ppl --data $model/heldout.txt \
    --ctx "$(field eval_ctx <$model/metrics.json)" \
    --stride "$(field eval_stride <$model/metrics.json)" --json >"$work/eval.json"
[ "$(field tokens <"$work/eval.json")" = "$(field heldout_tokens <$model/metrics.json)" ] ||
    fail "other tokens than in training: $(cat "$work/eval.json")"
nll=$(field nll <"$work/eval.json")
torch=$(field heldout_nll <$model/metrics.json)
holds "$nll - $torch < 0.00001 && $torch - $nll < 0.00001"

# chunks FILE: "tokens nll" of each window, one a line
chunks() {
    sed -n '/"chunks"/,$ s/^ *"tokens": \([0-9]*\),$/\1/p' "$1" >"$work/chunk_tokens"
    sed -n '/"chunks"/,$ s/^ *"nll": \([0-9.eE+-]*\)$/\1/p' "$1" >"$work/chunk_nll"
    paste -d ' ' "$work/chunk_tokens" "$work/chunk_nll"
}

# The windows: each token is scored in one of them, and they add up.
chunks "$work/eval.json" >"$work/chunks"
awk -v tokens="$(field tokens <"$work/eval.json")" -v nll="$nll" '
    { n += $1; sum += $1 * $2 }
    END { d = sum / n - nll; exit !(n == tokens && d < 1e-6 && d > -1e-6) }' "$work/chunks" ||
    fail "windows do not add up to $nll: $(cat "$work/chunks")"
"$ptqc" eval "$work/float.ptqc" -q --task ppl --data $model/heldout.txt \
    --ctx 128 --stride 48 --chunks 3 --json >"$work/three.json"
chunks "$work/three.json" >"$work/three"
[ "$(cut -d ' ' -f 1 "$work/three" | tr '\n' ' ')" = "127 48 48 " ] ||
    fail "other windows: $(cat "$work/three")"
"$ptqc" eval "$work/float.ptqc" -q --task ppl --data $model/heldout.txt \
    --ctx 128 --stride 48 --chunks 1 --json >"$work/one.json"
[ "$(field nll <"$work/one.json")" = "$(head -n 1 "$work/three" | cut -d ' ' -f 2)" ] ||
    fail "the first window alone has another nll"

# Quantized: 8 bits cost nothing that can be seen, 4 bits per channel do.
few="--chunks 24"
# shellcheck disable=SC2086
float=$(ppl "$work/float.ptqc" $few)
for scheme in w8a16 w4a16:g32 w4a16:ch; do
    "$ptqc" compile $model -q --scheme $scheme -o "$work/$scheme.ptqc"
done
# shellcheck disable=SC2086
w8=$(ppl "$work/w8a16.ptqc" $few) w4=$(ppl "$work/w4a16:ch.ptqc" $few)
holds "$w8 < $float * 1.002 && $w8 > $float * 0.998"
holds "$w4 > $float * 1.01 && $w4 < $float * 1.05"

for scheme in float w8a16 w4a16:g32 w4a16:ch; do
    a=$work/$scheme.ptqc
    tokens "$a" -j 1 >"$work/one"
    grep -q '"tokens"' "$work/one" || fail "$scheme: no tokens"
    tokens "$a" -j 2 | cmp - "$work/one" || fail "$scheme: other tokens with 2 threads"
    tokens "$a" --target "cpu;avx2" | cmp - "$work/one" || fail "$scheme: other tokens at avx2"
done

# Short of memory while codes are made: exit 6, and one error that says it.
for case in "cpu 2M" "ref 2M" "ref 4M" "ref 6M" "ref 8M"; do
    code=0
    "$ptqc" compile $model --scheme w8a16 --target "${case% *}" --memory-limit "${case#* }" \
        -o "$work/new.ptqc" 2>"$work/stderr" || code=$?
    [ $code = 6 ] || fail "$case: expected exit 6, found $code: $(cat "$work/stderr")"
    [ "$(grep -c '^ptqc: error' "$work/stderr")" = 1 ] ||
        fail "$case: expected one error line: $(cat "$work/stderr")"
    [ ! -e "$work/new.ptqc" ] || fail "$case: left a file"
done

# ref gives the same bits; one window of 64 tokens.
cpu=$(ppl "$work/w4a16:ch.ptqc" --ctx 64 --chunks 1)
"$ptqc" compile $model -q --scheme w4a16:ch --target ref -o "$work/ref.ptqc"
ref=$(ppl "$work/ref.ptqc" --ctx 64 --chunks 1)
[ "$ref" = "$cpu" ] || fail "ref: perplexity $ref, cpu: $cpu"
