"""The files of the page: what they may not contain, what they may weigh, and that third-party files are unchanged."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from okxsync.terminal.server import PACKED, read_page
from tests.support.terminal_page import PAGE

VENDOR = {
    # @fontsource-variable/inter 5.3.0, OFL-1.1: files/inter-latin-wght-normal.woff2
    "inter-latin-wght-normal.woff2": "3100e775e8616cd2611beecfa23a4263d7037586789b43f035236a2e6fbd4c62",
}
OWN = sorted(path for path in PAGE.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg"))


def test_third_party_files_are_those_of_the_release_and_have_a_licence() -> None:
    listed = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (PAGE / "vendor").glob("*.woff2")}
    assert listed == VENDOR
    notes = (PAGE / "vendor" / "README.txt").read_text()
    for name, digest in VENDOR.items():
        assert name in notes
        assert digest in notes
    assert "SIL Open Font License" in (PAGE / "vendor" / "inter-LICENSE.txt").read_text()


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_makes_markup_or_code_of_text(path: Path) -> None:
    text = path.read_text()
    sinks = r"(?:inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(|new Function|ContextualFragment|DOMParser"
    assert re.findall(sinks, text) == []
    assert re.findall(r"\sstyle=|setAttribute\(.style|\son\w+=\"|javascript:", text) == []
    addresses = re.findall(r"https?://[^\s\"'`]+", text)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}, "everything comes from the terminal itself"


def test_the_page_is_small() -> None:
    own = b"".join(read_page(PAGE)[path.relative_to(PAGE).as_posix()][0] for path in OWN)
    assert len(gzip.compress(own, 9)) < 80_000
    sent = [
        len(gzip.compress(content)) if kind in PACKED else len(content) for content, kind in read_page(PAGE).values()
    ]
    assert sum(sent) < 150_000


def test_modules_import_each_other_by_relative_names_that_exist() -> None:
    for path in OWN:
        for name in re.findall(r"^import .*? from \"(.+?)\";|^} from \"(.+?)\";", path.read_text(), re.M | re.S):
            target = "".join(name)
            assert target.startswith("."), (path.name, target)
            assert (path.parent / target).is_file(), (path.name, target)


@pytest.mark.parametrize("path", [path for path in OWN if path.suffix == ".js"], ids=lambda path: path.name)
def test_scripts_are_sent_without_comments_and_otherwise_as_they_are(path: Path) -> None:
    """No line that looks like a comment is part of a text; and an error names the line of the file."""
    lines = path.read_text().split("\n")
    sent = read_page(PAGE)[path.relative_to(PAGE).as_posix()][0].decode().split("\n")
    assert len(sent) == len(lines)
    inside = False  # whether a text in backticks, which may have several lines, is open
    for line, left in zip(lines, sent, strict=True):
        comment = line.strip().startswith(("//", "/*", "*"))
        assert left == ("" if comment else line)
        assert not (comment and inside), line
        if not comment:
            inside ^= len(re.findall(r"(?<!\\)`", line)) % 2 == 1
    assert not inside
