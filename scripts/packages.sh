# SPDX-License-Identifier: Apache-2.0
#
# Sourced by demo and test: installs missing Debian packages.

# What a build needs; what the tests need besides.
build_packages="build-essential cmake ninja-build pkg-config llvm-19-dev
  libzstd-dev zlib1g-dev libjansson-dev libxxhash-dev libssl-dev libpng-dev
  libjpeg62-turbo-dev libutf8proc-dev libpcre2-dev libyaml-dev
  libvulkan-dev libshaderc-dev glslang-dev spirv-tools"
test_packages="clang-19 libclang-rt-19-dev clang-format-19 libcmocka-dev
  universal-ctags qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
  python3 mesa-vulkan-drivers vulkan-validationlayers glslang-tools
  pocl-opencl-icd"

# need_packages NAME...: installs those that are missing, as root or through
# sudo; with neither it prints the line to type and stops.
need_packages() {
    missing=""
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=none
        [ "$status" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1; then
        as_root="sudo"
    else
        echo "These Debian packages are missing. Type as root:" >&2
        echo "  apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "installing:$missing"
    # shellcheck disable=SC2086
    $as_root apt-get update -qq
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
