#!/usr/bin/env bash
# Makes a bare Debian 12 able to build, test and run nullface. Needs root or sudo, and curl.
# Does only what is not done yet, says what it does, and needs no network once all is there.
#
# usage: scripts/setup.sh [--run-only]
#   --run-only   leave out what only the tests need
#
# | what | where |
# |---|---|
# | GStreamer, OpenCV, clang, ffmpeg (Debian packages) | the system |
# | Rust toolchain, cargo-nextest | ~/.cargo, only where cargo is missing or too old |
# | ONNX Runtime 1.24.4 for the processor, from its Python wheel | .deps/onnxruntime |
# | NVRTC 13.0.88, which compiles the CUDA kernels without a GPU, from its Python wheel; tests only, x86-64 only | .deps/cuda |
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tests=yes
case "${1:-}" in
  --run-only) tests=no ;;
  '') ;;
  *) fail "unknown argument $1; usage: scripts/setup.sh [--run-only]" ;;
esac

# Keep in step with rust-version in Cargo.toml.
rust_minor=92
ort_version=1.24.4
ort_sha256=2d518e11c7767f9fdc4413bdbeb45acf30db504ff76a82fc19d9238a3f9f6c24
nextest_version=0.9.143
nvrtc_version=13.0.88
nvrtc_sha256=a49e67e8e74590f1e98de55c39c6287efd3f59e3c3797464d7bbe0fe01349b11
nvrtc_builtins_sha256=91dcd944d01da9c0f08fff5d779db136a47f6d62bdb63bae900d2f481e92c3a2

build_packages=(
  build-essential pkg-config curl ca-certificates python3 python3-pip
  clang libclang-dev
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev gstreamer1.0-tools
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav
  libopencv-core-dev libopencv-imgproc-dev libopencv-objdetect-dev libopencv-dnn-dev
  libopencv-video-dev libopencv-calib3d-dev libopencv-features2d-dev libopencv-flann-dev
)
# For the recipes: a server that takes RTMP, a screen, a browser, WebRTC and its Python bindings.
test_packages=(
  ffmpeg shellcheck nginx libnginx-mod-rtmp xvfb gstreamer1.0-x chromium openssl
  gstreamer1.0-nice python3-gi gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0
)

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo; then sudo "$@"
  else fail "packages are missing and neither root nor sudo is at hand: as root, run: $*"
  fi
}

install_packages() {
  local wanted=("${build_packages[@]}") missing=() package
  [ "$tests" = no ] || wanted+=("${test_packages[@]}")
  for package in "${wanted[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} = 0 ]; then
    say "Debian packages: all ${#wanted[@]} there"
    return
  fi
  say "Debian packages: installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

rust_is_new_enough() {
  have cargo && have rustc || return 1
  local minor
  minor=$(rustc --version | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
  [ "${minor:-0}" -ge "$rust_minor" ]
}

install_rust() {
  if rust_is_new_enough; then
    say "Rust: $(rustc --version)"
  elif have rustup; then
    say "Rust: older than 1.$rust_minor, updating"
    rustup toolchain install stable --profile minimal --component rustfmt --component clippy
    rustup default stable
  else
    say "Rust: installing the toolchain into ${CARGO_HOME:-$HOME/.cargo}"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
      sh -s -- -y --no-modify-path --profile minimal --component rustfmt --component clippy
  fi
  rust_is_new_enough || fail "Rust 1.$rust_minor or newer is needed, found: $(rustc --version 2>&1 || true)"
}

install_nextest() {
  if have cargo-nextest; then
    say "cargo-nextest: $(cargo-nextest --version | head -n 1)"
  else
    say "cargo-nextest: building $nextest_version"
    cargo install --locked --version "$nextest_version" cargo-nextest
  fi
}

install_runtime() {
  local folder="$deps/onnxruntime" library
  library="$folder/lib/libonnxruntime.so"
  if [ -f "$library" ] && echo "$ort_sha256  $library" | sha256sum --check --status; then
    say "ONNX Runtime $ort_version: $library"
    return
  fi
  say "ONNX Runtime $ort_version: getting it into $folder"
  mkdir -p "$deps"
  local work
  work=$(mktemp -d "$deps/.onnxruntime.XXXXXX")
  # shellcheck disable=SC2064 # the folder of now is meant
  trap "rm -rf '$work'" EXIT
  # Named in full, so that any Python's pip gets the same file.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --platform "manylinux_2_27_$(uname -m)" \
    --dest "$work" "onnxruntime==$ort_version"
  python3 - "$work" <<'PYTHON'
import glob, os, sys, zipfile
work = sys.argv[1]
with zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0]) as wheel:
    os.makedirs(os.path.join(work, "out", "lib"))
    for name in wheel.namelist():
        base = os.path.basename(name)
        if base.startswith("libonnxruntime.so"):
            target = os.path.join("lib", "libonnxruntime.so")
        elif base in ("LICENSE", "ThirdPartyNotices.txt"):
            target = base
        else:
            continue
        with open(os.path.join(work, "out", target), "wb") as out:
            out.write(wheel.read(name))
PYTHON
  if [ "$(uname -m)" = x86_64 ]; then
    echo "$ort_sha256  $work/out/lib/libonnxruntime.so" | sha256sum --check --quiet ||
      fail "ONNX Runtime $ort_version: the library is not the one expected ($(sha256sum "$work/out/lib/libonnxruntime.so"))"
  fi
  rm -rf "$folder"
  mv "$work/out" "$folder"
  rm -rf "$work"
  trap - EXIT
}

nvrtc_is_there() {
  [ -f "$1/libnvrtc.so.13" ] && [ -f "$1/libnvrtc-builtins.so.13.0" ] &&
    echo "$nvrtc_sha256  $1/libnvrtc.so.13" | sha256sum --check --status &&
    echo "$nvrtc_builtins_sha256  $1/libnvrtc-builtins.so.13.0" | sha256sum --check --status
}

install_nvrtc() {
  local folder="$deps/cuda" work
  if nvrtc_is_there "$folder"; then
    say "NVRTC $nvrtc_version: $folder"
    return
  fi
  say "NVRTC $nvrtc_version: getting it into $folder (90 MB)"
  mkdir -p "$deps"
  work=$(mktemp -d "$deps/.cuda.XXXXXX")
  # shellcheck disable=SC2064 # the folder of now is meant
  trap "rm -rf '$work'" EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.11 --platform manylinux2010_x86_64 --dest "$work" "nvidia-cuda-nvrtc==$nvrtc_version"
  python3 - "$work" <<'PYTHON'
import glob, os, sys, zipfile
work = sys.argv[1]
with zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0]) as wheel:
    os.makedirs(os.path.join(work, "out"))
    for name in wheel.namelist():
        base = os.path.basename(name)
        if base in ("libnvrtc.so.13", "libnvrtc-builtins.so.13.0", "License.txt"):
            with open(os.path.join(work, "out", base), "wb") as out:
                out.write(wheel.read(name))
PYTHON
  nvrtc_is_there "$work/out" || fail "NVRTC $nvrtc_version: the library is not the one expected ($(sha256sum "$work"/out/*))"
  rm -rf "$folder"
  mv "$work/out" "$folder"
  rm -rf "$work"
  trap - EXIT
}

install_packages
install_rust
[ "$tests" = no ] || install_nextest
install_runtime
if [ "$tests" = yes ] && [ "$(uname -m)" = x86_64 ]; then
  install_nvrtc
fi
say "set up"
