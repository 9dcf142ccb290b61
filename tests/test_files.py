from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyseme.files import check_target, source, whole

lines_of_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"))


def read(path: Path, content: str | bytes, **options: str) -> list[object]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    given_source = source(str(path), options.get("form"), options.get("column", "text"))
    given_source.check()
    return list(given_source.texts())


@given(st.lists(lines_of_text.filter(lambda line: not line.startswith("\ufeff"))))
def test_txt_gives_every_line_even_an_empty_one(lines: list[str]) -> None:
    path = Path(os.environ["HYPOTHESIS_FOLDER"]) / "lines.txt"
    for end in ("\n", "\r\n"):
        assert read(path, "".join(line + end for line in lines)) == lines


@given(st.lists(st.one_of(lines_of_text, st.lists(lines_of_text.filter(str.strip)))))
def test_jsonl_gives_back_strings_and_lists_of_words(texts: list[object]) -> None:
    path = Path(os.environ["HYPOTHESIS_FOLDER"]) / "texts.jsonl"
    rows = [json.dumps({"n": 1, "body": text}) + "\n" for text in texts]
    assert read(path, "".join(rows), column="body") == texts


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
    st.sampled_from(["csv", "tsv"]),
)
def test_csv_gives_back_fields_with_line_ends_and_quotes(texts: list[str], form: str) -> None:
    path = Path(os.environ["HYPOTHESIS_FOLDER"]) / f"texts.{form}"
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter="\t" if form == "tsv" else ",")
    writer.writerows([["id", "text"], *([i, text] for i, text in enumerate(texts))])
    assert read(path, written.getvalue()) == texts


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPOTHESIS_FOLDER", str(tmp_path_factory.mktemp("files")))
        yield


