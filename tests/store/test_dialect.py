"""The product's SQL is written once, in what SQLite and PostgreSQL both accept; one package knows each of them.

What PostgreSQL has under another name, or as a function that its engine defines, is allowed: ``min`` and ``max`` of two
values, ``instr``, ``json_each``, ``CAST``. Migrations are left out: a new database on a server begins with the schema
that they make.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import okxsync
from okxsync.messages import Subscribed
from okxsync.mirror import freshness
from okxsync.store import tables
from okxsync.store.table import Table
from tests.support.desk import NOW, Desk, order, phase

PRODUCT = Path(okxsync.__file__).parent
MODULES = [path for path in sorted(PRODUCT.rglob("*.py")) if not path.is_relative_to(PRODUCT / "sandbox")]
SQLITE = PRODUCT / "store" / "sqlite"
POSTGRES = PRODUCT / "store" / "postgres"
SCHEMA = PRODUCT / "store" / "schema.py"

INSTEAD = {
    r"\biif\s*\(|\bifnull\s*\(": "CASE, coalesce",
    r"\bIS NOT (?!NULL|DISTINCT|TRUE|FALSE)": "IS DISTINCT FROM",
    r"\bIS (?!NOT\b|NULL|DISTINCT|TRUE|FALSE)": "IS NOT DISTINCT FROM",
    r"\bAS (INTEGER|INT|NUMERIC)\b": "BIGINT, which has 64 bits in PostgreSQL too",
    r"\bAS (REAL|FLOAT)\b": "DOUBLE PRECISION, which has 64 bits in PostgreSQL too",
    r"\bsum\s*\([^()]*[=<>]": "count(*) FILTER (WHERE ...): PostgreSQL does not add booleans",
    r"\b(rowid|_rowid_|oid)\b": "a column",
    r"\b(strftime|julianday|unixepoch|printf|group_concat|typeof|glob|randomblob|zeroblob|changes)\s*\(": "Python",
    r"\b(LIKE|GLOB|REGEXP|MATCH)\b": "an equality: upper and lower case count in PostgreSQL's LIKE",
    r"\bINSERT OR\b|\bREPLACE INTO\b|\bUPDATE OR\b": "ON CONFLICT",
    r"\bON CONFLICT DO UPDATE\b": "a conflict target, without which PostgreSQL updates nothing",
    r"\bDO UPDATE SET (?:\w+ = [\w.?]+, )*(\w+) = \1\b": "a table's name before the column, else it is ambiguous",
    r"\blive AND\b|\bwanted AND\b|\bAND (live|wanted)\b(?! =)": "a comparison: an integer is no condition",
    r"\bPRAGMA\b|\bsqlite_|\bEXPLAIN\b": "a method of the engine",
    r"\bBEGIN\b|\bCOMMIT\b|\bROLLBACK\b|\bSAVEPOINT\b": "Connection.transaction or snapshot",
}
"""Constructs that only SQLite accepts, or that mean something else in PostgreSQL; and what to write."""
SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|WHERE|FROM|CASE|CAST|IS|AND|OR|SET|ON|JOIN|PRAGMA|BEGIN|COMMIT)\b")


def strings(module: Path) -> Iterator[tuple[int, str]]:
    """Yield all strings of a module but its docstrings, with their lines; what f-strings insert is shown as ``{}``."""
    tree = ast.parse(module.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and id(node) not in docstrings:
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docstrings | within):
            yield node.lineno, node.value


def objections(sql: str) -> list[str]:
    return [instead for pattern, instead in INSTEAD.items() if SQL.search(sql) and re.search(pattern, sql, re.DOTALL)]


@pytest.mark.parametrize("module", [path for path in MODULES if not {path, *path.parents} & {SCHEMA, SQLITE, POSTGRES}],
                         ids=lambda path: str(path.relative_to(PRODUCT)))  # fmt: skip
def test_both_databases_accept_the_sql_of_a_module(module: Path) -> None:
    assert [f"line {line}: write {found}" for line, sql in strings(module) for found in objections(sql)] == []


@pytest.mark.parametrize("table", [one for one in vars(tables).values() if isinstance(one, Table)],
                         ids=lambda table: f"{table.name}-{len(table.columns)}")  # fmt: skip
def test_both_databases_accept_the_rules_of_a_table(table: Table) -> None:
    assert objections(table.on_conflict) == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE a SET b = iif(c, 1, 0)",
        "SELECT 1 WHERE a IS NOT '0'",
        "SELECT CAST(a AS REAL)",
        "SELECT CAST(a AS INTEGER)",
        "SELECT sum(outcome = 'filled') FROM gaps",
        "SELECT 1 FROM orders WHERE rowid = 1",
        "INSERT INTO a (b) VALUES (1) ON CONFLICT DO UPDATE SET b = 1",
        "INSERT INTO a (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET b = b + 1",
        "SELECT live AND wanted FROM coverage",
        "PRAGMA data_version",
        "BEGIN IMMEDIATE",
    ],
)
def test_what_one_of_them_refuses_is_found(sql: str) -> None:
    assert objections(sql)


def test_an_empty_list_is_one_that_both_accept() -> None:
    assert freshness._marks([]) == "NULL"
    assert freshness._marks("ab") == "?, ?"


def importing(pattern: str) -> set[Path]:
    return {path for path in MODULES if re.search(rf"^\s*(import|from) {pattern}\b", path.read_text(), re.M)}


def test_only_one_package_imports_the_library_of_a_database() -> None:
    assert importing("(py)?sqlite3") == {SQLITE / "connection.py"}
    assert {path.parent for path in importing("psycopg")} == {POSTGRES}


@pytest.mark.parametrize("package", [SQLITE, POSTGRES], ids=lambda path: path.name)
def test_only_the_seam_imports_the_package_of_an_engine(package: Path) -> None:
    users = {path for path in importing(f"okxsync.store.{package.name}") if package not in path.parents}
    assert users == {PRODUCT / "store" / "engines.py"}


def test_a_flag_is_bound_as_an_integer(desk: Desk) -> None:
    """``tests/conftest.py`` refuses a bool in every test."""
    desk.apply(phase(NOW), Subscribed(1, "alpha", ["orders"], NOW))
    desk.push("orders", order(1))
    assert desk.rows("SELECT demo, requires_auth FROM connections") == [(1, 1)]
    with pytest.raises(TypeError, match="int"):
        desk.rows("SELECT ?", True)
