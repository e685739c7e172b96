"""Reading a complete list from REST, page by page, to compare it; nothing is stored."""

from collections.abc import Collection, Mapping

import msgspec

from okxsync.okx.codes import Action
from okxsync.okx.endpoints import Endpoint, Walk, is_not_offered, lists_since
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.http import UNREADABLE


async def read_page(client: AccountClient, path: str, params: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the rows of one reply.

    Raises:
        RestError: the request failed, or the reply has no rows.
    """
    try:
        return msgspec.json.decode(await client.get(path, params), type=list[dict[str, object]])
    except UNREADABLE:
        raise RestError(f"{path}: data is not a list of objects", Action.RETRY) from None


async def read_list(
    client: AccountClient,
    endpoint: Endpoint,
    since_ms: int,
    only: Mapping[str, Collection[str]] | None = None,
    *,
    until_ms: int | None = None,
) -> list[dict[str, object]]:
    """Return all rows of an endpoint back to a time, of all its sweeps that OKX offers for this account.

    Args:
        only: Leaves out the sweeps that have another value of these parameters.

    Raises:
        RestError: the request for some page failed.
    """
    rows: list[dict[str, object]] = []
    wanted = (only or {}).items()
    for sweep in (sweep for sweep in endpoint.sweeps if all(sweep[name] in values for name, values in wanted)):
        walk = Walk(endpoint, sweep, since_ms, until_ms)
        while walk.params is not None:
            try:
                page = await read_page(client, endpoint.path, walk.params)
            except RestError as error:
                if is_not_offered(sweep, error.code):
                    break
                raise
            rows += page
            try:
                walk.take(page)
            except ValueError as error:
                raise RestError(str(error), Action.RETRY) from None
            if walk.incomplete:
                raise RestError(walk.incomplete, Action.REJECT)
    return rows


async def read_lists(
    client: AccountClient, near: Endpoint, archive: Endpoint, since_ms: int
) -> list[dict[str, object]]:
    """Return all rows back to a time of two lists; what both have is returned twice.

    Raises:
        RestError: the request for some page failed.
    """
    rows: list[dict[str, object]] = []
    for endpoint, until_ms in lists_since(near, archive, since_ms, None, client.now_ms()):
        rows += await read_list(client, endpoint, since_ms, until_ms=until_ms)
    return rows
