#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# resume_lm.sh PTQC: a compile of the demo language model that is killed at
# each tenth of its work, and stopped by signals, then resumed: the bytes of an
# uninterrupted one. One and two threads; methods with one and with two passes
# that stream; passes that only look at samples.
set -eu
ptqc=$1
model=examples/models/bible_lm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
text="--calib $model/calib.txt --calib-length 128 --calib-samples 16"
out=$work/cut.ptqc

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# compile OUT THREADS METHOD: as a job of its own, so that signals reach it
compile() {
    case $3 in
    gptq) scheme=w4a16:g32 ;;
    rtn) scheme=w8a8 ;; # static
    *) scheme=w8a8:dyn ;;
    esac
    # shellcheck disable=SC2086
    exec "$ptqc" compile $model -q -j "$2" --scheme $scheme --method "$3" \
        -o "$1" $text
}

# done_units: groups that are finished so far
done_units() {
    find "$out.work" -name '*.unit' 2>/dev/null | wc -l
}

# wait_for COUNT PID: until so many groups are finished or the job has ended
wait_for() {
    while [ "$(done_units)" -lt "$1" ] && kill -0 "$2" 2>/dev/null; do
        sleep 0.01
    done
}

# groups METHOD: how many one compile finishes, smoothing included
groups() {
    norms=18 products=36 # of nine blocks
    [ "$1" = gptq ] && echo $products || echo $((norms + products))
}

for method in gptq smoothquant:alpha=0.5+gptq; do
    for threads in 1 2; do
        (compile "$work/$method.$threads.ptqc" $threads $method)
    done
    cmp "$work/$method.1.ptqc" "$work/$method.2.ptqc" || fail "$method: threads"
    hits=0
    for tenth in 1 2 3 4 5 6 7 8 9; do
        threads=$((1 + tenth % 2))
        (compile "$out" $threads $method) 2>/dev/null &
        pid=$!
        wait_for $(($(groups $method) * tenth / 10)) $pid
        kill -KILL $pid 2>/dev/null || true
        wait $pid 2>/dev/null || true
        if [ ! -e "$out" ]; then
            hits=$((hits + 1))
            [ "$(done_units)" -ge 1 ] || fail "$method: nothing at $tenth tenths"
            (compile "$out" $threads $method)
        fi
        cmp "$out" "$work/$method.1.ptqc" || fail "$method: $tenth tenths"
        [ ! -e "$out.work" ] || fail "$method: a folder is left"
        rm "$out"
    done
    [ $hits -ge 6 ] || fail "$method: only $hits of 9 kills came in time"
done

# Ranges of static activations and means of their biases: killed within each of
# the three passes that look for them.
for threads in 1 2; do
    (compile "$work/rtn.$threads.ptqc" $threads rtn) 2>/dev/null
done
cmp "$work/rtn.1.ptqc" "$work/rtn.2.ptqc" || fail "rtn: threads"
for pass in outliers calibrate correct-bias; do
    (compile "$out" 2 rtn) 2>/dev/null &
    pid=$!
    while [ ! -e "$out.work/$pass-00016.unit" ] && kill -0 $pid 2>/dev/null; do
        sleep 0.01
    done
    kill -KILL $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    [ ! -e "$out" ] || fail "rtn: killed too late in $pass"
    before=$(done_units)
    # Stopped again: what the killed one did is still there, and a piece more.
    (compile "$out" 1 rtn) 2>/dev/null &
    pid=$!
    wait_for $((before + 1)) $pid
    kill -TERM $pid
    code=0
    wait $pid || code=$?
    [ $code -eq 75 ] || fail "rtn: exit $code after SIGTERM in $pass"
    (compile "$out" 1 rtn) 2>/dev/null
    cmp "$out" "$work/rtn.1.ptqc" || fail "rtn: $pass"
    [ ! -e "$out.work" ] || fail "rtn: a folder is left"
    rm "$out"
done

# A signal lets the group at hand be finished and says how to go on; a second
# one ends at once. Exit codes: 130 for SIGINT, 75 for SIGTERM with checkpoints.
for signal in INT TERM; do
    for times in 1 2; do
        rm -rf "$out.work"
        (compile "$out" 2 gptq) 2>"$work/said" &
        pid=$!
        wait_for 5 $pid
        kill -$signal $pid 2>/dev/null || true
        [ $times = 1 ] || kill -$signal $pid 2>/dev/null || true
        code=0
        wait $pid || code=$?
        [ $signal = INT ] && expected=130 || expected=75
        [ $code -eq $expected ] || fail "$signal: exit $code"
        [ "$(done_units)" -ge 5 ] || fail "$signal: $(done_units) groups"
        if [ $times = 1 ]; then
            grep -q "stopped after group" "$work/said" || fail "$(cat "$work/said")"
            grep -q "the same command goes on" "$work/said" ||
                fail "$(cat "$work/said")"
        fi
        [ ! -e "$out" ] || fail "$signal: an artifact"
    done
    (compile "$out" 1 gptq)
    cmp "$out" "$work/gptq.1.ptqc" || fail "resumed after $signal"
    rm "$out"
done
echo "resume_lm: ok"
