"""The paper's tables, measured again: the printed figures next to the cost and accuracy of the networks here.

Nothing in the product depends on this folder except the verbs ``lsabinet tables`` and ``lsabinet ablate``. See
docs/reproduce.md.
"""
