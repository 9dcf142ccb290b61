"""What the base install costs: disk, time to install, to import, and to run the main command.

    python benchmarks/install.py

Installs the repository into a fresh virtual environment in a temporary folder. Times are medians of
fresh processes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
APPLES = ["An apple a day keeps the doctor away", "Apple just launched a new iPhone"]


def sizes(folder: Path) -> tuple[int, int]:
    """Bytes of all files, and of Python's bytecode among them."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    bytecode = sum(file.stat().st_size for file in files if file.suffix == ".pyc")
    return sum(file.stat().st_size for file in files), bytecode


def seconds(*command: str | Path, times: int = 7) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
        python = scripts / "python"
        before, bytecode_before = sizes(folder)
        begun = time.perf_counter()
        subprocess.run([python, "-m", "pip", "install", "--quiet", REPOSITORY], check=True)
        installed = time.perf_counter() - begun
        total, bytecode = sizes(folder)
        bytecode -= bytecode_before
        files = total - before - bytecode
        print(f"installed in                  {installed:8.1f} s")
        print(f"files                         {files / 1e6:8.1f} MB")
        print(f"bytecode that pip compiles    {bytecode / 1e6:8.1f} MB")
        nothing = seconds(python, "-c", "pass")
        imported = seconds(python, "-c", "import polyseme")
        loaded = seconds(python, "-c", "import polyseme; polyseme.load()")
        print(f"import polyseme               {imported - nothing:8.3f} s")
        print(f"import and load the default   {loaded - nothing:8.3f} s")
        print(f"polyseme --help               {seconds(scripts / 'polyseme', '--help'):8.3f} s")
        compare = seconds(scripts / "polyseme", "compare", "apple", *APPLES)
        print(f"polyseme compare              {compare:8.3f} s")


if __name__ == "__main__":
    main()
