"""What all commands have in common: how they end."""

from __future__ import annotations

import sys
from typing import Any

import click

from ailasd.cli.exits import Exit, code_of


class Ended(click.ClickException):
    """A command's end that is no fault: one sentence on stderr, and the code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = int(code)  # click calls it a class variable

    def show(self, file: Any = None) -> None:
        """Only the sentence."""
        click.echo(self.message, file=file or sys.stderr)


class Program(click.Group):
    """Turns every error that is raised on purpose into one sentence and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise Ended("Interrupted.", Exit.INTERRUPTED) from None
        except Exception as error:
            from ailasd.catalogue.database import is_trouble_of_the_file  # noqa: PLC0415
            from ailasd.logs import mask, printable  # noqa: PLC0415  (late, as everything that only some commands need)

            code = Exit.STORAGE if is_trouble_of_the_file(error) else code_of(error)
            if code is Exit.BUG:
                import traceback  # noqa: PLC0415

                raise Ended(mask(traceback.format_exc()), code) from error
            raise Ended("\n".join(printable(line) for line in mask(str(error)).splitlines()), code) from error
