"""Exported models: written atomically, checked first, and run by the Segmenter."""

import json
import logging

import numpy as np
import onnx
import pytest
import torch

from lsabinet_core.errors import BackendError, ModelError, WeightsError
from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.artefact import SUFFIXES, open_artefact
from lsabinet_core.inference.backends import create_backend
from lsabinet_core.inference.convert import onnx_, openvino_, torchscript
from lsabinet_core.inference.export import Calibration, ExportSettings, check_parity, export, parity_by_defaults
from lsabinet_core.inference.parity import MIN_AGREEMENT, compare
from lsabinet_core.inference.postprocess import masks_from_logits


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory, engine_cache):
    """format -> (path, its ExportInfo); fp32, any number of images."""
    folder = tmp_path_factory.mktemp("exported")
    done = {}

    def run(name):
        if name not in done:
            path = folder / f"network{SUFFIXES[name]}"
            done[name] = path, export(network, ExportSettings(name, (96, 128)), path)
        return done[name]

    return run


@pytest.mark.parametrize("name", ["openvino", "torchscript", "onnx"])
def test_exported_model_matches_its_weights(name, exported, network, noise_image):
    path, info = exported(name)
    assert (info.size, info.batch, info.precision, info.weights) == ((96, 128), None, "fp32", network.fingerprint)
    assert open_artefact(path).info == info
    assert info.metadata.label_set == network.metadata.label_set
    assert info.versions["torch"] == torch.__version__
    assert not [file.name for file in path.parent.iterdir() if file.name.startswith(".")]
    frames = [noise_image(seed, (120, 160)) for seed in range(3)]
    plain = Segmenter(network.model, network.metadata, device="cpu", backend="torch", input_size=(96, 128))
    expected = plain.segment(frames)
    with Segmenter.from_pretrained(path, device="cpu") as segmenter:
        assert segmenter.input_size == (96, 128)
        assert segmenter.precision == "fp32"
        assert segmenter.backend == {"onnx": "onnxruntime"}.get(name, name)
        for found, right in zip(segmenter.segment(frames), expected, strict=True):
            assert (found.mask != right.mask).mean() < 1e-3
        assert segmenter.describe()["weights"] == str(path)


@pytest.mark.parametrize("name", ["openvino", "torchscript", "onnx"])
def test_masks_for_other_programs(name, network, tmp_path, images, plain, start, engine_cache):
    path = tmp_path / f"mask{SUFFIXES[name]}"
    before = sorted((engine_cache / "engines").glob("*")) if (engine_cache / "engines").exists() else []
    checked = []

    def verify(artefact):
        checked.append(check_parity(network, artefact, images))
        return {}

    info = export(network, ExportSettings(name, (96, 128), output="mask"), path, verify=verify)
    assert info.output == "mask"
    assert checked[0].agreement > 0.999
    assert checked[0].max_error is None
    masks = start({"onnx": "onnxruntime"}.get(name, name), open_artefact(path)).infer(images)
    assert masks.dtype == torch.uint8
    assert masks.shape == (3, 96, 128)
    expected = torch.nn.functional.interpolate(plain(images), (96, 128), mode="bilinear").argmax(1)
    assert (masks == expected).float().mean() > 0.999
    # Exports with masks are not stored in the engine cache.
    assert before == (sorted((engine_cache / "engines").glob("*")) if (engine_cache / "engines").exists() else [])
    with pytest.raises(ModelError, match=f"mask{SUFFIXES[name]} gives masks.*--output logits"):
        Segmenter.from_pretrained(path, device="cpu")


