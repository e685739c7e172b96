"""``okxsync terminal``: serve until a signal; and opening the page in a browser."""

import html
import signal
import ssl
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from okxsync.config.location import Location
from okxsync.terminal.server import serve_terminal

_REDIRECT: Final = '<!doctype html><meta http-equiv="refresh" content="0; url={}"><title>okxsync</title>\n'


async def run(
    location: Location,
    *,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    token: str | None,
    open_browser: bool,
    trade: Sequence[str] | None = None,
) -> None:
    """Serve the terminal until SIGINT or SIGTERM, and print its address, with the token unless that was given.

    Args:
        trade: See ``serve_terminal``.

    Raises:
        OSError: the port is not available.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with serve_terminal(location, host=host, port=port, tls=tls, token=token, trade=trade) as (address, used):
            url = address.url(used)
            print(f"open {address.url() if token else url}", flush=True)
            async with opened(url if open_browser else None):
                async for _ in signals:
                    return


@asynccontextmanager
async def opened(url: str | None) -> AsyncIterator[None]:
    """Open an address in the browser, if any, while the block runs.

    The browser gets the path of a private file that leads there: all users of a machine can read the arguments of a
    program, and the address contains the token.
    """
    with tempfile.TemporaryDirectory(prefix="okxsync-") as folder:
        async with trio.open_nursery() as nursery:
            if url is not None:
                page = Path(folder) / "open.html"
                page.touch(mode=0o600)
                page.write_text(_REDIRECT.format(html.escape(url)))
                nursery.start_soon(_open, page.as_uri())
            yield
            nursery.cancel_scope.cancel(reason="the terminal closes")


async def _open(url: str) -> None:
    # A text browser returns when it is closed, so its thread may be left behind.
    await trio.to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True)
