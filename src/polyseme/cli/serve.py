"""``polyseme serve``: a model over HTTP."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from polyseme.cli.app import Backend, Device, Dtype, Model, app, load_model


class Level(str, Enum):
    """How much is logged."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


@app.command(
    epilog="""\b
Examples:
  polyseme serve
  polyseme serve --model ./my-model --port 9000
  polyseme serve --index ./senses
  POLYSEME_API_KEY=... polyseme serve --host 0.0.0.0
\b
/ is a page to look at words with, /docs lists the endpoints.
\b
Needs the extra server: pip install "polyseme[server]\""""
)
def serve(
    ctx: typer.Context,
    *,
    index: Annotated[
        Path | None,
        typer.Option(metavar="INDEX", help="Folder of an index, for /search and /senses."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="POLYSEME_API_KEY",
            metavar="KEY",
            help="What requests must show; better in the environment, where ps can't see it.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="Answer to this name in Host; may be repeated."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the model, in answers.")
    ] = None,
    max_batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Characters that are computed together.")
    ] = 1 << 15,
    max_body: Annotated[int, typer.Option(min=1, metavar="N", help="Bytes of a request.")] = 1
    << 18,
    queue: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests accepted and not yet answered.")
    ] = 256,
    queue_bytes: Annotated[int, typer.Option(min=1, metavar="N", help="Bytes of all of them.")] = 1
    << 20,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="That a request may take.")
    ] = 30.0,
    log_level: Annotated[
        Level, typer.Option(help="debug has a line for each request; none has their texts.")
    ] = Level.INFO,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Serve word vectors, sentence vectors and explanations over HTTP.

    Listens on this machine alone unless --host says otherwise. SIGTERM or Ctrl-C stops it once all
    that it accepted is answered.
    """
    try:
        from polyseme.server import running
    except ImportError as error:
        raise ImportError(
            f'{error}; the server needs more: pip install "polyseme[server]"'
        ) from error
    from polyseme.server import Settings

    settings = Settings(
        api_key=api_key,
        hosts=frozenset(own.lower() for own in allow_host) if allow_host else None,
        name=name,
        queue=queue,
        queue_bytes=queue_bytes,
        body_bytes=max_body,
        batch_characters=max_batch,
        timeout=timeout,
    )
    with running.listen(host, port) as bound:
        if api_key is None and running.is_loopback(bound):
            hosts = running.LOOPBACK_NAMES | (settings.hosts or frozenset())
            settings = replace(settings, hosts=hosts)
        elif api_key is None:
            ctx.obj.note("warning: anyone who can reach this address may use it; give --api-key")
        opened = load_model(model, device, dtype, backend)
        searched = None
        if index is not None:
            from polyseme.senses import SenseIndex

            searched = SenseIndex.open(index, opened)
        running.log_to_stderr(log_level.value)
        where = f"[{host}]" if ":" in host else host
        ctx.obj.note(f"{opened.name} on http://{where}:{bound.getsockname()[1]}")
        running.serve(opened, bound, settings, searched)
