"""Settings of accounts that are not in any file."""

from pathlib import Path

from okxsync.config.secret import Secret
from okxsync.config.settings import AccountSettings, LogSettings, MarketSettings, Settings
from okxsync.okx.channels import Subscription, subscription
from okxsync.okx.sites import Site

SITE = Site("http://peer", "ws://peer/public", "ws://peer/private", "ws://peer/business")


def channels(*names: str) -> tuple[Subscription, ...]:
    return tuple(map(subscription, names))


def account(name: str, *names: str, key: str = "", enabled: bool = True, site: Site = SITE) -> AccountSettings:
    """An account whose api key is its name, so that scripts know who it is."""
    api_key, secret_key, passphrase = (Secret(text, Path()) for text in (key or name, "secret", "passphrase"))
    wanted = channels(*names or ("orders", "account"))
    return AccountSettings(name, "peer", site, False, api_key, secret_key, passphrase, wanted, enabled)


def settings(*accounts: AccountSettings, market: MarketSettings | None = None) -> Settings:
    return Settings(Path("accounts.toml"), Path("okxsync.db"), LogSettings(), 0, market, accounts)
