"""Domains that simultaneous runs and tests do not share."""

import os
import subprocess
import sys

import pytest

from lsabinet_core.errors import LsabinetError
from lsabinet_ros import own_graph
from lsabinet_ros.own_graph import Domain, use_own_graph

RESERVE = """
import sys
from lsabinet_ros import own_graph
own_graph.DOMAINS = range(int(sys.argv[1]), int(sys.argv[1]) + 1)
print(own_graph.Domain().id)
"""


def test_no_two_reservations_are_equal():
    with Domain() as first, Domain() as second:
        assert first.id != second.id
        assert {first.id, second.id} <= set(range(1, 101))


def test_a_reservation_holds_for_other_processes_until_it_ends():
    with Domain() as domain:
        command = [sys.executable, "-c", RESERVE, str(domain.id)]
        assert "are reserved" in subprocess.run(command, capture_output=True, text=True, timeout=60).stderr
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout == f"{domain.id}\n", run.stderr


def test_without_a_free_id_the_error_says_what_to_do(monkeypatch):
    with Domain() as domain:
        monkeypatch.setattr(own_graph, "DOMAINS", range(domain.id, domain.id + 1))
        with pytest.raises(LsabinetError, match="set ROS_DOMAIN_ID"):
            Domain()


def test_the_environment_is_set_unless_the_user_has_set_it(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "")
    monkeypatch.delenv("ROS_DOMAIN_ID")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    with own_graph._kept:
        use_own_graph()
        chosen = int(os.environ["ROS_DOMAIN_ID"])
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
        monkeypatch.setattr(own_graph, "DOMAINS", range(chosen, chosen + 1))
        with pytest.raises(LsabinetError):
            Domain()
        use_own_graph()
        assert os.environ["ROS_DOMAIN_ID"] == str(chosen)
