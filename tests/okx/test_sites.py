"""All addresses of OKX in full, so that a change of ``sites.py`` is visible here."""

from datetime import date

from okxsync.okx.sites import ENDPOINTS, REGIONS, built_in_site

SERVED = {
    # site: host of REST, WebSocket host of live and of demo
    "global": ("www.okx.com", "ws.okx.com", "wspap.okx.com"),
    "eea": ("eea.okx.com", "wseea.okx.com", "wseeapap.okx.com"),
    "us": ("us.okx.com", "wsus.okx.com", "wsuspap.okx.com"),
}


def test_all_addresses() -> None:
    assert REGIONS.keys() == SERVED.keys()
    for name, (rest, *websockets) in SERVED.items():
        for demo, host in zip((False, True), websockets, strict=True):
            site = built_in_site(name, demo=demo)
            assert site.rest == f"https://{rest}"
            assert [site.url(endpoint) for endpoint in ENDPOINTS] == [
                f"wss://{host}/ws/v5/public",
                f"wss://{host}/ws/v5/private",
                f"wss://{host}/ws/v5/business",
            ]
            assert site.dials_per_second == 3


def test_each_host_has_a_source_and_a_date() -> None:
    for region in REGIONS.values():
        for host in (region.rest, region.live, region.demo):
            assert host.source
            assert date.fromisoformat(host.checked)
