"""The generated tables of docs/vector_numerics.md; test_elementary has the shorter error rows."""

from pathlib import Path

import pytest
from d1_golden.numerics import report, vector_report
from d1_golden.numerics.elementary import EXP2, RECIPROCAL

DOCUMENT = (Path(__file__).parents[3] / "docs" / "vector_numerics.md").read_text()
#: Operands of a domain that test_elementary measures as a whole.
SHORT = 1 << 24


def documented(name: str) -> str:
    begin, end = report.section(DOCUMENT, name)
    return DOCUMENT[begin:end].strip()


@pytest.mark.parametrize("name", ["steps", "coefficients"])
def test_the_tables_of_the_document_are_those_of_the_model(name: str) -> None:
    assert documented(name) == vector_report.SECTIONS[name]().strip()


def test_a_sample_of_the_longest_domains_has_no_larger_error_than_the_document_says() -> None:
    rows = [row.split(" | ") for row in documented("errors").splitlines()]
    for domain in vector_report.DOMAINS[EXP2.name]:
        if domain.last - domain.first > SHORT:
            row = next(row for row in rows if domain.title in row)
            errors = vector_report.measure(EXP2, domain, stride=977)
            assert int(row[2].replace(",", "")) == domain.last - domain.first
            assert errors.worst_ulp <= float(row[3]) + 0.00005
            assert errors.reversals <= int(row[6].rstrip(" |"))


def test_an_error_is_measured_in_units_of_the_last_place_of_the_exact_result() -> None:
    # 1/3 is 0x3EAAAAAA.AAAA... in units of its last place, so nearest even is a third off.
    three = vector_report.Domain("3", 0x40400000, 0x40400001)
    errors = vector_report.measure(RECIPROCAL, three)
    assert errors.count == 1
    assert errors.worst_ulp == pytest.approx(1 / 3, abs=1e-6)
    assert errors.misrounded == 0
