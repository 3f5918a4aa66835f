#!/usr/bin/env bash
# Train LSA-BiNet for CamVid on one machine:
#
#   scripts/train_camvid_gpu.sh CAMVID_ROOT OUT
#
#   1. renders street scenes             OUT/scenes, unless SCENES_ROOT names a folder of them
#   2. pre-trains on the scenes          OUT/pretrained, recipe synthetic
#   3. fine-tunes on CamVid's train      OUT/camvid, recipe camvid
#   4. evaluates on CamVid's val         OUT/val.json
#
# Run it again to continue: finished steps are skipped, and an interrupted step resumes from its checkpoint. The exit
# status is 0 when all four steps are done, and 75 if TIME ran out before.
#
#   TIME             seconds after which training stops with a checkpoint (default: no limit)
#   SCENES           number of scenes to render (default: 4000); VAL_SCENES more for validation (default: 100)
#   SCENES_ROOT      folder of scenes rendered before with `lsabinet synthetic render`
#   PRETRAIN, TUNE   changes to the two recipes, separated by spaces: "batch_size=16 optimizer.lr=0.004"
#   DEVICE           auto, cpu or cuda (default: auto)
#   PYTHON           Python with the package's requirements and numba (default: .venv, created if missing)
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "usage: $0 CAMVID_ROOT OUT" >&2
    exit 2
fi
camvid=$1 out=$2
if [ -n "${PYTHON:-}" ]; then
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    python=$PYTHON
else
    source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
    python=$venv/bin/python
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

lsabinet() { "$python" -m lsabinet_core.cli "$@"; }

# train FOLDER RECIPE CHANGES OPTION...: start or resume a run; exit if the time is over.
train() {
    local folder=$1 recipe=$2 changes=() options=("${@:4}")
    [ ! -e "$folder/summary.json" ] || return 0
    read -ra changes <<<"$3"
    if [ -e "$folder/checkpoint.pt" ]; then
        options+=(--resume)
    else
        options+=(--recipe "$recipe" "${changes[@]/#/--set=}")
    fi
    if [ -n "${TIME:-}" ]; then
        ((TIME > SECONDS)) || exit 75
        options+=(--seconds $((TIME - SECONDS)))
    fi
    lsabinet train "${options[@]}" --device "${DEVICE:-auto}" --out "$folder"
    [ -e "$folder/summary.json" ] || exit 75
}

# weights FOLDER: the weights file named in the run's summary.
weights() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["weights"])' "$1/summary.json"; }

scenes=${SCENES_ROOT:-$out/scenes}
[ -n "${SCENES_ROOT:-}" ] || lsabinet synthetic render --out "$scenes" --scenes "${SCENES:-4000}" \
    --val-scenes "${VAL_SCENES:-100}"
train "$out/pretrained" synthetic "${PRETRAIN:-}" --dataset folder --root "$scenes"
train "$out/camvid" camvid "initial_weights=$out/pretrained/$(weights "$out/pretrained") ${TUNE:-}" \
    --dataset camvid --root "$camvid"
lsabinet evaluate --weights "$out/camvid/$(weights "$out/camvid")" --dataset camvid --root "$camvid" --split val \
    --device "${DEVICE:-auto}" --json "$out/val.json"
