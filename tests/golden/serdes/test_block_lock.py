"""Block lock against the state diagram of the standard, walked state by state."""

import random

import pytest
from d1_golden.serdes.block import SyncHeader
from d1_golden.serdes.block_lock import (
    LOCK_HEADERS,
    LOSS_HEADERS,
    is_valid_header,
    judge_header,
    new_locks,
    unlock,
)

DATA, CONTROL = SyncHeader.DATA, SyncHeader.CONTROL
BAD = 0b00


class LockDiagram:
    """The states of Figure 49-12 by their names; `slip` is called where the figure has SLIP."""

    def __init__(self):
        self.block_lock = False
        self.sh_cnt = self.sh_invalid_cnt = 0

    def test_sh(self, sh_valid):
        """Run from TEST_SH until the next header is needed; return whether SLIP was passed."""
        self.sh_cnt += 1
        if sh_valid:  # VALID_SH
            if self.sh_cnt == 64 and self.sh_invalid_cnt == 0:  # 64_GOOD
                self.block_lock = True
                self._reset_cnt()
            elif self.sh_cnt == 64:
                self._reset_cnt()
            return False
        self.sh_invalid_cnt += 1  # INVALID_SH
        if self.sh_invalid_cnt == 16 or not self.block_lock:  # SLIP
            self.block_lock = False
            self._reset_cnt()
            return True
        if self.sh_cnt == 64:
            self._reset_cnt()
        return False

    def _reset_cnt(self):
        self.sh_cnt = self.sh_invalid_cnt = 0


def judged(lock, headers):
    """Return for each header whether it moved the search, and the lock after all."""
    return [judge_header(lock[0], header) for header in headers], bool(lock["locked"][0])


def locked():
    lock = new_locks(1)
    assert judged(lock, [DATA] * LOCK_HEADERS) == ([False] * LOCK_HEADERS, True)
    return lock


def test_a_header_is_valid_when_its_bits_differ():
    assert [is_valid_header(header) for header in range(4)] == [False, True, True, False]


def test_the_counts_are_those_of_the_standard():
    assert (LOCK_HEADERS, LOSS_HEADERS) == (64, 16)


def test_sixty_four_valid_headers_lock_and_sixty_three_do_not():
    lock = new_locks(1)
    assert judged(lock, [DATA, CONTROL] * 31 + [DATA])[1] is False
    assert judged(lock, [CONTROL])[1] is True


def test_an_invalid_header_before_the_lock_slips_at_once_and_starts_the_count_anew():
    lock = new_locks(1)
    assert judged(lock, [DATA] * 63 + [BAD]) == ([False] * 63 + [True], False)
    assert judged(lock, [DATA] * 63)[1] is False
    assert judged(lock, [DATA])[1] is True


def test_fifteen_invalid_headers_among_sixty_four_keep_the_lock():
    lock = locked()
    for _ in range(10):
        slips, still = judged(lock, [BAD] * 15 + [DATA] * 49)
        assert not any(slips) and still


def test_the_sixteenth_invalid_header_of_a_test_loses_the_lock():
    lock = locked()
    slips, still = judged(lock, [BAD] * 15 + [DATA] * 48 + [BAD])
    assert slips == [False] * 63 + [True] and not still


def test_invalid_headers_of_different_tests_do_not_add_up():
    lock = locked()
    slips, still = judged(lock, [DATA] * 49 + [BAD] * 30 + [DATA] * 49)
    assert not any(slips) and still


@pytest.mark.parametrize("bad", [0.001, 0.05, 0.3, 0.5])
def test_random_headers_do_what_the_diagram_says(bad):
    seed = f"lock {bad}"
    print(f"seed {seed}")
    rng = random.Random(seed)
    lock, diagram = new_locks(1), LockDiagram()
    locks = losses = 0
    for _ in range(300):
        # Quiet stretches, so that a lock comes about at any rate.
        rate = bad if diagram.block_lock or rng.random() < 0.5 else 0.0
        for _ in range(rng.randrange(1, 100)):
            header = BAD if rng.random() < rate else rng.choice((DATA, CONTROL))
            before = diagram.block_lock
            assert judge_header(lock[0], header) == diagram.test_sh(header != BAD)
            state = (diagram.block_lock, diagram.sh_cnt, diagram.sh_invalid_cnt)
            assert lock[0].item() == state
            locks += diagram.block_lock and not before
            losses += before and not diagram.block_lock
    # Fewer than 16 bad headers of 64 are expected at the lower rates.
    assert (locks > 10 and losses > 10) if bad > 0.2 else (locks, losses) == (1, 0)


def test_unlock_begins_a_new_search():
    lock = locked()
    judged(lock, [BAD, DATA])
    unlock(lock[0])
    assert lock[0].item() == (False, 0, 0)
