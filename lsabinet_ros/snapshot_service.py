"""The service ``~/save_snapshot``: waits for the next frame of every camera and saves it with its results."""

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import Trigger

from lsabinet_core.errors import LsabinetError, one_line
from lsabinet_ros.cameras import Cameras
from lsabinet_ros.snapshots import save
from lsabinet_ros.turns import wait_in_turns
from lsabinet_ros.worker import WorkerThread

FRAME_TIMEOUT_S = 5.0
"""How long the service waits for a frame of every camera."""


class SnapshotService:
    """Answers ``~/save_snapshot`` (std_srvs/Trigger); the message is the new folder, or why there is none.

    Args:
        node: has the parameter ``snapshot_directory``.
        group: lets other callbacks run while the service waits.
        cameras: returns the node's cameras, None while it is unconfigured.
    """

    def __init__(self, node: LifecycleNode, group: ReentrantCallbackGroup, cameras: Callable[[], Cameras | None]):
        self._node = node
        self._group = group
        self._cameras = cameras
        self._saving = False
        # rclpy runs coroutines as well, which its types do not provide for.
        callback: Any = self._on_request
        node.create_service(Trigger, "~/save_snapshot", callback, callback_group=group)

    async def _on_request(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message = await self._save()
            response.success = True
        except Exception as error:  # noqa: BLE001 in a callback, it would end the node
            reason = one_line(error)
            kind = "" if isinstance(error, (LsabinetError, OSError)) else f"{type(error).__name__}: "
            response.message = f"no snapshot: {kind}{reason}"
            response.success = False
        return response

    async def _save(self) -> str:
        """Save a snapshot; returns the message of the response."""
        directory = self._node.get_parameter("snapshot_directory").value
        if not directory:
            raise LsabinetError("the parameter snapshot_directory is empty: start the node with it set to a folder")
        cameras = self._cameras()
        if cameras is None or not all(camera.running for camera in cameras):
            raise LsabinetError("expected an active node: activate it first")
        if self._saving:
            raise LsabinetError("another one is being saved: wait for its response")
        self._saving = True
        try:
            requested = {camera: camera.request_snapshot() for camera in cameras}
            cameras.refresh()
            await self._wait(lambda: all(future.done() for future in requested.values()), FRAME_TIMEOUT_S)
            # A request that cannot be cancelled has its frame.
            silent = [camera.name for camera, future in requested.items() if future.cancel()]
            cameras.refresh()
            taken = [future.result() for future in requested.values() if not future.cancelled()]
            if not taken:
                raise LsabinetError(f"no image was segmented within {FRAME_TIMEOUT_S:g} s; /diagnostics says why")
            worker = WorkerThread("snapshot")
            saving = worker.submit(lambda: save(Path(directory).expanduser(), taken, self._parameters()))
            await self._wait(saving.done)
            worker.end(0.0)
            left_out = f"; without {', '.join(silent)}: no image was segmented" if silent else ""
            return f"{saving.result()}{left_out}"
        finally:
            self._saving = False

    async def _wait(self, done: Callable[[], bool], timeout_s: float | None = None) -> None:
        await wait_in_turns(self._node, self._group, done, timeout_s)

    def _parameters(self) -> dict[str, object]:
        """The values of all parameters, in the form of a parameter file."""
        # Only its keys: releases of rclpy differ in what the values are.
        names = self._node.get_parameters_by_prefix("")
        values = {name: self._node.get_parameter(name).value for name in names}
        return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (array.array, tuple)) else value
