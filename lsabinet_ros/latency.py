"""How long a frame took, stage by stage, and how old it is."""

import math
from dataclasses import dataclass

OTHER_TIME_BASE_S = 3600.0
"""No frame of a running camera is this old: beyond it, stamp and clock do not count from the same moment."""


@dataclass(frozen=True)
class FrameLatency:
    """Milliseconds that one frame spent in each stage.

    Attributes:
        wait: from the subscription's callback on: in the mailbox, and for the other cameras' frames of its batch.
        decode: message to BGR array.
        preprocess: resize and normalise; this and the next two are the frame's share of its batch.
        inference: the network, the device waited for.
        postprocess: logits to mask at the frame's size.
        publish: building and publishing the outputs.
        pipeline: from the header's stamp to now, by the node's clock; NaN when the two cannot be compared.
    """

    wait: float
    decode: float
    preprocess: float
    inference: float
    postprocess: float
    publish: float
    pipeline: float

    @property
    def processing(self) -> float:
        """From the callback until everything is published: the sum of the six stages."""
        return self.wait + self.decode + self.preprocess + self.inference + self.postprocess + self.publish

    def stages(self) -> dict[str, float]:
        """All values by name, in the order of the latency record."""
        return {
            "wait": self.wait,
            "decode": self.decode,
            "preprocess": self.preprocess,
            "inference": self.inference,
            "postprocess": self.postprocess,
            "publish": self.publish,
            "processing": self.processing,
            "pipeline": self.pipeline,
        }


def frame_age_s(now_ns: int, stamp_ns: int) -> float:
    """Seconds from a frame's stamp to now, never below 0; NaN when the two are not of one time base.

    A bag that loops, or a simulated clock that lags, puts stamps in the future: that is age 0. A stamp of 0, a
    simulated clock that has not ticked yet, or a recording that is played against the wall clock have no age.
    """
    if now_ns <= 0 or stamp_ns <= 0:
        return math.nan
    age_s = (now_ns - stamp_ns) / 1e9
    return math.nan if abs(age_s) > OTHER_TIME_BASE_S else max(0.0, age_s)
