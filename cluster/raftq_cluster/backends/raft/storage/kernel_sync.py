"""Syncs that the kernel carries out by itself: Linux native AIO, ``IOCB_CMD_FDSYNC``.

A sync thread needs the interpreter before and after each sync, and waits for it while the loop is
busy with sending what the sync was meant to overlap. Measured with 60 us of work on the loop beside each
append of 300 bytes, medians: thread 320 us and 240 us of CPU, this 135 us and 60 us. The result is the same as
that of ``fdatasync``: ``io_submit(2)`` says so, and errors are those of ``fsync(2)``.

Where the kernel or the processor does not have it, and for everything that is not one sync of one file,
there is the thread.
"""

import asyncio
import ctypes
import os
import platform
import sys
from typing import Any, Final

# ruff: noqa: D102  # the protocol documents what the class does
from raftq_cluster.backends.raft.storage.errors import sync_error
from raftq_cluster.backends.raft.storage.files import DiskFile, File
from raftq_cluster.backends.raft.storage.syncer import Done, Job, ThreadRunner

# io_setup, io_destroy, io_getevents, io_submit. Source: the kernel's system call tables.
_CALLS: Final = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
_FDSYNC: Final = 3
_FLAG_RESFD: Final = 1
_IN_FLIGHT_MAX: Final = 4  # one at a time is what the syncer asks for


class _Iocb(ctypes.Structure):
    """``struct iocb`` of ``linux/aio_abi.h``, little-endian."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("result_fd", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    """``struct io_event``."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("iocb", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class KernelSyncs:
    """A queue of syncs in the kernel. Made by ``open``; ``descriptor`` is readable when one is done."""

    def __init__(self, context: Any, calls: tuple[int, int, int, int]) -> None:
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._context = context
        _, self._destroy, self._get, self._submit = calls
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._iocb = _Iocb(opcode=_FDSYNC, flags=_FLAG_RESFD, result_fd=self.descriptor)
        self._list = (ctypes.POINTER(_Iocb) * 1)(ctypes.pointer(self._iocb))
        self._event = _Event()

    @classmethod
    def open(cls) -> "KernelSyncs | None":
        """Ask the kernel for a queue; None if it has none to give."""
        calls = _CALLS.get(platform.machine())
        if calls is None or sys.platform != "linux" or not hasattr(os, "eventfd"):
            return None
        context = ctypes.c_ulong(0)
        syscall = ctypes.CDLL(None, use_errno=True).syscall
        if syscall(calls[0], _IN_FLIGHT_MAX, ctypes.byref(context)):
            return None
        return cls(context, calls)

    def begin(self, fd: int) -> bool:
        """Begin a sync; False if the kernel does not take it (then nothing has happened)."""
        self._iocb.fd = fd
        taken: int = self._syscall(self._submit, self._context, ctypes.c_long(1), self._list)
        return taken == 1

    def end(self) -> int | None:
        """The error number of a sync that is done, 0 for success; None if none is done."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return None
        got = self._syscall(
            self._get, self._context, ctypes.c_long(1), ctypes.c_long(1),
            ctypes.byref(self._event), None,
        )  # fmt: skip
        return -int(self._event.result) if got == 1 else None

    def close(self) -> None:
        """Wait for what is in flight, and give the queue back."""
        self._syscall(self._destroy, self._context)
        os.close(self.descriptor)


class KernelRunner(ThreadRunner):
    """Has the kernel sync single files, and a thread do everything else."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, syncs: KernelSyncs) -> None:
        super().__init__(loop, name)
        self._syncs = syncs
        self._syncing: tuple[DiskFile, Done] | None = None
        loop.add_reader(syncs.descriptor, self._on_done)

    def submit(self, job: Job, done: Done, only_file: File | None = None) -> None:
        if self._syncing is None and isinstance(only_file, DiskFile):
            self._syncing = (only_file, done)
            if self._syncs.begin(only_file.fileno()):
                return
            self._syncing = None
        super().submit(job, done)

    def _on_done(self) -> None:
        number = self._syncs.end()
        if number is None or self._syncing is None:
            return
        (file, done), self._syncing = self._syncing, None
        error = OSError(number, os.strerror(number)) if number else None
        done(None if error is None else sync_error(error, file.path))

    def close(self) -> None:
        if not self._is_closed:
            self._loop.remove_reader(self._syncs.descriptor)
            self._syncs.close()
        super().close()


def kernel_or_thread(loop: asyncio.AbstractEventLoop, name: str) -> ThreadRunner:
    """The best runner that this machine has."""
    syncs = KernelSyncs.open()
    return ThreadRunner(loop, name) if syncs is None else KernelRunner(loop, name, syncs)
