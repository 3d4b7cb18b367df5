#!/bin/sh
# The PNGs of docs/pictures from what `vfio topology` draws there; needs rsvg-convert and chromium.
set -eu
cd "$(dirname "$0")/../docs/pictures"
for svg in *.svg; do
  rsvg-convert --zoom 1.5 "$svg" --output "${svg%.svg}.png"
done
for page in *.html; do
  chromium --headless --no-sandbox --hide-scrollbars --window-size=1160,830 \
    --screenshot="$PWD/${page%.html}-page.png" "file://$PWD/$page"
done
