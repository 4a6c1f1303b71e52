# amaranth: UnusedElaboratable=no
"""The proof runner tells what holds from what does not, so a proof that passes means something."""

import runpy
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from testbench.formal import FormalToolError, Outcome, Proof, prove

TIME_LIMIT_S = 240


class Counter(wiring.Component):
    """Counts to a limit; claims that it never passes `claimed`."""

    step: In(1)

    def __init__(self, claimed, contradiction=False):
        self._claimed, self._contradiction = claimed, contradiction
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        count = Signal(4)
        with m.If(self.step & (count < 5)):
            m.d.sync += count.eq(count + 1)
        m.d.comb += Assert(count <= self._claimed)
        if self._contradiction:
            m.d.comb += [Assume(self.step), Assume(~self.step)]
        return m


def outcome(proof, folder):
    return prove(proof, folder, time_limit_s=TIME_LIMIT_S)


@pytest.mark.parametrize("solver", ["boolector", "z3"])
def test_an_invariant_is_proved_for_every_length_of_time(tmp_path, solver):
    proof = Proof("the count stays", lambda: Counter(5), depth=2, induction=True, solver=solver)
    assert outcome(proof, tmp_path / "proof").outcome is Outcome.PASS


@pytest.mark.parametrize("solver", ["boolector", "z3"])
def test_a_false_claim_fails_with_a_counterexample(tmp_path, solver):
    proof = Proof("too low", lambda: Counter(4), depth=7, induction=True, solver=solver)
    verdict = outcome(proof, tmp_path / "proof")
    assert verdict.outcome is Outcome.FAIL
    assert (verdict.folder / "engine_0" / "trace.vcd").exists()


def test_a_depth_that_does_not_reach_the_violation_is_no_proof_by_induction(tmp_path):
    proof = Proof("too low", lambda: Counter(4), depth=1, induction=True)
    assert outcome(proof, tmp_path / "proof").outcome is Outcome.UNKNOWN


def test_assumptions_that_contradict_each_other_are_an_error(tmp_path):
    proof = Proof("vacuous", lambda: Counter(4, contradiction=True), depth=7)
    with pytest.raises(FormalToolError, match="vacuous: SymbiYosys ended with"):
        outcome(proof, tmp_path / "proof")


def claims(name):
    return runpy.run_path(str(Path(__file__).with_name(f"proof_{name}.py")))


def test_three_flips_are_not_claimed_to_be_detected(tmp_path):
    # What is known to be false of the code must not pass: the proofs of one and two flips would
    # pass as well if the flips were not there.
    round_trip = claims("ecc")["RoundTrip"]
    proof = Proof("three flips are detected", lambda: round_trip(3))
    assert outcome(proof, tmp_path / "proof").outcome is Outcome.FAIL


def test_some_client_of_a_bank_waits_as_long_as_the_bound_says(tmp_path):
    arbiter = claims("arbiter")
    limit = arbiter["LONGEST_WAIT"]
    proof = Proof("one cycle less", lambda: arbiter["Bank"](limit - 1), depth=limit + 3)
    assert outcome(proof, tmp_path / "proof").outcome is Outcome.FAIL


def test_some_input_of_a_router_waits_as_long_as_the_bound_says(tmp_path):
    router = claims("router")
    limit = router["LONGEST_WAIT"]
    proof = Proof("one cycle less", lambda: router["Output"](limit - 1), depth=limit + 2)
    assert outcome(proof, tmp_path / "proof").outcome is Outcome.FAIL


def test_an_unknown_solver_and_a_depth_of_0_are_refused():
    with pytest.raises(ValueError, match="solver must be boolector or z3, not 'guess'"):
        Proof("", lambda: Counter(5), solver="guess")
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        Proof("", lambda: Counter(5), depth=0)
