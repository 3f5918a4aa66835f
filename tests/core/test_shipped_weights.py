"""The shipped weights have the properties stated on their cards, as far as synthetic scenes can show."""

from collections.abc import Iterator

from lsabinet_core.data import open_dataset
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID
from lsabinet_core.models.weights import find_weights, list_weights, read_metadata


def recorded_runs(training: dict) -> Iterator[dict]:
    """The runs with a recipe, of averages and of earlier rounds as well."""
    for other in [*training.get("average_of", []), *[training[key] for key in ["first_round"] if key in training]]:
        yield from recorded_runs(other)
    if "recipe" in training:
        yield training


def test_shipped_weights_and_their_cards():
    assert list_weights() == ["lsabinet_camvid", "lsabinet_camvid_train", "lsabinet_synthetic"]
    for name in list_weights():
        path = find_weights(name)
        assert path.stat().st_size < 4_000_000
        metadata = read_metadata(name)
        assert metadata.label_set == CAMVID
        assert metadata.input_size == (360, 480)
        card = path.with_suffix(".md").read_text()
        assert f"{100 * metadata.training['val_miou']:.2f} %" in card
        runs = list(recorded_runs(metadata.training))
        assert runs
        for run in runs:
            assert f"{run['iterations']:,} iterations" in card
            assert f"seed {run['recipe']['seed']}" in card
    for name, split in (("lsabinet_camvid", "trainval"), ("lsabinet_camvid_train", "train")):
        metadata = read_metadata(name)
        assert metadata.dataset == f"camvid {split} + rendered scenes"
        assert "research" in metadata.licence


def test_synthetic_weights_on_unseen_scenes():
    with Segmenter.from_pretrained("lsabinet_synthetic", device="cpu", backend="torch") as segmenter:
        report = evaluate(segmenter, open_dataset("synthetic", None, "val"), limit=8)
    # The mIoU on the whole test split is 81 %; with eight scenes it varies by a few points.
    assert report.miou > 0.7


def test_camvid_weights_recognise_a_synthetic_road():
    dataset = open_dataset("synthetic", None, "val")
    with Segmenter.from_pretrained("lsabinet_camvid", device="cpu", backend="torch") as segmenter:
        report = evaluate(segmenter, dataset, limit=4)
    assert report.confusion.iou_per_class[CAMVID.names.index("Road")] > 0.5
