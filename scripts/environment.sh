# The environment that demo.sh and test.sh share: .venv in the checkout, with the package installed. They source this
# under `set -euo pipefail`; it sets $root and $venv.
#
#   LSABINET_PYTHON        the python to make it from (default: see find_python.sh)
#   LSABINET_TORCH_INDEX   at the first run, one more package index, for a PyTorch build other than PyPI's
#
# pip runs only when something changed: for everything when the dependencies, the python or the ROS distribution did;
# for the package alone, without a network, when the code did. An unchanged environment costs half a second.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
install_log=$venv/install.log

fail() {
    echo "lsabinet: error: $*" >&2
    exit 1
}

# All that is installed, relative to the checkout.
sources=()
for source in setup.py setup.cfg pyproject.toml package.xml README.md LICENSE scripts/segmentation resource \
    lsabinet_core lsabinet_ros launch config weights; do
    [ ! -e "$root/$source" ] || sources+=("$source")
done

# One hash of the names and contents of all sources.
hash_sources() {
    (cd "$root" && find "${sources[@]}" -type f ! -path '*/__pycache__/*' ! -name '*.tmp*' -print0) |
        LC_ALL=C sort -z | (cd "$root" && xargs -0 sha256sum) | sha256sum
}

# Copied, so that building leaves nothing in the checkout, nor takes in what an older build left there.
copy_sources() {
    tar -C "$root" -c --exclude=__pycache__ --exclude='*.tmp*' "${sources[@]}" | tar -C "$1" -x
}

# Run another environment's python than the one that we may have been started from: its libraries are not the same.
plain() {
    if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then
        env -u _ROS_WHEELS_BOOTSTRAP_COMPLETE -u LD_LIBRARY_PATH "$@"
    else
        "$@"
    fi
}

# The commit, with "-dirty" where files were changed; nothing outside of a checkout.
describe_commit() {
    git -C "$root" describe --always --abbrev=40 --exclude='*' --dirty 2>/dev/null || true
}

# pip with a log; the steps that take long are shown.
pip_install() {
    if ! plain "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@" 2>&1 |
        tee -a "$install_log" |
        sed -un -e '/Downloading.*[MG]B/p' -e 's/^\(Installing collected packages\).*/\1/p' -e '/^ERROR/p' >&2; then
        fail "pip could not install the environment: the reason is at the end of $install_log"
    fi
}

# True where .venv is of the chosen python, was made in this place, has a working pip, and no rclpy that would come
# before the distribution's.
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
    echo "Making the environment .venv with Python $version ($python)" >&2
    plain "$python" -m venv --clear "$venv" || fail "could not make a virtual environment in $venv"
}

install_everything() {
    local extras=train,onnx,openvino,dev options=(--constraint "$root/constraints.txt")
    [ "$rclpy" = distribution ] || extras=$extras,ros
    [ -z "${LSABINET_TORCH_INDEX:-}" ] || options+=(--extra-index-url "$LSABINET_TORCH_INDEX")
    : >"$install_log"
    echo "Installing into .venv: a few minutes, the first time only (log: $install_log)" >&2
    if [ -z "${LSABINET_TORCH_INDEX:-}" ] && [ "$(uname -m)" = x86_64 ] && ! command -v nvidia-smi >/dev/null; then
        echo "No NVIDIA GPU here: PyTorch's CPU build would be a smaller download (README, \"Quick start\")" >&2
    fi
    # What builds the package comes first: with build isolation, every build would download its own.
    pip_install "${options[@]}" setuptools
    pip_install "${options[@]}" --no-build-isolation "$copy[$extras]"
    # An oracle of the tests. It asks for torchvision, which has no CPU build on PyPI and which it does not need.
    pip_install "${options[@]}" --no-deps pytorchcv
    plain "$venv/bin/python" -c "import cv2, numpy, rclpy, sensor_msgs.msg, torch" 2>>"$install_log" ||
        fail "the new environment does not work: the reason is at the end of $install_log"
}

install_package() {
    echo "Installing the changed package into .venv" >&2
    pip_install --no-index --no-deps --no-build-isolation --force-reinstall "$copy"
}

# In a subshell: it holds a lock while it works, and leaves no temporary files however it ends.
update_environment() (
    choice=$("$root/scripts/find_python.sh")
    python=${choice%$'\n'*} rclpy=${choice##*$'\n'}

    # One at a time: two terminals may start at once.
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

    # An environment without its stamps is half made, and is made again.
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
