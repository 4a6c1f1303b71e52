# amaranth: UnusedElaboratable=no
"""The vector unit of several threads: what it computes, when, and whom it lets wait."""

from collections import Counter
from itertools import pairwise

import pytest
from d1_golden.isa import INSTRUCTIONS, Unit, decode, encode
from d1_golden.params import preset
from d1_rtl.node.convert_unit import ConvertUnit
from d1_rtl.node.matrix_unit import MatrixUnit
from d1_rtl.node.move_unit import MoveUnit
from d1_rtl.node.simd_unit import SimdOp, SimdUnit

from testbench.nodes import SHAPES
from testbench.vector_bench import VectorBench, VectorOperation
from testbench.vector_programs import VECTOR_UNITS, VectorProgrammer

SEED = 20
#: Random instructions of each thread.
LENGTH = {"d1": 600, "fpga": 1500, "tiny": 2500, "four_rows": 1500}
#: Cycles from reading the operands of a reduction and of an elementary function on `tiny`.
SEVERAL_PASSES = SimdUnit.latency_by_op(preset("tiny"))


@pytest.fixture(scope="module", params=SHAPES, ids=lambda p: p.name)
def bench(request):
    bench = VectorBench(request.param)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def compiled():
    bench = VectorBench(preset("tiny"))
    yield bench
    bench.close()


@pytest.fixture
def tiny(compiled):
    """Return a bench after a reset, with zeros in memory."""
    compiled.reset()
    return compiled


def random_run(bench, seed, length, weights=None, **stalls):
    """Run random programs; return what was recorded and how often each instruction ran."""
    print(f"seed {seed}")
    programmer = VectorProgrammer(bench.params, seed)
    programs = [
        programmer.preamble(thread)
        + programmer.body(thread, length, weights)
        + programmer.dump(thread)
        for thread in range(bench.params.threads)
    ]
    bench.memory[:] = programmer.memory
    recording = bench.run(programs, seed=seed, **stalls)
    assert not programmer.differences(bench.memory)
    names = (decode(operation.insn).name for program in programs for operation in program)
    return recording, Counter(names)


def operation(name, *, at=0, scalar=0, **operands):
    """Return an operation whose memory operand, if any, is at an address."""
    return VectorOperation(insn=encode(name, **operands), fields={"address": at, "scalar": scalar})


def vm_step(acc, *, at=0, a=0):
    return operation("mmac.bf16.vm", at=at, acc_d=acc, vs2=a, rs1=0, imm=0)


def load(register, *, at=0):
    return operation("vld", at=at, vd=register, rs1=0, imm=0)


def store(register, *, at=0):
    return operation("vst", at=at, vs2=register, rs1=0, imm=0)


def test_random_programs_of_all_threads_with_random_stalls_equal_golden(bench):
    recording, ran = random_run(
        bench, SEED, LENGTH[bench.params.name], stall=0.2, pause=0.1, hold=0.1
    )
    assert set(ran) == {row.name for row in INSTRUCTIONS if row.unit in VECTOR_UNITS}
    assert {cause for _, cause in recording.stalls} == {
        "vector_operand", "vector_slot", "accumulator", "vector_bank", "result"
    }  # fmt: skip
    assert any(fault for _, fault, _, _ in recording.blocking)
    assert recording.scalars and not recording.errors


def test_random_programs_without_stalls_equal_golden(bench):
    random_run(bench, SEED + 1, LENGTH[bench.params.name])


@pytest.mark.parametrize(
    "units",
    [
        (Unit.MATRIX, Unit.MATRIX_READ, Unit.MATRIX_MEMORY, Unit.VECTOR_LOAD),
        (Unit.VECTOR_LOAD, Unit.VECTOR_STORE, Unit.VECTOR_SCATTER, Unit.VECTOR_GATHER),
        (Unit.VECTOR_SIMD, Unit.VECTOR_MOVE, Unit.VECTOR_CONVERT, Unit.MATRIX_READ),
    ],
)
def test_programs_of_few_units_equal_golden(tiny, units):
    """Few units meet each other more often: one accumulator, one line, one result port."""
    random_run(tiny, SEED + 2, 1500, dict.fromkeys(units, 1.0), stall=0.1)


