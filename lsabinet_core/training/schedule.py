"""Learning rate as a function of the iteration."""


def warmup_poly(iteration: int, total: int, *, warmup: int, warmup_factor: float, power: float) -> float:
    """Multiplier of the base learning rate at ``iteration`` (0-based) of ``total``.

    Grows linearly from ``warmup_factor`` to 1 over ``warmup`` iterations, times the poly decay
    (1 - iteration / total) ** power, which runs over the whole training.
    """
    decay = (1 - iteration / total) ** power
    if iteration < warmup:
        return decay * (warmup_factor + (1 - warmup_factor) * iteration / warmup)
    return decay
