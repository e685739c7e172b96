import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from okxsync.config.secret import ConfigError
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


def test_the_example_is_valid_and_lacks_nothing_but_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_demo_chooses_other_hosts(tmp_path: Path) -> None:
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
        ("databse = 'x'", "unknown key `databse`"),
        (ACCOUNT + "enabeld = true", 'account "alpha": unknown key `enabeld`'),
        (ACCOUNT + "demo = 'yes'", 'account "alpha", demo: Expected `bool`, got `str`'),
        ("[[accounts]]\napi_key = 'x'", "[[accounts]] number 1: missing key `name`"),
        (ACCOUNT + ACCOUNT, 'account "alpha": 2 accounts have this name'),
        (ACCOUNT.replace("alpha", "al pha"), "letters, digits"),
        (ACCOUNT.replace("alpha", "market"), 'the name "market" is taken'),
        (ACCOUNT + "site = 'mars'", 'unknown site "mars"; known are global, eea, us'),
        (ACCOUNT + "channels = ['oders']", 'unknown channel "oders": did you mean "orders"?'),
        (ACCOUNT + "channels = ['orders', 'orders']", '"orders" stands there 2 times'),
        (ACCOUNT + "channels = [{ channel = 'mark-price', instId = 'X' }]", '"mark-price" belongs to [market]'),
        ("[market]\nchannels = ['orders']", '"orders" belongs to [[accounts]]'),
        ("[sites.global]\nprivat = 'wss://a.example'", "[sites.global]: unknown key `privat`"),
        ("[sites.eea.demo]\nprivat = 'wss://a.example'", "[sites.eea.demo]: unknown key `privat`"),
        ("[sites.us]\nrest = 1", "[sites.us] rest: Expected `str`, got `int`"),
        ("[sites.us]\nrest = 'http://a.example'", '[sites.us] rest = "http://a.example": http:// is for loopback'),
        ("[sites.other]\nrest = 'https://a.example'", "[sites.other]: missing public, private, business; only OKX's"),
        ("[sites]\nother = 1", "[sites.other]: Expected `object`, got `int`"),
        ("[log]\nkeep = '14 days'", '[log] keep: "14 days" is no duration'),
        ("[log]\nmax_size = 'big'", '[log] max_size: "big" is no size'),
        ("[history]\ninitial = 'x'", "[history] initial"),
        ("[history]\ninitial = '999999999999999d'", '[history] initial: "999999999999999d" is more than a century'),
        ("[log]\nkeep = '99999999999999999999d'", "[log] keep: "),
        ("[log]\nmax_size = '1" + "0" * 400 + "'", "[log] max_size: "),
        ("x = " + "[" * 5000 + "]" * 5000, "not valid TOML"),
        ("x = " + "9" * 5000, "not valid TOML"),
        ("database = '~nosuchuser/x.db'", 'database: "~nosuchuser/x.db": there is no such user'),
        ('database = "a\\u0000b"', "database: no file has a NUL in its name"),
        (ACCOUNT.replace('env = "ALPHA_KEY"', "file = '~nosuchuser/k'"), 'account "alpha", api_key: "~nosuchuser/k"'),
        (ACCOUNT.replace('env = "ALPHA_KEY"', 'file = "a\\u0000b"'), 'account "alpha", api_key: no file has a NUL'),
        (ACCOUNT.replace('{ env = "ALPHA_KEY" }', '{ env = "A", file = "b" }'), "name one of env, file, keyring"),
    ],
)
def test_each_mistake_is_one_line_that_says_where_and_what(tmp_path: Path, text: str, says: str) -> None:
    said = problems(tmp_path, text)
    assert says in said
    assert len(said.splitlines()) == 1
    assert said.startswith(str(tmp_path / "accounts.toml"))


SITE = """
[sites.local]
rest = "http://127.0.0.1:1"
public = "ws://127.0.0.1:1/ws/v5/public"
private = "ws://127.0.0.1:1/ws/v5/private"
business = "ws://localhost:1/ws/v5/business"
"""


def test_another_server_is_one_exchange(tmp_path: Path) -> None:
    assert "[sites.local.demo]" not in (said := problems(tmp_path, SITE + "[sites.local.demo]"))
    assert "[sites.local]: unknown key `demo`" in said


def test_plain_text_is_for_loopback_only(tmp_path: Path) -> None:
    assert load(write(tmp_path, SITE + ACCOUNT + "site = 'local'")).accounts[0].site.dials_per_second == 3
    said = problems(tmp_path, SITE.replace("http://127.0.0.1", "http://10.0.0.1"))
    assert "http:// is for loopback addresses only" in said
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
def test_an_address_that_can_be_none_is_refused(tmp_path: Path, private: str) -> None:
    said = problems(tmp_path, SITE.replace("ws://127.0.0.1:1/ws/v5/private", private))
    assert f'[sites.local] private = "{private}": ' in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("rate", ["0", "1_000_000_000_000"])
def test_a_rate_of_dials_that_can_be_none_is_refused(tmp_path: Path, rate: str) -> None:
    assert "dials_per_second: must be 1 or more" in problems(tmp_path, SITE + f"dials_per_second = {rate}")


def test_a_file_with_secrets_that_others_can_read_is_refused(tmp_path: Path) -> None:
    plain = ACCOUNT.replace('{ env = "ALPHA_KEY" }', '"canary-key"')
    assert load(write(tmp_path, plain, 0o600)).accounts[0].api_key.reveal() == "canary-key"
    said = problems(tmp_path, plain, 0o640)
    assert "chmod 600" in said
    assert "canary" not in said


def test_secrets_are_found_late_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_what_can_be_no_secret_is_named_by_its_place_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    for field in ("KEY", "SECRET", "PASSPHRASE"):
        monkeypatch.setenv(f"ALPHA_{field}", "set")
    monkeypatch.setenv("ALPHA_PASSPHRASE", secret)
    settings = load(write(tmp_path, ACCOUNT))
    (line,) = missing_secrets(settings)
    assert 'account "alpha", passphrase: environment variable ALPHA_PASSPHRASE holds what is no key' in line
    assert "can" not in line.replace(str(tmp_path), "")


def test_a_secret_may_have_a_blank_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_PASSPHRASE", "correct horse")
    assert load(write(tmp_path, ACCOUNT)).accounts[0].passphrase.reveal() == "correct horse"


def test_a_keyring_that_is_locked_is_a_secret_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KeyringLocked(Exception):
        pass

    def get_password(service: str, user: str) -> str:
        raise KeyringLocked("canary")

    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=get_password))
    text = ACCOUNT.replace('env = "ALPHA_KEY"', 'keyring = "okx/alpha"')
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text)).accounts[0].api_key.reveal()
    assert str(caught.value) == "keyring entry okx/alpha cannot be read: KeyringLocked"


def test_what_is_seen_of_a_file_is_from_before_it_was_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("first")
    settings = load(write(tmp_path, ACCOUNT.replace('env = "ALPHA_SECRET"', 'file = "secret"')))
    assert settings.seen == stamps(settings)
    (tmp_path / "secret").write_text("another")
    changed = [path.name for path, found in stamps(settings).items() if settings.seen[path] != found]
    assert changed == ["secret"]


def test_durations_and_sizes() -> None:
    assert [duration_s(text) for text in ("0", "90s", "15m", "2h", "14d", "1w")] == [0, 90, 900, 7200, 1209600, 604800]
    assert [size_bytes(text) for text in ("10", "500MB", "2GB", "1.5k")] == [10, 500_000_000, 2_000_000_000, 1500]
