"""What the parts of the transfer engine hand to each other."""

from amaranth.hdl import Shape
from amaranth.lib import data, enum
from d1_golden import transfer
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.transfer import DESCRIPTOR_FIELDS, MAX_LINES

from .interfaces import THREAD_BITS, SemaphoreEvent

__all__ = [
    "ADDRESS_BITS",
    "CONTEXTS",
    "LIST_CONTEXTS",
    "NODE_BITS",
    "TransferFault",
    "TransferFaultEvent",
    "TransferOp",
    "context_event_layout",
    "descriptor_layout",
    "job_layout",
    "line_layout",
    "tag_layout",
    "transfer_operation_layout",
]

#: Bits of the address of a node, and of an address with an offset in that node.
NODE_BITS = 32
ADDRESS_BITS = LOCAL_BITS + NODE_BITS
#: Descriptors of a list that may be under way at once.
LIST_CONTEXTS = 4
#: Who transfers: the threads, then the descriptors under way.
CONTEXTS = (1 << THREAD_BITS) + LIST_CONTEXTS
_CONTEXT_BITS = (CONTEXTS - 1).bit_length()
_LINES = {field.name: field.bits for field in DESCRIPTOR_FIELDS}["lines"]


class TransferOp(enum.Enum, shape=3):
    """What a transfer does: the values of :class:`d1_golden.transfer.TransferOp`."""

    PUSH = transfer.TransferOp.PUSH
    PULL = transfer.TransferOp.PULL
    BCAST = transfer.TransferOp.BCAST
    POST = transfer.TransferOp.POST
    XLIST = transfer.TransferOp.XLIST


class TransferFault(enum.Enum, shape=3):
    """What went wrong: the values of :class:`d1_golden.transfer.TransferFault`."""

    NONE = transfer.TransferFault.NONE
    DESCRIPTOR = transfer.TransferFault.DESCRIPTOR
    LOCAL = transfer.TransferFault.LOCAL
    REMOTE = transfer.TransferFault.REMOTE
    UNCORRECTABLE = transfer.TransferFault.UNCORRECTABLE


class TransferFaultEvent(data.Struct):
    """A fault, if `valid`: its address and kind, and in bit n of `lists` whose it is."""

    address: 64
    kind: TransferFault
    lists: LIST_CONTEXTS
    valid: 1


def transfer_operation_layout() -> data.StructLayout:
    """Return the layout of a transfer instruction: what it does, its thread and operands.

    `count` is the number of lines as encoded (0 for 32), `semaphore` that of a POST.
    """
    return data.StructLayout(
        {
            "x1": 64,
            "x2": 64,
            "op": TransferOp,
            "thread": THREAD_BITS,
            "count": (MAX_LINES - 1).bit_length(),
            "semaphore": 5,
        }
    )


def job_layout() -> data.StructLayout:
    """Return the layout of the lines of one transfer.

    Fields
    ------
    op, context
        What to do (not XLIST), and for whom.
    local, remote, corner
        Addresses of the first line, far corner of a broadcast.
    lines, local_stride, remote_stride
        How many (at least 1), and how far from each to the next.
    arrival
        The semaphore to post at the remote end after the last line.
    """
    return data.StructLayout(
        {
            "local": LOCAL_BITS,
            "remote": ADDRESS_BITS,
            "corner": NODE_BITS,
            "local_stride": LOCAL_BITS,
            "remote_stride": LOCAL_BITS,
            "lines": _LINES,
            "arrival": SemaphoreEvent,
            "op": TransferOp,
            "context": _CONTEXT_BITS,
        }
    )


def line_layout() -> data.StructLayout:
    """Return the layout of one step of a job: a line, or a post; `ends` marks the job's last."""
    return data.StructLayout(
        {
            "local": LOCAL_BITS,
            "remote": ADDRESS_BITS,
            "corner": NODE_BITS,
            "post": SemaphoreEvent,
            "op": TransferOp,
            "context": _CONTEXT_BITS,
            "ends": 1,
        }
    )


def tag_layout() -> data.StructLayout:
    """Return the layout of the tags of the node's own requests.

    `number` is that of a READ or the context; the request is `acknowledged`; `nobody` waits for it.
    """
    return data.StructLayout({"number": 13, "nobody": 1, "acknowledged": 1, "read": 1})


def context_event_layout() -> data.StructLayout:
    """Return the layout of something that happens to a context."""
    return data.StructLayout({"valid": 1, "context": _CONTEXT_BITS})


def descriptor_layout() -> data.StructLayout:
    """Return the layout of a descriptor, bit for bit `d1_golden.transfer.DESCRIPTOR_DTYPE`."""
    event = data.StructLayout({"number": 5, "zero": 2, "valid": 1})
    assert Shape.cast(event).width == _width("completion") == _width("arrival")
    kinds = {"completion": event, "arrival": event}
    return data.StructLayout({f.name: kinds.get(f.name, f.bits) for f in DESCRIPTOR_FIELDS})


def _width(name: str) -> int:
    return {field.name: field.bits for field in DESCRIPTOR_FIELDS}[name]
