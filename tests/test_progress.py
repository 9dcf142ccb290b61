"""A bar shows on long work at a terminal, and nowhere else."""

from __future__ import annotations

import pytest

import polyseme
from polyseme import progress
from polyseme.progress import progress_bar


def test_nothing_is_written_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    polyseme.load().contextualize(["an apple"] * 10)
    with progress_bar(3, None) as advance:
        advance(3)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_bar_on_request_counts_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, True) as advance:
        advance(1)
        advance(2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3/3" in captured.err


def test_short_work_at_a_terminal_shows_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress_bar(2, None) as advance:
        advance(1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with progress_bar(2, None) as advance:
        advance(2)
    assert "2/2" in capsys.readouterr().err
