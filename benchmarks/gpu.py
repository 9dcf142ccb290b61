"""A GPU: tokens a second in bfloat16, beside the peers, and the floor that its rates set.

    pip install -c constraints.txt ".[bench]"
    python benchmarks/gpu.py

all-MiniLM-L6-v2 by sentence-transformers, by transformers with texts sorted and padded (torch's
scaled_dot_product_attention), and by polyseme, text in and the vectors of all tokens (or words) on
the host out; polyseme-small beside them. The floor is what the products of a model's layers and the
copy of its vectors to the host would take at the rates that this device reaches in this run, one
after the other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

import polyseme
from peers import checkpoint, padded_batches
from polyseme.contextualizer import Contextualizer
from sentences import sentences
from throughput import measure


def finished(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def padded(device: str, size: int) -> Callable[[list[str]], object]:
    """Texts sorted by length and padded, with torch's own attention."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(
        checkpoint(), dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    model = model.to(device).eval()

    def run(texts: list[str]) -> object:
        found: list[Any] = [None] * len(texts)
        with torch.inference_mode():
            for rows, ids, mask, lengths in padded_batches(texts, size):
                given = (torch.from_numpy(array).to(device) for array in (ids, mask))
                states = model(*given).last_hidden_state.float().cpu().numpy()
                for row, i in enumerate(rows):
                    found[i] = states[row, : lengths[row]]
        return found

    return run


def at_home(device: str, size: int) -> Callable[[list[str]], object]:
    """sentence-transformers' own call."""
    from sentence_transformers import SentenceTransformer

    options = {"dtype": torch.bfloat16}
    model = SentenceTransformer(str(checkpoint()), device=device, model_kwargs=options)
    return lambda texts: [
        states.float().cpu().numpy()
        for states in model.encode(texts, output_value="token_embeddings", batch_size=size)
    ]


def seconds(run: Callable[[], object], device: str, times: int = 5) -> float:
    """The least of some runs, after one to warm up."""
    run()
    finished(device)
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        finished(device)
        found.append(time.perf_counter() - begun)
    return min(found)


def floor(model: Contextualizer, device: str, side: int) -> tuple[float, float]:
    """Seconds a token: of the products in the layers, and of the copy of its vector."""
    maps = [
        array
        for name, array in model.checkpoint.parameters.items()
        if name.startswith("layers.") and name.endswith(".weight") and array.ndim == 2
    ]
    square = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    product = seconds(lambda: square @ square, device) / (2 * side**3)
    states = torch.randn(1 << 16, model.dim, device=device)
    copy = seconds(states.cpu, device) / len(states)
    return 2 * sum(array.size for array in maps) * product, copy


def main() -> None:
    """Print the table, and each model's floor."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--text", help="a file of one passage a line, .xz or plain")
    parser.add_argument("--sentences", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=512, help="texts of the peers' batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=8192, help="of the product that is timed")
    given = parser.parse_args()
    texts = sentences(given.sentences, given.text)
    options = {"device": given.device, "backend": "torch", "dtype": "bfloat16"}
    models = {
        "polyseme, all-MiniLM-L6-v2": polyseme.load(checkpoint(), **options),
        "polyseme-small": polyseme.load(**options),
    }
    systems = {
        "sentence-transformers": at_home(given.device, given.batch),
        "transformers, sorted, padded, SDPA": padded(given.device, given.batch),
        **{name: model.contextualize for name, model in models.items()},
    }
    name = torch.cuda.get_device_name() if given.device.startswith("cuda") else given.device
    measure(f"{name}, bfloat16", systems, texts, given.rounds)
    for name, model in models.items():
        packs = model._operations.packing is not None
        products, copy = floor(model, given.device, given.side)
        print(
            f"{name}: at most {1 / (products + copy):,.0f} tokens/s "
            f"({1e9 * products:.1f} ns a token for products, {1e9 * copy:.1f} ns for its copy); "
            f"texts attend {'packed' if packs else 'in groups, filled up'}"
        )


if __name__ == "__main__":
    main()
