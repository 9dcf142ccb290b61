"""Makes the pictures of README.md and docs/ with polyseme itself.

python scripts/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import polyseme

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"

BANK = {
    "We sat on the grassy bank of the river": "river",
    "The river burst its bank after the heavy rain": "river",
    "Trees grow along the bank of the stream": "river",
    "A boat drifted towards the muddy bank": "river",
    "The bank raised its interest rates": "money",
    "She opened an account at the bank": "money",
    "The bank lent him money for a house": "money",
    "Investors sold shares of the bank": "money",
}


def main() -> None:
    model = polyseme.load()
    FOLDER.mkdir(parents=True, exist_ok=True)
    uses = model.sense_map("bank", list(BANK), groups=list(BANK.values()))
    uses.save(FOLDER / "bank.svg")
    explanation = model.explain("Apple just launched a new iPhone", "Apple")
    explanation.plot("arcs").save(FOLDER / "apple.svg")
    explanation.plot("heatmap").save(FOLDER / "weights.svg")


if __name__ == "__main__":
    main()
