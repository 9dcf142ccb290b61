"""What all commands share: the options before them, those of models, and how failures end."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from polyseme import __version__

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

_FAILURES = (OSError, ValueError, TypeError, LookupError, ImportError, RuntimeError, MemoryError)

MODEL_HELP = "Folder, hub id or file of word vectors.  [default: the bundled one]"

Model = Annotated[str | None, typer.Option("--model", "-m", metavar="MODEL", help=MODEL_HELP)]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype", metavar="NAME", help="auto, float32, float64, bfloat16, float16 or int8."
    ),
]
Backend = Annotated[str, typer.Option("--backend", metavar="NAME", help="auto, numpy or torch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Phrase = Annotated[
    list[str] | None,
    typer.Option("--phrase", metavar="PHRASE", help="Keep these words as one; may be repeated."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")]


@dataclass(frozen=True)
class Settings:
    """Options that stand before the command."""

    quiet: bool = False

    @property
    def progress(self) -> bool | None:
        """What the library takes as ``progress``."""
        return False if self.quiet else None

    def note(self, message: str) -> None:
        """Say something beside the result."""
        if not self.quiet:
            sys.stderr.write(f"polyseme: {message}\n")


class Commands(TyperGroup):
    """Commands whose failures end in one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                result = super().invoke(ctx)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt as stop:
            if stop.args:  # what can go on says where it stands
                sys.stderr.write(f"polyseme: {stop}: the same command with --resume goes on\n")
            raise
        except _FAILURES as error:
            if ctx.params.get("debug"):
                raise
            sys.stderr.write(f"polyseme: error: {_line(error)}\n")
            raise typer.Exit(1) from error
        return result


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Give every word of a text the vector that it means there, and see why.",
    epilog="""\b
Examples:
  polyseme compare bank "the bank of a river" "my bank raised its rates"
  polyseme explain "Apple launched a new iPhone" Apple
  polyseme embed notes.txt -o notes.npz""",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"polyseme {__version__}")
        raise typer.Exit


@app.callback()
def _before(
    ctx: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="On failure, print the whole traceback.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, no notes on stderr.")
    ] = False,
) -> None:
    ctx.obj = Settings(quiet)


def load_model(model: str | None, device: str, dtype: str, backend: str) -> Contextualizer:
    """``polyseme.load``, imported when it is needed."""
    from polyseme.loading import load

    return load(model, device=device, dtype=dtype, backend=backend)


def print_json(value: dict[str, Any]) -> None:
    """One line of JSON on stdout, in UTF-8 whatever the terminal speaks."""
    sys.stdout.flush()
    sys.stdout.buffer.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")


def _warn(message: Warning | str, *where: Any, **more: Any) -> None:
    sys.stderr.write(f"polyseme: warning: {' '.join(str(message).split())}\n")


def _line(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return " ".join(str(error).split()) or type(error).__name__
