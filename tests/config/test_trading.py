"""The settings of trading, and the error for each mistake."""

from decimal import Decimal
from pathlib import Path

import pytest

from okxsync.config.secret import ConfigError
from okxsync.config.settings import load
from okxsync.config.trading import AccountTrading, Limits, TradingSettings, tighter
from okxsync.config.units import number, percent

ACCOUNT = """
[[accounts]]
name = "alpha"
api_key = { env = "ALPHA_KEY" }
secret_key = { env = "ALPHA_SECRET" }
passphrase = { env = "ALPHA_PASSPHRASE" }
"""


def trading(folder: Path, text: str) -> TradingSettings:
    path = folder / "accounts.toml"
    path.write_text(text)
    path.chmod(0o600)
    return load(path).trading


def test_trading_is_off_by_default(tmp_path: Path) -> None:
    found = trading(tmp_path, ACCOUNT)
    assert (found.enabled, found.live, found.accounts["alpha"].trading) == (False, False, False)
    assert found.limits == Limits(None, None, None, Decimal("0.02"), None)
    assert (found.ip_rate, found.tag, found.clord_prefix) == (200, "", "")


def test_all_keys(tmp_path: Path) -> None:
    text = """
        [trading]
        enabled = true
        live = true
        max_order_usd = "5000.5"
        max_plan_usd = 250000
        max_day_usd = "1000000"
        price_band = "1.5%"
        instruments = ["BTC-USDT-SWAP", "ETH-USDT"]
        ip_rate = 400
        tag = "okxsync"
        clord_prefix = "e847386590ce4dBC"
        via = "ws"
    """
    own = """
        trading = true
        groups = ["core", "eu"]
        max_order_usd = 7000
        max_day_usd = 9000
        price_band = "0.5%"
        instruments = ["ETH-USDT", "XRP-USDT"]
    """
    found = trading(tmp_path, text + ACCOUNT + own)
    limits = Limits(
        Decimal("5000.5"),
        Decimal(250000),
        Decimal(1000000),
        Decimal("0.015"),
        frozenset({"BTC-USDT-SWAP", "ETH-USDT"}),
    )
    alpha = AccountTrading(
        True,
        frozenset({"core", "eu"}),
        Limits(Decimal("5000.5"), None, Decimal(9000), Decimal("0.005"), frozenset({"ETH-USDT"})),
    )
    assert found == TradingSettings(True, True, limits, 400, "okxsync", "e847386590ce4dBC", {"alpha": alpha}, "ws")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[trading]\nenable = true", '[trading]: unknown key "enable"; did you mean "enabled"?'),
        ("[trading]\nenabled = 1", "[trading] enabled: expected true or false, got a number"),
        ('[trading]\nmax_order_usd = "5k"', '[trading] max_order_usd: invalid number "5k"; use 5000 or "0.25"'),
        ("[trading]\nmax_day_usd = 0", "[trading] max_day_usd: must be above 0"),
        ('[trading]\nprice_band = "2"', '[trading] price_band: invalid percentage "2"; use "2%"'),
        ('[trading]\nprice_band = "0%"', "[trading] price_band: must be above 0 and at most 100%"),
        (
            '[trading]\ninstruments = ["btc"]',
            '[trading] instruments: "btc" is not an instrument id, as "BTC-USDT-SWAP" is',
        ),
        ("[trading]\nip_rate = 0", "[trading] ip_rate: must be between 1 and 10000"),
        ('[trading]\nvia = "fix"', '[trading] via = "fix": must be one of rest, ws'),
        ('[trading]\ntag = "a-b"', '[trading] tag = "a-b": at most 16 letters and digits'),
        (ACCOUNT + 'groups = ["a b"]', 'account "alpha", groups: invalid name "a b"; use letters, digits, - _ and .'),
        (ACCOUNT + 'groups = ["a", "a"]', 'account "alpha", groups: "a" is listed 2 times'),
        (ACCOUNT + 'max_plan_usd = "x"', 'account "alpha", max_plan_usd: invalid number "x"; use 5000 or "0.25"'),
        (ACCOUNT + 'trading = "yes"', 'account "alpha", trading: expected true or false, got a string'),
    ],
)
def test_each_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trading(tmp_path, text)
    assert caught.value.lines == (f"{tmp_path / 'accounts.toml'}: {line}",)


def test_the_tighter_limit_applies() -> None:
    loose = Limits(Decimal(9), Decimal(90), Decimal(900), Decimal("0.05"), None)
    tight = Limits(Decimal(5), Decimal(50), None, Decimal("0.01"), frozenset({"A-B"}))
    assert tighter(loose, tight) == tight
    assert tighter(tight, loose) == Limits(Decimal(5), Decimal(90), Decimal(900), Decimal("0.01"), frozenset({"A-B"}))


@pytest.mark.parametrize("text", ["", "1e5", "nan", "inf", "1,5", "0x1", "--1", "1.", ".5", "٣", "1" * 30])
def test_a_number_that_is_not_written_plainly_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid number"):
        number(text)
    with pytest.raises(ValueError, match="invalid percentage"):
        percent(text + "%")


def test_percentages_are_exact() -> None:
    assert percent("0.1%") == Decimal("0.001")
    assert percent("-2 %") == Decimal("-0.02")
