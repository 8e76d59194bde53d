"""What the disk allows: append 256 bytes and fdatasync, one after the other, to a preallocated file.

The floor below which no acknowledged operation can be. The file lies where the node's data lies.
"""

import json
import os
import statistics
import tempfile
import time

APPENDS = 500
RECORD = bytes(256)
FILE_BYTES = 4 << 20


def main() -> None:
    with tempfile.NamedTemporaryFile(prefix="raftq-bench-") as file:
        fd = file.fileno()
        os.posix_fallocate(fd, 0, FILE_BYTES)
        os.fdatasync(fd)
        took_us = []
        for number in range(APPENDS):
            begin = time.perf_counter()
            os.pwrite(fd, RECORD, number * len(RECORD))
            os.fdatasync(fd)
            took_us.append((time.perf_counter() - begin) * 1e6)
    p99_us = statistics.quantiles(took_us, n=100)[98]
    print(
        json.dumps(
            [
                {
                    "name": "disk: append + fdatasync",
                    "value": statistics.median(took_us),
                    "unit": "µs",
                    "better": "lower",
                    "note": f"p99 {p99_us:.0f} µs",
                }
            ]
        )
    )


if __name__ == "__main__":
    main()
