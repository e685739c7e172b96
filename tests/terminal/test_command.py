"""``okxsync terminal``: its options, its one line, and its exit codes."""

import signal
import socket
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
import trustme
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.terminal.command import opened
from okxsync.terminal.options import read_tls, read_token, refuse_host
from okxsync.terminal.server import Address, serve_terminal
from tests.support.desk import Desk
from tests.support.replay import write_config
from tests.support.terminal import Visitor

TOKEN = "a-token-of-22-characters-or-more"


def outcome(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["terminal", *words])
    return done.exit_code, done.stderr


@pytest.mark.parametrize("host", ["192.168.0.5", "desk.example", "::2", "0.0.0.0", "::"])
def test_plain_http_does_not_leave_the_machine(host: str) -> None:
    code, said = outcome("--host", host, "--db", "x.db")
    assert code == 2
    assert said.startswith(f"okxsync: --host {host}: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    refuse_host(host, None)


def test_an_address_of_all_interfaces_is_no_name(tmp_path: Path) -> None:
    tls = read_tls(*certificate(tmp_path))
    refuse_host("desk.example", tls)
    with pytest.raises(ValueError, match="browsers call this machine"):
        refuse_host("0.0.0.0", tls)


def certificate(folder: Path) -> tuple[str, str]:
    issued = trustme.CA().issue_cert("localhost", "127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    return str(cert), str(key)


def test_tls_files_that_cannot_be_used(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    for words in ((cert,), (cert, "--tls-key", str(tmp_path / "none")), (key, "--tls-key", key)):
        code, said = outcome("--tls-cert", *words, "--db", "x.db")
        assert (code, said.count("\n")) == (2, 1)
        assert "--tls-" in said


def test_a_token_file_is_private_and_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "token"
    for text, mode, why in (
        (TOKEN, 0o644, "others can read it"),
        ("short", 0o600, "22 characters"),
        ("", 0o600, "22 characters"),
        (f"{TOKEN} {TOKEN}", 0o600, "one word"),
    ):
        path.write_text(text)
        path.chmod(mode)
        with pytest.raises(ValueError, match=why) as error:
            read_token(str(path))
        assert TOKEN not in str(error.value)
    path.write_text(f"{TOKEN}\n")
    assert read_token(str(path)) == TOKEN
    assert outcome("--token-file", str(tmp_path / "none"), "--db", "x.db")[0] == 2


def test_addresses() -> None:
    assert Address("127.0.0.1", 8790).url("t") == "http://127.0.0.1:8790/#token=t"
    assert Address("::1", 8790).url() == "http://[::1]:8790/"
    assert Address("::1", 8790).names == ("[::1]",)
    assert "localhost" in Address("127.0.0.1", 1).names


async def test_the_page_over_tls(desk: Desk, tmp_path: Path) -> None:
    tls = read_tls(*certificate(tmp_path))
    async with serve_terminal(desk.path, tls=tls, token=TOKEN) as (address, token):
        assert (address.scheme, token) == ("https", TOKEN)
        base = f"https://127.0.0.1:{address.port}"
        async with httpx.AsyncClient(verify=False) as client:
            answer = await client.post(f"{base}/session", json={"token": token}, headers={"Origin": base})
        assert answer.status_code == 200
        assert "Secure" in answer.headers["Set-Cookie"]
        assert f"wss://127.0.0.1:{address.port};" in answer.headers["Content-Security-Policy"]
        with pytest.raises(httpx.TransportError):
            await Visitor(address, token).request("GET", "/")


async def test_the_browser_gets_no_token_in_its_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All users of a machine can read these."""
    browser, found = trio.Path(tmp_path / "browser"), trio.Path(tmp_path / "opened")
    await browser.write_text(f'#!/bin/sh\necho "$1" > {found}.new\nmv {found}.new {found}\n')
    await browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    async with opened(f"http://127.0.0.1:1/#token={TOKEN}"):
        with trio.fail_after(60):
            while not await found.exists():  # noqa: ASYNC110  # another process writes it
                await trio.sleep(0.02)
        url = (await found.read_text()).strip()
        assert TOKEN not in url
        page = trio.Path(url.removeprefix("file://"))
        assert f"#token={TOKEN}" in await page.read_text()
        assert stat.S_IMODE((await page.stat()).st_mode) == 0o600
    assert not await page.exists()


@pytest.mark.slow
def test_the_command_prints_one_line_and_ends_by_a_signal(desk: Desk) -> None:
    words = [sys.executable, "-m", "okxsync", "terminal", "--db", str(desk.path), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        base, _, token = line.removeprefix("open ").strip().partition("/#token=")
        answer = httpx.post(f"{base}/session", json={"token": token}, headers={"Origin": base}, timeout=60)
        assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [sys.executable, "-m", "okxsync", "terminal", "--db", str(desk.path), "--port", str(port)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"okxsync: 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.slow
async def test_the_demo_shows_its_accounts(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "okxsync",
        "demo",
        "--terminal",
        "--accounts",
        "2",
        "--db",
        str(tmp_path / "demo.db"),
    ]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, words, capture_stdout=False, stdout=subprocess.PIPE))
        line = (await process.stdout.receive_some()).decode()
        base, _, token = line.removeprefix("open ").strip().partition("/#token=")
        visitor = Visitor(Address("127.0.0.1", int(base.rpartition(":")[2])), token)
        await visitor.login()
        async with visitor.view("accounts", "orders") as view:
            while {row["state"] for row in view.rows.get("accounts", {}).values()} != {"live"}:
                await view.take()
        process.terminate()
    assert {account for (account,) in view.rows["accounts"]} == {"demo1", "demo2"}


def test_trading_needs_its_switch_in_the_configuration(tmp_path: Path) -> None:
    config = write_config(tmp_path, "[trading]\nenabled = false\n")
    code, said = outcome("--trade", "--config", str(config), "--db", str(tmp_path / "x.db"))
    assert (code, said) == (6, f"okxsync: {config}: trading is off; set [trading] enabled = true\n")
