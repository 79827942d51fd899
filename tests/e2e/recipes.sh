#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# recipes.sh PTQC: recipes from file to artifact and back, rules that take
# effect, explain and plan say what compile then does, contradictions are
# refused before any work.
set -eu
ptqc=$1
model=examples/models/fashion_cnn/fashion_cnn.onnx
calib=examples/models/fashion_cnn/calib.npy
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# refuse WHAT CODE ARGUMENT...: one error line that has WHAT, the exit code,
# nothing on stdout, no output
refuse() {
    what=$1 expected=$2
    shift 2
    code=0
    "$ptqc" "$@" >"$work/stdout" 2>"$work/stderr" || code=$?
    [ $code = "$expected" ] || fail "$*: expected exit $expected, found $code"
    [ "$(grep -c '^ptqc: error' "$work/stderr")" = 1 ] || fail "$*: $(cat "$work/stderr")"
    grep -qF -- "$what" "$work/stderr" || fail "$*: no '$what' in $(cat "$work/stderr")"
    [ ! -s "$work/stdout" ] || fail "$*: something on stdout"
    [ ! -e "$work/no.ptqc" ] || fail "$*: an output"
}

cat >"$work/r.yaml" <<'YAML'
ptqc: 1
base: best
scheme: w8a8
rules:
  - {op: matmul, scheme: w8a16}
YAML

"$ptqc" recipe list | grep -q '^best ' || fail "list"
"$ptqc" recipe show best | grep -q '^ptqc: 1' || fail "show"
"$ptqc" recipe validate "$work/r.yaml" $model >/dev/null
"$ptqc" recipe expand "$work/r.yaml" >"$work/r.json"
"$ptqc" recipe expand "$work/r.json" | cmp - "$work/r.json" || fail "expand twice"

# The recipe of an artifact makes the same artifact.
"$ptqc" compile $model --recipe "$work/r.yaml" --calib $calib -q -o "$work/a.ptqc"
"$ptqc" recipe show "$work/a.ptqc" >"$work/a.json"
"$ptqc" compile $model --recipe "$work/a.json" --calib $calib -q -o "$work/b.ptqc"
cmp "$work/a.ptqc" "$work/b.ptqc" || fail "other bytes by the artifact's recipe"
"$ptqc" inspect "$work/a.ptqc" | grep -q '^recipe  w8a8:ch:sym, .* 3 rules' || fail "inspect"

# What explain says of the rule, compile does.
"$ptqc" explain $model --recipe "$work/r.yaml" >"$work/explained"
grep -q 'matmul .* w8a16:ch:sym .*r.yaml:5:5' "$work/explained" || fail "explain: $(cat "$work/explained")"
"$ptqc" explain $model --w8a16 --rule 're:.=w4a16:t:scale=f16' | grep -q 'w4a16:t:.*scale=f16' ||
    fail "a scheme with '=' in a rule"
"$ptqc" explain $model --w8a8 --op '*' --json | grep -q '"schema": "ptqc.explain/1"' || fail "explain --json"
"$ptqc" plan $model --w8a8 --calib $calib | grep -q '100.0 % of multiply-adds' || fail "plan"

# diff: of options, of an artifact with and without its samples.
"$ptqc" diff $model --w8a8 --calib $calib >"$work/diff"
[ "$(grep -c 'w8a8:ch:sym' "$work/diff")" = 10 ] || fail "diff: $(cat "$work/diff")"
grep -q '^output .* dB, cosine 0.99.*KL 0.0.*top-1' "$work/diff" || fail "diff: $(cat "$work/diff")"
"$ptqc" diff $model "$work/a.ptqc" --calib $calib --json >"$work/diff"
grep -q '"schema": "ptqc.diff/1"' "$work/diff" || fail "diff --json"
"$ptqc" diff $model "$work/a.ptqc" --inputs $calib --threshold 10 >"$work/diff" 2>/dev/null ||
    fail "diff: below 10 dB: $(cat "$work/diff")"
code=0
"$ptqc" diff $model "$work/a.ptqc" --inputs $calib --threshold 90 >/dev/null 2>&1 || code=$?
[ $code = 1 ] || fail "diff: expected exit 1, found $code"
# Methods that move scales: the float side stays the float model.
lm=examples/models/bible_lm
"$ptqc" diff $lm --w8a8 --method smoothquant --calib $lm/calib.txt --calib-length 64 \
    --calib-samples 4 >"$work/diff" 2>/dev/null
grep -q '^output logits: [2-9][0-9].[0-9] dB' "$work/diff" || fail "diff: $(cat "$work/diff")"

# A method of single ops.
printf 'ptqc: 1\nscheme: w4a16:g64\nrules:\n  - {match: "re:gate", method: gptq}\n' >"$work/gate.yaml"
"$ptqc" compile $lm --recipe "$work/gate.yaml" --calib $lm/calib.txt --calib-length 64 \
    --calib-samples 4 --json -o "$work/gate.ptqc" >"$work/notes" 2>/dev/null
grep -B1 '"what": "gptq"' "$work/notes" | grep -o 'layers[^"]*' >"$work/solved"
[ "$(grep -c gate "$work/solved")" = "$(wc -l <"$work/solved")" ] && [ -s "$work/solved" ] ||
    fail "gptq by rule: $(cat "$work/solved")"
refuse "method 'gptq': expected a scheme and calibration" 2 \
    compile $lm --recipe "$work/gate.yaml" -o "$work/no.ptqc"

refuse "nothing becomes codes" 2 diff $model --inputs $calib
refuse "samples to compare on" 2 diff $model --w8a16
refuse "the artifact has its recipe" 2 diff $model "$work/a.ptqc" --w8a8 --inputs $calib

printf 'ptqc: 1\nrulez: []\n' >"$work/bad.yaml"
refuse "$work/bad.yaml:2:1: unknown key 'rulez'; did you mean 'rules'?" 2 \
    compile $model --recipe "$work/bad.yaml" --w8a16 -o "$work/no.ptqc"
refuse "names no scheme" 2 compile $model --recipe best -o "$work/no.ptqc"
refuse "rule 'none' matches nothing" 2 \
    compile $model --w8a16 --keep none -o "$work/no.ptqc"
refuse "expected MATCH=SCHEME" 2 compile $model --rule none -o "$work/no.ptqc"
refuse "observer: the scheme has no static" 2 \
    compile $model --w8a16 --observer mse -o "$work/no.ptqc"
refuse "percentile: only the observer" 2 \
    compile $model --w8a8 --percentile 99 --calib $calib -o "$work/no.ptqc"
refuse "method: without a scheme" 2 compile $model --method rtn -o "$work/no.ptqc"
refuse "there is no --calib" 2 compile $model --w8a16 --calib-samples 3 -o "$work/no.ptqc"
refuse "no op has such a name" 2 explain $model --w8a8 --op none
echo "recipes: ok"
