# amaranth: UnusedElaboratable=no
"""The native driver against Amaranth's own simulator, and its errors."""

import random
import re

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from d1_rtl.sim.model import BuildError, trace_format
from d1_rtl.sim.native import NativeModel, from_words, to_words


class Mixer(wiring.Component):
    """Ports of every width class, a memory, a combinational and a registered output."""

    bit: In(1)
    byte: In(8)
    half: In(13)
    word: In(signed(32))
    long: In(57)
    wide: In(200)
    comb__mix: Out(200)
    mixed: Out(200)
    from_memory: Out(57)
    total: Out(signed(34))
    flag: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=57, depth=32, init=[3, 1, 4])
        write, read = store.write_port(), store.read_port()
        m.d.comb += [
            write.addr.eq(self.byte),
            write.data.eq(self.long),
            write.en.eq(self.bit),
            read.addr.eq(self.half),
            self.from_memory.eq(read.data),
            self.comb__mix.eq(self.wide ^ Cat(self.long, self.half, self.mixed[:100])),
            self.flag.eq(self.mixed.xor()),
        ]
        m.d.sync += [
            self.mixed.eq(self.wide + self.mixed[3:]),
            self.total.eq(self.total[1:].as_signed() + self.word),
        ]
        return m


INPUTS = {"bit": 1, "byte": 8, "half": 13, "word": 32, "long": 57, "wide": 200}
OUTPUTS = {"comb__mix": 200, "mixed": 200, "from_memory": 57, "total": 34, "flag": 1}


@pytest.fixture
def mixer():
    with NativeModel(Mixer(), name="mixer") as model:
        model.reset()
        yield model


def amaranth_trace(stimulus):
    """Play integers in Amaranth's simulator: sampled before each edge, as `play` does."""
    dut = Mixer()
    rows = []

    async def testbench(ctx):
        await ctx.tick().repeat(2)  # those of the native model's reset
        for row in stimulus:
            for name, value in row.items():
                if name == "word" and value >> 31:
                    value -= 1 << 32
                ctx.set(getattr(dut, name), value)
            values = {name: ctx.get(getattr(dut, name)) for name in OUTPUTS}
            rows.append({n: v & (1 << OUTPUTS[n]) - 1 for n, v in values.items()})
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return rows


def test_play_equals_amaranths_simulator_cycle_by_cycle(mixer):
    seed = 5
    print(f"seed {seed}")
    rng = random.Random(seed)
    stimulus = [{n: rng.getrandbits(w) for n, w in INPUTS.items()} for _ in range(500)]
    expected = amaranth_trace(stimulus)
    arrays = {n: to_words((row[n] for row in stimulus), w) for n, w in INPUTS.items()}
    arrays["byte"] = arrays["byte"][:, 0].astype(np.uint8)  # a plain array will do as well
    recorded = mixer.play(arrays, list(OUTPUTS))
    for name in OUTPUTS:
        assert from_words(recorded[name]) == [row[name] for row in expected]


def test_set_step_and_get_equal_play(mixer):
    rng = random.Random(6)
    stimulus = [{n: rng.getrandbits(w) for n, w in INPUTS.items()} for _ in range(50)]
    for row, expected in zip(stimulus, amaranth_trace(stimulus), strict=True):
        for name, value in row.items():
            mixer.set(name, value)
        assert {name: mixer.get(name) for name in OUTPUTS} == expected
        mixer.step()


def test_cycles_count_reset_steps_and_played_rows(mixer):
    assert mixer.cycles == 2
    mixer.step(5)
    mixer.play({"bit": np.zeros(7, np.uint8)}, [])
    assert mixer.cycles == 14


def test_two_models_in_one_process_are_apart(mixer):
    with NativeModel(Mixer(), name="mixer") as other:
        mixer.set("wide", 1)
        other.set("wide", 2)
        mixer.step()
        other.step(2)
        assert (mixer.get("mixed"), other.get("mixed")) == (1, 2)
        assert (mixer.cycles, other.cycles) == (3, 2)


