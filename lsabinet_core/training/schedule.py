"""Learning rate as a function of the iteration."""


def warmup_poly(iteration: int, total: int, *, warmup: int, warmup_factor: float, power: float) -> float:
    """Multiplier of the base learning rate at ``iteration`` (0-based) of ``total``.

    Grows linearly from ``warmup_factor`` to 1 over ``warmup`` iterations, then falls as
    (1 - (iteration - warmup) / (total - warmup)) ** power. With ``warmup >= total`` it only grows. This is WarmupPolyLR
    of DABNet's published training (https://github.com/Reagan1311/DABNet, utils/lr_scheduler.py).
    """
    if iteration < warmup:
        return warmup_factor + (1 - warmup_factor) * iteration / warmup
    return (1 - (iteration - warmup) / (total - warmup)) ** power