@pytest.mark.parametrize(("name", "output"), [("onnx", "mask"), ("openvino", "logits")])
def test_export_for_any_size(name, output, network, tmp_path, plain, start, noise_image):
    """Pooling and resizing depend on the size: tests odd sizes and the minimum, at which SVFM has a single cell."""
    path = tmp_path / f"any{SUFFIXES[name]}"
    settings = ExportSettings(name, None, output=output)
    with pytest.raises(BackendError, match="give the file to write"):
        export(network, settings)
    images = [noise_image(seed, size) for seed, size in enumerate([(97, 131), (64, 64)])]
    agreement = []

    def verify(artefact):
        agreement.append(check_parity(network, artefact, images).agreement)
        return {}

    info = export(network, settings, path, verify=verify)
    assert info.size is None
    assert info.batch is None
    assert open_artefact(path).info == info
    assert agreement[0] > 0.999
    backend = start({"onnx": "onnxruntime"}.get(name, name), open_artefact(path))
    for image in images:
        expected, found = plain(image[None]), backend.infer(np.stack([image, image]))[1:]
        if output == "logits":
            assert (found - expected).abs().max() < 1e-4 * (expected.max() - expected.min())
        else:
            expected = torch.nn.functional.interpolate(expected, image.shape[:2], mode="bilinear").argmax(1)
            assert (found == expected).float().mean() > 0.999
    if output == "mask":
        return
    # Other programs run the model without setting its size.
    compiled = openvino_.shared_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in images:
        expected = plain(image[None])
        error = np.abs(compiled(image[None])[0] - expected.numpy()).max()
        assert error < 1e-4 * float(expected.max() - expected.min())
    # A Segmenter uses the default size of each frame, or the given one.
    frame = noise_image(0, (120, 200))
    for size in (None, (72, 104)):
        options = {"device": "cpu", "input_size": size}
        with Segmenter(network.model, network.metadata, backend="torch", **options) as segmenter:
            expected, used = segmenter.segment(frame).mask, segmenter.network_size((120, 200))
        with Segmenter.from_pretrained(path, **options) as segmenter:
            assert segmenter.network_size((120, 200)) == used
            assert used != (96, 128)
            assert (segmenter.segment(frame).mask != expected).mean() < 1e-3


@pytest.mark.parametrize("wrong", [(97, 131), (131, 102)])
def test_export_wrong_at_one_size_is_rejected(wrong, network, tmp_path, monkeypatch):
    """Simulates a converter that turned the size into a constant: one size is treated as a smaller one."""
    from lsabinet_core.inference.backends.onnxruntime_ import OnnxRuntimeBackend
    from lsabinet_core.inference.backends.torch_ import TorchBackend

    plain = TorchBackend("cpu")
    plain.load(network)

    def infer(self, images):
        return plain.infer(images[:, :-8] if images.shape[1:3] == wrong else images)

    monkeypatch.setattr(OnnxRuntimeBackend, "load", lambda self, source: None)
    monkeypatch.setattr(OnnxRuntimeBackend, "infer", infer)
    monkeypatch.setattr(onnx_, "convert", lambda *arguments, **options: onnx.ModelProto().SerializeToString())
    with pytest.raises(BackendError, match=f"any size: .* disagrees with PyTorch at {wrong[0]}x{wrong[1]}"):
        export(network, ExportSettings("onnx", None), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", ["logits", "mask"])
def test_parity_with_default_engine_settings(output, network, tmp_path, images, exported, openvino_defaults):
    if output == "logits":
        path, _ = exported("openvino")
    else:
        path = tmp_path / "mask.xml"
        export(network, ExportSettings("openvino", (96, 128), output="mask"), path)
    artefact = open_artefact(path)
    openvino_defaults("f32")
    assert parity_by_defaults(network, artefact, images) is None
    openvino_defaults("bf16")
    if "BF16" in openvino_.shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        precision, parity = parity_by_defaults(network, artefact, images)
        assert precision == "bf16"
        assert parity.images == 3
        assert 0.9 < parity.agreement < 0.9999
    assert check_parity(network, artefact, images).agreement > 0.999


def test_default_settings_that_keep_the_precision(exported, network, images):
    for name in ("torchscript", "onnx"):
        assert parity_by_defaults(network, open_artefact(exported(name)[0]), images) is None


def test_openvino_reads_onnx(exported, images, plain, start):
    path, _ = exported("onnx")
    with Segmenter.from_pretrained(path, device="cpu", backend="openvino") as segmenter:
        assert segmenter.backend == "openvino"
    parity = compare(plain, start("openvino", open_artefact(path)).infer, images)
    assert parity.agreement > 0.999
    assert parity.relative_error < 1e-4


def test_onnx_casts_its_input_first(network):
    """TensorRT supports uint8 inputs only if they are cast first."""
    graph = onnx.load_from_string(onnx_.convert(network, (96, 128), batch=1, half=True)).graph
    assert [node.op_type for node in graph.node if "images" in node.input] == ["Cast"]


def test_onnx_casts_class_ids_from_floats(network):
    """According to its documentation, TensorRT supports uint8 outputs only after a cast from floats."""
    graph = onnx.load_from_string(onnx_.convert(network, (96, 128), batch=1, output="mask")).graph
    makers = {name: node for node in graph.node for name in node.output}
    last = makers["mask"]
    before = makers[last.input[0]]
    targets = [onnx.helper.get_node_attr_value(node, "to") for node in (before, last)]
    assert targets == [onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8]


def test_export_fills_the_engine_cache(exported, network, images, monkeypatch, start):
    exported("openvino")
    monkeypatch.setattr(openvino_, "convert", lambda *args: pytest.fail("converted again"))
    start("openvino", network).infer(images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": (72, 96)}, "exported for 96x128, got an input size of 72x96"),
        ({"precision": "fp16"}, "exported in fp32, got precision 'fp16'"),
        ({"backend": "torch"}, "openvino export: expected backend openvino, got 'torch'"),
    ],
)
def test_fixed_properties_of_an_export_cannot_be_changed(exported, options, message):
    with pytest.raises((BackendError, ModelError), match=message):
        Segmenter.from_pretrained(exported("openvino")[0], device="cpu", **options)


