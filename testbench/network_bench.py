"""A node without its core: network interface, SRAM, semaphores and control block."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.packet import PACKET_DTYPE, refuse
from d1_golden.params import NodeParams
from d1_rtl.node.control_block import ControlBlock
from d1_rtl.node.interfaces import SemaphoreEvent, SramReadSignature, packet_layout
from d1_rtl.node.link_unit import link_operation_layout, link_result_layout
from d1_rtl.node.network_interface import NetworkInterface
from d1_rtl.node.semaphores import Semaphores
from d1_rtl.node.sram import Sram
from d1_rtl.node.transfer_operation import transfer_operation_layout
from d1_rtl.sim.native import NativeModel
from numpy.typing import NDArray

from .packets import destinations

__all__ = ["NetworkBench", "NetworkDriver"]

_PACKET_BYTES = PACKET_DTYPE.itemsize


class NetworkBench(wiring.Component):
    """What a node has besides its core, with the core's ports to it.

    Parameters
    ----------
    params
        The preset.

    """

    i_request: Any
    i_reply: Any
    o_request: Any
    o_reply: Any
    transfer: Any
    transfers_pending: Signal
    link: Any
    link_result: Any
    take: Any
    post: Any
    nonzero: Signal
    r_vector_0: Any
    node_id: Signal
    busy: Signal
    idle: Signal

    def __init__(self, params: NodeParams) -> None:
        self._params = params
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                "i_request": In(packet),
                "i_reply": In(packet),
                "o_request": Out(packet),
                "o_reply": Out(packet),
                "transfer": In(stream.Signature(transfer_operation_layout())),
                "transfers_pending": Out(params.threads),
                "link": In(stream.Signature(link_operation_layout())),
                "link_result": Out(stream.Signature(link_result_layout())),
                "take": In(SemaphoreEvent),
                "post": In(SemaphoreEvent),
                "nonzero": Out(params.semaphores),
                "r_vector_0": In(SramReadSignature(params)),
                "node_id": In(32),
                "busy": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the parts as the node does, on an FPGA too."""
        m = Module()
        m.submodules.network = network = NetworkInterface(self._params)
        m.submodules.semaphores = semaphores = Semaphores(self._params)
        m.submodules.control = control = ControlBlock(self._params, gated=platform is None)
        sram: Any = Sram(self._params, gated=platform is None)
        m.submodules.sram = sram
        for name in ("o_request", "o_reply", "link_result"):
            wiring.connect(m, getattr(network, name), wiring.flipped(getattr(self, name)))
        for name in ("i_request", "i_reply", "transfer", "link"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(network, name))
        wiring.connect(m, network.sram_read, sram.r_network)
        wiring.connect(m, network.sram_write, sram.w_network)
        wiring.connect(m, wiring.flipped(self.r_vector_0), sram.r_vector_0)
        wiring.connect(m, network.control, control.door)
        wiring.connect(m, network.events, control.events)
        wiring.connect(m, control.transfer, network.transfer_line)
        wiring.connect(m, control.semaphores, semaphores.lines)
        m.d.comb += [
            network.node_id.eq(self.node_id),
            control.node_id.eq(self.node_id),
            control.packet_sent.eq(network.packet_sent),
            control.ecc.registers.eq(sram.registers),
            sram.write.eq(control.ecc.write),
            sram.data.eq(control.ecc.data),
            semaphores.take.eq(self.take),
            semaphores.posts[0].eq(self.post),
            semaphores.posts[1].eq(network.post_door),
            semaphores.posts[2].eq(network.post_transfer),
            self.nonzero.eq(semaphores.nonzero),
            self.transfers_pending.eq(network.transfers_pending),
            self.busy.eq(network.busy),
        ]
        m.d.sync += self.idle.eq(~network.busy & ~self.transfer.valid & ~self.link.valid)
        return m


