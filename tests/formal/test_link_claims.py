# amaranth: UnusedElaboratable=no
"""The proofs of the link layer fail where what they claim is not so."""

import runpy
from pathlib import Path

from testbench.formal import Outcome, Proof, prove

CLAIMS = runpy.run_path(str(Path(__file__).with_name("proof_link.py")))


def test_a_receiver_that_gives_out_an_entry_too_many_is_found(tmp_path):
    credits = CLAIMS["Credits"]
    proof = Proof("one too many", lambda: credits(CLAIMS["CREDITS"] + 1), depth=8)
    assert prove(proof, tmp_path / "proof", time_limit_s=120).outcome is Outcome.FAIL