def test_fixed_number_of_images(network, tmp_path, images, plain, start):
    path = tmp_path / "two.xml"
    export(network, ExportSettings("openvino", (96, 128), batch=2), path)
    backend = start("openvino", open_artefact(path))
    backend.prepare((96, 128))
    for count in (1, 2, 3):
        torch.testing.assert_close(backend.infer(images[:count]), plain(images[:count]), rtol=1e-3, atol=1e-3)
    with pytest.raises(BackendError, match="exported for 96x128, got 64x64"):
        backend.infer(np.zeros((2, 64, 64, 3), np.uint8))


def test_fixed_number_of_images_on_the_device(network, tmp_path, images, plain, start):
    path = tmp_path / "two.pt"
    export(network, ExportSettings("torchscript", (96, 128), batch=2), path)
    backend = start("torchscript", open_artefact(path))
    there = torch.from_numpy(images[:3])
    torch.testing.assert_close(backend.infer(there), plain(images[:3]), rtol=1e-3, atol=1e-3)
    assert (there.numpy() == images[:3]).all()


def test_fp16_export_has_half_the_size(exported, network, tmp_path, images, plain, start):
    path = tmp_path / "half.xml"
    export(network, ExportSettings("openvino", (96, 128), precision="fp16"), path)
    sizes = [file.with_suffix(".bin").stat().st_size for file in (path, exported("openvino")[0])]
    assert sizes[0] < 0.55 * sizes[1]
    assert 1e-6 < compare(plain, start("openvino", open_artefact(path)).infer, images).relative_error < 0.01