class NetworkDriver:
    """Drives a `NetworkBench` with pauses, and is the network around it.

    Requests of the node to itself come back to it; the others are answered by `remote`. Packets
    spend `delay` cycles on their way. In the order of their streams nothing is changed, except that
    replies of other nodes may overtake those of the own.

    Parameters
    ----------
    model
        The simulated bench.
    node
        Its address bits 55..24.
    remote
        Answers requests to other nodes, as `GoldenNode.remote`.
    rng
        Source of the pauses.
    send, take
        Probability with which something is offered, or taken, in a cycle.
    compete
        Probability with which another client asks for a bank in a cycle.
    delay
        Least cycles of a packet from the node to where it goes, and back.

    """

    def __init__(
        self,
        model: NativeModel,
        *,
        node: int,
        remote: Callable[[NDArray[np.void]], NDArray[np.void]] = refuse,
        rng: random.Random | None = None,
        send: float = 1.0,
        take: float = 1.0,
        compete: float = 0.0,
        delay: int = 0,
    ) -> None:
        self.model, self.node, self.remote = model, node, remote
        self.rng = rng or random.Random(0)
        self.send, self.take, self.compete, self.delay = send, take, compete, delay
        self.cycle = 0
        #: What waits to be offered: (first cycle, bits), by the name of the stream.
        self.waiting: dict[str, deque[tuple[int, int]]] = {
            name: deque() for name in ("i_request", "i_reply", "transfer", "link")
        }
        #: What was transferred: (cycle, bits), by the name of the stream.
        self.seen: dict[str, list[tuple[int, int]]] = {
            name: [] for name in (*self.waiting, "o_request", "o_reply", "link_result")
        }
        self._offering = dict.fromkeys(self.waiting, False)
        self._competing = False
        self._lines = 0
        for name in self.waiting:
            model.set(f"{name}__valid", 0)
        for port in ("r_vector_0__request__valid", "take", "post"):
            model.set(port, 0)
        model.set("node_id", node)
        model.reset()

    def offer(self, name: str, bits: int, after: int = 0) -> None:
        """Queue something for a stream, not before `after` more cycles."""
        self.waiting[name].append((self.cycle + after, bits))

    def request(self, packets: NDArray[np.void]) -> None:
        """Queue requests of somebody else to the node."""
        for packet in packets:
            self.offer("i_request", int.from_bytes(packet.tobytes(), "little"))

    def step(self) -> None:
        """Run one cycle."""
        model, rng = self.model, self.rng
        for name, queue in self.waiting.items():
            ready_to_go = queue and queue[0][0] <= self.cycle
            if ready_to_go and not self._offering[name] and rng.random() < self.send:
                self._offering[name] = True
                model.set(f"{name}__payload", queue[0][1])
            model.set(f"{name}__valid", self._offering[name])
        sinks = ("o_request", "o_reply", "link_result")
        takes = {name: rng.random() < self.take for name in sinks}
        for name in sinks:
            model.set(f"{name}__ready", takes[name])
        if not self._competing:
            self._competing = rng.random() < self.compete
            model.set("r_vector_0__request__valid", self._competing)
            model.set("r_vector_0__request__payload", rng.randrange(1 << 10))
        taken = [n for n in self.waiting if self._offering[n] and model.get(f"{n}__ready")]
        given = [n for n in sinks if takes[n] and model.get(f"{n}__valid")]
        payloads = {name: model.get(f"{name}__payload") for name in given}
        self._competing &= not model.get("r_vector_0__request__ready")
        model.step()
        for name in taken:
            self.seen[name].append((self.cycle, self.waiting[name].popleft()[1]))
            self._offering[name] = False
        for name, bits in payloads.items():
            self.seen[name].append((self.cycle, bits))
        self.cycle += 1
        if "o_request" in payloads:
            self._route(payloads["o_request"])
        if "o_reply" in payloads:
            (reply,) = _packets([payloads["o_reply"]])
            if reply["source"] == self.node:
                self.offer("i_reply", payloads["o_reply"], self.delay)

    def _route(self, bits: int) -> None:
        """Bring a request of the node to where it goes."""
        (packet,) = _packets([bits])
        own, others = destinations(packet, self.node)
        if own:
            self.offer("i_request", bits, self.delay)
        if others:
            for reply in self.remote(np.array([packet])):
                bits = int.from_bytes(reply.tobytes(), "little")
                self.offer("i_reply", bits, 2 * self.delay)

    def run(self, max_cycles: int, *, results: int = 0) -> None:
        """Run until nothing is under way and `results` link results came.

        Raises
        ------
        TimeoutError
            If that takes more than `max_cycles`; says what is left.

        """
        for _ in range(max_cycles):
            left = {name: len(queue) for name, queue in self.waiting.items()}
            pending = self.model.get("transfers_pending")
            came = len(self.seen["link_result"])
            if not any(left.values()) and not self.model.get("busy") and not pending:
                if came >= results:
                    return
            self.step()
        raise TimeoutError(
            f"waited {max_cycles} cycles for the network interface; {left} not taken, transfers of "
            f"threads {pending:#b} pending, {came} of {results} link results"
        )

    def exchange(self, packets: NDArray[np.void], max_cycles: int = 100_000) -> NDArray[np.void]:
        """Send requests of somebody else and return the replies to them."""
        before = len(self.seen["o_reply"])
        self.request(packets)
        self.run(max_cycles)
        replies = self.packets("o_reply")[before:]
        return replies[replies["source"] != self.node]

    def packets(self, name: str) -> NDArray[np.void]:
        """Return the packets that were transferred over a stream."""
        return _packets([bits for _, bits in self.seen[name]])

    def cycles(self, name: str) -> list[int]:
        """Return the cycles in which something was transferred over a stream."""
        return [cycle for cycle, _ in self.seen[name]]


def _packets(bits: Sequence[int]) -> NDArray[np.void]:
    raw = b"".join(value.to_bytes(_PACKET_BYTES, "little") for value in bits)
    return np.frombuffer(raw, PACKET_DTYPE)