def test_a_bare_clock_makes_no_difference():
    bench = VectorBench(preset("tiny"), gated=False)
    random_run(bench, SEED + 3, 300, stall=0.1, pause=0.4)
    bench.close()


#: Results for v1, with the cycles from their start to that of an operation that uses them.
RESULTS = {
    "vld": (load(1), 1),
    "vldb": (operation("vldb", vd=1, rs1=0, imm=0), 1),
    "vld.m": (operation("vld.m", vd=1, rs1=0, ms=0), 1),
    "mrd": (operation("mrd", vd=1, acc_s=0, part=0), 1 + MatrixUnit.READ_LATENCY),
    "vcvt": (operation("vcvt.f32.bf16", vd=1, vs1=2, part=0), 1 + ConvertUnit.LATENCY),
    "move": (operation("vshuf", vd=1, vs1=2, vs2=3), 1 + MoveUnit.LATENCY),
    "vfadd": (operation("vfadd.f32", vd=1, vs1=2, vs2=3), 1 + SimdUnit.LATENCY),
    "vadd.i32": (operation("vadd.i32", vd=1, vs1=2, vs2=3), 1 + SimdUnit.LATENCY),
    "reduction": (
        operation("vfredsum.f32", vd=1, vs1=2),
        1 + SEVERAL_PASSES[SimdOp.VFREDSUM_F32],
    ),
    "elementary": (operation("vfexp2.f32", vd=1, vs1=2), 1 + SEVERAL_PASSES[SimdOp.VFEXP2_F32]),
}
USES = {
    "matrix a": operation("mmul.bf16.vv", acc_d=0, vs1=1, vs2=4),
    "matrix b": operation("mmul.bf16.vv", acc_d=0, vs1=4, vs2=1),
    "matrix a, b in memory": operation("mmul.bf16.vm", acc_d=0, vs2=1, rs1=0, imm=0),
    "mwr": operation("mwr", acc_d=0, vs1=1, part=0),
    "vcvt": operation("vcvt.f32.bf16", vd=5, vs1=1, part=0),
    "vcvt, what stays": operation("vcvt.bf16.f32", vd=1, vs1=4, part=0),
    "simd": operation("vfadd.f32", vd=5, vs1=1, vs2=4),
    "simd, addend": operation("vfmadd.f32", vd=1, vs1=4, vs2=4),
    "move": operation("vshuf", vd=5, vs1=4, vs2=1),
    "vst": store(1),
    "vst.m": operation("vst.m", vs3=1, rs1=0, ms=0),
    "vld.m, what stays": operation("vld.m", vd=1, rs1=0, ms=0),
    "gather": operation("vgather.m", vd=5, rs1=0, vs2=1, ms=0),
    "gather, what stays": operation("vgather.m", vd=1, rs1=0, vs2=4, ms=0),
    "scatter": operation("vscatter", vs3=1, rs1=0, vs2=4),
    "the same destination": operation("vldb", vd=1, rs1=0, imm=0),
}


def distance(bench, *operations, thread=0):
    """Return the cycles from the start of each operation to that of the next, in one thread."""
    programs = [[] for _ in range(bench.params.threads)]
    programs[thread] = operations
    starts = bench.run(programs).starts
    assert len(starts) == len(operations)
    return [later - earlier for earlier, later in pairwise(starts)]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("result", RESULTS)
def test_a_result_can_be_used_after_its_latency(tiny, result, use):
    # Of the offsets of gathers none is bad, or none is used.
    clear = [
        operation("vmv.m.x", md=0, rs1=0),
        *(operation("vsub.i32", vd=n, vs1=n, vs2=n) for n in range(1, 5)),
    ]
    producer, cycles = RESULTS[result]
    gaps = distance(tiny, *clear, producer, USES[use], thread=1)
    # Writing the register without reading it waits just as long.
    assert gaps[-1] == cycles


