"""Where a network's milliseconds go: time, memory traffic and multiply-accumulates by part of the network."""

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.backends.choose import choose_device
from lsabinet_core.inference.backends.openvino_ import OpenVINOBackend
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.parity import make_picture
from lsabinet_core.inference.threads import limit_threads
from lsabinet_core.labels import CAMVID, LabelSet

from .candidates import EAGER, Candidate, check_names, open_network
from .hardware import describe_machine
from .roofline import measure_roofline

PROFILED = (EAGER, "openvino")

WARM_UP = 2
RUNS = 20

RESIZE, CONVERSION, OTHER = "resize", "conversion", "other"
_WRAPPERS = ("network", "backbone")
_RESIZING = ("Interpolate", "upsample")
_CONVERTING = ("Reorder", "Convert", "_to_copy", "clone", "contiguous")
_MULTIPLYING = ("Convolution", "GroupConvolution", "Deconvolution", "MatMul", "FullyConnected")


@dataclass(frozen=True)
class Operator:
    """One operator as an engine ran it.

    Attributes:
        name: the engine's name for it.
        group: the part of the network that it belongs to, see ``group_of``.
        kind: the engine's type of operator, such as ``Convolution``.
        kernel: what computed it, as the engine says; empty if it does not.
        ms: median of the runs, in milliseconds.
        mbytes: 10^6 bytes that it reads and writes: inputs, parameters and outputs.
        gmacs: 10^9 multiply-accumulates of convolutions and matrix products, as computed: an engine's rewrites may need
            fewer than the network has.
    """

    name: str
    group: str
    kind: str
    kernel: str
    ms: float
    mbytes: float
    gmacs: float


