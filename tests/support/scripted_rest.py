"""An exchange that answers REST from a table, so that a test controls its replies; time may be virtual."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import httpx

from okxsync.rest.client import AccountClient
from okxsync.rest.clock import SiteClock
from tests.support.accounts import SITE, account
from tests.support.mock_http import MockHttp
from tests.support.replies import reply

Row: TypeAlias = Mapping[str, Any]
Reply: TypeAlias = str | Sequence[Row] | Callable[[dict[str, str]], "Reply"]
"""An error code, the rows, or a function that returns one of these for the parameters."""


class Exchange:
    """Answers one account. ``replies`` by path below ``/api/v5/``; other paths have no rows."""

    def __init__(self, replies: Mapping[str, Reply] | None = None) -> None:
        self.replies: dict[str, Reply] = dict(replies or {})
        self.asked: list[tuple[str, dict[str, str]]] = []
        http = MockHttp(self._answer)
        self.clock = SiteClock(http, SITE.rest)
        self.client = AccountClient(http, account("alpha"), self.clock)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, params = request.url.path.removeprefix("/api/v5/"), dict(request.url.params)
        self.asked.append((path, params))
        found = self.replies.get(path, [])
        while callable(found):
            found = found(params)
        if isinstance(found, str):
            return reply({"code": found, "msg": "as scripted", "data": []})
        return reply({"code": "0", "msg": "", "data": found})


def page(rows: Sequence[dict[str, str]], params: Mapping[str, str], cursor: str) -> list[dict[str, str]]:
    """Return the page that ``after`` and ``limit`` select."""
    after = int(params.get("after", 10**30))
    found = sorted(rows, key=lambda row: int(row[cursor]), reverse=True)
    return [row for row in found if int(row[cursor]) < after][: int(params["limit"])]