#: Results for m1.
MASK_RESULTS = {
    "mand": (operation("mand", md=1, ms1=0, ms2=0), 1 + MoveUnit.LATENCY),
    "vmv.m.x": (operation("vmv.m.x", md=1, rs1=0), 1 + MoveUnit.LATENCY),
    "vflt": (operation("vflt.f32", md=1, vs1=2, vs2=3), 1 + SimdUnit.LATENCY),
    "vseq": (operation("vseq.i32", md=1, vs1=2, vs2=3), 1 + SimdUnit.LATENCY),
}
MASK_USES = {
    "vsel": operation("vsel", vd=5, vs1=2, vs2=3, ms=1),
    "mor 1": operation("mor", md=2, ms1=1, ms2=0),
    "mor 2": operation("mor", md=2, ms1=0, ms2=1),
    "vld.m": operation("vld.m", vd=5, rs1=0, ms=1),
    "vst.m": operation("vst.m", vs3=5, rs1=0, ms=1),
    "vgather.m": operation("vgather.m", vd=5, rs1=0, vs2=2, ms=1),
    "vscatter.m": operation("vscatter.m", vs3=5, rs1=0, vs2=2, ms=1),
}


@pytest.mark.parametrize("use", MASK_USES)
@pytest.mark.parametrize("result", MASK_RESULTS)
def test_a_mask_can_be_used_after_its_latency(tiny, result, use):
    producer, cycles = MASK_RESULTS[result]
    assert distance(tiny, producer, MASK_USES[use]) == [cycles]


#: Two operations on accumulators and the cycles between their starts.
ACCUMULATOR_PAIRS = {
    "a step waits for a step": (vm_step(0), vm_step(0), 3),
    "a step from zero does not": (
        vm_step(0),
        operation("mmul.bf16.vm", acc_d=0, vs2=0, rs1=0, imm=0),
        1,
    ),
    "zero does not wait": (vm_step(0), operation("mzero", acc_d=0), 1),
    "a step waits for zero": (operation("mzero", acc_d=0), vm_step(0), 3),
    "mrd waits for a step": (vm_step(0), operation("mrd", vd=1, acc_s=0, part=0), 3),
    "mwr does not wait": (vm_step(0), operation("mwr", acc_d=0, vs1=1, part=0), 1),
    "a step waits for mwr": (operation("mwr", acc_d=0, vs1=1, part=0), vm_step(0), 3),
    "mrd waits for mwr": (
        operation("mwr", acc_d=0, vs1=1, part=0),
        operation("mrd", vd=1, acc_s=0, part=0),
        3,
    ),
    "a step need not wait for mrd": (operation("mrd", vd=1, acc_s=0, part=0), vm_step(0), 1),
    "other accumulators do not matter": (vm_step(0), vm_step(1), 1),
}


@pytest.mark.parametrize("pair", ACCUMULATOR_PAIRS)
def test_an_accumulator_is_ready_after_its_latency(tiny, pair):
    first, second, cycles = ACCUMULATOR_PAIRS[pair]
    assert distance(tiny, first, second, thread=2) == [cycles]


def test_a_scalar_leaves_four_cycles_after_its_start_and_one_a_cycle(tiny):
    tiny.memory[:16] = bytes(range(16))
    first = VectorOperation(
        insn=encode("vmv.x.v", rd=5, vs1=1, lane=1), fields={}, scalar=(5, 0x07060504)
    )
    recording = tiny.run([[load(1), *[first] * 12], [], [], []])
    assert [cycle for cycle, _ in recording.scalars] == [n + 4 for n in recording.starts[1:]]
    assert recording.starts[-1] - recording.starts[1] == 11
    # A result for x0 is none.
    nothing = operation("vmv.x.v", rd=0, vs1=1, lane=1)
    assert not tiny.run([[nothing] * 3, [], [], []]).scalars


def test_a_load_waits_for_a_store_to_its_line_only(tiny):
    assert distance(tiny, store(1), load(2, at=0x30)) == [2]
    assert distance(tiny, store(1), load(2, at=0x40)) == [1]
    assert distance(tiny, store(1), vm_step(0, at=0x10)) == [2]
    assert distance(tiny, load(1), store(1), load(1), store(1)) == [1, 2, 1]


