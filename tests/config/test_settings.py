"""What accounts.toml may contain, and the error for each mistake."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from okxsync.config.secret import ConfigError, Secret, SecretSource
from okxsync.config.settings import load, missing_secrets, stamps
from okxsync.config.units import duration_s, size_bytes
from okxsync.okx.sites import built_in_site

EXAMPLE = Path(__file__).parent.parent.parent / "accounts.example.toml"

ACCOUNT = """
[[accounts]]
name = "alpha"
api_key = { env = "ALPHA_KEY" }
secret_key = { env = "ALPHA_SECRET" }
passphrase = { env = "ALPHA_PASSPHRASE" }
"""


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "accounts.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def problems(folder: Path, text: str, mode: int = 0o600) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text, mode))
    return "\n".join(caught.value.lines)


def test_the_example_is_valid_except_for_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(EXAMPLE)
    assert [(one.site_name, one.demo) for one in settings.accounts] == [
        ("global", False),
        ("global", True),
        ("eea", False),
        ("us", False),
    ]
    missing = missing_secrets(settings)
    assert len(missing) == 12
    assert all("environment variable" in line and "is not set" in line for line in missing)
    for account in settings.accounts:
        for field in ("KEY", "SECRET", "PASSPHRASE"):
            monkeypatch.setenv(f"{account.name.upper().replace('-', '_')}_{field}", "set")
    assert missing_secrets(settings) == []


def test_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ACCOUNT))
    assert settings.database == tmp_path / "okxsync.db"
    assert settings.initial_s == 7 * 86400
    assert settings.market is None
    account = settings.accounts[0]
    assert (account.site_name, account.demo, account.enabled) == ("global", False, True)
    assert [one.key for one in account.subscriptions] == [
        "account",
        "positions",
        "balance_and_position",
        "orders",
        "orders-algo",
    ]


def test_demo_selects_other_hosts(tmp_path: Path) -> None:
    live, demo = (load(write(tmp_path, ACCOUNT + extra)).accounts[0].site for extra in ("", "demo = true\n"))
    assert live.private == "wss://ws.okx.com/ws/v5/private"
    assert demo.private == "wss://wspap.okx.com/ws/v5/private"
    assert live.rest == demo.rest


def test_single_addresses_of_a_built_in_site_can_be_replaced_for_live_and_for_demo(tmp_path: Path) -> None:
    other = "wss://other.example/ws/v5/private"
    live, demo = (built_in_site("global", demo=demo) for demo in (False, True))
    for table, expected in [
        ("[sites.global]", (replace(live, private=other), demo)),
        ("[sites.global.demo]", (live, replace(demo, private=other))),
        ("[sites.eea]", (live, demo)),
    ]:
        text = f'{ACCOUNT}{ACCOUNT.replace("alpha", "beta")}demo = true\n{table}\nprivate = "{other}"'
        assert tuple(one.site for one in load(write(tmp_path, text)).accounts) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "not valid TOML"),
        ("databse = 'x'", 'unknown key "databse"; did you mean "database"?'),
        (ACCOUNT + "enabeld = true", 'account "alpha": unknown key "enabeld"; did you mean "enabled"?'),
        (
            ACCOUNT.replace('{ env = "ALPHA_KEY" }', "1"),
            'account "alpha", api_key: expected a string or { env = ... }, got a number',
        ),
        (ACCOUNT.replace("env =", "enf =", 1), 'account "alpha", api_key: unknown key "enf"; did you mean "env"?'),
        (ACCOUNT + "channels = [1]", 'account "alpha", channels: expected a string or a table, got a number'),
        (ACCOUNT + "channels = 2026-11-20", 'account "alpha", channels: expected a list, got a date or time'),
        ("accounts = 1", "accounts: expected a list, got a number"),
        ("log = 1", "log: expected a table, got a number"),
        ("[log]\nrotate = '1GB'", '[log]: unknown key "rotate"; known keys: keep, max_size'),
        (ACCOUNT + "demo = 'yes'", 'account "alpha", demo: expected true or false, got a string'),
        (ACCOUNT.replace('name = "alpha"', ""), '[[accounts]] number 1: missing key "name"'),
        (ACCOUNT + ACCOUNT, 'account "alpha": the name is used 2 times'),
        (ACCOUNT.replace("alpha", "al pha"), "letters, digits"),
        (ACCOUNT.replace("alpha", "market"), 'the name "market" is reserved'),
        (ACCOUNT + "site = 'mars'", 'unknown site "mars"; known sites: global, eea, us'),
        (ACCOUNT + "channels = ['oders']", 'unknown channel "oders": did you mean "orders"?'),
        (ACCOUNT + "channels = ['orders', 'orders']", '"orders" is listed 2 times'),
        (ACCOUNT + "channels = [{ channel = 'mark-price', instId = 'X' }]", '"mark-price" belongs to [market]'),
        ("[market]\nchannels = ['orders']", '"orders" belongs to [[accounts]]'),
        ("[sites.global]\nprivat = 'wss://a.example'", '[sites.global]: unknown key "privat"; did you mean "private"?'),
        (
            "[sites.eea.demo]\nprivat = 'wss://a.example'",
            '[sites.eea.demo]: unknown key "privat"; did you mean "private"?',
        ),
        ("[sites.us]\nrest = 1", "[sites.us] rest: expected a string, got a number"),
        ("[sites.us]\nrest = 'http://a.example'", '[sites.us] rest = "http://a.example": http:// is for loopback'),
        (
            "[sites.other]\nrest = 'https://a.example'",
            "[sites.other]: missing public, private, business; addresses are optional for OKX's own",
        ),
        ("[sites]\nother = 1", "[sites.other]: expected a table, got a number"),
        ("[log]\nkeep = '14 days'", '[log] keep: invalid duration "14 days"; use 90s, 15m, 2h, 14d or 0'),
        ("[log]\nmax_size = 'big'", '[log] max_size: invalid size "big"; use 500MB or 2GB'),
        ("[history]\ninitial = 'x'", "[history] initial"),
        ("[run]\nlatency = 'none'", '[run] latency: expected "low" or "lean", got "none"'),
        (
            "[history]\ninitial = '999999999999999d'",
            '[history] initial: duration "999999999999999d" is longer than a century',
        ),
        ("[log]\nkeep = '99999999999999999999d'", "[log] keep: "),
        ("[log]\nmax_size = '1" + "0" * 400 + "'", "[log] max_size: "),
        ("x = " + "[" * 5000 + "]" * 5000, "not valid TOML"),
        ("x = " + "9" * 5000, "not valid TOML"),
        ("database = '~nosuchuser/x.db'", 'database: "~nosuchuser/x.db": no such user'),
        ('database = "a\\u0000b"', "database: a file name cannot contain a NUL character"),
        (ACCOUNT.replace('env = "ALPHA_KEY"', "file = '~nosuchuser/k'"), 'account "alpha", api_key: "~nosuchuser/k"'),
        (
            ACCOUNT.replace('env = "ALPHA_KEY"', 'file = "a\\u0000b"'),
            'account "alpha", api_key: a file name cannot contain a NUL',
        ),
        (
            ACCOUNT.replace('{ env = "ALPHA_KEY" }', '{ env = "A", file = "b" }'),
            "expected exactly one of env, file, keyring",
        ),
    ],
)
def test_each_mistake_is_one_line_that_says_where_and_what(tmp_path: Path, text: str, says: str) -> None:
    found = problems(tmp_path, text)
    assert says in found
    assert len(found.splitlines()) == 1
    assert found.startswith(str(tmp_path / "accounts.toml"))


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    lines = problems(tmp_path, ACCOUNT + "demo = 1\nenabled = 1\n[log]\nkeep = 1").splitlines()
    assert [line.partition("accounts.toml: ")[2].partition(":")[0] for line in lines] == [
        "[log] keep",
        'account "alpha", demo',
        'account "alpha", enabled',
    ]


def test_a_missing_file_names_the_command_that_creates_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; create it with `okxsync init`"):
        load(tmp_path / "accounts.toml")


SITE = """
[sites.local]
rest = "http://127.0.0.1:1"
public = "ws://127.0.0.1:1/ws/v5/public"
private = "ws://127.0.0.1:1/ws/v5/private"
business = "ws://localhost:1/ws/v5/business"
"""


def test_another_server_has_no_separate_demo_addresses(tmp_path: Path) -> None:
    assert "[sites.local.demo]" not in (found := problems(tmp_path, SITE + "[sites.local.demo]"))
    assert '[sites.local]: unknown key "demo"' in found


def test_unencrypted_addresses_are_for_loopback_only(tmp_path: Path) -> None:
    assert load(write(tmp_path, SITE + ACCOUNT + "site = 'local'")).accounts[0].site.dials_per_second == 3
    found = problems(tmp_path, SITE.replace("http://127.0.0.1", "http://10.0.0.1"))
    assert "http:// is for loopback addresses only" in found
    assert "must be a wss:// address" in problems(tmp_path, SITE.replace("ws://localhost", "localhost"))


@pytest.mark.parametrize(
    "private",
    [
        "ws://127.0.0.1:99999/x",
        "ws://127.0.0.1:port/x",
        "ws://[::1",
        "wss://a..example/x",
        "wss://exa mple.com/x",
        "wss://example.com/\u00fc",
        "wss://" + "a" * 64 + "/x",
        "wss://1.2.3.999/x",
    ],
)
def test_an_invalid_address_is_rejected(tmp_path: Path, private: str) -> None:
    found = problems(tmp_path, SITE.replace("ws://127.0.0.1:1/ws/v5/private", private))
    assert f'[sites.local] private = "{private}": ' in found
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize("rate", ["0", "1_000_000_000_000"])
def test_an_invalid_dials_per_second_is_rejected(tmp_path: Path, rate: str) -> None:
    assert "dials_per_second: must be between 1 and 1000" in problems(tmp_path, SITE + f"dials_per_second = {rate}")


def test_a_file_with_secrets_that_is_readable_by_others_is_rejected(tmp_path: Path) -> None:
    plain = ACCOUNT.replace('{ env = "ALPHA_KEY" }', '"canary-key"')
    assert load(write(tmp_path, plain, 0o600)).accounts[0].api_key.reveal() == "canary-key"
    found = problems(tmp_path, plain, 0o640)
    assert "chmod 600" in found
    assert "canary" not in found


def test_secrets_are_read_late_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_KEY", "canary-key")
    (tmp_path / "secret").write_text("canary-secret\n")
    text = ACCOUNT.replace('{ env = "ALPHA_SECRET" }', '{ file = "secret" }')
    settings = load(write(tmp_path, text))
    assert settings.accounts[0].api_key.reveal() == "canary-key"
    assert settings.accounts[0].secret_key.reveal() == "canary-secret"
    assert "canary" not in repr(settings)
    assert len(missing_secrets(settings)) == 1
    assert "ALPHA_PASSPHRASE" in missing_secrets(settings)[0]


@pytest.mark.parametrize("secret", ["canary\r", " canary", "canary\n", "can\x01ary", "can\udcffary", "canäry"])
def test_an_invalid_secret_is_reported_by_its_place_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    for field in ("KEY", "SECRET", "PASSPHRASE"):
        monkeypatch.setenv(f"ALPHA_{field}", "set")
    monkeypatch.setenv("ALPHA_PASSPHRASE", secret)
    settings = load(write(tmp_path, ACCOUNT))
    (line,) = missing_secrets(settings)
    assert 'account "alpha", passphrase: environment variable ALPHA_PASSPHRASE is not a valid key: newline' in line
    assert "can" not in line.replace(str(tmp_path), "")


def test_a_secret_may_contain_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_PASSPHRASE", "correct horse")
    assert load(write(tmp_path, ACCOUNT)).accounts[0].passphrase.reveal() == "correct horse"


def test_a_locked_keyring_is_a_missing_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KeyringLocked(Exception):
        pass

    def get_password(service: str, user: str) -> str:
        raise KeyringLocked("canary")

    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=get_password))
    text = ACCOUNT.replace('env = "ALPHA_KEY"', 'keyring = "okx/alpha"')
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text)).accounts[0].api_key.reveal()
    assert str(caught.value) == "keyring entry okx/alpha cannot be read: KeyringLocked"


def test_stamps_are_taken_before_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("first")
    settings = load(write(tmp_path, ACCOUNT.replace('env = "ALPHA_SECRET"', 'file = "secret"')))
    assert settings.seen == stamps(settings)
    (tmp_path / "secret").write_text("another")
    changed = [path.name for path, found in stamps(settings).items() if settings.seen[path] != found]
    assert changed == ["secret"]


def test_durations_and_sizes() -> None:
    assert [duration_s(text) for text in ("0", "90s", "15m", "2h", "14d", "1w")] == [0, 90, 900, 7200, 1209600, 604800]
    assert [size_bytes(text) for text in ("10", "500MB", "2GB", "1.5k")] == [10, 500_000_000, 2_000_000_000, 1500]


def test_a_rewritten_secret_file_is_another_secret_only_with_another_content(tmp_path: Path) -> None:
    """Secret managers rewrite files; an equal secret leaves its connections alone."""
    source, file = SecretSource(file="secret.txt"), tmp_path / "secret.txt"

    def secret() -> Secret:
        return Secret(source, tmp_path)

    missing = secret()
    assert missing == secret()
    file.write_text("one\n")
    first = secret()
    assert first != missing
    new = tmp_path / "new.txt"
    new.write_text("one")
    new.replace(file)
    assert secret().stamp != first.stamp
    assert secret() == first
    assert hash(secret()) == hash(first)
    file.write_text("two")
    assert secret() != first
    file.unlink()
    assert secret() == missing
    assert "one" not in repr(first)


def test_a_secret_that_can_be_read_only_once_is_left_for_the_connection(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert Secret(SecretSource(file="pipe"), tmp_path) == Secret(SecretSource(file="pipe"), tmp_path)
