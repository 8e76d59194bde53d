"""Why a connection could not be made, in the system's own words."""

import os


def reason_of(error: OSError) -> str:
    """Give the system's words where it has some: libraries repeat the address, or talk of themselves."""
    if isinstance(getattr(error, "reason", None), str):
        return str(error)  # of TLS, whose numbers are its own
    if error.errno is not None and error.errno > 0:  # below are those of a look-up of names
        return os.strerror(error.errno)
    return error.strerror or str(error)