def test_threads_do_not_wait_for_each_others_registers_accumulators_or_lines(tiny):
    threads = range(tiny.params.threads)
    # The queue is filled at one operation a cycle and port, two threads a cycle.
    recording = tiny.run(
        [[vm_step(0), operation("vfadd.f32", vd=1, vs1=1, vs2=1), store(2)] for _ in threads]
    )
    assert not {cause for _, cause in recording.stalls} - {"vector_slot"}


@pytest.mark.parametrize("steps", [1, 3])
def test_four_threads_do_a_step_from_memory_every_cycle_beside_what_slot_0_does(tiny, steps):
    """Of each thread: some steps, then a load, read-out of an accumulator or conversion."""

    def program(thread):
        base = 0x1000 * (thread + 1)
        others = [
            load(1, at=base),
            operation("mrd", vd=2, acc_s=7, part=0),
            operation("vcvt.f32.bf16", vd=3, vs1=4, part=0),
            load(5, at=base + 0x40),
        ]
        items = []
        for n in range(60):
            items += [vm_step(m % 6, at=base + 64 * m, a=6) for m in range(steps)]
            items.append(others[n % 4])
        return items

    threads = tiny.params.threads
    recording = tiny.run([program(thread) for thread in range(threads)])
    count = 60 * steps * threads
    assert sum(recording.matrix_steps) == count
    if steps > 1:
        assert all(recording.matrix_steps[10 : count - 20])
    # Where both slots are to be full, results that would come together cost a little.
    assert len(recording.issued) <= count * (1 if steps > 1 else 1.15) + 20


def test_one_thread_with_rotating_accumulators_does_a_step_every_cycle(tiny):
    steps = [vm_step(n % 3, at=64 * (n % 16)) for n in range(60)]
    assert distance(tiny, *steps) == [1] * 59


@pytest.mark.parametrize(
    "make",
    [
        lambda n: load(n % 8, at=64 * (n % 16)),
        lambda n: store(n % 8, at=64 * (n % 16)),
        lambda n: operation("mrd", vd=n % 8, acc_s=0, part=n % 2),
        lambda n: operation("mwr", acc_d=n % 8, vs1=1, part=n % 2),
        lambda n: operation("vcvt.f32.bf16", vd=n % 8, vs1=9, part=0),
        lambda n: operation("vfadd.f32", vd=n % 8, vs1=9, vs2=9),
        lambda n: operation("vshuf", vd=n % 8, vs1=9, vs2=9),
        lambda n: operation("mand", md=n % 7, ms1=7, ms2=7),
    ],
)
def test_independent_operations_of_a_thread_start_every_cycle(tiny, make):
    assert distance(tiny, *(make(n) for n in range(24))) == [1] * 23


def test_two_loads_and_a_store_of_three_threads_start_in_two_cycles(tiny):
    count = 40
    programs = [
        [load(n % 8, at=0x1000 * (t + 1)) if t else store(n % 8) for n in range(count)]
        for t in range(3)
    ]
    recording = tiny.run([*programs, []])
    assert len(recording.starts) == 3 * count
    assert recording.starts[-1] <= 3 * count // 2 + 6


def test_results_of_one_thread_that_would_come_together_wait(tiny):
    mrd = operation("mrd", vd=2, acc_s=7, part=0)
    add = operation("vfadd.f32", vd=1, vs1=3, vs2=3)
    late = SimdUnit.LATENCY - MatrixUnit.READ_LATENCY
    fill = [operation("mzero", acc_d=n) for n in range(late - 1)]
    assert distance(tiny, add, *fill, mrd) == [1] * (late - 1) + [2]
    fill = [operation("mzero", acc_d=n) for n in range(SimdUnit.LATENCY - 1)]
    assert distance(tiny, add, *fill, load(2)) == [1] * (SimdUnit.LATENCY - 1) + [2]


