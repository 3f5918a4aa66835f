# The environment shared by demo.sh and test.sh: .venv in the checkout, with the package installed. They source this
# file under `set -euo pipefail`; it sets $root and $venv.
#
#   LSABINET_PYTHON        Python for the environment (default: see find_python.sh)
#   LSABINET_TORCH_INDEX   additional package index for the first run, for a PyTorch build other than PyPI's
#
# pip runs only after a change: for everything if the dependencies, Python or the ROS distribution changed; for the
# package alone, without network access, if the code changed. An unchanged environment costs half a second.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
install_log=$venv/install.log

fail() {
    echo "lsabinet: error: $*" >&2
    exit 1
}

# All installed sources, relative to the checkout.
sources=()
for source in setup.py setup.cfg pyproject.toml package.xml README.md LICENSE scripts/segmentation resource \
    lsabinet_core lsabinet_ros launch config weights; do
    [ ! -e "$root/$source" ] || sources+=("$source")
done

# A single hash of the names and contents of all sources.
hash_sources() {
    (cd "$root" && find "${sources[@]}" -type f ! -path '*/__pycache__/*' ! -name '*.tmp*' -print0) |
        LC_ALL=C sort -z | (cd "$root" && xargs -0 sha256sum) | sha256sum
}

# Built from a copy, so that the build neither changes the checkout nor includes files of older builds.
copy_sources() {
    tar -C "$root" -c --exclude=__pycache__ --exclude='*.tmp*' "${sources[@]}" | tar -C "$1" -x
}

# Run the Python of another environment than the one that started this script, without that one's libraries.
plain() {
    if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then
        env -u _ROS_WHEELS_BOOTSTRAP_COMPLETE -u LD_LIBRARY_PATH "$@"
    else
        "$@"
    fi
}

# The commit, with "-dirty" if files were changed; nothing outside a checkout.
describe_commit() {
    git -C "$root" describe --always --abbrev=40 --exclude='*' --dirty 2>/dev/null || true
}

# pip with a log; long steps are shown.
pip_install() {
    if ! plain "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@" 2>&1 |
        tee -a "$install_log" |
        sed -un -e '/Downloading.*[MG]B/p' -e 's/^\(Installing collected packages\).*/\1/p' -e '/^ERROR/p' >&2; then
        fail "pip could not install the environment: see the end of $install_log"
    fi
}

# True if .venv has the chosen Python, was created in this place, and has a working pip and no rclpy that would shadow
# the distribution's.
is_reusable() {
    [ -e "$venv/bin/python$version" ] && head -n 2 "$venv/bin/pip" 2>/dev/null | grep -qF "$venv/bin/" &&
        plain "$venv/bin/python" -m pip --version >/dev/null 2>&1 || return 1
    [ "$rclpy" = wheels ] || ! compgen -G "$venv/lib/python*/site-packages/ros_wheels_bootstrapper*" >/dev/null
}

make_venv() {
    if is_reusable; then
        return
    fi
    plain "$python" -c "import venv, ensurepip" 2>/dev/null ||
        fail "$python has no venv module: apt install python3-venv (or python$version-venv)"
    echo "Creating the environment .venv with Python $version ($python)" >&2
    plain "$python" -m venv --clear "$venv" || fail "could not create a virtual environment in $venv"
}

install_everything() {
    local extras=train,render,video,onnx,openvino,ray,docs,dev options=(--constraint "$root/constraints.txt")
    [ "$rclpy" = distribution ] || extras=$extras,ros
    [ -z "${LSABINET_TORCH_INDEX:-}" ] || options+=(--extra-index-url "$LSABINET_TORCH_INDEX")
    : >"$install_log"
    echo "Installing into .venv: a few minutes, the first time only (log: $install_log)" >&2
    if [ -z "${LSABINET_TORCH_INDEX:-}" ] && [ "$(uname -m)" = x86_64 ] && ! command -v nvidia-smi >/dev/null; then
        echo "No NVIDIA GPU found: PyTorch's CPU build would be a smaller download (README, \"Quick start\")" >&2
    fi
    # Install the build requirements first: with build isolation, every build would download its own.
    pip_install "${options[@]}" setuptools
    pip_install "${options[@]}" --no-build-isolation "$copy[$extras]"
    # An oracle of the tests. It requires torchvision, which it does not use and which has no CPU build on PyPI.
    pip_install "${options[@]}" --no-deps pytorchcv
    plain "$venv/bin/python" -c "import cv2, numpy, rclpy, sensor_msgs.msg, torch" 2>>"$install_log" ||
        fail "the new environment does not work: see the end of $install_log"
}

install_package() {
    echo "Installing the changed package into .venv" >&2
    pip_install --no-index --no-deps --no-build-isolation --force-reinstall "$copy"
}

# In a subshell, which holds a lock meanwhile and removes its temporary files in any case.
update_environment() (
    choice=$("$root/scripts/find_python.sh")
    python=${choice%$'\n'*} rclpy=${choice##*$'\n'}

    # One at a time, because two terminals may start at once.
    exec 9<"$root/scripts"
    flock 9

    version=$(plain "$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    dependencies=$({
        cat "$root/setup.py" "$root/constraints.txt"
        echo "$venv $python $version $rclpy"
        [ "$rclpy" = wheels ] || echo "$ROS_DISTRO"
    } | sha256sum)
    export LSABINET_COMMIT=$(describe_commit)
    code="$(hash_sources) $LSABINET_COMMIT"
    had_dependencies=$(cat "$venv/installed.dependencies" 2>/dev/null || true)
    had_code=$(cat "$venv/installed.code" 2>/dev/null || true)
    if [ "$had_dependencies" = "$dependencies" ] && [ "$had_code" = "$code" ]; then
        exit 0
    fi

    # An environment without its stamps is incomplete and is created again.
    rm -f "$venv/installed.code"
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    copy_sources "$copy"
    if [ "$had_dependencies" = "$dependencies" ]; then
        install_package
    else
        rm -f "$venv/installed.dependencies"
        make_venv
        install_everything
    fi
    echo "$dependencies" >"$venv/installed.dependencies"
    echo "$code" >"$venv/installed.code"
)

update_environment
