import pytest

from okxsync.okx.channels import CHANNELS, DEFAULT_CHANNELS, subscription


def test_a_name_gets_the_arguments_that_okx_needs() -> None:
    orders = subscription("orders")
    assert (orders.key, orders.endpoint, dict(orders.arg)) == (
        "orders",
        "private",
        {"channel": "orders", "instType": "ANY"},
    )
    assert subscription("account").arg == {"channel": "account"}
    assert subscription("orders-algo").endpoint == "business"


def test_arguments_of_ones_own_are_sent_as_they_stand_and_named_in_the_key() -> None:
    swap = subscription({"channel": "orders", "instType": "SWAP"})
    assert swap.key == "orders:instType=SWAP"
    assert swap.arg == {"channel": "orders", "instType": "SWAP"}
    mark = subscription({"channel": "mark-price", "instId": "BTC-USDT-SWAP"})
    assert (mark.key, mark.endpoint) == ("mark-price:instId=BTC-USDT-SWAP", "public")


def test_every_channel_that_needs_no_instrument_can_be_named_alone() -> None:
    for endpoint, channels in CHANNELS.items():
        for channel, needed in channels.items():
            if needed is not None:
                assert subscription(channel).endpoint == endpoint
    assert {subscription(name).key for name in DEFAULT_CHANNELS} == set(DEFAULT_CHANNELS)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [("order", 'did you mean "orders"?'), ("", "known are"), ("mark-price", "needs an instrument")],
)
def test_what_cannot_be_subscribed_says_what_is_expected(wanted: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("?", r"\?")):
        subscription(wanted)