def test_scalar_accesses_hold_off_memory_operations_only(tiny):
    """With its scalar accesses waiting for ever, a thread still computes."""
    programs = [[operation("mzero", acc_d=n % 8) for n in range(20)], [load(1)], [], []]
    with pytest.raises(TimeoutError, match=r"operations left: \[0, 0, 0, 0\], busy 0b10$"):
        tiny.run(programs, hold=1.0, max_cycles=200)
    assert tiny.model.get("loads_pending") == 0b10
    assert tiny.model.get("stores_pending") == 0
    tiny.run([[]] * 4)
    assert tiny.model.get("loads_pending") == 0


def test_a_queue_has_room_until_two_places_are_left(tiny):
    programs = [[store(1)] * 20, [], [], []]
    with pytest.raises(TimeoutError, match=r"operations left: \[13, 0, 0, 0\]"):
        tiny.run(programs, hold=1.0, max_cycles=50)
    assert tiny.model.get("room") == 0b1110
    assert tiny.model.get("stores_pending") == 1
    tiny.run([[]] * 4)
    assert tiny.model.get("room") == 0b1111


def test_gathers_take_a_cycle_a_line(tiny):
    """From the start: read, check, one cycle for each line, the last line's data, write, report."""
    lanes = tiny.params.fp32_lanes
    for stride, lines in ((4, 1), (64, lanes)):
        offsets = b"".join((stride * n).to_bytes(4, "little") for n in range(lanes))
        tiny.memory[0x800 : 0x800 + len(offsets)] = offsets
        program = [load(1, at=0x800), operation("vgather", vd=2, rs1=0, vs2=1), load(3)]
        starts = tiny.run([program, [], [], []]).starts
        assert starts[2] - starts[1] == lines + 7


def test_matrix_steps_of_other_threads_go_on_during_gathers_which_end(tiny):
    """Steps from memory want the port of the gathers in every cycle."""
    steps = [[vm_step(n % 4, at=64 * (n % 16)) for n in range(300)] for _ in range(3)]
    gathers = [operation("vgather", vd=2, rs1=0, vs2=1) for _ in range(8)]
    recording = tiny.run([[operation("vsub.i32", vd=1, vs1=1, vs2=1), *gathers], *steps])
    assert sum(recording.matrix_steps) == 900
    assert len(recording.blocking) == 8
    # Each gather costs the steps its start and its line.
    assert len(recording.issued) <= 900 + 2 * 8 + 20


def test_an_operation_that_others_keep_from_its_slot_starts_in_the_end(tiny):
    """Three threads of reductions fill the SIMD unit; the fourth wants to add."""
    reductions = [[operation("vfredsum.f32", vd=n % 16, vs1=20) for n in range(80)]] * 3
    adds = [operation("vfadd.f32", vd=n % 16, vs1=20, vs2=20) for n in range(10)]
    recording = tiny.run([*reductions, adds])
    assert recording.stalls[3, "vector_slot"] <= 10 * 40


def test_uncorrectable_operands_are_reported_with_their_address(tiny):
    tiny.wrong = {0x1008, 0x2010}

    def at(item, pc):
        return VectorOperation(insn=item.insn, fields={**item.fields, "pc": pc})

    # A word beside the vector does not matter, nor does it to a broadcast.
    good = [load(1, at=0x1010), operation("vldb", at=0x1004, vd=1, rs1=0, imm=0)]
    bad = [at(load(1, at=0x1000), 0x40)]
    recording = tiny.run([good + bad, [at(vm_step(0, at=0x2010), 0x80)], [], []])
    assert sorted(recording.errors) == [(0, 0x40, 0x1000), (1, 0x80, 0x2010)]
    gather = operation("vgather", vd=2, rs1=0, vs2=1, scalar=0x100C)
    gather = VectorOperation(insn=gather.insn, fields=gather.fields, fault=0x100C)
    recording = tiny.run([[operation("vsub.i32", vd=1, vs1=1, vs2=1), gather], [], [], []])
    assert recording.blocking == [(0, 1, 1, 0x100C)] and not recording.errors


def test_errors_of_two_threads_in_one_cycle_are_both_reported(tiny):
    tiny.wrong = {0x1000}
    recording = tiny.run([[load(1, at=0x1000)]] * 2 + [[], []])
    assert sorted(recording.errors) == [(0, 0, 0x1000), (1, 0, 0x1000)]
