import cv2
import numpy as np
import pytest
import torch
from staged_run import Stage
from step_cases import CLASSES
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from lsabinet_core.data.synthetic import SyntheticDataset
from lsabinet_core.training import run_pictures


@pytest.fixture(scope="session")
def small_camvid(tmp_path_factory):
    """Twelve small rendered scenes in CamVid's layout: eight for training and four for validation."""
    root = tmp_path_factory.mktemp("camvid")
    for split, indices in (("train", range(8)), ("val", range(4))):
        scenes = SyntheticDataset(split, size=(72, 96))
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir()
        lines = []
        for index in indices:
            scene = scenes.sample(index)
            cv2.imwrite(str(root / split / f"{index}.png"), scene.image)
            label = np.where(scene.label == 255, 11, scene.label).astype(np.uint8)
            cv2.imwrite(str(root / f"{split}annot" / f"{index}.png"), label)
            lines.append(f"/SegNet/CamVid/{split}/{index}.png /SegNet/CamVid/{split}annot/{index}.png")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(autouse=True)
def deaths_are_noticed_soon(monkeypatch):
    """By default, PyTorch waits 5 s for a batch before it checks whether the worker process is alive."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(run_pictures, "write_pictures", lambda *arguments: None)


@pytest.fixture(scope="session")
def whole(small_camvid, tmp_path_factory):
    """Weights of an undisturbed run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_pictures, "write_pictures", lambda *arguments: None)
        stage = Stage(small_camvid, tmp_path_factory.mktemp("whole") / "run")
        assert stage.start()["iterations"] == 6
    torch.set_num_threads(threads)
    return stage.run.ema


@pytest.fixture
def batch():
    """Four images with a decreasing number of labelled pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 32, 40, 3), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (4, 8, 10), generator=generator, dtype=torch.uint8)
    labels = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    for index in range(4):
        labels[index, : 9 * index] = 255
    return images, labels
