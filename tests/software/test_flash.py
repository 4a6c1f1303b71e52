"""Loading a bitstream into a board."""

from d1.cli import ExitCode, main


def install_tool(folder, code):
    """Put a program in the place of openFPGALoader that notes its arguments."""
    tool = folder / "openFPGALoader"
    tool.write_text(f'#!/bin/sh\nprintf "%s " "$@" > "{folder}/arguments"\nexit {code}\n')
    tool.chmod(0o755)


def test_without_the_tool_the_advice_says_where_it_is_found(tmp_path, monkeypatch, capsys):
    bitstream = tmp_path / "node.bit"
    bitstream.write_bytes(b"bits")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["flash", str(bitstream)]) == ExitCode.NO_DEVICE
    assert "openFPGALoader must be on PATH" in capsys.readouterr().err


def test_the_tool_gets_the_board_and_the_file(tmp_path, monkeypatch):
    bitstream = tmp_path / "node.bit"
    bitstream.write_bytes(b"bits")
    install_tool(tmp_path, 0)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert main(["flash", str(bitstream)]) == ExitCode.PASSED
    assert (tmp_path / "arguments").read_text().split() == ["--board", "ulx3s", str(bitstream)]
    assert main(["flash", str(bitstream), "--board", "ecpix5_r03", "--keep"]) == ExitCode.PASSED
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments == ["--board", "ecpix5_r03", "--write-flash", str(bitstream)]


def test_a_tool_that_fails_and_a_file_that_is_not_there_are_errors(tmp_path, monkeypatch, capsys):
    bitstream = tmp_path / "node.bit"
    assert main(["flash", str(bitstream)]) == ExitCode.USAGE
    assert f"{bitstream}: bitstream must be a file" in capsys.readouterr().err
    bitstream.write_bytes(b"bits")
    install_tool(tmp_path, 3)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert main(["flash", str(bitstream)]) == ExitCode.NO_DEVICE
    assert f"openFPGALoader must load {bitstream}, but ended with 3" in capsys.readouterr().err
