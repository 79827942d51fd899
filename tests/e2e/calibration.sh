#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# calibration.sh PTQC: calibration samples of every kind. The same pictures give
# the same artifact however they are named; random numbers must be typed and
# are stamped into the artifact; what is wrong is one error before any work.
set -eu
ptqc=$1
model=examples/models/fashion_cnn/fashion_cnn.onnx
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

compile() { "$ptqc" compile $model --w8a8 --scale 0.00392157 -q -f "$@"; }

# refuse WHAT CODE ARGUMENT...
refuse() {
    what=$1 expected=$2
    shift 2
    code=0
    compile -o "$work/no.ptqc" "$@" >"$work/stdout" 2>"$work/stderr" || code=$?
    [ $code = "$expected" ] || fail "$*: expected exit $expected, found $code"
    [ "$(grep -c '^ptqc: error' "$work/stderr")" = 1 ] || fail "$*: $(cat "$work/stderr")"
    grep -qF -- "$what" "$work/stderr" || fail "$*: no '$what' in $(cat "$work/stderr")"
    [ ! -e "$work/no.ptqc" ] || fail "$*: an output"
    [ ! -e "$work/no.ptqc.work" ] || fail "$*: a folder"
}

# what an artifact gives on the demo's test pictures, without its provenance
outputs() {
    "$ptqc" diff $model "$1" --inputs examples/models/fashion_cnn/calib.npy --json 2>/dev/null
}

mkdir -p "$work/all/a" "$work/all/b"
cp examples/models/fashion_cnn/samples/[a-m]*.png "$work/all/a"
cp examples/models/fashion_cnn/samples/[n-z]*.png "$work/all/b"
compile --calib "$work/all" -o "$work/folder.ptqc"
compile --calib "$work/all/a" --calib "$work/all/b" -o "$work/two.ptqc"
set --
for picture in "$work"/all/a/*.png "$work"/all/b/*.png; do
    set -- "$@" --calib "$picture"
done
compile "$@" -o "$work/files.ptqc"
outputs "$work/folder.ptqc" >"$work/folder.json"
for kind in two files; do
    outputs "$work/$kind.ptqc" | cmp - "$work/folder.json" || fail "$kind: other outputs"
done

"$ptqc" compile $model --w8a8 --calib random -o "$work/random.ptqc" 2>"$work/stderr" >/dev/null
grep -q 'warning: --calib random' "$work/stderr" || fail "random: no warning"
"$ptqc" inspect "$work/random.ptqc" | grep -q '^calibration random, seed 0' || fail "random: not stamped"
"$ptqc" compile $model --w8a8 --calib random -q -f -o "$work/again.ptqc" 2>/dev/null
cmp "$work/random.ptqc" "$work/again.ptqc" || fail "random: not the same twice"

mkdir "$work/empty" "$work/set" "$work/damaged"
printf '\010\001\020' >"$work/set/input_0.pb"
printf 'no picture' >"$work/damaged/x.png"
# array SHAPE TYPE BYTES: an .npy file of zeros
array() {
    printf '\223NUMPY\001\000v\000%-117s\n' \
        "{'descr': '$2', 'fortran_order': False, 'shape': $1, }"
    head -c "$3" /dev/zero
}
array "(2, 1, 27, 28)" "<f4" 6048 >"$work/shape.npy"
array "(2, 3, 28, 28)" "<f4" 18816 >"$work/channels.npy"
array "(0, 1, 28, 28)" "<f4" 0 >"$work/none.npy"
array "(2, 1, 28, 28)" "<i8" 12544 >"$work/type.npy"
array "(2, 1, 28, 28)" "<f4" 6000 >"$work/short.npy"
refuse "expected 28, found 27" 3 --calib "$work/shape.npy"
refuse "expected 1, found 3" 3 --calib "$work/channels.npy"
refuse "are zero" 3 --calib "$work/none.npy"
refuse "expects f32, found i64" 3 --calib "$work/type.npy"
refuse "short.npy" 3 --calib "$work/short.npy"
refuse "neither pictures" 3 --calib "$work/empty"
refuse "set/input_0.pb: onnx: at byte 3" 3 --calib "$work/set"
refuse "x.png: neither PNG nor JPEG" 3 --calib "$work/damaged"
refuse "nothing goes beside it" 2 --calib random --calib "$work/all"
refuse "none: No such file" 8 --calib "$work/none"
echo "calibration: ok"
