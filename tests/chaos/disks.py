"""Small disks: a tmpfs for each node, which can be filled and emptied while the node runs.

The node sees a directory; the ballast lies beside it on the same disk. Where nothing can be mounted there is an ordinary
directory, and no fault that fills it. What a killed run has left is unmounted by the next one.
Of a node that has gone for good an archive is kept, as its disk would take memory up to the end of the run.
"""

import errno
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

DISK_BYTES: Final = 192 << 20  # some log segments of 16 MiB, a snapshot, and room
FREE_BYTES_MIN: Final = 48 << 20  # ``--disk-free-bytes-min``: so that a node notices in time
_PIECE_BYTES: Final = 1 << 20
_NAME: Final = "raftq-chaos-"


def remove_left() -> None:
    """Unmount the disks of runs that are gone; their directories stay, empty."""
    for line in Path("/proc/mounts").read_text().splitlines() if os.geteuid() == 0 else ():
        name, mount, *_ = line.split()
        process = name.removeprefix(_NAME)
        if name.startswith(_NAME) and process.isdigit() and not Path("/proc", process).exists():
            path = mount.encode().decode("unicode_escape")  # a blank is \040
            subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)


def can_be_mounted(folder: Path) -> bool:
    """Try whether a disk can be mounted here."""
    trial = Disk(folder / "trial-disk", folder / "trial", is_mounted=True)
    try:
        trial.open()
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        trial.close()
    return True


class Disk:
    """``data_dir`` leads to a directory on ``mount``, which is a disk of its own if ``is_mounted``."""

    def __init__(self, mount: Path, data_dir: Path, *, is_mounted: bool) -> None:
        self._mount = mount
        self._ballast = mount / "ballast"
        self.data_dir = data_dir
        self.is_mounted = is_mounted
        self.is_put_away = False

    def open(self) -> None:
        """Make it.

        Raises:
            OSError, subprocess.CalledProcessError: it cannot be mounted.
        """
        self._mount.mkdir(parents=True)
        if self.is_mounted:
            options = f"size={DISK_BYTES},mode=0700"
            name = f"{_NAME}{os.getpid()}"  # whose it is: what a killed run has left can be removed
            command = ["mount", "-t", "tmpfs", "-o", options, name, str(self._mount)]
            subprocess.run(command, check=True, capture_output=True)
        (self._mount / "data").mkdir()
        self.data_dir.symlink_to(self._mount / "data")

    def close(self) -> None:
        """Unmount and delete it."""
        if self.is_mounted and os.path.ismount(self._mount):
            subprocess.run(["umount", "--lazy", str(self._mount)], check=False, capture_output=True)
        shutil.rmtree(self._mount, ignore_errors=True)
        self.data_dir.unlink(missing_ok=True)

    def keep(self) -> None:
        """Have its files in an ordinary directory beside it, before it is closed."""
        if not self.is_put_away:
            shutil.copytree(self._mount / "data", self._kept(), dirs_exist_ok=True)

    def put_away(self) -> None:
        """Nobody will use it again: have its files in an archive of that directory, and close it.

        Raises:
            OSError: there is no room for them. It stays as it is.
        """
        archive = self._kept(".tar.gz")
        try:
            with tarfile.open(archive, "w:gz", compresslevel=1) as file:
                file.add(self._mount / "data", self._kept().name)
        except OSError:
            archive.unlink(missing_ok=True)
            raise
        self.is_put_away = True
        self.close()

    def _kept(self, suffix: str = "") -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}-data{suffix}")

    def fill(self, left_bytes: int = 0) -> None:
        """Leave so much free, or less: what was free is the ballast's."""
        free = shutil.disk_usage(self._mount).free - left_bytes
        try:
            with self._ballast.open("ab", buffering=0) as file:
                while free > 0:
                    free -= file.write(bytes(min(_PIECE_BYTES, free)))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def drain(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)
