#!/usr/bin/env bash
# Replay a drive through the segmentation node over ROS 2, and leave video, latency plot and summary in demo_output/.
# Arguments go to `lsabinet demo` (scripts/demo.sh --help): without any, the drive is synthetic.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Paths in the arguments are the caller's, so the folder stays what it is.
"$venv/bin/lsabinet" demo --out "$root/demo_output" "$@"
