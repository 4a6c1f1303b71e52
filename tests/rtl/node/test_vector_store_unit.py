# amaranth: UnusedElaboratable=no
"""Vector stores: masks, places, and banks that are taken."""

import random

import pytest
from d1_golden.params import LINE_BYTES, PRESETS, preset
from d1_rtl.node.interfaces import sram_write_layout
from d1_rtl.node.vector_store_unit import VectorStoreUnit
from d1_rtl.sim.native import NativeModel

_SEED = 19


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_every_store_writes_its_lanes_once(name, stall):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    params = preset(name)
    memory, golden = bytearray(4096), bytearray(4096)
    with NativeModel(VectorStoreUnit(params), name=f"vector_store_unit_{name}") as model:
        model.reset()
        taken = None
        stores = 0
        for _ in range(3000):
            ready = rng.random() >= stall
            model.set("sram_write__request__ready", int(ready))
            # What was taken in the cycle before is on the ports in this one only.
            vector, mask = rng.randbytes(params.vector_bytes), rng.getrandbits(params.fp32_lanes)
            if taken is not None:
                for lane in range(params.fp32_lanes):
                    if mask >> lane & 1:
                        place = slice(taken + 4 * lane, taken + 4 * lane + 4)
                        golden[place] = vector[4 * lane : 4 * lane + 4]
            model.set("vector", int.from_bytes(vector, "little"))
            model.set("mask", mask)
            address = rng.randrange(0, 4096, params.vector_bytes)
            model.set("address", address)
            thread = rng.randrange(params.threads)
            model.set("thread", thread)
            takes = bool(model.get("accept")) and rng.random() < 0.9
            model.set("take", int(takes))
            asks = model.get("sram_write__request__valid")
            assert asks == model.get("pending")
            if asks and ready:
                payload = model.get("sram_write__request__payload")
                write = sram_write_layout(params).from_bits(payload)
                assert write.line == model.get("pending_line")
                for byte in range(LINE_BYTES):
                    if write.mask >> byte & 1:
                        memory[write.line * LINE_BYTES + byte] = write.data >> 8 * byte & 0xFF
                assert not model.get("pending") or model.get("accept")
            taken = address if takes else None
            stores += takes
            model.step()
            if takes:
                assert model.get("pending_thread") == thread
        model.set("take", 0)
        model.set("sram_write__request__ready", 0)
        if model.get("pending") and taken is None:
            # The last one has been refused: it is kept, and is written as soon as it may be.
            assert model.get("kept") == 1
            payload = model.get("sram_write__request__payload")
            write = sram_write_layout(params).from_bits(payload)
            for byte in range(LINE_BYTES):
                if write.mask >> byte & 1:
                    memory[write.line * LINE_BYTES + byte] = write.data >> 8 * byte & 0xFF
        if taken is None:
            assert memory == golden
        else:  # the vector of the last one is not there yet
            end = taken + params.vector_bytes
            assert memory[:taken] == golden[:taken] and memory[end:] == golden[end:]
    assert stores > (2500 if not stall else 1000)
