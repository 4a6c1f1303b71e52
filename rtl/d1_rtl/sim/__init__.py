"""From an Amaranth component to a running Verilated model: build cache, native driver, cocotb.

A component becomes a model that Python clocks one cycle, or a million cycles, at a time::

    import numpy as np
    from d1_rtl.sim.native import NativeModel

    with NativeModel(Multiplier(width=16), name="multiplier") as model:
        model.reset()
        model.set("a", 3)
        model.set("b", 5)
        model.step()
        assert model.get("o") == 15

        rng = np.random.default_rng(seed=1)
        a, b = rng.integers(0, 2**16, (2, 1_000_000), dtype=np.uint16)
        o = model.play({"a": a, "b": b}, ["o"])["o"]  # row k: just before rising edge k
        assert (o[1:, 0] == a[:-1].astype(np.uint32) * b[:-1]).all()

`run_cocotb` in `d1_rtl.sim.cocotb_runner` runs a cocotb test module on the same compiled model and
`NodeLink` in `d1_rtl.sim.node_link` exchanges packets with a node. The first use compiles, with
progress on stderr; the result is kept under `d1_rtl.sim.cache.root()`.
"""
