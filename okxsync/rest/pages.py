"""Reading a complete list from REST, page by page, to compare it; nothing is stored."""

from collections.abc import Collection, Mapping

import msgspec

from okxsync.okx.codes import Action
from okxsync.okx.endpoints import Endpoint, Walk, is_not_offered, is_optional, lists_since
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
    rejected: dict[str, str] | None = None,
) -> list[dict[str, object]]:
    """Return all rows of an endpoint back to a time, of all its sweeps that OKX offers for this account.

    Args:
        only: Leaves out the sweeps that have another value of these parameters.
        rejected: Takes the types whose request OKX rejects with another code, each with the error, if it is optional
            (see ``endpoints.is_optional``). None: that raises.

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
                if rejected is not None and error.is_rejection and is_optional(sweep):
                    rejected |= dict.fromkeys(sweep.values(), str(error))
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
    client: AccountClient,
    near: Endpoint,
    archive: Endpoint,
    since_ms: int,
    rejected: dict[str, str] | None = None,
) -> list[dict[str, object]]:
    """Return all rows back to a time of two lists; what both have is returned twice.

    Args:
        rejected: As for ``read_list``.

    Raises:
        RestError: the request for some page failed.
    """
    rows: list[dict[str, object]] = []
    for endpoint, until_ms in lists_since(near, archive, since_ms, None, client.now_ms()):
        rows += await read_list(client, endpoint, since_ms, until_ms=until_ms, rejected=rejected)
    return rows
