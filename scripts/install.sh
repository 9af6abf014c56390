#!/usr/bin/env bash
# Installs what was built: the command, the GStreamer plugin, the models, ONNX Runtime's library. Builds
# nothing; run scripts/demo.sh or `cargo build --locked --release --workspace` first.
#
# usage: scripts/install.sh [PREFIX]        (default /usr/local)
# environment: DESTDIR, put before PREFIX; BUILT, the folder of what was built (default target/release)
#
# | what | where |
# |---|---|
# | command | PREFIX/bin/nullface |
# | plugin | PREFIX/lib/gstreamer-1.0/libgstnullface.so |
# | small models, packs | PREFIX/share/nullface/models, PREFIX/share/nullface/PACK |
# | ONNX Runtime | PREFIX/share/nullface/onnxruntime/lib |
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -le 1 ] || fail "usage: scripts/install.sh [PREFIX]"
prefix="${1:-/usr/local}"
to="${DESTDIR:-}$prefix"
built="${BUILT:-$CARGO_TARGET_DIR/release}"
for file in nullface libgstnullface.so; do
  [ -f "$built/$file" ] || fail "$built/$file is not there: cargo build --locked --release --workspace"
done
[ -f "$deps/onnxruntime/lib/libonnxruntime.so" ] || fail "$deps/onnxruntime is not there: scripts/setup.sh --run-only"

install -Dm755 "$built/nullface" "$to/bin/nullface"
install -Dm644 "$built/libgstnullface.so" "$to/lib/gstreamer-1.0/libgstnullface.so"
install -Dm644 -t "$to/share/nullface/models" "$root"/models/small/*.onnx "$root"/models/small/manifest.toml
install -Dm644 "$deps/onnxruntime/lib/libonnxruntime.so" "$to/share/nullface/onnxruntime/lib/libonnxruntime.so"
for pack in "$root"/models/*/pack.toml; do
  folder=$(dirname "$pack")
  (cd "$folder" && find . -type f ! -path './docs/*' ! -name README.md -exec install -Dm644 {} "$to/share/nullface/$(basename "$folder")/{}" \;)
done
say "installed below $to"
case ":${GST_PLUGIN_PATH:-}:" in
  *":$prefix/lib/gstreamer-1.0:"*) ;;
  *) say "GStreamer's tools find the plugin with: export GST_PLUGIN_PATH=$prefix/lib/gstreamer-1.0" ;;
esac
