#!/usr/bin/env bash
# Run every kind of work under the limits of a small container, and print a table: unprivileged user, read-only home,
# 64 MB of /dev/shm, half a core. Needs root for unshare; changes nothing outside its own namespace.
#
#   sudo bash scripts/check_restricted.sh [FOLDER]     FOLDER keeps the logs (default: a temporary one)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
[ "$(id -u)" = 0 ] || fail "expected root, which unshare and the control group require"

export venv root
export work=${1:-$(mktemp -d)}
export prefix=$("$venv/bin/python" -c 'import sys; print(sys.base_prefix)')
mkdir -p "$work/data"
"$venv/bin/python" - "$work/data" <<'EOF'
import sys
from pathlib import Path

import cv2
import numpy as np

# Twelve frames of two classes, as a folder data set and as a video.
root = Path(sys.argv[1])
(root / "dataset.yaml").write_text(
    "name: tiny\nclasses:\n  - {name: sky, color: [0, 0, 0]}\n  - {name: road, color: [128, 64, 128]}\n"
)
video = cv2.VideoWriter(str(root / "drive.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 2.0, (160, 120))
lines = []
for index in range(12):
    label = np.zeros((120, 160), np.uint8)
    label[40 + 3 * index :] = 1
    image = np.where(label[..., None] == 1, 90, 200).astype(np.uint8).repeat(3, 2)
    cv2.imwrite(str(root / f"{index}.png"), image)
    cv2.imwrite(str(root / f"{index}_label.png"), label)
    video.write(image)
    lines.append(f"{index}.png {index}_label.png\n")
video.release()
for split in ("train", "val"):
    (root / f"{split}.txt").write_text("".join(lines))
EOF
chown -R nobody "$work"

# Limit to half a core with control groups, version 1 or 2; the table says so if neither is available.
group=
if [ -d /sys/fs/cgroup/cpu ] && mkdir -p /sys/fs/cgroup/cpu/lsabinet_check 2>/dev/null; then
    group=/sys/fs/cgroup/cpu/lsabinet_check
    echo 100000 >"$group/cpu.cfs_period_us" && echo 50000 >"$group/cpu.cfs_quota_us"
elif mkdir -p /sys/fs/cgroup/lsabinet_check 2>/dev/null && [ -e /sys/fs/cgroup/lsabinet_check/cpu.max ]; then
    group=/sys/fs/cgroup/lsabinet_check
    echo "50000 100000" >"$group/cpu.max"
fi
[ -z "$group" ] || trap 'rmdir "$group" 2>/dev/null || true' EXIT
export group

unshare --mount bash <<'EOF'
set -euo pipefail
[ -z "$group" ] || echo $$ >"$group/cgroup.procs"
mount -t tmpfs -o size=64m tmpfs /dev/shm
# A Python below /root is not accessible to other users: bind only its folder, and hide the rest.
case "$prefix" in /root/*)
    hold=$(mktemp -d)
    mount --bind "$prefix" "$hold"
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p "$prefix"
    mount --move "$hold" "$prefix"
    ;;
esac
home=$work/home
mkdir -p "$home"
mount -t tmpfs -o ro,mode=555 tmpfs "$home"

failed=0
printf '| work | exit status | seconds | largest process, MB | last line |\n| --- | ---: | ---: | ---: | --- |\n'
check() {
    local name=$1 log=$work/$1.log status=0 memory
    shift
    SECONDS=0
    (cd "$work" && env -i PATH="$venv/bin:/usr/bin:/bin" HOME="$home" LANG=C.UTF-8 \
        setpriv --reuid=nobody --regid=nogroup --clear-groups timeout 900 \
        "$venv/bin/python" -c 'import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024))
sys.exit(status)' "$log.memory" "$@") >"$log" 2>&1 || status=$?
    memory=$(cat "$log.memory" 2>/dev/null || echo -)
    [ "$status" = 0 ] || failed=1
    printf '| %s | %s | %s | %s | %s |\n' "$name" "$status" "$SECONDS" "$memory" "$(tail -n 1 "$log" | tr '|' '/' | cut -c -90)"
}
python=$venv/bin/python
check train "$python" -m lsabinet_core.cli train --recipe zoo_cpu --dataset folder --root data --out run --model enet \
    --set "augmentation.crop_size=[64,96]" --set batch_size=4 --set epochs=2
check evaluate "$python" -m lsabinet_core.cli evaluate --weights run/last.safetensors --dataset folder --root data
check predict "$python" -m lsabinet_core.cli predict data/drive.avi --weights lsabinet_synthetic --out masks
check export "$python" -m lsabinet_core.cli export --weights run/last.safetensors --to onnx --size 64x96 --out net.onnx
check node "$python" -m lsabinet_core.cli demo data/drive.avi --weights lsabinet_synthetic --out demo --no-video
exit $failed
EOF
echo "Logs: $work"
