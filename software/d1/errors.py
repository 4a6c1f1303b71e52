"""What can go wrong on a device, one class a kind."""

from __future__ import annotations

__all__ = [
    "AccessError",
    "BoardError",
    "CycleLimitError",
    "DeviceError",
    "KernelFault",
    "SramOverflowError",
]


class DeviceError(RuntimeError):
    """A device did not do what it was asked.

    Members
    -------
    where : str
        What failed, in the caller's terms; nothing if that is not known.

    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.where = ""

    def locate(self, where: str) -> None:
        """Say in the message what failed."""
        self.where = where
        self.args = (f"{self}: {where}",)


class AccessError(DeviceError):
    """A packet was answered with a fault, or not answered: nothing is at its address."""


class BoardError(DeviceError):
    """A board is not there, does not answer, or is not what was asked for."""


class SramOverflowError(DeviceError):
    """Something does not fit in the SRAM that is left."""


class CycleLimitError(DeviceError):
    """A thread did not stop within the cycles it was given."""


class KernelFault(DeviceError):
    """A thread stopped with an exception other than the `ecall` that ends a kernel.

    Parameters
    ----------
    message
        The sentence for the user.
    thread
        Number of the thread.
    cause
        Exception code: `d1_golden.csr.Cause`.
    pc
        Address of the instruction that faulted.
    value
        The bad address or instruction word.

    """

    def __init__(self, message: str, *, thread: int, cause: int, pc: int, value: int) -> None:
        super().__init__(message)
        self.thread = thread
        self.cause = cause
        self.pc = pc
        self.value = value