def test_int8(network, tmp_path, images, plain, noise_image, start, monkeypatch, openvino_defaults):
    openvino_defaults("f32")
    calibration = Calibration("noise", [noise_image(seed, (96, 128)) for seed in range(4)], 4)
    path = tmp_path / "int8.xml"
    info = export(
        network,
        ExportSettings("openvino", (96, 128), precision="int8"),
        path,
        calibration=calibration,
        verify=lambda artefact: {"miou_fp32": 0.5, "miou_int8": 0.48},
    )
    layers = info.calibration["floating_layers"]
    assert info.calibration["frames"] == "noise"
    assert info.calibration["count"] == 4
    # The layers that must stay in floating point are listed, and they are a minority.
    assert {"lrfa.down", "svfm.structure.mix", "decoder.classify"} <= set(layers)
    assert not any("backbone" in layer for layer in layers)
    assert len(layers) < 10
    backend = start("openvino", open_artefact(path))
    assert backend.precision == "int8"
    parity = compare(plain, backend.infer, images)
    assert 1e-3 < parity.relative_error < 0.5
    assert parity.agreement > 0.6
    # The file passes the usual check; this network is untrained, so int8 changes many pixels.
    monkeypatch.setitem(MIN_AGREEMENT, "int8", parity.agreement)
    found = check_parity(network, open_artefact(path), images)
    assert found.agreement == pytest.approx(parity.agreement, abs=1e-3)
    assert found.images == 3
    monkeypatch.setitem(MIN_AGREEMENT, "int8", 1.0)
    with pytest.raises(BackendError, match="disagrees with PyTorch"):
        check_parity(network, open_artefact(path), images)
    # The masks follow from the int8 logits.
    settings = ExportSettings("openvino", (96, 128), precision="int8", output="mask")
    masked = export(network, settings, tmp_path / "mask.xml", calibration=calibration)
    assert (masked.output, masked.precision, masked.calibration) == ("mask", "int8", info.calibration)
    masks = start("openvino", open_artefact(tmp_path / "mask.xml")).infer(images)
    assert masks.dtype == torch.uint8
    assert masks.shape == (3, 96, 128)
    expected = masks_from_logits(backend.infer(images), (96, 128), confidence=False)[0]
    assert (masks.numpy() == expected).mean() > 0.999
    # The same weights now have an int8 model in the cache.
    cached = start("openvino", network, precision="int8")
    torch.testing.assert_close(cached.infer(images), backend.infer(images), rtol=1e-3, atol=1e-3)
    assert cached.describe()["miou_loss"] == backend.describe()["miou_loss"] == pytest.approx(0.02)
    for pattern, message in (("[", "regular expression.*'\\['"), ("no_such", "no operator .* 'no_such'; one is")):
        with pytest.raises(BackendError, match=message):
            bad = Calibration("noise", [], 0, keep=(pattern,))
            export(network, ExportSettings("openvino", (96, 128), precision="int8"), calibration=bad)


def test_export_that_disagrees_is_not_written(network, tmp_path, images, monkeypatch):
    path = tmp_path / "network.pt"
    before = None

    def verify(artefact):
        assert artefact.path != path
        assert artefact.path.name == path.name
        assert (path.read_bytes() if path.exists() else None) == before
        return {"agreement": check_parity(network, artefact, images).agreement}

    info = export(network, ExportSettings("torchscript", (96, 128)), path, verify=verify)
    assert info.parity["agreement"] == open_artefact(path).info.parity["agreement"] > 0.999
    before = path.read_bytes()

    class Wrong:
        """Returns the logits in reverse class order."""

        def __init__(self, backend):
            self.backend = backend

        def __getattr__(self, name):
            return getattr(self.backend, name)

        def infer(self, images):
            return self.backend.infer(images).flip(1)

    monkeypatch.setattr(
        "lsabinet_core.inference.export.create_backend",
        lambda name, **options: (Wrong if name == "torchscript" else lambda it: it)(create_backend(name, **options)),
    )
    with pytest.raises(BackendError, match=r"disagrees with PyTorch: .* expected 99.9 %.*Nothing was written"):
        export(network, ExportSettings("torchscript", (96, 128)), path, verify=verify)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["network.pt"]


