"""A short run in which a test can intervene."""

import safetensors.torch
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.training.checkpoint import load_checkpoint
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder
from lsabinet_core.training.trainer import Trainer

CPU = torch.device("cpu")
# Three epochs of two iterations each, validated after every epoch; a small network, because it is not under test.
CHANGES = [
    "model=espnet",
    *("augmentation.crop_size=[64, 64]", "augmentation.scales=[0.75, 1.0]", "batch_size=4", "epochs=3"),
    *("validate_epochs=1", "schedule.warmup_iterations=2", "input_size=[72, 96]", "ema_decay=0.8"),
    *("optimizer.name=muon", "lovasz_weight=0.5"),
]


class Stage:
    """A run in which a test can intervene at each validation.

    Args:
        at_validation: called with the validation's event.
    """

    def __init__(self, root, out, changes=(), at_validation=lambda event: None):
        self.root = root
        self.run = RunFolder(out)
        self.recipe = load_recipe("synthetic", [*CHANGES, *changes])
        self.at_validation = at_validation
        self.events = []

    def observe(self, event):
        self.events.append(event)
        if event["event"] == "validation":
            self.at_validation(event)

    def trainer(self, workers=0):
        train, val = (open_dataset("camvid", self.root, split) for split in ("train", "val"))
        return Trainer(self.recipe, train, val, self.run, device=CPU, workers=workers, observer=self.observe)

    def start(self, workers=0):
        self.run.create(self.recipe, {"dataset": "camvid"})
        return self.trainer(workers).fit()

    def resume(self, workers=0):
        trainer = self.trainer(workers)
        trainer.resume()
        return trainer.fit()

    def of(self, kind):
        return [event for event in self.events if event["event"] == kind]


def once(action):
    """An ``at_validation`` that acts at the second validation, after its checkpoint was written."""
    return lambda event: action() if event["iteration"] == 4 else None


def check_checkpoint(run, iteration):
    assert load_checkpoint(run.checkpoint, CPU)["iteration"] == iteration
    assert not list(run.path.glob(".*.tmp*"))


def check_same(first, second):
    expected, got = safetensors.torch.load_file(first), safetensors.torch.load_file(second)
    assert all(torch.equal(expected[key], got[key]) for key in expected)
