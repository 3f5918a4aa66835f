import cv2
import numpy as np
import pytest

from lsabinet_core.data.synthetic import SyntheticDataset


@pytest.fixture(scope="session")
def small_camvid(tmp_path_factory):
    """Twelve small rendered scenes, eight to train on and four to validate on, in CamVid's layout."""
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
