#!/usr/bin/env bash
# Run the tests in the environment .venv, which is created if needed. Without arguments: all tests, in several processes.
# Arguments are passed to pytest, which then runs in a single process: scripts/test.sh tests/core -x
#
#   LSABINET_COVERAGE=1   measure line coverage and print it; about 15 % slower
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"

# A sourced ROS distribution registers pytest plugins written for another pytest.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=${PYTEST_DISABLE_PLUGIN_AUTOLOAD-1}
# Keep the tests' graphs on this machine, and their logs out of the home folder, which may not be writable.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export ROS_LOG_DIR=$logs
if [ $# -eq 0 ]; then
    # One process more than cores, because the tests on a ROS graph often wait. Each process takes 2 GB.
    processes=$(($(env -u OMP_NUM_THREADS nproc) + 1))
    # The tests of a file run in one process, because they share fixtures. A process that dies ends the run:
    # pytest-xdist would replace it and then wait forever at the end.
    set -- --numprocesses $((processes < 4 ? processes : 4)) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
fi
if [ "${LSABINET_COVERAGE:-0}" != 0 ]; then
    set -- -p pytest_cov --cov --cov-report=term "$@"
fi
# The tests use small tensors: more threads would only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS-1}
"$venv/bin/python" -m pytest -p xdist "$@"
