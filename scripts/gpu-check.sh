#!/usr/bin/env bash
# Everything that only a GPU can show, in one run: parity of the kernels and of a frame's whole trip with their
# plain definitions, the kernels' speed against a copy on the device, the trip's time, and the packs' networks. Needs an NVIDIA GPU with its driver and
# Python 3; what else it uses is carried along or built here. Changes nothing outside the repository's .deps.
#
# usage: scripts/gpu-check.sh [--dry-run] [--parts FOLDER] [--seconds N]
#   --dry-run   checks everything but the device: programs, compiler, every kernel for every architecture,
#               the parts, and the packs on the processor
#   --parts     folder with the GPU wheel of ONNX Runtime in parts of at most 60 MB, as
#               `scripts/gpu-check.sh --split WHEEL FOLDER` writes them; joined and checked here
#   --seconds   time for the networks' speed, each (default 5)
#
# | part | taken from, in order |
# |---|---|
# | the kernels' check | .deps/gpu/gpu_check, carried along; else built with cargo |
# | NVRTC | .deps/cuda (scripts/setup.sh), else an installed PyTorch, else the loader |
# | ONNX Runtime with CUDA | the parts; else an installed onnxruntime-gpu; else the networks run in PyTorch |
# | cuDNN, cuBLAS | an installed PyTorch |
#
# One line a claim; the last line is `N passed, N failed`. Exit code 0 only where nothing failed.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

dry=no parts='' seconds=5
largest=$((60 * 1000 * 1000))

split_wheel() {
  local wheel=$1 folder=$2
  [ -f "$wheel" ] || fail "there is no wheel $wheel"
  mkdir -p "$folder"
  (cd "$folder" && rm -f ./*.part-* SHA256SUMS)
  split --bytes="$largest" --numeric-suffixes --suffix-length=3 "$wheel" "$folder/$(basename "$wheel").part-"
  sha256sum "$wheel" | sed "s|  .*/|  |" > "$folder/SHA256SUMS"
  (cd "$folder" && sha256sum ./*.part-*) >> "$folder/SHA256SUMS"
  say "$(find "$folder" -name '*.part-*' | wc -l) parts in $folder"
}

while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) dry=yes ;;
    --parts) [ $# -ge 2 ] || fail "--parts wants a folder"; parts=$2; shift ;;
    --seconds) [ $# -ge 2 ] || fail "--seconds wants a number"; seconds=$2; shift ;;
    --split) [ $# -eq 3 ] || fail "--split wants a wheel and a folder"; split_wheel "$2" "$3"; exit 0 ;;
    *) fail "unknown argument $1; usage: scripts/gpu-check.sh [--dry-run] [--parts FOLDER] [--seconds N]" ;;
  esac
  shift
done

passed=0 failed=0
claim() { # name, then a command; its last line is the detail
  local name=$1 out code=0
  shift
  out=$("$@" 2>&1) || code=$?
  if [ "$code" = 0 ]; then
    printf 'PASS %s: %s\n' "$name" "$(printf '%s' "$out" | tail -n 1)"
    passed=$((passed + 1))
  else
    printf 'FAIL %s: %s\n' "$name" "$(printf '%s' "$out" | tail -n 1)"
    failed=$((failed + 1))
  fi
}
# Runs a program that prints its own claims and ends with `N passed, N failed`.
claims_of() {
  local out last
  out=$("$@" 2>&1) || true
  printf '%s\n' "$out" | grep -v '^[0-9]* passed, [0-9]* failed$' || true
  last=$(printf '%s\n' "$out" | tail -n 1)
  if [[ "$last" =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
    passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
  else
    printf 'FAIL %s: ended without its count\n' "$(basename "$1")"
    failed=$((failed + 1))
  fi
}

have python3 || fail "python3 is needed"
cd "$root"
say "$(date -u +%Y-%m-%dT%H:%MZ), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"

join_parts() {
  local folder=$1 name target="$deps/onnxruntime-gpu"
  [ -f "$folder/SHA256SUMS" ] || { echo "no SHA256SUMS in $folder"; return 1; }
  name=$(sed -n '1s/^[0-9a-f]*  *//p' "$folder/SHA256SUMS")
  if [ -z "$name" ] || [ "$name" != "$(basename "$name")" ]; then echo "SHA256SUMS does not begin with the wheel"; return 1; fi
  (cd "$folder" && tail -n +2 SHA256SUMS | sha256sum --check --quiet) || { echo "a part is missing or altered"; return 1; }
  find "$folder" -name '*.part-*' -size +"$largest"c | grep -q . && { echo "a part is larger than $largest bytes"; return 1; }
  mkdir -p "$target"
  cat "$folder/$name".part-* > "$target/$name"
  (cd "$target" && head -n 1 "$folder/SHA256SUMS" | sha256sum --check --quiet) || { rm -f "$target/$name"; echo "the joined wheel is another one"; return 1; }
  python3 -m zipfile -e "$target/$name" "$target" || return 1
  rm -f "$target/$name"
  echo "$name"
}
if [ -n "$parts" ]; then
  parts=$(cd "$parts" && pwd) || fail "there is no folder $parts"
  claim "parts of ONNX Runtime joined" join_parts "$parts"
fi

# Folders with NVIDIA's libraries of an installed PyTorch.
torch_folders() {
  python3 - <<'PYTHON' 2>/dev/null || true
import glob, importlib.util, os
for name in ("torch", "nvidia"):
    spec = importlib.util.find_spec(name)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for folder in sorted(glob.glob(os.path.join(place, "lib")) + glob.glob(os.path.join(place, "*", "lib")) + glob.glob(os.path.join(place, "..", "nvidia", "*", "lib"))):
            print(os.path.realpath(folder))
PYTHON
}
mapfile -t folders < <(torch_folders | sort -u)
libraries=$(IFS=:; echo "${folders[*]:-}")
nvrtc="$deps/cuda"
if [ ! -e "$nvrtc/libnvrtc.so.13" ]; then
  for folder in "${folders[@]:-}"; do
    if compgen -G "$folder/libnvrtc.so.1*" > /dev/null; then nvrtc=$folder; fi
  done
fi

program="$deps/gpu/gpu_check"
if [ ! -x "$program" ]; then
  have cargo || fail "neither $program nor cargo is there: carry the program along, or install Rust"
  say "building the kernels' check"
  cargo build --locked --release --quiet -p nullface-kernels --example gpu_check
  program="$CARGO_TARGET_DIR/release/examples/gpu_check"
fi
kernel_args=(--nvrtc "$nvrtc")
[ "$dry" = no ] || kernel_args+=(--dry-run)
say "kernels: $program ${kernel_args[*]}"
claims_of env LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$program" "${kernel_args[@]}"

network_args=(--seconds "$seconds")
[ "$dry" = no ] || network_args+=(--dry-run)
[ ! -d "$deps/onnxruntime-gpu/onnxruntime" ] || network_args+=(--runtime "$deps/onnxruntime-gpu")
say "networks"
claims_of env LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" python3 "$root/scripts/gpu_networks.py" "${network_args[@]}"

if [ "$dry" = yes ]; then
  say "dry run: nothing was asked of a device"
else
  if have nvidia-smi; then nvidia-smi --query-gpu=name,driver_version,clocks.sm,temperature.gpu --format=csv,noheader; fi
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
