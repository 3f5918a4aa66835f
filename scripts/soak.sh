#!/usr/bin/env bash
# Run the node for MINUTES with four cameras that misbehave, and print what became of every frame.
# scripts/soak.sh 20          (scripts/soak.sh --help lists the options)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

"$venv/bin/python" "$root/scripts/soak.py" "$@"
