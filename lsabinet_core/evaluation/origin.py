"""Where figures come from: which weights, on which images, and whether the weights have learned from these."""

_WHOLE = frozenset({"train", "val"})


def has_learned_from(trained_on: str, dataset: str, split: str) -> bool:
    """Whether weights have learned from images of a split, as far as the names of the splits tell.

    Args:
        trained_on: data set and split of the weights' metadata, such as ``camvid trainval``.
        dataset: the data set's name.
        split: ``train``, ``val``, ``trainval``, ``test``, or ``drives:DRIVE:train`` and ``drives:DRIVE:val``, which are
            the images of train + val without and with that drive alone.
    """
    name, _, learned = trained_on.partition(" ")
    if name != dataset:
        return False
    if learned.startswith("drives:") and split.startswith("drives:"):
        (_, left_out, _), (_, drive, part) = learned.split(":"), split.split(":")
        return part == "train" or left_out != drive
    return not _parts(learned).isdisjoint(_parts(split))


def describe_origin(details: dict) -> str:
    """One line such as ``W on camvid val at 360x480, mean over scales 0.75, 1``; empty where they do not name these.

    Args:
        details: of a ``Report``.
    """
    if not {"weights", "dataset", "split"} <= details.keys():
        return ""
    sizes = ", ".join(f"{height}x{width}" for height, width in details.get("network_sizes", ()))
    line = f"{details['weights']} on {details['dataset']} {details['split']}{sizes and f' at {sizes}'}"
    augmentation = details.get("test_time_augmentation")
    if augmentation:
        scales = augmentation["scales"]
        views = [f"scales {', '.join(f'{scale:g}' for scale in scales)}" if scales != [1] else "images"]
        line += f", mean over {' and '.join(views + ['mirror images'] * augmentation['flip'])}"
    return line


def _parts(split: str) -> frozenset[str]:
    return _WHOLE if split == "trainval" or split.startswith("drives:") else frozenset({split})
