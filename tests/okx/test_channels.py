"""Subscriptions, and which rows they report."""

import pytest

from okxsync.okx.channels import (
    CHANNELS,
    DEFAULT_CHANNELS,
    arguments_of,
    channel_of,
    covers_row,
    is_understood,
    subscription,
)


def test_a_name_gets_the_arguments_that_okx_requires() -> None:
    orders = subscription("orders")
    assert (orders.key, orders.endpoint, dict(orders.arg)) == (
        "orders",
        "private",
        {"channel": "orders", "instType": "ANY"},
    )
    assert subscription("account").arg == {"channel": "account"}
    assert subscription("orders-algo").endpoint == "business"


def test_own_arguments_are_sent_unchanged_and_are_part_of_the_key() -> None:
    swap = subscription({"channel": "orders", "instType": "SWAP"})
    assert swap.key == "orders:instType=SWAP"
    assert swap.arg == {"channel": "orders", "instType": "SWAP"}
    mark = subscription({"channel": "mark-price", "instId": "BTC-USDT-SWAP"})
    assert (mark.key, mark.endpoint) == ("mark-price:instId=BTC-USDT-SWAP", "public")


def test_every_channel_that_needs_no_instrument_can_be_given_by_name() -> None:
    for endpoint, channels in CHANNELS.items():
        for channel, needed in channels.items():
            if needed is not None:
                assert subscription(channel).endpoint == endpoint
    assert {subscription(name).key for name in DEFAULT_CHANNELS} == set(DEFAULT_CHANNELS)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [("order", 'did you mean "orders"?'), ("", "known channels"), ("mark-price", "needs an instrument")],
)
def test_an_error_says_what_is_expected(wanted: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("?", r"\?")):
        subscription(wanted)


EVENTS_ONLY = '{"updateInterval":"0","x":"1"}'


@pytest.mark.parametrize(
    ("wanted", "arguments", "understood"),
    [
        ({"channel": "orders"}, {}, True),
        ({"channel": "orders", "instType": "ANY"}, {}, True),
        ({"channel": "orders", "instType": "SWAP"}, {"instType": "SWAP"}, True),
        (
            {"channel": "orders", "instId": "BTC-USDT", "instType": "SPOT"},
            {"instId": "BTC-USDT", "instType": "SPOT"},
            True,
        ),
        ({"channel": "positions", "instFamily": "BTC-USD"}, {"instFamily": "BTC-USD"}, True),
        ({"channel": "account", "ccy": "BTC"}, {"ccy": "BTC"}, True),
        ({"channel": "account", "extraParams": EVENTS_ONLY}, {}, True),
        ({"channel": "account", "extraParams": EVENTS_ONLY, "ccy": "BTC"}, {"ccy": "BTC"}, True),
        ({"channel": "account", "instType": "SWAP"}, {"instType": "SWAP"}, False),
        ({"channel": "orders", "novelty": "1"}, {"novelty": "1"}, False),
        ({"channel": "mark-price", "instId": "BTC-USDT"}, {"instId": "BTC-USDT"}, False),
    ],
)
def test_a_key_has_the_channel_and_the_arguments_that_filter_rows(
    wanted: dict[str, str], arguments: dict[str, str], understood: bool
) -> None:
    key = subscription(wanted).key
    assert (channel_of(key), arguments_of(key), is_understood(key)) == (wanted["channel"], arguments, understood)


@pytest.mark.parametrize(
    ("arguments", "inst_ids"),
    [
        ({}, ["BTC-USDT", "BTC-USDT-SWAP", "BTC-USD-SWAP", "ETH-USDT-SWAP"]),
        ({"instType": "SWAP"}, ["BTC-USDT-SWAP", "BTC-USD-SWAP", "ETH-USDT-SWAP"]),
        ({"instId": "BTC-USDT"}, ["BTC-USDT"]),
        ({"instFamily": "BTC-USD"}, ["BTC-USD-SWAP"]),
        ({"instType": "SPOT", "instId": "BTC-USDT-SWAP"}, []),
    ],
)
def test_a_subscription_reports_the_rows_that_its_arguments_match(
    arguments: dict[str, str], inst_ids: list[str]
) -> None:
    rows = [
        {"instId": inst_id, "instType": "SWAP" if inst_id.endswith("SWAP") else "SPOT"}
        for inst_id in ("BTC-USDT", "BTC-USDT-SWAP", "BTC-USD-SWAP", "ETH-USDT-SWAP")
    ]
    assert [row["instId"] for row in rows if covers_row(arguments, row)] == inst_ids
