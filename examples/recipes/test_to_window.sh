#!/usr/bin/env bash
# A test picture, or with SOURCE a camera, to a window.
# usage: test_to_window.sh [FRAMES]        environment: SOURCE (default videotestsrc), MODE (default pixelate)
set -euo pipefail

# shellcheck disable=SC2086 # SOURCE may hold properties: SOURCE='v4l2src device=/dev/video2'
exec gst-launch-1.0 -q ${SOURCE:-videotestsrc is-live=true num-buffers=${1:--1}} ! videoconvert \
  ! nullfacefilter profile=live mode="${MODE:-pixelate}" ! videoconvert ! autovideosink
