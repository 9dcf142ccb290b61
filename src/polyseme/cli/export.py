"""``polyseme export``: models for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polyseme.cli.app import MODEL_HELP, Force, app, load_model

exports = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    exports,
    name="export",
    help="Write a model for other programs.",
    epilog="""\b
Example:
  polyseme export onnx -o folder""",
)


@exports.callback()
def _kinds() -> None:
    """Write a model for other programs."""


@exports.command(
    epilog="""\b
Examples:
  polyseme export onnx -o folder
  polyseme export onnx sentence-transformers/all-MiniLM-L6-v2 -o folder
\b
DIR gets model.onnx, tokenizer.json and config.json. Inputs: input_ids and
attention_mask, (batch, sequence) int64, filled up behind the texts. Outputs:
last_hidden_state and, where the model's pooling is known, sentence_embedding.
\b
Needs the extra onnx: pip install "polyseme[onnx]\""""
)
def onnx(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help=MODEL_HELP)] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="For the files.")],
    force: Force = False,
) -> None:
    """Write a learned or pretrained model as an ONNX graph, with its tokenizer."""
    from polyseme.onnx_export import export_onnx

    path = export_onnx(load_model(model, "cpu", "float32", "numpy"), output, force=force)
    ctx.obj.note(f"the graph is in {path}")
