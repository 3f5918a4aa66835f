#!/usr/bin/env bash
# Run the tests in the environment .venv, which is made if need be.
# Arguments go to pytest: scripts/test.sh tests/core -x
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
"$venv/bin/python" -m pytest "$@"
