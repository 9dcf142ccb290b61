"""Data sets of vectors from files: what is in them, and that nothing is lost or doubled."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pa = pytest.importorskip("pyarrow", reason="data sets need pyarrow (extra `corpus`)")
from pyarrow import feather, ipc, parquet  # noqa: E402

import polyseme  # noqa: E402
from polyseme.attention import unit  # noqa: E402
from polyseme.cli import app  # noqa: E402
from polyseme.contextualizer import Contextualizer  # noqa: E402
from polyseme.corpus import Wanted, embed_corpus, embed_rows, schema_of  # noqa: E402
from polyseme.files import WrongLineError  # noqa: E402
from tests.conftest import WORDS, write_model  # noqa: E402

TEXTS = ["An apple a day", "the doctor keeps the new apple", "", "Apple away."]
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("corpus") / "model")


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Contextualizer:
    return polyseme.load(model_folder, backend="numpy")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("".join(text + "\n" for text in TEXTS))
    return path


def sentences(n: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(n)]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    tables = [parquet.read_table(part) for part in sorted(folder.glob("part-*.parquet"))]
    return list(pa.concat_tables(tables).to_pylist())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def run(*arguments: Any, given: str | None = None) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)), input=given)


# What is in a data set.


def test_rows_by_texts_are_sentence_vectors(
    model: Contextualizer, notes: Path, tmp_path: Path
) -> None:
    made = embed_corpus(notes, tmp_path / "out", model=model, shard_rows=3)
    assert (made.shards, made.rows, made.vectors, made.rejects) == (2, 4, 4, 0)
    rows = rows_of(tmp_path / "out")
    assert [row["text"] for row in rows] == TEXTS
    assert [row["row"] for row in rows] == [0, 1, 2, 3]
    assert [row["line"] for row in rows] == [1, 2, 3, 4]
    assert {row["source"] for row in rows} == {str(notes)}
    vectors = np.asarray([row["vector"] for row in rows], np.float32)
    np.testing.assert_array_equal(vectors, model.encode(TEXTS))


def test_rows_by_words_are_those_of_contextualize(
    model: Contextualizer, notes: Path, tmp_path: Path
) -> None:
    embed_corpus(notes, tmp_path / "out", model=model, wanted=Wanted("words"), shard_rows=2)
    expected = [
        (i, i + 1, j, *span, word, doc.vectors[j].tolist())
        for i, doc in enumerate(model.contextualize(TEXTS))
        for j, (word, span) in enumerate(zip(doc.words, doc.spans, strict=True))
    ]
    names = ("row", "line", "position", "start", "end", "word", "vector")
    assert [tuple(row[name] for name in names) for row in rows_of(tmp_path / "out")] == expected


def test_types_of_the_columns_are_those_of_the_docs(
    model: Contextualizer, notes: Path, tmp_path: Path
) -> None:
    expected = {
        "texts": "row: int64, source: string, line: int64, text: string",
        "words": "row: int64, source: string, line: int64, position: int32, start: int32, "
        "end: int32, word: string",
    }
    for by, fields in expected.items():
        for store, kind in (("float32", "float"), ("float16", "halffloat"), ("int8", "int8")):
            out = tmp_path / by / store
            embed_corpus(notes, out, model=model, wanted=Wanted(by, store))  # type: ignore[arg-type]
            schema = parquet.read_schema(out / "part-00000.parquet")
            told = ", ".join(
                f"{field.name}: {field.type}" for field in schema if field.name != "vector"
            )
            assert told == fields + (", scale: float" if store == "int8" else "")
            vector = schema.field("vector").type
            assert (str(vector.value_type), vector.list_size) == (kind, model.dim)
            assert schema.metadata[b"polyseme.model"] == b"model"
            assert schema.metadata[b"polyseme.dim"] == str(model.dim).encode()
            assert schema.metadata[b"polyseme.version"] == polyseme.__version__.encode()


def test_half_precision_and_8_bits_are_near(
    model: Contextualizer, notes: Path, tmp_path: Path
) -> None:
    exact = model.encode(TEXTS)
    embed_corpus(notes, tmp_path / "half", model=model, wanted=Wanted(store="float16"))
    half = np.asarray([row["vector"] for row in rows_of(tmp_path / "half")])
    np.testing.assert_array_equal(half, exact.astype(np.float16))
    embed_corpus(notes, tmp_path / "bytes", model=model, wanted=Wanted(store="int8"))
    rows = rows_of(tmp_path / "bytes")
    near = np.asarray([row["vector"] for row in rows]) * np.asarray(
        [[row["scale"]] for row in rows]
    )
    bound = np.abs(exact).max(axis=1, keepdims=True) / 254 * 1.001
    assert (np.abs(near - exact) <= bound).all()


def test_what_does_not_fit_into_half_precision_is_refused(model: Contextualizer) -> None:
    from polyseme.corpus.rows import _stored

    with pytest.raises(ValueError, match="too large for float16"):
        _stored(np.full((1, 2), 1e6, np.float32), "float16")
    with pytest.raises(ValueError, match="NaN or infinity"):
        _stored(np.full((1, 2), np.nan, np.float32), "int8")


def test_vocabulary_keeps_its_words_in_any_case(
    model: Contextualizer, notes: Path, tmp_path: Path
) -> None:
    wanted = Wanted("words", words=frozenset(["APPLE"]))
    embed_corpus(notes, tmp_path / "out", model=model, wanted=wanted)
    rows = rows_of(tmp_path / "out")
    assert [(row["row"], row["word"]) for row in rows] == [(0, "apple"), (1, "apple"), (3, "Apple")]
    docs = model.contextualize(TEXTS)
    for row in rows:
        np.testing.assert_array_equal(row["vector"], docs[row["row"]].vectors[row["position"]])
    embed_corpus(
        notes, tmp_path / "none", model=model, wanted=Wanted("words", words=frozenset(["zebra"]))
    )
    assert rows_of(tmp_path / "none") == []


def test_shorter_vectors_have_their_length_again(
    model: Contextualizer, notes: Path, tmp_path: Path
) -> None:
    for normalize in (None, True):
        out = tmp_path / str(normalize)
        embed_corpus(notes, out, model=model, wanted=Wanted("words", dim=5, normalize=normalize))
        short = model.contextualize(TEXTS).vectors[:, :5]
        vectors = np.asarray([row["vector"] for row in rows_of(out)], np.float32)
        np.testing.assert_array_equal(vectors, unit(short) if normalize else short)
    with pytest.raises(ValueError, match=r"dim is 99, but .* have 16"):
        embed_corpus(notes, tmp_path / "no", model=model, wanted=Wanted(dim=99))


def test_a_batch_needs_nothing_but_the_model(model: Contextualizer) -> None:
    columns = pa.table({"id": ["x", "y"], "row": [5, 6]})
    table = embed_rows(model, ["an apple", ["a", "day"]], columns, Wanted("words"))
    assert table.column_names[:3] == ["row", "position", "start"]
    assert table["id"].to_pylist() == ["x", "x", "y", "y"]
    assert table["word"].to_pylist() == ["an", "apple", "a", "day"]
    assert table.schema == schema_of(columns.schema, Wanted("words"), model.dim)
    assert embed_rows(model, [], columns[:0], Wanted("words")).num_rows == 0
    assert embed_rows(model, [], columns[:0], Wanted()).num_rows == 0


# What comes in.

CARRIED = [{"text": text, "id": i, "share": i / 2, "on": i > 1} for i, text in enumerate(TEXTS)]


def write_forms(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The same rows as jsonl, csv, tsv, Parquet, Feather, and a stream of Arrow."""
    table = pa.Table.from_pylist(CARRIED)
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CARRIED))
    for name, sign in (("a.csv", ","), ("a.tsv", "\t")):
        lines = [sign.join(map(str, row.values())) for row in CARRIED]
        (folder / name).write_text("\n".join([sign.join(CARRIED[0]), *lines]) + "\n")
    parquet.write_table(table, folder / "a.parquet", row_group_size=2)
    feather.write_feather(table, str(folder / "a.feather"))
    with ipc.new_stream(folder / "a.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    for name in ("a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.feather", "a.arrow"):
        yield folder / name, {"typed": name not in ("a.csv", "a.tsv")}


def test_every_form_gives_the_same_rows_and_carries_columns(
    model: Contextualizer, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for path, known in write_forms(tmp_path / "in"):
        out = tmp_path / f"out{path.suffix}"
        embed_corpus(path, out, model=model, keep=("id", "share", "on"), shard_rows=3)
        rows = rows_of(out)
        expected = [
            row if known["typed"] else {k: v if k == "text" else str(v) for k, v in row.items()}
            for row in CARRIED
        ]
        assert [{name: row[name] for name in CARRIED[0]} for row in rows] == expected, path
        assert list(rows[0])[3:] == ["text", "id", "share", "on", "vector"]
        np.testing.assert_array_equal([row["vector"] for row in rows], model.encode(TEXTS))


def test_packed_files_give_the_same_rows(model: Contextualizer, tmp_path: Path) -> None:
    content = "".join(text + "\n" for text in TEXTS).encode()
    packers: dict[str, Any] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    zstandard = pytest.importorskip("zstandard", reason=".zst needs zstandard (extra `corpus`)")
    packers["zst"] = zstandard.ZstdCompressor().compress
    for suffix, pack in packers.items():
        path = tmp_path / f"a.txt.{suffix}"
        path.write_bytes(pack(content))
        embed_corpus(path, tmp_path / suffix, model=model)
        assert [row["text"] for row in rows_of(tmp_path / suffix)] == TEXTS
        path.write_bytes(pack(content)[:-9])
        with pytest.raises(ValueError, match=rf"a\.txt\.{suffix}: .*damaged or cut short"):
            embed_corpus(path, tmp_path / f"bad-{suffix}", model=model)


def test_folders_and_globs_are_sorted_and_hidden_files_left_out(
    model: Contextualizer, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("c.txt", "b/z.txt", "a.txt", ".hidden.txt", ".git/x.txt"):
        (folder / name).write_text(name + "\n")
    embed_corpus(folder, tmp_path / "all", model=model)
    assert [row["text"] for row in rows_of(tmp_path / "all")] == ["a.txt", "b/z.txt", "c.txt"]
    embed_corpus(f"{folder}/**/[b-z]*.txt", tmp_path / "some", model=model)
    assert [row["text"] for row in rows_of(tmp_path / "some")] == ["b/z.txt", "c.txt"]
    (folder / "README.md").write_text("not a text\n")
    with pytest.raises(ValueError, match=r"README\.md: the suffix '\.md' tells no format"):
        embed_corpus(folder, tmp_path / "no", model=model)
    said: list[str] = []
    embed_corpus(folder, tmp_path / "skip", model=model, skip_unknown=True, note=said.append)
    assert said == [f"left out, as the suffix tells no format: {folder}/README.md"]
    assert len(rows_of(tmp_path / "skip")) == 3


def test_a_data_set_may_lie_in_the_folder_that_is_read(
    model: Contextualizer, notes: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert embed_corpus(tmp_path, tmp_path / "out", model=model, form="txt").rows == 4
    with pytest.raises(ValueError, match=r"is in .*, which is written"):
        embed_corpus(tmp_path / "out" / "part-00000.parquet", tmp_path / "out", model=model)


def test_whole_files_are_texts(model: Contextualizer, notes: Path, tmp_path: Path) -> None:
    embed_corpus(notes, tmp_path / "out", model=model, form="whole")
    assert [row["text"] for row in rows_of(tmp_path / "out")] == [notes.read_text()]


def test_text_may_be_kept_beside_its_words(
    model: Contextualizer, notes: Path, tmp_path: Path
) -> None:
    embed_corpus(notes, tmp_path / "out", model=model, wanted=Wanted("words"), keep=["text"])
    for row in rows_of(tmp_path / "out"):
        assert row["text"][row["start"] : row["end"]] == row["word"]


def test_urls_are_read(model: Contextualizer, notes: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="URLs need fsspec (extra `corpus`)")
    files = fsspec.filesystem("memory")
    for name in ("b.txt.gz", "a.txt", "c.jsonl"):
        content = json.dumps({"text": name}) if name.endswith("jsonl") else name
        packed = gzip.compress(content.encode()) if name.endswith("gz") else content.encode()
        files.pipe(f"/corpus/in/{name}", packed)
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"text": ["d"]}), sink)
    files.pipe("/corpus/in/d.parquet", sink.getvalue().to_pybytes())
    for names in ("memory://corpus/in", "memory://corpus/in/*"):
        out = tmp_path / f"out{len(names)}"
        embed_corpus(names, out, model=model, shard_rows=3)
        assert embed_corpus(names, out, model=model, shard_rows=3).new_shards == 0
        rows = rows_of(out)
        assert [row["text"] for row in rows] == ["a.txt", "b.txt.gz", "c.jsonl", "d"]
        assert rows[0]["source"].endswith("corpus/in/a.txt")
        assert "://" in rows[0]["source"]
    with pytest.raises(FileNotFoundError, match=r"memory://corpus/none\.txt"):
        embed_corpus("memory://corpus/none.txt", tmp_path / "no", model=model)
    files.pipe("/corpus/in/a.txt", b"other, and longer")
    with pytest.raises(ValueError, match=r"the input '.*a\.txt' has changed"):
        embed_corpus("memory://corpus/in", tmp_path / "out18", model=model, shard_rows=3)
    with pytest.raises(ValueError, match="a folder on this machine"):
        embed_corpus(notes, "memory://corpus/out", model=model)


def test_stdin_goes_on_too(model_folder: Path, tmp_path: Path) -> None:
    lines = "".join(text + "\n" for text in TEXTS)
    command = ["corpus", "-", "-o", tmp_path / "out", "-m", model_folder, "--backend", "numpy"]
    command += ["--shard-rows", 2]
    bad = run(*command, "--format", "jsonl", given='{"text": "a"}\n{"text": "b"}\n{')
    assert bad.exit_code == 1
    assert "stdin, line 3: no JSON" in bad.stderr
    assert len(rows_of(tmp_path / "out")) == 2
    good = run(*command, "--format", "jsonl", given='{"text": "a"}\n{"text": "b"}\n{"text": "c"}')
    assert good.exit_code == 0, good.stderr
    assert [row["text"] for row in rows_of(tmp_path / "out")] == ["a", "b", "c"]
    other = run(*command, "--force", given=lines)
    assert other.exit_code == 0, other.stderr
    assert [row["text"] for row in rows_of(tmp_path / "out")] == TEXTS


def test_columns_of_arrow_may_be_kept_in_other_forms(model: Contextualizer, tmp_path: Path) -> None:
    """Text and kept columns as strings of each kind, dictionaries, lists and nested values."""
    words = pa.array([text.split() for text in TEXTS])
    nested = [{"a": i, "b": [str(i)]} for i in range(len(TEXTS))]
    forms = {
        "string": pa.array(TEXTS),
        "large": pa.array(TEXTS, pa.large_string()),
        "dictionary": pa.array(TEXTS).dictionary_encode(),
        "words": words,
        "large_words": words.cast(pa.large_list(pa.large_string())),
    }
    if hasattr(pa, "string_view"):
        forms["view"] = pa.array(TEXTS, pa.string_view())
    table = pa.table({**forms, "nested": nested})
    ipc_only = {"view"}  # not every version of Arrow writes it as Parquet
    parquet.write_table(table.drop_columns([*ipc_only & set(forms)]), tmp_path / "a.parquet")
    feather.write_feather(table, str(tmp_path / "a.feather"), compression="uncompressed")
    for name, array in forms.items():
        for file in ("a.feather",) if name in ipc_only else ("a.parquet", "a.feather"):
            out = tmp_path / f"{name}-{file}"
            keep = (name, "nested") if name not in ("view",) else ("nested",)
            embed_corpus(tmp_path / file, out, model=model, column=name, keep=keep)
            rows = rows_of(out)
            assert [row["text"] for row in rows] == (
                [" ".join(given) for given in array.to_pylist()] if "words" in name else TEXTS
            )
            assert [row["nested"] for row in rows] == nested
            if name in keep:
                assert [row[name] for row in rows] == array.to_pylist()


def test_a_row_without_text_and_names_that_are_there_twice_are_refused(
    model: Contextualizer, tmp_path: Path
) -> None:
    parquet.write_table(pa.table({"text": ["a", None, "b"]}), tmp_path / "a.parquet")
    with pytest.raises(WrongLineError, match=r"a\.parquet, line 2: 'text' is None"):
        embed_corpus(tmp_path / "a.parquet", tmp_path / "stop", model=model)
    made = embed_corpus(tmp_path / "a.parquet", tmp_path / "skip", model=model, on_error="skip")
    assert (made.vectors, made.rejects) == (2, 1)
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"])
    with ipc.new_stream(tmp_path / "b.arrow", twice.schema) as writer:
        writer.write_table(twice)
    with pytest.raises(ValueError, match="2 columns are called 'text'"):
        embed_corpus(tmp_path / "b.arrow", tmp_path / "no", model=model)


def test_long_lines_and_fields_are_whole(model: Contextualizer, tmp_path: Path) -> None:
    long = "an apple " * 20_000
    (tmp_path / "a.txt").write_text(f"{long}\nday\n")
    (tmp_path / "b.csv").write_text(f'text\n"{long}"\nday\n')
    limit = csv.field_size_limit()
    embed_corpus([tmp_path / "a.txt", tmp_path / "b.csv"], tmp_path / "out", model=model)
    assert [row["text"] for row in rows_of(tmp_path / "out")] == [long, "day"] * 2
    assert csv.field_size_limit() == limit, "a setting of the user's process has changed"


def test_vectors_of_nothing_are_zero_in_8_bits_too(model: Contextualizer, tmp_path: Path) -> None:
    from polyseme.corpus.rows import _stored

    numbers, scale = _stored(np.zeros((2, 3), np.float32), "int8")
    assert not (numbers * scale[:, None]).any()
    assert np.isfinite(scale).all()


def test_no_rows_are_a_data_set_too(model: Contextualizer, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    made = embed_corpus(tmp_path / "empty.txt", tmp_path / "out", model=model)
    assert (made.rows, made.shards) == (0, 1)
    assert rows_of(tmp_path / "out") == []


def test_rows_that_fill_the_last_shard_leave_no_empty_part(
    model: Contextualizer, notes: Path, tmp_path: Path
) -> None:
    assert embed_corpus(notes, tmp_path / "out", model=model, shard_rows=2).shards == 2
    assert sorted(contents(tmp_path / "out")) == [
        "_manifest.json",
        "part-00000.parquet",
        "part-00001.parquet",
    ]