def test_invalid_settings(network, tmp_path):
    size = (96, 128)
    for settings, message in (
        ({"format": "caffe"}, "export format of onnx, openvino, torchscript, tensorrt, got 'caffe'"),
        ({"format": "onnx", "precision": "bf16"}, "export precision of fp32, fp16, int8, got 'bf16'"),
        ({"format": "onnx", "precision": "int8"}, "int8 is supported for openvino only, got onnx"),
        ({"format": "openvino", "precision": "int8", "size": None}, "calibrated at one size: give a size"),
        ({"format": "torchscript", "size": None}, "size as a constant: give a size"),
        ({"format": "tensorrt", "size": None, "batch": 1}, "tuned for one size: give a size"),
        ({"format": "onnx", "output": "masks"}, "export output of logits, mask, got 'masks'"),
        ({"format": "tensorrt"}, "fixed number of images: give a number"),
        ({"format": "onnx", "batch": 0}, "batch of at least 1, got 0"),
        ({"format": "onnx", "size": (32, 128)}, "at least 64x64"),
    ):
        with pytest.raises((BackendError, ModelError), match=message):
            ExportSettings(**{"size": size, **settings})
    with pytest.raises(BackendError, match=r"openvino output in a file ending in .xml, got .*net.onnx"):
        export(network, ExportSettings("openvino", size), tmp_path / "net.onnx")
    with pytest.raises(BackendError, match="int8 needs calibration"):
        export(network, ExportSettings("openvino", size, precision="int8"), tmp_path / "net.xml")
    assert not list(tmp_path.iterdir())


def test_files_without_export_metadata(exported, tmp_path):
    for suffix in (".onnx", ".xml", ".pt"):
        path = tmp_path / f"network{suffix}"
        with pytest.raises(WeightsError, match="lsabinet export"):
            Segmenter.from_pretrained(path)
        path.write_bytes(b"not a network")
        with pytest.raises(WeightsError, match=f"network{suffix}.*export it again|has no 'lsabinet' metadata"):
            Segmenter.from_pretrained(path)
    engine = tmp_path / "network.engine"
    engine.write_bytes(b"engine")
    with pytest.raises(WeightsError, match="no 'lsabinet' metadata"):
        Segmenter.from_pretrained(engine)
    beside = engine.with_name("network.engine.json")
    beside.write_text(json.dumps({"format": 99}))
    with pytest.raises(WeightsError, match="does not fit this version"):
        Segmenter.from_pretrained(engine)
    document = json.loads(exported("torchscript")[1].to_json())
    for key, value in (("batch", "two"), ("size", [96]), ("size", ["96", "128"]), ("precision", 16), ("parity", None)):
        beside.write_text(json.dumps({**document, key: value}))
        with pytest.raises(WeightsError, match=f"does not fit this version: ValueError.*{key}"):
            open_artefact(engine)


def test_openvino_files_of_different_exports(exported, tmp_path):
    source, _ = exported("openvino")
    path = tmp_path / "network.xml"
    path.write_bytes(source.read_bytes())
    content = bytearray(source.with_suffix(".bin").read_bytes())
    content[-1] ^= 1
    path.with_suffix(".bin").write_bytes(content)
    with pytest.raises(WeightsError, match=r"network.bin was not written together with .*network.xml"):
        Segmenter.from_pretrained(path)


def test_export_invalidates_cached_choices(exported, network, engine_cache, tmp_path, caplog):
    (engine_cache / "choices").mkdir(exist_ok=True)
    (engine_cache / "choices" / "old.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        export(network, ExportSettings("torchscript", (96, 128)), tmp_path / "net.pt")
    assert not (engine_cache / "choices").exists()
    assert not caplog.text


def test_torchscript_contains_no_other_device(network, tmp_path):
    # A size that the pooling windows do not divide evenly, so that pooling creates index tensors in the trace.
    path = tmp_path / "odd.pt"
    export(network, ExportSettings("torchscript", (72, 136)), path)
    for device in ("cpu", "meta"):
        script = torchscript.load(path, torch.device(device))
        constants = {constant.s("value") for constant in torchscript.device_constants(script)}
        assert constants == {device}
