#!/usr/bin/env bash
# Run the tests in the environment .venv, which is made if need be: all of them, in one process on each core, or with
# arguments, which go to pytest, in this one: scripts/test.sh tests/core -x
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"

# A sourced ROS distribution registers pytest plugins of its own, made for another pytest.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=${PYTEST_DISABLE_PLUGIN_AUTOLOAD-1}
# The tests' graphs stay on this machine, and their logs out of the home folder, which may not be writable.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export ROS_LOG_DIR=$logs
if [ $# -eq 0 ]; then
    cores=$(env -u OMP_NUM_THREADS nproc)
    # Each process takes 2 GB. The tests of a file stay together, for they share what they have made. A process that
    # dies ends the run: with another in its place, pytest-xdist would wait for ever at the end.
    set -- --numprocesses $((cores < 4 ? cores : 4)) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
fi
# The tests' tensors are small: more threads would only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS-1}
"$venv/bin/python" -m pytest -p xdist "$@"
