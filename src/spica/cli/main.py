"""The ``spica`` command. Every error that a user can put right is one line, with exit code 2."""

from __future__ import annotations

import io
import os
import sys

import typer
from typer.core import TyperCommand

from spica.cli import apps, chip, measure, network, program
from spica.errors import SpicaError


class Command(TyperCommand):
    """A command that takes each option once, unless it may be repeated: of several, none would know which counts."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Refuse options that are given again, then parse."""
        *_, given = self.make_parser(ctx).parse_args(list(args))
        for option in given:
            if option.param_type_name == "option" and not option.multiple and given.count(option) > 1:
                raise SpicaError(f"{option.opts[0]} is given {given.count(option)} times; give it once")
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="spica",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An open, exact, event-based neural processor: quantise, check, map, run and measure networks.",
)

COMMANDS = (
    apps.demo, apps.teach, network.import_, network.summary, network.quantize, network.finetune, network.adapt,
    measure.analyze, network.run, network.evaluate, program.program, measure.bench, measure.compare, network.export,
    chip.devices, chip.check, chip.map, chip.explore,
)  # fmt: skip
for command in COMMANDS:
    app.command(command.__name__.rstrip("_"), cls=Command)(command)


def run() -> None:
    """Run the command line; the entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character gets its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where it can still be said that it does not work
    except SpicaError as error:
        typer.echo(f"spica: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (nothing more can be written to the one there was)
        typer.echo(f"spica: the output cannot be written ({error.strerror})", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("spica: interrupted", err=True)
        sys.exit(130)
