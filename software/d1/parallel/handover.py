"""Tensors from one node to the next in the middle of a program: its code, and its lists.

The node that has tensors pushes them to the same tensors of others, which wait for as many posts as
pushes. Each receiver has a semaphore for each sender, so what comes from one cannot be mistaken for
what comes from another; what comes from one comes in order.

    sender     xlist: push, push, ...   fence       |
    receiver                            swait x n   |   kernels that read them
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import ceil

import numpy as np
from d1_golden.assembler import assemble
from d1_golden.fabric.place import Place
from d1_golden.params import LINE_BYTES
from d1_golden.transfer import TransferOp, descriptor
from numpy.typing import NDArray

from d1.compiler.ir import Send, Tensor
from d1.fabric.fan_out import chain

__all__ = ["list_bytes", "parcel_list", "receive_code", "send_code"]

_WORD = 8


@cache
def send_code() -> bytes:
    """Return the machine code, for all threads, that pushes what the list in its table says."""
    return assemble(f"""
        bnez a1, sent
        ld t0, {_WORD}(a0)              # the list
        xlist t0
        fence                           # then its tensors may be overwritten
sent:   ret
""").code


@cache
def receive_code(posts: tuple[tuple[int, int], ...]) -> bytes:
    """Return the machine code, for all threads, that waits for posts: semaphores and counts."""
    waits = "".join(
        f"""
        li t0, {count}
wait{semaphore}:
        swait {semaphore}
        addi t0, t0, -1
        bnez t0, wait{semaphore}
"""
        for semaphore, count in posts
    )
    return assemble(f"""
        bnez a1, there
{waits}
there:  ret
""").code


def list_bytes(kernel: Send) -> int:
    """Return how many bytes the list of a kernel takes."""
    return len(kernel.parcels) * LINE_BYTES


def parcel_list(
    kernel: Send,
    address: int,
    addresses: Mapping[Tensor, int],
    nodes: Sequence[tuple[tuple[int, int], Mapping[Tensor, int]]],
) -> NDArray[np.uint8]:
    """Return the list of transfers of a node.

    Parameters
    ----------
    kernel
        What it sends.
    address
        Where the list is.
    addresses
        Where the node has its tensors.
    nodes
        By number: place, and where that node has its tensors.

    """
    pushes = []
    for tensor, number, semaphore in kernel.parcels:
        place, there = nodes[number]
        pushes.append(
            descriptor(
                TransferOp.PUSH,
                local=addresses[tensor],
                remote=Place(*place).address(there[tensor]),
                lines=ceil(tensor.bytes / LINE_BYTES),
                arrival=semaphore,
            )
        )
    return chain(pushes, address).view(np.uint8)
