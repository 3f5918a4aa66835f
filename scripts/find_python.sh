#!/usr/bin/env bash
# Print the Python for the environment, and the source of its rclpy: "distribution" or "wheels".
#
#   LSABINET_PYTHON   use only this Python
#
# If a ROS 2 distribution is sourced, this is the Python that imports its rclpy; otherwise one that the rclpy wheels
# support. On failure it prints one line that says what is missing, and exits with status 1.
set -euo pipefail

fail() {
    echo "lsabinet: error: $*" >&2
    exit 1
}

# The real interpreter behind a name: version shims may exist and fail, and the Python of an activated environment is a
# link that disappears with that environment.
describe() {
    "$1" -c 'import sys; print("%d%02d" % sys.version_info[:2], getattr(sys, "_base_executable", sys.executable))' \
        2>/dev/null
}

candidates=(python3 python3.12 python3.11 python3.10 /usr/bin/python3)
if [ -n "${LSABINET_PYTHON:-}" ]; then
    describe "$LSABINET_PYTHON" >/dev/null || fail "LSABINET_PYTHON=$LSABINET_PYTHON is not a working Python"
    candidates=("$LSABINET_PYTHON")
fi

seen=()
for candidate in "${candidates[@]}"; do
    found=$(describe "$candidate") || continue
    number=${found%% *} python=${found#* }
    seen+=("3.$((10#${number#?}))")
    [ "$number" -ge 310 ] || continue
    [ "$number" -le 312 ] || [ -n "${LSABINET_PYTHON:-}" ] || continue
    if [ -n "${ROS_DISTRO:-}" ] && "$python" -c "import rclpy" 2>/dev/null; then
        printf '%s\n' "$python" distribution
        exit 0
    fi
    if [ -z "${wheels:-}" ] && [ "$number" -ge 311 ]; then
        wheels=$python
    fi
done

if [ -n "${wheels:-}" ]; then
    if [ -n "${ROS_DISTRO:-}" ]; then
        echo "lsabinet: note: ROS_DISTRO is '$ROS_DISTRO', but no Python here imports its rclpy: using the wheels" >&2
    fi
    printf '%s\n' "$wheels" wheels
    exit 0
fi
if [ "${#seen[@]}" -eq 0 ]; then
    fail "expected Python 3.11 or 3.12, found none: install it (apt install python3 python3-venv)"
fi
versions=$(printf '%s\n' "${seen[@]}" | sort -uV | paste -sd ' ')
fail "expected Python 3.11 or 3.12 (or 3.10 with a sourced ROS 2), found $versions: install one, or name it in" \
    "LSABINET_PYTHON"
