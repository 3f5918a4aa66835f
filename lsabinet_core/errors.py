"""Errors that the user can fix.

Every message is one line: what was expected, what was found, and how to fix it. The CLI prints it and exits with
status 1; the ROS node logs it. Any other exception is a bug.
"""


class LsabinetError(Exception):
    """Base class of all errors that the user can fix."""


class DatasetError(LsabinetError):
    """An invalid data set folder, list, image or label; the message names the file."""


class WeightsError(LsabinetError):
    """A weights file that is missing, truncated, of another format or for another network; names the key or tensor."""


class ModelError(LsabinetError):
    """An unknown network name or option, or an input of the wrong shape."""


class RecipeError(LsabinetError):
    """A training recipe with an unknown key or a value out of range; names the key and the allowed values."""


class TrainingError(LsabinetError):
    """A training run that cannot start, resume or continue."""


class FrameError(LsabinetError):
    """A frame, image or video that cannot be read or segmented."""


class BackendError(LsabinetError):
    """A device, precision or inference engine that is not available on this machine."""


class BagError(LsabinetError):
    """A bag that cannot be read, written or matched to its labels."""


MAX_CHARACTERS = 500
"""Maximum length of the result of ``one_line``: converters and parsers may put whole documents into a message."""


def one_line(error: BaseException | str) -> str:
    """Return the message of an error, or any text, as one line of at most ``MAX_CHARACTERS`` characters.

    For an error without a message, return the name of its type.
    """
    text = " ".join(str(error).split())[:MAX_CHARACTERS]
    return text or ("" if isinstance(error, str) else type(error).__name__)
