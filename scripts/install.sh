#!/usr/bin/env bash
# Installs what was built: the command with man pages and completions, the GStreamer plugin, the models,
# ONNX Runtime's library, the systemd unit. Builds nothing; run scripts/demo.sh or
# `cargo build --locked --release --workspace` first.
#
# usage: scripts/install.sh [PREFIX]        (default /usr/local)
#        scripts/install.sh --deb           makes a Debian package instead (needs cargo-deb)
# environment: DESTDIR, put before PREFIX; BUILT, the folder of what was built (default target/release)
#
# | what | where |
# |---|---|
# | command | PREFIX/bin/nullface |
# | plugin | PREFIX/lib/gstreamer-1.0/libgstnullface.so; for /usr the machine's own folder, where GStreamer looks |
# | small models with their licences, packs | PREFIX/share/nullface/models, PREFIX/share/nullface/PACK |
# | ONNX Runtime | PREFIX/share/nullface/onnxruntime/lib |
# | man pages, completions | PREFIX/share/man, share/bash-completion, share/zsh, share/fish |
# | systemd unit | PREFIX/lib/systemd/system/nullface-live@.service |
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -le 1 ] || fail "usage: scripts/install.sh [PREFIX | --deb]"
built="${BUILT:-$CARGO_TARGET_DIR/release}"
for file in nullface libgstnullface.so; do
  [ -f "$built/$file" ] || fail "$built/$file is not there: cargo build --locked --release --workspace"
done
[ -f "$deps/onnxruntime/lib/libonnxruntime.so" ] || fail "$deps/onnxruntime is not there: scripts/setup.sh --run-only"

pages="$CARGO_TARGET_DIR/package"
rm -rf "$pages"
mkdir -p "$pages/man" "$pages/completions"
"$built/nullface" man --output "$pages/man"
for shell in bash zsh fish; do
  "$built/nullface" completions "$shell" > "$pages/completions/nullface.$shell"
done

if [ "${1:-}" = --deb ]; then
  have cargo-deb || fail "cargo-deb is missing: cargo install --locked cargo-deb"
  cd "$root"
  cargo deb --locked --no-build --strip --fast -p nullface-cli
  exit
fi

prefix="${1:-/usr/local}"
to="${DESTDIR:-}$prefix"
plugins=lib/gstreamer-1.0
[ "$prefix" != /usr ] || plugins="lib/$(gcc -dumpmachine)/gstreamer-1.0"
install -Dm755 "$built/nullface" "$to/bin/nullface"
install -Dm644 "$built/libgstnullface.so" "$to/$plugins/libgstnullface.so"
install -Dm644 -t "$to/share/nullface/models" "$root"/models/small/*.onnx "$root"/models/small/manifest.toml
install -Dm644 -t "$to/share/nullface/models/licenses" "$root"/models/small/licenses/*
install -Dm644 "$deps/onnxruntime/lib/libonnxruntime.so" "$to/share/nullface/onnxruntime/lib/libonnxruntime.so"
install -Dm644 -t "$to/share/nullface/onnxruntime" "$deps"/onnxruntime/LICENSE "$deps"/onnxruntime/ThirdPartyNotices.txt
for pack in "$root"/models/*/pack.toml; do
  folder=$(dirname "$pack")
  (cd "$folder" && find . -type f ! -path './docs/*' ! -name README.md -exec install -Dm644 {} "$to/share/nullface/$(basename "$folder")/{}" \;)
done
install -Dm644 -t "$to/share/man/man1" "$pages"/man/*.1
install -Dm644 "$pages/completions/nullface.bash" "$to/share/bash-completion/completions/nullface"
install -Dm644 "$pages/completions/nullface.zsh" "$to/share/zsh/site-functions/_nullface"
install -Dm644 "$pages/completions/nullface.fish" "$to/share/fish/vendor_completions.d/nullface.fish"
sed "s|/usr/bin/nullface|$prefix/bin/nullface|" "$root/deploy/systemd/nullface-live@.service" |
  install -Dm644 /dev/stdin "$to/lib/systemd/system/nullface-live@.service"
say "installed below $to"
[ "$prefix" != /usr ] || exit 0
case ":${GST_PLUGIN_PATH:-}:" in
  *":$prefix/lib/gstreamer-1.0:"*) ;;
  *) say "GStreamer's tools find the plugin with: export GST_PLUGIN_PATH=$prefix/lib/gstreamer-1.0" ;;
esac
