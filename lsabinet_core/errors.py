"""Errors that the user can mend.

Every message is one line that says what was expected, what came, and how to mend it. The CLI prints it and exits with
status 1; the ROS node logs it. Anything else that is raised is a bug.
"""


class LsabinetError(Exception):
    """Base of every error that the user can mend."""


class DatasetError(LsabinetError):
    """A data set folder, list, image or label that does not fit; names the file."""


class WeightsError(LsabinetError):
    """A weights file that is missing, truncated, foreign or does not fit the network; names the key or tensor."""


class ModelError(LsabinetError):
    """An unknown network name or an input that no network can take."""


class RecipeError(LsabinetError):
    """A training recipe with an unknown key or a value out of range; names the key and what is allowed."""


class TrainingError(LsabinetError):
    """A run that cannot start, resume or go on."""


class FrameError(LsabinetError):
    """A frame, image or video that cannot be read or segmented."""


class BackendError(LsabinetError):
    """A device, precision or inference engine that is not available here."""


class BagError(LsabinetError):
    """A bag that cannot be read, written or matched with its labels."""
