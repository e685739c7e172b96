"""Pictures over real sockets: who gets them, and what else may be asked for."""

import os
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from okxsync.messages import ConfiguredAccount
from okxsync.terminal.server import PAGE, serve_terminal, version_of
from tests.support.desk import NOW, Desk
from tests.support.terminal import Visitor

WINDOW = {"from": NOW, "until": NOW + 3_600_000_000, "width": 60}


@pytest.fixture
async def visitor(desk: Desk) -> AsyncIterator[Visitor]:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin("orders", pid=os.getpid())
    async with serve_terminal(desk.path) as (address, token):
        visitor = Visitor(address, token)
        await visitor.login()
        visitor.origin = None  # as a browser requests for its own page
        yield visitor


async def ask(visitor: Visitor, picture: str = "coverage", method: str = "GET", **more: Any) -> httpx.Response:
    headers = {"Cookie": visitor.cookie, "X-Okxsync-Key": visitor.key, **more.pop("headers", {})}
    return await visitor.request(method, f"/picture/{picture}", params=WINDOW | more, headers=headers)


async def test_our_page_gets_a_picture_that_nobody_keeps(visitor: Visitor) -> None:
    answer = await ask(visitor, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    ((account, *_),) = answer.json()["accounts"]
    assert account == "alpha"


async def test_half_a_session_gets_no_picture(visitor: Visitor) -> None:
    cookie, key = visitor.cookie, visitor.key
    for visitor.cookie, visitor.key in ((cookie, ""), ("", key), (cookie, "x"), (f"x{cookie}", key), (cookie, cookie)):
        answer = await ask(visitor)
        assert answer.status_code == 401
        assert "alpha" not in answer.text


async def test_a_foreign_page_gets_no_picture(visitor: Visitor) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{visitor.address.port + 1}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ):
        assert (await ask(visitor, headers=headers)).status_code == 403
    visitor.host = "evil.example"
    assert (await ask(visitor)).status_code == 421


async def test_what_is_no_picture_is_one_line(visitor: Visitor) -> None:
    for kind, more in (("coverage", {"width": 10**6}), ("coverage", {"until": "soon"}), ("nothing", {}), ("gaps", {})):
        answer = await ask(visitor, kind, **more)
        assert answer.status_code == 400
        assert len(answer.json()["error"].splitlines()) == 1
    for method in ("POST", "PUT", "DELETE"):
        headers = {"Origin": f"http://{visitor.host}"}
        assert (await ask(visitor, method=method, headers=headers)).status_code == 405


async def test_a_database_that_is_gone_is_said_so(desk: Desk, visitor: Visitor) -> None:
    desk.path.rename(desk.path.with_name("elsewhere.db"))
    answer = await ask(visitor)
    assert answer.status_code == 503
    assert answer.json()["error"]


async def test_the_files_of_the_page_are_compressed_where_the_browser_takes_that(visitor: Visitor) -> None:
    plain = await visitor.request("GET", "/page/app.js", headers={"Accept-Encoding": "identity"})
    packed = await visitor.request("GET", "/page/app.js", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content == plain.content
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 2


async def test_a_browser_keeps_the_files_of_a_version_and_finds_all_modules_in_the_page(visitor: Visitor) -> None:
    page = (await visitor.request("GET", "/")).text
    (app,) = re.findall(r'src="(page/[0-9a-f]{16}/)app.js"', page)
    modules = {str(file.relative_to(PAGE)) for file in PAGE.rglob("*.js")}
    assert set(re.findall(rf'modulepreload" href="{app}([^"]+)"', page)) == modules
    for path in (*modules, "app.css", "icons/lost.svg"):
        kept = await visitor.request("GET", f"/{app}{path}")
        assert kept.headers["Cache-Control"] == "private, max-age=31536000, immutable"
        assert kept.content == (await visitor.request("GET", f"/page/{path}")).content
    for path in ("/", "/page/app.js", f"/page/{'0' * 16}/app.js", f"/{app}nothing.js", f"/{app}../server.py"):
        assert (await visitor.request("GET", path)).headers["Cache-Control"] == "no-store"


def test_the_version_changes_with_any_file() -> None:
    files = {"a.js": (b"1", "text/javascript"), "b.js": (b"2", "text/javascript")}
    others = ({**files, "a.js": (b"3", "")}, {"a.js": files["a.js"]}, {"a.js": files["b.js"], "b.js": files["a.js"]})
    assert len({version_of(files), *map(version_of, others)}) == 4


@pytest.mark.parametrize("kind", ["account", "order", "fills"])
async def test_details_and_fills_are_for_our_page_alone(visitor: Visitor, kind: str) -> None:
    asked: dict[str, Any] = {"account": "alpha", "kind": "order", "id": "1", "inst": "X", "skip": 0}
    answer = await ask(visitor, kind, **asked)
    assert answer.status_code == (400 if kind == "order" else 200)  # there is no such order
    assert answer.headers["Cache-Control"] == "no-store"
    answer = await ask(visitor, kind, headers={"Origin": "http://evil.example"}, **asked)
    assert answer.status_code == 403
    for method in ("POST", "PUT", "DELETE"):
        visitor.origin = f"http://{visitor.host}"
        assert (await ask(visitor, kind, method=method, **asked)).status_code == 405
    visitor.origin = None
    visitor.key = "x"
    answer = await ask(visitor, kind, **asked)
    assert answer.status_code == 401
    assert "alpha" not in answer.text
    for path in ("../accounts.toml", "..%2f..%2faccounts.toml", "account/../../x", "%00"):
        assert (await ask(visitor, path, **asked)).status_code in (400, 401, 404)
