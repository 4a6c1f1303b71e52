"""Exchange packets with a simulated node, with the loop over packets and cycles in C++."""

import ctypes
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring
from d1_golden.packet import PACKET_DTYPE, is_answered
from numpy.typing import NDArray

from d1_rtl.node.interfaces import THREAD_BITS, RetiredSlot, ScalarResult
from d1_rtl.sim.model import VerilatedModel
from d1_rtl.sim.native import SIGNATURES, NativeModel, Signatures, require_packets
from d1_rtl.sim.retire_order import LATE_DTYPE, SLOT_DTYPE, RetireOrder

__all__ = ["NodeLink"]

#: A WRITE at fault is answered at most this many cycles after it was taken, replies being taken.
DRAIN_CYCLES = 8

_DOOR_PORTS = (
    *("i_request__payload", "i_request__valid", "i_request__ready"),
    *("o_reply__payload", "o_reply__valid", "o_reply__ready", "idle"),
)
_OWN_PORTS = (
    *("o_request__payload", "o_request__valid", "o_request__ready"),
    *("i_reply__payload", "i_reply__valid", "i_reply__ready", "node_id"),
)
#: Replies that another node may give to one request.
_REMOTE_REPLIES = 16
#: Answers requests of the node to other nodes: from `PACKET_DTYPE`[n] to the replies.
Remote = Callable[[NDArray[np.void]], NDArray[np.void]]
_REMOTE_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)
#: Fields of the structs of the trace, in the order in which node_link.cpp takes them.
_RETIRE_FIELDS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (RetiredSlot, ("thread", "order", "pc", "insn", "rd_valid", "rd", "pending", "value")),
    (ScalarResult, ("thread", "rd", "value")),
)
_DONE, _NOT_ACCEPTED, _NOT_ANSWERED, _NOT_IDLE = range(4)
_LINK = ctypes.c_void_p
_COUNT = ctypes.c_uint64
_SIGNATURES: Signatures = {
    **SIGNATURES,
    "d1_link_new": (_LINK, (_LINK, ctypes.c_void_p, _COUNT, ctypes.c_uint32)),
    "d1_link_record_retired": (
        None,
        (
            *(_LINK, ctypes.c_void_p, _COUNT, ctypes.c_void_p, _COUNT),
            *(ctypes.c_void_p, _COUNT),
        ),
    ),
    "d1_link_set_remote": (None, (_LINK, ctypes.c_void_p)),
    "d1_link_delete": (None, (_LINK,)),
    "d1_link_exchange": (ctypes.c_int, (_LINK, ctypes.c_void_p, _COUNT, _COUNT, _COUNT)),
    "d1_link_advance": (None, (_LINK, _COUNT)),
    "d1_link_run": (ctypes.c_int, (_LINK, _COUNT)),
    "d1_link_forget": (None, (_LINK,)),
    "d1_link_accepted": (_COUNT, (_LINK,)),
    "d1_link_reply_count": (_COUNT, (_LINK,)),
    "d1_link_take_replies": (None, (_LINK, ctypes.c_void_p)),
    "d1_link_retired_count": (_COUNT, (_LINK,)),
    "d1_link_dropped": (_COUNT, (_LINK,)),
    "d1_link_late_count": (_COUNT, (_LINK,)),
    "d1_link_take_retired": (None, (_LINK, ctypes.c_void_p, ctypes.c_void_p)),
}

# node_link.cpp knows the trace only by these.
assert (SLOT_DTYPE.itemsize, LATE_DTYPE.itemsize, THREAD_BITS) == (40, 24, 2)
for _struct, _ in _RETIRE_FIELDS:
    assert _struct.as_shape()["valid"].offset == 0 and _struct.as_shape().size <= 5 * 32