def test_line_ends_are_only_those_of_files(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", "a\u2028b\x0bc\x85d\nlast") == ["a\u2028b\x0bc\x85d", "last"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"\xef\xbb\xbfone"),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "one"}'),
        ("a.csv", b"\xef\xbb\xbftext\none"),
        ("a.ndjson", b'{"text": "one"}'),
        ("A.TXT", b"one"),
    ],
)
def test_byte_order_mark_and_case_of_suffix_do_not_matter(
    tmp_path: Path, name: str, content: bytes
) -> None:
    assert read(tmp_path / name, content) == ["one"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"good\n\xff\xfeb", r"a\.txt, line 2: byte 0xff at 0 is not UTF-8"),
        ("a.jsonl", '{"text": "a"}\n{"text": ', r"a\.jsonl, line 2: no JSON, "),
        ("a.jsonl", '{"text": "a"}\n\n', r"a\.jsonl, line 2: no JSON"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl, line 1: JSON nested too deep"),
        ("a.jsonl", '"text"', r"a\.jsonl, line 1: 'text' is no JSON object"),
        ("a.jsonl", '{"body": "a"}', r"line 1: no column 'text'; there are 'body'"),
        ("a.jsonl", "{}", r"line 1: no column 'text'; there are none"),
        ("a.jsonl", '{"text": 3}', r"line 1: 'text' is 3: it must be a string or a list"),
        ("a.jsonl", '{"text": null}', r"line 1: 'text' is None"),
        ("a.jsonl", '{"text": ["a", 3]}', r"line 1: 'text' is \['a', 3\]"),
        ("a.jsonl", '{"text": "\\ud800"}', r"line 1: 'text' holds half of a surrogate pair"),
        ("a.jsonl", '{"text": ["a", " "]}', r"line 1: 'text' has ' ' for a word: leave it out"),
        ("a.csv", "id,body\n1,a", r"a\.csv, line 1: no column 'text'; there are 'id', 'body'"),
        ("a.csv", "text,text\n1,a", r"a\.csv, line 1: 2 columns are called 'text'"),
        ("a.csv", "id,text\n1,a\n2", r"a\.csv, line 3: 1 fields, where the header has 2"),
        ("a.csv", 'id,text\n1,"a\nb"\n2,"c\nd', r"a\.csv, line 4: malformed csv"),
        ("a.csv", "", r"a\.csv, line 1: an empty file"),
    ],
)
def test_errors_name_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name, content)


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zip"])
def test_packed_files_are_read_as_what_is_in_them(tmp_path: Path, packing: str) -> None:
    content = b"text\nan apple\n"
    name = f"a.csv.{packing}"
    if packing == "zip":
        with zipfile.ZipFile(tmp_path / "packed", "w") as archive:
            archive.writestr("a.csv", content)
        packed = (tmp_path / "packed").read_bytes()
    else:
        packed = {"gz": gzip, "bz2": bz2, "xz": lzma}[packing].compress(content)  # type: ignore[attr-defined]
    assert read(tmp_path / name, packed) == ["an apple"]
    with pytest.raises(ValueError, match=r"a\.csv\.\w+: the packed data is damaged or cut short"):
        read(tmp_path / name, packed[: len(packed) // 2])


def test_fields_of_csv_have_any_length_and_the_limit_of_the_process_stays(tmp_path: Path) -> None:
    long = "apple " * 50_000
    rows = "".join(f'{i},"{long}"\n' for i in range(3))
    (tmp_path / "a.csv").write_text(f"id,text\n{rows}")
    limit = csv.field_size_limit()
    assert limit < len(long)
    found = source(str(tmp_path / "a.csv"), None, "text").texts()
    for text in found:
        assert text == long
        assert csv.field_size_limit() == limit, "between two records it is the user's"
        with pytest.raises(csv.Error, match="field larger than field limit"):
            next(csv.reader([long]))
    with ThreadPoolExecutor(4) as pool:
        read = [source(str(tmp_path / "a.csv"), None, "text") for _ in range(16)]
        assert list(pool.map(lambda given: list(given.texts()), read)) == [[long] * 3] * 16
    assert csv.field_size_limit() == limit


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("an\napple\n",))
    writer.start()
    given_source = source(str(pipe), None, "text")
    given_source.check()
    assert list(given_source.texts()) == ["an", "apple"]
    writer.join()


def test_parquet_gives_back_strings_and_lists_of_words(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"body": ["an", "apple"], "n": [1, 2]}), path)
    given_source = source(str(path), None, "body")
    given_source.check()
    assert list(given_source.texts()) == ["an", "apple"]
    with pytest.raises(ValueError, match=r"a\.parquet: no column 'text'; there are 'body', 'n'"):
        source(str(path), None, "text").check()
    with pytest.raises(ValueError, match=r"line 1: 'n' is 1: it must be a string"):
        list(source(str(path), None, "n").texts())
    parquet.write_table(pyarrow.table({"text": [["an", "apple"], ["a"]]}), path)
    assert list(source(str(path), None, "text").texts()) == [["an", "apple"], ["a"]]
    with pytest.raises(ValueError, match="stdin can't be Parquet"):
        source("-", "parquet", "text")
    (tmp_path / "b.parquet").write_text("text\n")
    with pytest.raises(ValueError, match=r"b\.parquet: no Parquet file"):
        source(str(tmp_path / "b.parquet"), None, "text").check()


def test_header_is_looked_at_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,body\n1,a")
    with pytest.raises(ValueError, match="no column 'text'"):
        source(str(path), None, "text").check()


def test_format_overrules_suffix_and_unknown_suffix_needs_one(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", '{"text": "x"}', form="jsonl") == ["x"]
    with pytest.raises(ValueError, match=r"suffix '\.doc' tells no format"):
        read(tmp_path / "a.doc", "x")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt: there is no such file"):
        source(str(tmp_path / "none.txt"), None, "text")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        source(str(tmp_path), "txt", "text").check()


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with whole(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old", "it changes once it is whole"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with whole(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_target_is_checked_before_the_work(tmp_path: Path) -> None:
    there = tmp_path / "there.npz"
    there.write_bytes(b"")
    check_target(tmp_path / "new.NPZ", (".npz",), force=False)
    check_target(there, (".npz",), force=True)
    with pytest.raises(FileExistsError, match=r"there\.npz is there already.*--force"):
        check_target(there, (".npz",), force=False)
    with pytest.raises(ValueError, match=r"new\.pkl: the suffix must be one of \.npz"):
        check_target(tmp_path / "new.pkl", (".npz",), force=False)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        check_target(tmp_path / "none" / "new.npz", (".npz",), force=False)
