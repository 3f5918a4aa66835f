"""Origin of metrics: which weights on which images, and whether the weights were trained on them."""

_WHOLE = frozenset({"train", "val"})


def has_learned_from(trained_on: str, dataset: str, split: str) -> bool:
    """Return whether weights were trained on images of a split, judged by the names of the splits.

    Args:
        trained_on: data set and split from the weights' metadata, such as ``camvid trainval``; several are separated
            by `` + ``.
        dataset: name of the data set.
        split: ``train``, ``val``, ``trainval``, ``test``, or a leave-one-sequence-out fold of train + val:
            ``drives:DRIVE:train`` (all drives but DRIVE) or ``drives:DRIVE:val`` (only DRIVE).
    """
    return any(_contains(part, dataset, split) for part in trained_on.split(" + "))


def _contains(trained_on: str, dataset: str, split: str) -> bool:
    name, _, learned = trained_on.partition(" ")
    if name != dataset:
        return False
    if learned.startswith("drives:") and split.startswith("drives:"):
        (_, left_out, _), (_, drive, part) = learned.split(":"), split.split(":")
        return part == "train" or left_out != drive
    return not _parts(learned).isdisjoint(_parts(split))


def describe_origin(details: dict) -> str:
    """Return one line such as ``W on camvid val at 360x480 in fp32, mean over scales 0.75, 1``.

    The line is empty if ``details`` lacks weights, data set or split.

    Args:
        details: the ``details`` of a ``Report``.
    """
    if not {"weights", "dataset", "split"} <= details.keys():
        return ""
    sizes = ", ".join(f"{height}x{width}" for height, width in details.get("network_sizes", ()))
    line = f"{details['weights']} on {details['dataset']} {details['split']}{sizes and f' at {sizes}'}"
    if "precision" in details:
        line += f" in {details['precision']}"
    augmentation = details.get("test_time_augmentation")
    if augmentation:
        scales = augmentation["scales"]
        views = [f"scales {', '.join(f'{scale:g}' for scale in scales)}" if scales != [1] else "images"]
        line += f", mean over {' and '.join(views + ['mirror images'] * augmentation['flip'])}"
    return line


def _parts(split: str) -> frozenset[str]:
    return _WHOLE if split == "trainval" or split.startswith("drives:") else frozenset({split})