def profile_inference(
    candidates: Sequence[Candidate],
    *,
    runs: int = RUNS,
    threads: int = 0,
    label_set: LabelSet = CAMVID,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict:
    """Profile networks on the CPU with the counters of their engines.

    Args:
        candidates: what to profile; backend ``eager`` or ``openvino``.
        runs: counted runs of each.
        threads: maximum number of CPU threads; 0 leaves the choice to the engines.
        label_set: the classes of networks with random weights.
        progress: called with what is being done, steps done, total steps.

    Returns:
        JSON values: ``machine``; ``roofline`` as ``Roofline``; ``runs``; and ``profiles``, one per candidate, with the
        candidate's keys, ``ms`` (the sum of the operators), ``groups`` and ``kinds`` (``name``, ``ms``, ``share``
        (0..1), ``operators``, ``mbytes``, ``gmacs`` and ``bound_ms`` as ``Roofline.bound_ms``; by falling ``ms``), and
        ``operators`` as ``Operator``.

    Raises:
        LsabinetError: an unknown model or precision, or an engine whose operators cannot be counted.
    """
    check_names(candidates)
    for candidate in candidates:
        if candidate.backend not in PROFILED:
            raise BackendError(f"expected backend to be {' or '.join(PROFILED)} to profile, got {candidate.backend!r}")
    limit_threads(threads)
    roofline = measure_roofline(list(dict.fromkeys(_precision(candidate) for candidate in candidates)))
    profiles = []
    for number, candidate in enumerate(candidates, 1):
        network = Network(*open_network(candidate.model, label_set), candidate.size)
        images = np.stack([make_picture(candidate.size, seed) for seed in range(candidate.batch)])
        count = _count_eager if candidate.backend == EAGER else _count_openvino
        operators = count(network, candidate, images, runs, threads)

        precision = _precision(candidate)
        bound = partial(roofline.bound_ms, precision=precision)
        profiles.append(
            {
                **candidate.document(),
                "precision": precision,
                "ms": sum(operator.ms for operator in operators),
                "groups": _totals(operators, lambda operator: operator.group, bound),
                "kinds": _totals(operators, lambda operator: operator.kind, bound),
                "operators": [asdict(operator) for operator in operators],
            }
        )
        progress("profiling", number, len(candidates))
    machine = describe_machine(choose_device("cpu"))
    return {"machine": machine, "roofline": asdict(roofline), "runs": runs, "profiles": profiles}


def _precision(candidate: Candidate) -> str:
    return "fp32" if candidate.precision == "auto" else candidate.precision


def _totals(
    operators: Iterable[Operator], key: Callable[[Operator], str], bound: Callable[[float, float], float]
) -> list[dict]:
    rows: dict[str, dict] = {}
    for operator in operators:
        name = key(operator)
        row = rows.setdefault(name, {"name": name, "ms": 0.0, "operators": 0, "mbytes": 0.0, "gmacs": 0.0})
        row["ms"] += operator.ms
        row["operators"] += 1
        row["mbytes"] += operator.mbytes
        row["gmacs"] += operator.gmacs
        row["bound_ms"] = row.get("bound_ms", 0.0) + bound(operator.mbytes, operator.gmacs)
    total = sum(row["ms"] for row in rows.values())
    for row in rows.values():
        row["share"] = row["ms"] / total if total else 0.0
    return sorted(rows.values(), key=lambda row: -row["ms"])


def part_of(path: str) -> str:
    """The part of the network to which a module belongs: its name below the network and its backbone, without its
    number (``stem``, ``block``, ``lrfa``, ``svfm``, ``decoder``); empty for an empty path.

    Args:
        path: of the module, such as ``network.backbone.block1.0.expand``.
    """
    parts = path.split(".")
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        del parts[0]
    return parts[0].rstrip("0123456789")


def group_of(part: str, kind: str) -> str:
    """The group of an operator: what it does if it resizes or converts, else the part of the network that it is in.

    Args:
        part: as ``part_of`` gives it.
        kind: the engine's type of operator.
    """
    if kind.startswith(_RESIZING):
        return RESIZE
    return CONVERSION if kind in _CONVERTING else part or OTHER


# OpenVINO: its own counters, and the graph that it runs.


def _count_openvino(
    network: Network, candidate: Candidate, images: np.ndarray, runs: int, threads: int
) -> list[Operator]:
    with contextlib.closing(OpenVINOBackend("cpu", _precision(candidate), threads)) as backend:
        backend.load(network)
        compiled = backend.compile_counting((len(images), *candidate.size))
    request = compiled.create_infer_request()
    spent: dict[str, list[float]] = {}
    for run in range(WARM_UP + runs):
        request.infer([images])
        if run >= WARM_UP:
            for node in request.profiling_info:
                spent.setdefault(node.node_name, []).append(1e3 * node.real_time.total_seconds())
    return openvino_operators(compiled.get_runtime_model(), {name: median(each) for name, each in spent.items()})


def openvino_operators(graph: Any, spent: dict[str, float]) -> list[Operator]:
    """The operators of a runtime graph (``openvino.Model``) with the milliseconds that ``spent`` gives them by name."""
    nodes = graph.get_ordered_ops()
    parts: dict[str, str] = {}
    # Backwards: an operator of a rewrite, which has no module's name, belongs to what it computes for.
    for node in reversed(nodes):
        name, info = node.get_friendly_name(), node.get_rt_info()
        names = [name, *_info(info, "originalLayersNames").split(",")]
        path = next((found[1] for each in names if (found := re.search(r"__module\.([^/]+)/", each))), "")
        takers = [taker.get_node().get_friendly_name() for out in node.outputs() for taker in out.get_target_inputs()]
        parts[name] = part_of(path) or next((parts[taker] for taker in takers if parts[taker]), "")
    # What is left, such as the last operator, belongs to what it takes.
    for node in nodes:
        sources = [side.get_source_output().get_node().get_friendly_name() for side in node.inputs()]
        name = node.get_friendly_name()
        parts[name] = parts[name] or next((parts[source] for source in sources if parts[source]), "")
    return [
        Operator(
            name,
            group_of(parts[name], _info(node.get_rt_info(), "layerType")),
            _info(node.get_rt_info(), "layerType"),
            _info(node.get_rt_info(), "primitiveType"),
            spent[name],
            _bytes(node) / 1e6,
            _macs(node) / 1e9,
        )
        for node in nodes
        if (name := node.get_friendly_name()) in spent
    ]


def _info(info: Any, key: str) -> str:
    value = dict(info.items()).get(key, "")
    return str(getattr(value, "value", value))


def _bytes(node: Any) -> int:
    sides = [*node.inputs(), *node.outputs()]
    return sum(side.get_element_type().size * math.prod(side.get_partial_shape().to_shape()) for side in sides)


def _macs(node: Any) -> int:
    if _info(node.get_rt_info(), "layerType") not in _MULTIPLYING or node.get_input_size() < 2:
        return 0
    weight = node.input(1).get_partial_shape().to_shape()
    output = math.prod(node.output(0).get_partial_shape().to_shape())
    # (O, I, *kernel), or (G, O / G, I / G, *kernel); a matrix's is (O, I).
    return output * math.prod(weight[2 if len(weight) == 5 else 1 :])


# PyTorch: each operator is timed as it is called.


class _Counter(TorchDispatchMode):
    """Times the operators that PyTorch calls within it, and counts what they read, write and multiply."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self._path = [""]
        self._calls: list[tuple[str, str, float, int, int]] = []
        self._hooks = []
        for name, module in model.named_modules():
            self._hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self._path.append(name)))
            self._hooks.append(module.register_forward_hook(self._leave))

    def _leave(self, module: nn.Module, inputs: object, output: object) -> None:
        self._path.pop()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        started = time.perf_counter()
        result = function(*args, **kwargs)
        ms = 1e3 * (time.perf_counter() - started)
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        # A view moves nothing.
        moved = 0 if function.is_view else sum(tensor.nbytes for tensor in tensors)
        packet = function.overloadpacket
        macs = flop_registry[packet](*args, **kwargs, out_val=result) // 2 if packet in flop_registry else 0
        self._calls.append((self._path[-1], packet.__name__, ms, moved, macs))
        return result

    def take(self) -> list[tuple[str, str, float, int, int]]:
        """The calls since the last time."""
        calls, self._calls = self._calls, []
        return calls

    def remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()


@torch.no_grad()
def _count_eager(network: Network, candidate: Candidate, images: np.ndarray, runs: int, threads: int) -> list[Operator]:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (network.metadata.mean, network.metadata.std))
    image = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float().contiguous() / 255
    image = (image - mean) / std
    model = network.model.eval()
    counter = _Counter(model)
    try:
        passes = []
        for run in range(WARM_UP + runs):
            with counter:
                model(image)
            calls = counter.take()
            if run >= WARM_UP:
                passes.append(calls)
    finally:
        counter.remove_hooks()
    operators = []
    for same in zip(*passes, strict=True):
        path, kind, _, moved, macs = same[0]
        ms = median(call[2] for call in same)
        group = group_of(part_of(path), kind)
        operators.append(Operator(path, group, kind, "", ms, moved / 1e6, macs / 1e9))
    return operators
