from pathlib import Path

import pytest

from okxsync.config import ConfigError, duration_s, load, missing_secrets, size_bytes

EXAMPLE = Path(__file__).parent.parent / "accounts.example.toml"

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
    assert live.private == "wss://ws.okx.com:8443/ws/v5/private"
    assert demo.private == "wss://wspap.okx.com:8443/ws/v5/private"
    assert live.rest == demo.rest


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
        ("[log]\nkeep = '14 days'", '[log] keep: "14 days" is no duration'),
        ("[log]\nmax_size = 'big'", '[log] max_size: "big" is no size'),
        ("[history]\ninitial = 'x'", "[history] initial"),
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


def test_plain_text_is_for_loopback_only(tmp_path: Path) -> None:
    assert load(write(tmp_path, SITE + ACCOUNT + "site = 'local'")).accounts[0].site.dials_per_second == 3
    said = problems(tmp_path, SITE.replace("http://127.0.0.1", "http://10.0.0.1"))
    assert "http:// is for loopback addresses only" in said
    assert "must be a wss:// address" in problems(tmp_path, SITE.replace("ws://localhost", "localhost"))


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


def test_durations_and_sizes() -> None:
    assert [duration_s(text) for text in ("0", "90s", "15m", "2h", "14d", "1w")] == [0, 90, 900, 7200, 1209600, 604800]
    assert [size_bytes(text) for text in ("10", "500MB", "2GB", "1.5k")] == [10, 500_000_000, 2_000_000_000, 1500]
