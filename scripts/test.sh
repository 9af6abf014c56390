#!/usr/bin/env bash
# Everything that must hold before a change is taken: layout, lints, tests, documentation. Sets up
# what is missing first. Exits at the first failure.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# = 0 ] || fail "takes no arguments; run one test with: cargo nextest run -p CRATE NAME"
"$root/scripts/setup.sh"
cd "$root"

step() { say "$1"; shift; "$@"; }

if have shellcheck; then
  mapfile -t shell_files < <(git ls-files -z '*.sh' .ci/run | tr '\0' '\n')
  step "shellcheck: ${#shell_files[@]} files" shellcheck -x -P SCRIPTDIR "${shell_files[@]}"
fi
step "documents: links, commands, words" python3 scripts/check_docs.py
step "rustfmt" cargo fmt --all --check
step "clippy" cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
if [ "$(uname -m)" = x86_64 ]; then
  step "CUDA kernels: every one for every architecture" python3 scripts/check_kernels.py
else
  say "CUDA kernels: NOT compiled: the compiler is installed for x86-64 only"
fi
# GstAnalyticsRelationMeta needs GStreamer 1.24. Where it is older, this code is compiled without the library.
analytics() (
  pkg-config --exists gstreamer-analytics-1.0 ||
    export SYSTEM_DEPS_GSTREAMER_ANALYTICS_1_0_NO_PKG_CONFIG=1 SYSTEM_DEPS_GSTREAMER_ANALYTICS_1_0_LIB=gstanalytics-1.0
  cargo clippy --locked -p gst-plugin-nullface --lib --features analytics --quiet -- -D warnings
)
step "feature analytics: clippy" analytics
# Property tests draw the same cases every time, so that a change is judged by what it changed; with
# PROPTEST_RNG_SEED set by the caller, others.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-20260101}"
step "tests" cargo nextest run --locked --workspace --no-fail-fast
step "documentation's examples" cargo test --locked --workspace --doc --quiet
say "all good"
