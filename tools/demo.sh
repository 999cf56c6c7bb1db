#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job end to end, with no account and no network: tools/demo.sh BIN OUT, as `make demo` calls it.
set -eu
bin=$1
out=$2
tool=$bin/nucleus-bridge

say() { printf '\n%s\n' "$*"; }
step() {
    say "\$ nucleus-bridge $*"
    "$tool" "$@"
}

rm -rf "$out"
mkdir -p "$out"
step demo-drive "$out/drive"
step convert "$out/drive" --config "$out/drive.yaml" --output "$out/spool"

say "\$ nucleus-bridge validate $out/spool"
"$tool" validate "$out/spool" >"$out/validation.txt" || { cat "$out/validation.txt"; exit 1; }
tail -n 1 "$out/validation.txt"

step preview "$out/spool" -o "$out/review"

store=file://$(cd "$out" && pwd)/store
say "\$ nucleus-bridge serve $out/received --store $store &"
"$tool" serve "$out/received" --store "$store" >"$out/receiver-url.txt" &
receiver=$!
trap 'kill "$receiver" 2>/dev/null && wait "$receiver" 2>/dev/null || true' EXIT
until [ -s "$out/receiver-url.txt" ]; do
    kill -0 "$receiver" || exit 1
    sleep 0.1
done
NUCLEUS_ENDPOINT=$(cat "$out/receiver-url.txt")
NUCLEUS_API_KEY=demo
export NUCLEUS_ENDPOINT NUCLEUS_API_KEY
echo "$NUCLEUS_ENDPOINT"
step upload "$out/spool" --store "$store" --dataset demo
step status "$out/spool"

say "\$ python tools/label_demo.py $out/drive.truth.json $out/spool --dataset demo    # what annotators would do"
"$bin/python" tools/label_demo.py "$out/drive.truth.json" "$out/spool" --dataset demo
step labels "$out/spool" -o "$out/labels" --dataset demo --store "$store"
step preview "$out/spool" -o "$out/labelled" --labels "$out/labels/labels.jsonl"
step labels "$out/spool" -o "$out/labels" --format mcap --dataset demo --store "$store"

say "The drive          $out/drive, what is true about it $out/drive.truth.json"
echo "The configuration  $out/drive.yaml"
echo "The scenes         $(ls -d "$out"/spool/scenes/*/)"
echo "The review page    $(ls "$out"/review/*.html | head -n 1)"
echo "What was uploaded  $out/received and $out/store"
echo "The labels         $out/labels: labels.jsonl, and a recording that plays beside the drive"
echo "Drawn on the page  $(ls "$out"/labelled/*.html | head -n 1)"
