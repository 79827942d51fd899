#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# vulkan_device.sh PTQC FAKE_DIR: the demo models on a Vulkan device. The
# result stands beside cpu's; it is the same bits with memory that the host
# cannot reach; validation layers have nothing to say and spirv-val neither;
# what is missing or fails is one clear error with its exit code. FAKE_DIR has
# a libvulkan.so.1 that fails on demand (FAKE_VULKAN).
set -eu
ptqc=$1 fake=$2
cnn=examples/models/fashion_cnn
lm=examples/models/bible_lm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
norm="--scale 0.00392156862745098 --mean 0.2860 --std 0.3530"

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

if ! "$ptqc" devices | grep -q '^vulkan:0 *usable'; then
    echo "skipped: no Vulkan device: $("$ptqc" devices | grep '^vulkan')"
    exit 77
fi

# run ARTIFACT DIR options...
run() {
    artifact=$1 dir=$2
    shift 2
    # shellcheck disable=SC2086
    "$ptqc" run "$artifact" -q --input image=@$cnn/samples/coat.png $norm \
        --output-dir "$work/$dir" "$@"
}

# ---- float and integer models, on the device as a whole
for scheme in float w8a8; do
    options=
    [ $scheme = float ] || options="--w8a8 --calib $cnn/calib.npy $norm"
    # shellcheck disable=SC2086
    "$ptqc" compile $cnn/fashion_cnn.onnx --target vulkan -q -f $options \
        -o "$work/$scheme.ptqc" --emit kernels="$work/kernels" --no-cache
    # shellcheck disable=SC2086
    "$ptqc" compile $cnn/fashion_cnn.onnx --target cpu -q -f $options \
        -o "$work/$scheme.cpu.ptqc"
    run "$work/$scheme.ptqc" $scheme
    run "$work/$scheme.cpu.ptqc" $scheme.cpu
    count=$(find "$work/kernels" -name '*.comp' | wc -l)
    [ "$count" -gt 0 ] && [ "$count" -lt 30 ] || fail "$scheme: $count kernels"
done
# integers are equal, whatever the device
for f in "$work"/w8a8/*.npy; do
    cmp "$f" "$work/w8a8.cpu/$(basename "$f")" || fail "w8a8: not cpu's bits"
done

# ---- kernels that another compiler takes, too
if command -v glslangValidator >/dev/null && command -v spirv-val >/dev/null; then
    for f in "$work"/kernels/*.comp; do
        glslangValidator -V --target-env vulkan1.1 "$f" -o "$work/k.spv" \
            >"$work/log" || fail "$f: $(cat "$work/log")"
        spirv-val --target-env vulkan1.1 "$work/k.spv" || fail "$f"
    done
fi

# ---- validation layers
layer=VK_LAYER_KHRONOS_validation
VK_INSTANCE_LAYERS=$layer run "$work/float.ptqc" layered >"$work/said" 2>&1
[ ! -s "$work/said" ] || fail "validation: $(cat "$work/said")"
cmp "$work/float/"*.npy "$work/layered/"*.npy

# ---- a language model as a whole, states of 16 and 8 bits: the text of cpu,
# and its perplexity within a thousandth. (4-bit weights with 8-bit states would
# want more text: sums in another order turn codes of states, which moves the
# scores by half of what rounding the states does.)
prompt="In the beginning God"
for kv in f16 int8; do
    scheme=--w4a16
    [ $kv = f16 ] || scheme=
    for target in vulkan cpu; do
        # shellcheck disable=SC2086
        "$ptqc" compile $lm --target $target $scheme --kv $kv -f \
            -o "$work/lm.ptqc" >"$work/said" 2>&1
        grep -q "ops on $target\$" "$work/said" || fail "$kv: $(cat "$work/said")"
        [ "$(grep -c 'ops on' "$work/said")" = 1 ] || fail "$kv: $(cat "$work/said")"
        "$ptqc" run "$work/lm.ptqc" --prompt "$prompt" -n 12 --temp 0 -q \
            >"$work/$target.txt"
        "$ptqc" eval "$work/lm.ptqc" --task ppl --data $lm/heldout.txt --ctx 64 \
            --chunks 2 -q --json |
            sed -n 's/.*"ppl": *\([0-9.]*\).*/\1/p' >"$work/$target.ppl"
    done
    cmp "$work/vulkan.txt" "$work/cpu.txt" ||
        fail "$kv: other texts: $(cat "$work/vulkan.txt")"
    awk "BEGIN { r = $(cat "$work/vulkan.ppl") / $(cat "$work/cpu.ppl");
                 exit !(r > .999 && r < 1.001) }" ||
        fail "$kv: perplexity $(cat "$work/vulkan.ppl"), cpu $(cat "$work/cpu.ppl")"
done

# ---- the loader that lies
lie() {
    how=$1
    shift
    LD_LIBRARY_PATH=$fake FAKE_VULKAN=$how "$@"
}
lie far_memory run "$work/float.ptqc" far
cmp "$work/float/"*.npy "$work/far/"*.npy || fail "far memory: other bits"
lie no_devices "$ptqc" devices | grep -q '^vulkan .*unusable.*no Vulkan device' ||
    fail "devices without a device"
lie old_device "$ptqc" devices | grep -q '^vulkan:0 .*unusable.*Vulkan 1.0' ||
    fail "devices with an old device"
# where there is no device, artifacts are made all the same
lie no_devices "$ptqc" compile $cnn/fashion_cnn.onnx --target vulkan -q -f \
    -o "$work/again.ptqc"
cmp "$work/again.ptqc" "$work/float.ptqc" || fail "the artifact depends on the device"

# expect CODE how: run ends with it, and one error line
expect() {
    found=0
    lie "$2" run "$work/float.ptqc" broken 2>"$work/stderr" || found=$?
    [ "$found" = "$1" ] || fail "$2: expected exit $1, found $found: $(cat "$work/stderr")"
    [ "$(grep -c '^ptqc: error' "$work/stderr")" = 1 ] || fail "$2: $(cat "$work/stderr")"
}
expect 7 no_devices
expect 7 old_device
expect 6 small_range
grep -q 'a shader reaches 4096 at most' "$work/stderr" || fail "small_range: $(cat "$work/stderr")"
for name in CreateDevice AllocateMemory CreateShaderModule \
    CreateComputePipelines CreateDescriptorSetLayout EndCommandBuffer QueueSubmit \
    WaitForFences; do
    expect 7 fail_at=1,name=vk$name
    expect 6 fail_at=1,name=vk$name,out_of_memory
done

# ---- damaged artifacts
size=$(wc -c <"$work/float.ptqc")
for at in 1000 $((size / 3)) $((size / 2)) $((size - 5000)); do
    cp "$work/float.ptqc" "$work/bad.ptqc"
    printf '\377\000\252' | dd of="$work/bad.ptqc" bs=1 seek=$at conv=notrunc 2>"$work/log"
    found=0
    run "$work/bad.ptqc" bad 2>"$work/stderr" || found=$?
    [ "$found" -gt 1 ] && [ "$found" -lt 100 ] || fail "damage at $at: exit $found"
    [ "$(grep -c '^ptqc: error' "$work/stderr")" = 1 ] || fail "damage at $at: $(cat "$work/stderr")"
done
