"""The events that a Trainer reports during training."""

from collections.abc import Callable

Observer = Callable[[dict], None]
"""Called in the main process with a dict whose ``event`` is one of

- "loading" (done, total): samples are being read;
- "compiling": the first step is being compiled, which may take minutes;
- "step" (iteration, total, epoch, loss, lr, images_per_s), every few iterations;
- "validation" (iteration, epoch, miou in 0..1, per_class_iou by class name, None where undefined);
- "skipped" (iteration): the loss or gradient was not finite, so network and optimiser did not change; on a GPU this
  event is reported with the next "step";
- "warning" (message): the run continues, with the limitation that the message describes;
- "run" (name, done, total): the next run of a sweep begins.
"""
