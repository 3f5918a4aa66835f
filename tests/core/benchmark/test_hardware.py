"""The description of the machine matches its operating system."""

import json
import platform
import re
from pathlib import Path

import pytest
import torch

from lsabinet_core.benchmark.hardware import counted, describe_machine, show_device


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags of /proc/cpuinfo have these names on x86 only")
def test_instructions_match_the_processor():
    flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split())
    machine = describe_machine(torch.device("cpu"))
    json.dumps(machine)
    widest, *special = machine["instructions"]
    assert widest == ("AVX512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "DEFAULT")
    expected = {
        "VNNI": flags & {"avx512_vnni", "avx_vnni"},
        "BF16": flags & {"avx512_bf16"},
        "AMX": flags & {"amx_int8", "amx_bf16"},
    }
    assert special == [name for name, found in expected.items() if found]
    assert show_device(machine) == f"{machine['cpu']} (cpu, {' '.join(machine['instructions'])})"


def test_counted():
    assert [counted(number, "thread") for number in (0, 1, 2)] == ["0 threads", "1 thread", "2 threads"]
