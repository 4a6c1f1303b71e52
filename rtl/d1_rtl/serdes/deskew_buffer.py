"""Where the words of a lane wait for those of slower lanes."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import LinkParams

from .blocks import ROW_BITS, StoredWord

__all__ = ["DeskewBuffer"]


class DeskewBuffer(wiring.Component):
    """Keeps the last words of a lane by the number of their row.

    A word can be read from the cycle after it was stored; what is read is there one cycle later
    and stays until the next is read.

    Golden twin: the fields `store` and `read` in `d1_golden.serdes.receiver.ReceiveState`.

    Parameters
    ----------
    params
        The link: its `deskew_rows` words are kept.

    Members
    -------
    store : In(1)
        Keep a word.
    store_row : In(8)
        Number of its row.
    stored : In(StoredWord)
    read : In(1)
        Read a word.
    read_row : In(8)
        Number of its row.
    word : Out(StoredWord)
        The word that was read.
    """

    store: Signal
    store_row: Signal
    stored: Any
    read: Signal
    read_row: Signal
    word: Any

    def __init__(self, params: LinkParams):
        self._depth = params.deskew_rows
        super().__init__(
            {
                "store": In(1),
                "store_row": In(ROW_BITS),
                "stored": In(StoredWord),
                "read": In(1),
                "read_row": In(ROW_BITS),
                "word": Out(StoredWord),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        words: Any = memory.Memory(shape=StoredWord, depth=self._depth, init=[])
        m.submodules.words = words
        write, read = words.write_port(), words.read_port()
        m.d.comb += [
            write.en.eq(self.store),
            write.addr.eq(self.store_row),  # modulo the depth, a power of two
            write.data.eq(self.stored),
            read.en.eq(self.read),
            read.addr.eq(self.read_row),
            self.word.eq(read.data),
        ]
        return m
