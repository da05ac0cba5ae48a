"""How far long work is: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self, TextIO

import click

from ailasd.logs import bytes_in_words, span_in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from click._termui_impl import ProgressBar

LINE_EVERY_S: Final = 10.0
"""Often enough to see that it lives, seldom enough for a log: 9 minutes of copying are 54 lines."""


class Meter:
    """Watches work counted in bytes; an ``importing.Progress``. ``advances`` comes from one thread at a time."""

    def __init__(self, what: str, out: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._out = out
        self._monotonic = monotonic
        self._bar: ProgressBar[int] | None = None
        self._total = self._done = 0
        self._began = self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None

    def begins(self, files: int, bytes_: int) -> None:
        """So much is to be done."""
        self._total, self._done = bytes_, 0
        self._began = self._said = self._monotonic()
        if self._out.isatty():
            self._bar = click.progressbar(
                length=max(bytes_, 1), label=self._what, file=self._out, item_show_func=lambda _: self._rate_in_words(),
                update_min_steps=max(bytes_ // 200, 1),
            )  # fmt: skip
            self._bar.render_progress()
        else:
            click.echo(f"{self._what}: {files} files, {bytes_in_words(bytes_)}", file=self._out)

    def advances(self, bytes_: int) -> None:
        """So much more is done."""
        self._done += bytes_
        if self._bar is not None:
            self._bar.update(bytes_, 0)
        elif self._monotonic() - self._said >= LINE_EVERY_S:
            self._said = self._monotonic()
            click.echo(f"{self._what}: {self._line()}", file=self._out)

    def _rate(self) -> float:
        return self._done / max(self._monotonic() - self._began, 0.001)

    def _rate_in_words(self) -> str:
        return f"{bytes_in_words(self._rate())}/s"

    def _line(self) -> str:
        left = (self._total - self._done) / max(self._rate(), 1.0)
        share = f"{100 * self._done // max(self._total, 1)} % of {bytes_in_words(self._total)}"
        return f"{share}, {self._rate_in_words()}, {span_in_words(round(max(left, 0)))} left"
