"""Evaluation of a labelled data set, and its report."""

import json

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from lsabinet_core.data import Sample
from lsabinet_core.errors import DatasetError
from lsabinet_core.evaluation import BoundaryScore, Calibration, ConfusionMatrix, Report
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.evaluation.formats import table
from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID, CITYSCAPES, VOID, LabelSet
from lsabinet_core.models.weights import load_weights


class ListDataset:
    """Samples in a list."""

    name, split = "listed", "val"

    def __init__(self, samples, label_set=CAMVID):
        self._samples, self.label_set = samples, label_set

    def __len__(self):
        return len(self._samples)

    def sample(self, index):
        return self._samples[index]


@pytest.fixture
def samples(noise_image):
    rng = np.random.default_rng(3)
    samples = []
    for seed, size in enumerate([(96, 128), (96, 128), (150, 201), (96, 128)]):
        label = cv2.resize(rng.integers(0, 11, (5, 6)).astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        label[rng.random(size) < 0.05] = VOID
        samples.append(Sample(noise_image(seed, size), label, f"image{seed}"))
    return samples


@pytest.fixture
def segmenter(random_weights):
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch") as segmenter:
        yield segmenter


def test_metrics_match_torch_and_torchmetrics(segmenter, random_weights, samples):
    """Compare on the samples whose size is the trained size."""
    samples = [sample for sample in samples if sample.label.shape == (96, 128)]
    report = evaluate(segmenter, ListDataset(samples))

    model, metadata = load_weights(random_weights)
    metric = MulticlassJaccardIndex(num_classes=11, ignore_index=VOID, average="macro")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (metadata.mean, metadata.std))
    for sample in samples:
        rgb = torch.from_numpy(sample.image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            prediction = model((rgb - mean) / std).argmax(1)
        metric.update(prediction, torch.from_numpy(sample.label)[None].long())
    assert report.miou == pytest.approx(float(metric.compute()), abs=2e-5)


def test_batches_give_the_same_counts(segmenter, samples):
    single = evaluate(segmenter, ListDataset(samples))
    batched = evaluate(segmenter, ListDataset(samples), batch_size=3)
    assert single.confusion.matrix.sum() == sum((sample.label != VOID).sum() for sample in samples)
    # Other batch sizes may use other kernels, whose rounding can change pixels with two nearly equal classes.
    assert np.abs(single.confusion.matrix - batched.confusion.matrix).sum() <= 20
    assert batched.images == 4


def test_report_contains_the_origin(segmenter, samples):
    seen = []
    report = evaluate(segmenter, ListDataset(samples), progress=lambda *step: seen.append(step))
    figures = report.to_dict()
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(figures["per_class_iou"]) == list(CAMVID.names)
    defined = [iou for iou in figures["per_class_iou"].values() if iou is not None]
    assert figures["miou"] == pytest.approx(np.mean(defined))
    assert sum(figures["per_class_support"].values()) == report.confusion.matrix.sum()
    assert figures["images"] == 4
    assert figures["dataset"] == "listed"
    assert figures["split"] == "val"
    assert figures["image_sizes"] == [[96, 128], [150, 201]]
    assert figures["network_sizes"] == [[96, 128]]
    assert figures["device"] == "cpu"
    assert figures["precision"] == "fp32"
    assert figures["latency_ms"]["total"]["count"] == 4
    json.dumps(figures, allow_nan=False)


def test_limit_and_missing_labels(segmenter, samples):
    samples[1] = Sample(samples[1].image, None, "unlabelled")
    assert evaluate(segmenter, ListDataset(samples)).images == 3
    assert evaluate(segmenter, ListDataset(samples), limit=2).images == 1


def test_additional_metrics(segmenter, samples):
    """They equal metrics accumulated by hand and do not change the others."""
    plain = evaluate(segmenter, ListDataset(samples))
    report = evaluate(segmenter, ListDataset(samples), boundary_tolerance_px=2, calibration=True)
    assert plain.boundaries is None
    assert plain.calibration is None
    np.testing.assert_array_equal(report.confusion.matrix, plain.confusion.matrix)
    boundaries, calibration = BoundaryScore(11, 2), Calibration()
    for sample in samples:
        result = segmenter.segment(sample.image)
        boundaries.update(result.mask, sample.label)
        calibration.update(result.mask, result.confidence, sample.label)
    np.testing.assert_array_equal(report.boundaries.per_class, boundaries.per_class)
    assert report.boundaries.tolerance_px == 2
    assert 0 < report.boundaries.mean < 1
    assert report.calibration.ece == calibration.ece > 0
    np.testing.assert_array_equal(report.calibration.bins().counts.sum(), report.confusion.matrix.sum())


def test_on_result_receives_every_result(segmenter, samples):
    samples[1] = Sample(samples[1].image, None, "unlabelled")
    seen = []
    report = evaluate(segmenter, ListDataset(samples), on_result=lambda *step: seen.append(step), batch_size=3)
    assert [sample.name for sample, _ in seen] == ["image0", "unlabelled", "image2", "image3"]
    assert [result.mask.shape for _, result in seen] == [sample.image.shape[:2] for sample in samples]
    assert report.images == 3
    nothing = evaluate(segmenter, ListDataset(samples[1:2]), on_result=lambda *step: None)
    assert nothing.images == 0
    assert nothing.to_dict()["miou"] is None


def test_errors(segmenter, samples):
    with pytest.raises(DatasetError, match=r"camvid11 \(11 classes\).*got cityscapes19 \(19 classes\)"):
        evaluate(segmenter, ListDataset(samples, CITYSCAPES))
    with pytest.raises(DatasetError, match="labelled images in listed val, got none"):
        evaluate(segmenter, ListDataset([Sample(samples[0].image, None, "a")]))
    broken = Sample(samples[0].image, np.full((96, 128), 77, np.uint8), "street7")
    with pytest.raises(DatasetError, match=r"street7: .*got 77"):
        evaluate(segmenter, ListDataset([broken]))


def test_undefined_metrics_are_null_in_json_and_dashes_in_tables():
    labels = LabelSet("three", ("road", "sky", "car"), ((0, 0, 0),) * 3)
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    report = Report(labels, confusion, images=1)
    figures = report.to_dict()
    assert figures["per_class_iou"] == {"road": pytest.approx(2 / 3), "sky": 0.5, "car": None}
    lines = {line.split("  ")[0].strip(): line for line in table(report).splitlines()}
    assert lines["car"].split()[1] == "-"
    assert lines["road"].split()[1:] == ["66.67", "100.00", "66.67", "2", "50.00"]
    assert lines["mIoU"].split()[-1] == "58.33"
    json.dumps(Report(labels, ConfusionMatrix(3), images=0).to_dict(), allow_nan=False)
