"""What can go wrong when bytes are read back."""


class CodecError(Exception):
    """The bytes are not what this version of raftq writes."""
