from pathlib import Path

import pytest
from d1_golden.numerics import report

DOCUMENT = Path(__file__).parents[3] / "docs" / "numerics.md"


@pytest.mark.parametrize("name", report.SECTIONS)
def test_the_tables_of_the_document_are_what_is_measured(name: str) -> None:
    document = DOCUMENT.read_text()
    begin, end = report.section(document, name)
    assert document[begin:end].strip() == report.SECTIONS[name]().strip()


def test_the_report_rewrites_only_what_stands_between_its_markers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SECTIONS", {"rounds": report.round_table})
    begin, end = report.BEGIN.format("rounds"), report.END.format("rounds")
    path = tmp_path / "page.md"
    path.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    monkeypatch.setattr("sys.argv", ["report", str(path)])
    report.main()
    written = path.read_text()
    assert written == f"before\n{begin}\n\n{report.round_table()}\n{end}\nafter\n"
    report.main()
    assert path.read_text() == written


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(
        ValueError, match="document must have the lines '<!-- generated: error -->'"
    ):
        report.section("nothing here", "error")
