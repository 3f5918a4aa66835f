"""The message types of a bag, by the bag's definitions or otherwise by those of ROS 2."""

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lsabinet_core.errors import BagError, one_line

_IDL_SEPARATOR = "=" * 80 + "\n"
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class MessageTypes:
    """Deserialises messages; a definition is parsed with the first message of its type."""

    def __init__(self):
        self._known = get_typestore(Stores.ROS2_JAZZY)
        self._definitions: dict[str, tuple[str, str]] = {}
        self._stores: dict[str, Typestore] = {}

    def define(self, type_name: str, encoding: str, definition: str) -> None:
        """Register a definition in the bag.

        Args:
            encoding: ``ros2msg``, ``ros2idl`` or ``omgidl``; definitions in other encodings are not used.
            definition: text of the definition and of those to which it refers.
        """
        if encoding in ("ros2msg", "ros2idl", "omgidl") and definition.strip():
            self._definitions.setdefault(type_name, (encoding, definition))

    def deserialize(self, cdr: bytes, type_name: str) -> object:
        """The message as an object with the fields of its type; arrays are read-only NumPy views.

        Raises:
            BagError: neither the bag nor ROS 2 defines the type.
            Exception: of any type, if the data is corrupt.
        """
        if type_name not in self._stores:
            self._stores[type_name] = self._store_for(type_name)
        return self._stores[type_name].deserialize_cdr(cdr, type_name)

    def _store_for(self, type_name: str) -> Typestore:
        # The conversion of images relies on ROS 2's own definition.
        if type_name in self._definitions and type_name not in _IMAGES:
            encoding, definition = self._definitions[type_name]
            try:
                store = get_typestore(Stores.EMPTY)
                store.register(_parse(type_name, encoding, definition))
                if type_name in store.fielddefs:
                    return store
                reason = "it defines another type"
            except Exception as error:  # noqa: BLE001 the parser raises errors of many types
                reason = one_line(error)
            if type_name not in self._known.fielddefs:
                raise BagError(f"the bag's definition of {type_name} cannot be read: {reason}")
        if type_name not in self._known.fielddefs:
            raise BagError(f"the bag has no definition of {type_name}")
        return self._known


def _parse(type_name: str, encoding: str, definition: str) -> dict:
    if encoding == "ros2msg":
        return get_types_from_msg(definition, type_name)
    found: dict = {}
    # Each part begins with a line that names it: "IDL: package/msg/Name".
    parts = definition.split(_IDL_SEPARATOR) if definition.startswith(_IDL_SEPARATOR) else [definition]
    for part in filter(None, parts):
        found.update(get_types_from_idl(part.split("\n", 1)[1] if part.startswith("IDL: ") else part))
    return found
