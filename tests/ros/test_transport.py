"""The Fast DDS profile, the malloc settings and the check of shared memory."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest

from lsabinet_ros import transport

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "config" / "fastdds.xml"


@pytest.fixture
def bare_environment(monkeypatch):
    for variable in (*transport.PROFILE_VARIABLES, *transport.MALLOC_SETTINGS, "RMW_IMPLEMENTATION"):
        # Set it first, so that monkeypatch removes what prepare() sets.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    return monkeypatch


def test_profile_is_selected_for_fast_dds(bare_environment):
    transport.prepare()
    for variable in transport.PROFILE_VARIABLES:
        assert Path(os.environ[variable]) == PROFILE


@pytest.mark.parametrize("variable", transport.PROFILE_VARIABLES)
def test_profile_of_the_user_is_kept(bare_environment, variable):
    bare_environment.setenv(variable, "/mine.xml")
    transport.prepare()
    assert {name: os.environ.get(name) for name in transport.PROFILE_VARIABLES} == {
        name: "/mine.xml" if name == variable else None for name in transport.PROFILE_VARIABLES
    }


@pytest.mark.parametrize(("rmw", "ours"), [("rmw_fastrtps_cpp", True), ("rmw_cyclonedds_cpp", False), ("", True)])
def test_other_middleware_gets_no_profile(bare_environment, rmw, ours):
    bare_environment.setenv("RMW_IMPLEMENTATION", rmw)
    transport.prepare()
    assert ("FASTRTPS_DEFAULT_PROFILES_FILE" in os.environ) is ours


def test_profile_has_the_transports():
    namespace = {"x": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
    root = ElementTree.parse(PROFILE).getroot()
    kinds = {}
    for descriptor in root.iterfind(".//x:transport_descriptor", namespace):
        kinds[descriptor.findtext("x:type", namespaces=namespace)] = descriptor
    assert set(kinds) == {"SHM", "UDPv4"}
    assert kinds["SHM"].findtext("x:segment_size", namespaces=namespace) == str(16 << 20)
    for side in ("sendBufferSize", "receiveBufferSize"):
        assert kinds["UDPv4"].findtext(f"x:{side}", namespaces=namespace) == str(4 << 20)
    participant = root.find("x:participant", namespace)
    assert participant.get("is_default_profile") == "true"
    assert participant.findtext(".//x:useBuiltinTransports", namespaces=namespace) == "false"
    used = {element.text for element in participant.iterfind(".//x:userTransports/x:transport_id", namespace)}
    assert used == {d.findtext("x:transport_id", namespaces=namespace) for d in kinds.values()}
    announcements = participant.find(".//x:initialAnnouncements", namespace)
    assert announcements.findtext("x:count", namespaces=namespace) == "20"
    assert announcements.findtext("x:period/x:nanosec", namespaces=namespace) == "100000000"


PARTICIPANT = """
import sys
from pathlib import Path
import rclpy
from lsabinet_ros import transport
transport.prepare()
rclpy.init()
node = rclpy.create_node("probe")
# The sizes of the segments that this process has mapped.
maps = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/dev/shm/fast" in line}
print(max(Path(name).stat().st_size for name in maps))
rclpy.shutdown()
"""


def test_fast_dds_uses_the_profile(ros_domain, bare_environment):
    result = subprocess.run(
        [sys.executable, "-c", PARTICIPANT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(result.stdout.split()[-1]) >= 16 << 20, result.stderr
    assert "XML" not in result.stderr


FAULTS = """
import resource, sys
from lsabinet_ros import transport
if sys.argv[1] == "kept":
    assert transport.keep_freed_memory()
def image():
    bytearray(4_000_000)
image()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    image()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_images_are_reused_without_page_faults(bare_environment):
    def faults(*arguments: str) -> int:
        result = subprocess.run(
            [sys.executable, "-c", FAULTS, *arguments],
            # glibc would adapt its threshold after the first free; a fixed one shows the cost without our setting.
            env=os.environ | ({} if arguments == ("kept",) else FIXED),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return int(result.stdout)

    assert faults("kept") < faults("returned") / 10


FIXED = {"MALLOC_MMAP_THRESHOLD_": str(128 << 10)}


def test_malloc_settings_of_the_user_are_kept(bare_environment):
    calls = []
    bare_environment.setattr(
        transport.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *call: calls.append(call) or 1)
    )
    bare_environment.setenv("MALLOC_TOP_PAD_", "1")
    assert transport.keep_freed_memory()
    assert calls == [(-3, 32 << 20), (-1, 256 << 20)]


def test_other_c_libraries_have_no_mallopt(bare_environment):
    bare_environment.setattr(transport.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert transport.keep_freed_memory() is False


def test_shared_memory_is_checked(tmp_path):
    assert transport.check_shared_memory(str(tmp_path), needed=1) == []
    (warning,) = transport.check_shared_memory(str(tmp_path), needed=1 << 60)
    assert str(tmp_path) in warning
    assert "--shm-size" in warning
    (warning,) = transport.check_shared_memory(str(tmp_path / "none"))
    assert str(tmp_path / "none") in warning
