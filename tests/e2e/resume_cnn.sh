#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# resume_cnn.sh PTQC: a compile of the demo classifier whose rounding is learned
# is killed after some of its groups and resumed: the bytes of an uninterrupted
# one, on one and two threads.
set -eu
ptqc=$1
model=examples/models/fashion_cnn
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/cut.ptqc

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# compile OUT THREADS: as a job of its own, so that signals reach it
compile() {
    exec "$ptqc" compile $model/fashion_cnn.onnx -q -j "$2" \
        --scheme w4a8:static --method adaround --calib $model/calib.npy \
        --calib-samples 48 -o "$1"
}

done_units() {
    find "$out.work" -name 'adaround-*.unit' 2>/dev/null | wc -l
}

(compile "$work/1.ptqc" 1)
(compile "$work/2.ptqc" 2)
cmp "$work/1.ptqc" "$work/2.ptqc" || fail "threads"
hits=0
for units in 1 3; do
    (compile "$out" 2) 2>/dev/null &
    pid=$!
    while [ "$(done_units)" -lt $units ] && kill -0 $pid 2>/dev/null; do
        sleep 0.01
    done
    kill -KILL $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    if [ ! -e "$out" ]; then
        hits=$((hits + 1))
        (compile "$out" 1)
    fi
    cmp "$out" "$work/1.ptqc" || fail "after $units groups"
    [ ! -e "$out.work" ] || fail "a folder is left"
    rm "$out"
done
[ $hits -ge 1 ] || fail "only $hits of 2 kills came in time"
echo "resumed $hits times"
