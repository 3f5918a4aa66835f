#!/usr/bin/env bash
# The training runs behind the CamVid weights, unattended, in slices of less than ten minutes:
#
#   scripts/train_camvid_gpu.sh CAMVID_ROOT OUT [SLICE_SECONDS]
#
# It works in slices of at most SLICE_SECONDS (560), each a process of its own that resumes what the last one left in
# OUT; it may be killed at any time and called again. The runs, in their order: LSA-BiNet and DABNet, the control, trained
# on train and measured on val; LSA-BiNet on train + val, the weights that ship; then both networks with the further
# seeds. The table of all runs is printed after each slice, unless it had to be killed. Three seeds are 161,000 steps,
# SEEDS=1 are 73,000: at 90 steps a second 30 and 14 minutes, validation, compiling and starting not counted. How many a
# device makes, and how busy that keeps it, tells `lsabinet benchmark train --recipe camvid`. The exit status is 0 when
# every run is finished, and 75 with SLICES where there is work left.
#
# A slice has to be longer than what a run takes to its first checkpoint: loading, compiling, and two minutes of training
# or the first validation.
#
#   RECIPE     shipped name or YAML file (camvid)
#   SETTINGS   changes to it, apart by spaces: "batch_size=16 optimizer.lr=0.004"; no spaces in a value
#   SEEDS      of each network (1 2 3)
#   SLICES     to work for (until all is finished); 1 on a machine that is lent for one command
#   DEVICE     auto, cpu or cuda (auto)
#   WORKERS    processes that prepare batches, where the data set is not held on the device (1; with a GPU, by its cores)
#   PYTHON     python to use as it is, with the package's requirements installed (the environment .venv, made if need be)
set -euo pipefail

slice=${3:-560}
if [ $# -lt 2 ] || [ $# -gt 3 ] || ! [[ $slice =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CAMVID_ROOT OUT [SLICE_SECONDS]" >&2
    exit 2
fi
if [ -n "${PYTHON:-}" ]; then
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    python=$PYTHON
else
    source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
    python=$venv/bin/python
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

settings=() seeds=() workers=()
[ -z "${WORKERS:-}" ] || workers=(--workers "$WORKERS")
read -ra settings <<<"${SETTINGS:-}"
read -ra seeds <<<"${SEEDS:-1 2 3}"
for ((count = 1; ; count++)); do
    status=0 begun=$SECONDS
    # The program ends its slice by itself, a little earlier; this is for one that hangs. In the foreground Ctrl-C ends it.
    timeout --foreground --signal=INT --kill-after=10 "$slice" "$python" -m lsabinet_core.cli.train_camvid "$1" "$2" \
        --seconds "$slice" --recipe "${RECIPE:-camvid}" --seeds "${seeds[@]}" --device "${DEVICE:-auto}" \
        "${workers[@]}" "${settings[@]/#/--set=}" || status=$?
    # timeout was faster: 124, or 137 for what even Ctrl-C did not end.
    if [ "$status" -eq 124 ] || { [ "$status" -eq 137 ] && ((SECONDS - begun >= slice)); }; then
        status=75
    fi
    [ "$status" -eq 75 ] && [ "$count" -ne "${SLICES:-0}" ] || exit "$status"
done