class NodeLink(NativeModel):
    """A simulated node behind its packet door.

    The component has the streams `i_request` and `o_reply` of packets and the output `idle`; for
    `take_retired` also an output `retire` of `RetireSignature`. One request and one reply can be
    transferred in each cycle. The node is reset when the link is made.

    A node that sends requests of its own has the streams `o_request` and `i_reply` and the input
    `node_id` too. Those to itself come back to its door in the next cycle, taking turns with those
    of `exchange`; `remote` answers the others, or they are refused.

    Parameters
    ----------
    component
        The node; it is elaborated, so it must be a fresh one.
    name
        Name of the top module, of the cache entry and in messages.
    trace
        Whether `trace` can be used. This is a build of its own, and slower.
    coverage
        Whether `write_coverage` can be used. This is a build of its own, and slower.
    extra_sources, design_key
        As in `Design.of`.
    stall_probability
        Chance from 0 to below 1, for each cycle anew, that a new request is withheld, and that a
        reply is not taken.
    seed
        Start of the random sequence of stalls.
    retire_capacity
        Number of retired instructions that are kept until `take_retired`; 0 records none.

    Raises
    ------
    ValueError
        When `stall_probability` is out of range or the component lacks a port.
    MissingToolError, BuildError
        As for `NativeModel`.
    """

    def __init__(
        self,
        component: wiring.Component,
        *,
        name: str,
        trace: bool = False,
        coverage: bool = False,
        extra_sources: Sequence[Path] = (),
        design_key: str | None = None,
        stall_probability: float = 0.0,
        seed: int = 0,
        retire_capacity: int = 0,
    ) -> None:
        if not 0 <= stall_probability < 1:
            raise ValueError(
                f"stall_probability must be from 0 to below 1, not {stall_probability!r}"
            )
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed must be from 0 to below 2**63, not {seed!r}")
        if retire_capacity < 0:
            raise ValueError(f"retire_capacity must be at least 0, not {retire_capacity!r}")
        self._stall = int(stall_probability * 2**32)
        self._seed = 2 * seed + 1  # the generator's state must not be zero
        self._retire_capacity = retire_capacity
        super().__init__(
            component,
            name=name,
            trace=trace,
            coverage=coverage,
            extra_sources=extra_sources,
            design_key=design_key,
        )

    def _open(self, model: VerilatedModel) -> None:
        names = {port.name for port in model.ports}
        wanted = _DOOR_PORTS + (_trace_ports("slots", 1) if self._retire_capacity else ())
        if missing := [port for port in wanted if port not in names]:
            raise ValueError(f"a node must have the port {missing[0]!r}, but {model.name} has not")
        super()._open(model)
        indices = [self._index[port] for port in _DOOR_PORTS]
        # Port 0 is the clock: there is no such port.
        indices += [self._index[port] if set(_OWN_PORTS) <= names else 0 for port in _OWN_PORTS]
        self._link: int = self._library.d1_link_new(
            self._model, (ctypes.c_uint32 * len(indices))(*indices), self._seed, self._stall
        )
        self._delete_link = weakref.finalize(self, self._library.d1_link_delete, self._link)
        self._remote: Any = None
        self._remote_error: BaseException | None = None
        self._order = RetireOrder()
        if self._retire_capacity:
            self._record_retired()
        self.reset()

    def _record_retired(self) -> None:
        """Tell the loop in C++ where the trace is."""
        arguments = []
        for kind in ("slots", "late"):
            count = sum(name.startswith(f"retire__{kind}__") for name in self._index)
            indices = [self._index[port] for port in _trace_ports(kind, count)]
            arguments += [(ctypes.c_uint32 * count)(*indices), count]
        fields = [struct.as_shape()[name] for struct, names in _RETIRE_FIELDS for name in names]
        places = [number for field in fields for number in (field.offset, field.width)]
        self._library.d1_link_record_retired(
            self._link,
            *arguments,
            (ctypes.c_uint32 * len(places))(*places),
            self._retire_capacity,
        )

    def _signatures(self) -> Signatures:
        return _SIGNATURES

    def reset(self, cycles: int = 2) -> None:
        """Reset the node; replies and retired instructions that were not taken are dropped.

        The random sequence of stalls starts anew.
        """
        for port in ("i_request__valid", "i_reply__valid"):
            if port in self._index:
                self.set(port, 0)
        super().reset(cycles)
        self._library.d1_link_forget(self._link)
        self._order.forget()

    def set_remote(self, remote: Remote | None) -> None:
        """Let a function answer the node's requests to other nodes; None refuses them.

        It takes an array of one packet and returns the replies, such as `GoldenNode.exchange` of
        another node. An error in it is raised by the method that runs the cycles.
        """

        def answer(request: int, replies: int) -> int:
            try:
                assert remote is not None
                given = remote(_packets_at(request, 1).copy())
                if len(given) > _REMOTE_REPLIES:
                    raise ValueError(f"replies must be at most {_REMOTE_REPLIES}, not {len(given)}")
                _packets_at(replies, len(given))[:] = given
                return len(given)
            except BaseException as error:  # which cannot pass through the loop in C++
                self._remote_error = self._remote_error or error
                return 0

        self._remote = None if remote is None else _REMOTE_FUNCTION(answer)
        self._library.d1_link_set_remote(
            self._link_handle, ctypes.cast(self._remote, ctypes.c_void_p)
        )

    def _after_cycles(self) -> None:
        """Note that cycles were run, and raise what went wrong in `remote`."""
        self._stale = False
        error, self._remote_error = self._remote_error, None
        if error is not None:
            raise error

    def exchange(self, requests: NDArray[np.void], max_cycles: int) -> NDArray[np.void]:
        """Send packets in order; return the replies once all that have one came.

        Requests that write or post are answered only when they are at fault, unless they ask for
        an acknowledgement. After such at the end, `DRAIN_CYCLES` more are run for such answers.
        Replies that came since the last exchange, if any, are first.

        Parameters
        ----------
        requests
            Array of `d1_golden.packet.PACKET_DTYPE` with one dimension.
        max_cycles
            Cycles within which it must be done.

        Returns
        -------
        ndarray
            Array of `PACKET_DTYPE` with one dimension.

        Raises
        ------
        ValueError
            When `requests` is no such array.
        TimeoutError
            When it takes longer. Only `reset` and `close` can follow.
        """
        packets = require_packets(requests)
        outcome = self._library.d1_link_exchange(
            self._link_handle, packets.ctypes.data, len(packets), DRAIN_CYCLES, max_cycles
        )
        self._after_cycles()
        waited = f"waited {max_cycles} cycles for {self.name}"
        if outcome == _NOT_ACCEPTED:
            accepted = self._library.d1_link_accepted(self._link)
            raise TimeoutError(f"{waited} to take {len(packets)} requests; it took {accepted}")
        replies = np.zeros(self._library.d1_link_reply_count(self._link), PACKET_DTYPE)
        self._library.d1_link_take_replies(self._link, replies.ctypes.data)
        if outcome == _NOT_ANSWERED:
            asked = np.count_nonzero(is_answered(packets))
            raise TimeoutError(f"{waited} to answer {asked} requests; it sent {len(replies)}")
        return replies

    def advance(self, cycles: int) -> None:
        """Run so many clock cycles. Replies are kept for the next `exchange`."""
        if cycles < 0:
            raise ValueError(f"cycles must be at least 0, not {cycles!r}")
        self._library.d1_link_advance(self._link_handle, cycles)
        self._after_cycles()

    def run(self, max_cycles: int) -> int:
        """Run until the node is idle; return the number of cycles.

        Raises
        ------
        TimeoutError
            When it is not idle after `max_cycles`.
        """
        before = self.cycles
        outcome = self._library.d1_link_run(self._link_handle, max_cycles)
        self._after_cycles()
        if outcome == _NOT_IDLE:
            raise TimeoutError(f"waited {max_cycles} cycles for {self.name} to become idle")
        return self.cycles - before

    def take_retired(self) -> tuple[NDArray[np.void], int]:
        """Return the instructions retired since the last call, and how many more were not kept.

        The first `retire_capacity` are kept, and come as `RetireOrder` says; what waits for its
        value comes with a later call. The array is of `LINK_RETIRE_DTYPE`, its `cycle` counts as
        `cycles`.

        Raises
        ------
        TraceError
            As for `RetireOrder.take`.
        """
        slots = np.zeros(self._library.d1_link_retired_count(self._link_handle), SLOT_DTYPE)
        late = np.zeros(self._library.d1_link_late_count(self._link), LATE_DTYPE)
        dropped = int(self._library.d1_link_dropped(self._link))
        self._library.d1_link_take_retired(self._link, slots.ctypes.data, late.ctypes.data)
        return self._order.take(slots, late), dropped

    @property
    def _link_handle(self) -> int:
        _ = self._model  # raises when it is closed
        return self._link

    def close(self) -> None:
        """Free the node and finish its waveform. Nothing else can be called afterwards."""
        self._delete_link()
        super().close()


def _packets_at(address: int, count: int) -> NDArray[np.void]:
    """Return the packets at an address of the loop in C++."""
    raw = (ctypes.c_uint8 * (PACKET_DTYPE.itemsize * count)).from_address(address)
    return np.ctypeslib.as_array(raw).view(PACKET_DTYPE)


def _trace_ports(kind: str, count: int) -> tuple[str, ...]:
    return tuple(f"retire__{kind}__{n}" for n in range(count))
