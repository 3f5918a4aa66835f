#!/usr/bin/env bash
# Replay a drive through the segmentation node over ROS 2, and write video, latency plot and summary to demo_output/.
# Arguments are passed to `lsabinet demo` (scripts/demo.sh --help); the default drive is synthetic.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Keep the working folder, because paths in the arguments are relative to it.
"$venv/bin/lsabinet" demo --out "$root/demo_output" "$@"