def test_negative_values_are_twos_complement(mixer):
    mixer.set("word", -5)
    mixer.step()
    assert mixer.get("total") == (1 << 34) - 5


def test_run_until_stops_before_the_edge_at_which_the_port_is_seen(mixer):
    mixer.set("wide", 1)
    assert mixer.run_until("flag", max_cycles=10) == 1
    assert mixer.get("mixed") == 1


def test_run_until_gives_up_after_its_limit_and_says_what_it_waited_for(mixer):
    with pytest.raises(TimeoutError, match="waited 20 cycles for flag of mixer to become 1"):
        mixer.run_until("flag", max_cycles=20)
    assert mixer.cycles == 22


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.set("mixed", 1), r"port must be an input of mixer, one of .*, not 'mixed'"),
        (lambda m: m.get("absent"), r"port must be of mixer, one of .*, not 'absent'"),
        (lambda m: m.set("clk", 1), "not 'clk'"),
        (lambda m: m.set("half", 1 << 13), "value of half must fit 13 bits, not 8192"),
        (lambda m: m.set("half", -(1 << 12) - 1), "value of half must fit 13 bits, not -4097"),
        (lambda m: m.step(-1), "n must be a number of cycles from 0, not -1"),
        (lambda m: m.run_until("byte", max_cycles=1), "must be one bit wide, not byte of 8"),
        (
            lambda m: m.play({"bit": np.zeros(3, np.uint8), "byte": np.zeros(2, np.uint8)}, []),
            r"inputs must all have one number of cycles, not \[2, 3\]",
        ),
        (
            lambda m: m.play({"wide": np.zeros((3, 2), np.uint32)}, []),
            r"input wide must be an array of uint32 with the shape \(cycles, 7\), not uint32",
        ),
        (
            lambda m: m.play({"half": np.array([1 << 13], np.uint16)}, []),
            "values of half must fit 13 bits, not",
        ),
        (
            lambda m: m.play({"wide": np.full((1, 7), 1 << 8, np.uint32)}, []),
            "values of wide must fit 200 bits",
        ),
        (lambda m: m.trace("x.vcd"), "must be made with trace=True to write x.vcd"),
    ],
)
def test_bad_calls_are_refused(mixer, call, message):
    with pytest.raises(ValueError, match=message):
        call(mixer)


def test_a_closed_model_is_refused():
    model = NativeModel(Mixer(), name="mixer")
    model.close()
    with pytest.raises(ValueError, match="model mixer must be open, not closed"):
        model.step()


def test_a_waveform_holds_the_window_and_nothing_else(tmp_path):
    path = tmp_path / "mixer.vcd"
    with NativeModel(Mixer(), name="mixer", trace=True) as model:
        model.reset()
        model.set("wide", 1)
        model.trace(path, start=10, stop=13)
        model.step(50)
        with pytest.raises(ValueError, match="stop must be after start 5, not 5"):
            model.trace(path, 5, 5)
        with pytest.raises(OSError, match="the waveform file must be writable"):
            model.trace(tmp_path / "absent" / "mixer.vcd")
    if trace_format() == "vcd":
        times = [int(time) for time in re.findall(r"^#(\d+)", path.read_text(), re.MULTILINE)]
        assert times == [20, 21, 22, 23, 24, 25]
    else:
        assert path.stat().st_size > 0


def test_verilog_that_does_not_compile_says_why(tmp_path):
    from amaranth.hdl import Instance

    class Broken(wiring.Component):
        o: Out(1)

        def elaborate(self, platform):
            m = Module()
            q = Signal()
            m.submodules += Instance("broken", o_q=q)
            m.d.comb += self.o.eq(q)
            return m

    source = tmp_path / "broken.v"
    source.write_text("module broken(output q);\n  assign q = missing + ;\nendmodule\n")
    with pytest.raises(BuildError, match=r"verilator.* must succeed, but failed:\n.*syntax error"):
        NativeModel(Broken(), name="broken_top", extra_sources=[source])
