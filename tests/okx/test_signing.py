"""Known answers for made-up credentials, computed with two independent implementations."""

import pytest

from okxsync.okx.signing import sign_login, sign_rest

SECRET = "0123456789ABCDEF0123456789ABCDEF"
AT = "2024-01-10T08:55:47.123Z"
ORDER = (
    b'{"instId":"BTC-USDT-SWAP","tdMode":"cross","clOrdId":"okxsync0001","side":"buy","ordType":"limit",'
    b'"px":"30000.5","sz":"2"}'
)
CANCEL = b'[{"instId":"BTC-USDT-SWAP","ordId":"1001"},{"instId":"BTC-USDT-SWAP","ordId":"1002"}]'


@pytest.mark.parametrize(
    ("method", "target", "body", "expected"),
    [
        ("GET", b"/api/v5/account/balance", b"", "yQZObouK2HefggFHCSwX1uiDC/5GHUrG0ynuGNPTymE="),
        (
            "GET",
            b"/api/v5/trade/orders-history?instType=SWAP&limit=100&after=1752588852617379840",
            b"",
            "f/W5+ZCP1KKsPu12HISASWNcKE15WXLEkagZLJwM7d0=",
        ),
        ("POST", b"/api/v5/trade/order", ORDER, "7ffzRa/LclAm+16zr5VJB/GpPYrO1rGhOobiUgmkq18="),
        ("GET", b"/api/v5/account/balance?ccy=BTC,ETH", b"", "CsS4yTrCwLEQks8h2iBqylebzTfFyFM3V5+f8/fdZcg="),
        (
            "GET",
            b"/api/v5/account/balance?ccy=BTC%2CETH",
            b"",
            "kd1QipriHsYztrLjrqhX8o0iXt2ZyHLCer/Wyrj9Bn8=",
        ),
        (
            "POST",
            b"/api/v5/trade/cancel-batch-orders",
            CANCEL,
            "WlnF2avGg6QFc2Ao9Zo/cuApaa/D0uEFV6s/3yO4sG0=",
        ),
    ],
)
def test_rest(method: str, target: bytes, body: bytes, expected: str) -> None:
    assert sign_rest(SECRET, AT, method, target, body) == expected


def test_login() -> None:
    assert sign_login(SECRET, "1704876947") == "ZuGLUUn1vPbzKSG4K5HzbiibZHAU3Qmy4PHIlAGhMok="
