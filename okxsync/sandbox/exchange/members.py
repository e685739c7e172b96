"""The accounts of an exchange: keys, permissions and modes."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key; only its name shows in a repr."""

    api_key: str
    secret_key: str = field(repr=False)
    passphrase: str = field(repr=False)


@dataclass(slots=True)
class Member:
    """An account of the exchange; `main_uid` equals `uid` for a master account.

    `acct_lv` and `pos_mode` are as in ``account/config``: 1 Spot, 2 Futures, 3 Multi-currency margin, 4 Portfolio
    margin; ``net_mode`` or ``long_short_mode``.

    Attributes:
        acct_stp_mode: What happens when its order meets a resting one of the same master account.
        hidden: Instruments that this account is not offered.
        refused: By ``instId``, or ``ANY``: the code with which every order is rejected.
        config: Fields that replace those of the row of ``account/config``.
    """

    name: str
    uid: str
    main_uid: str
    credentials: Credentials
    demo: bool = True
    perm: str = "read_only,trade"
    ip: str = ""
    vip: int = 0
    acct_lv: str = "2"
    label: str = ""
    pos_mode: str = "net_mode"
    acct_stp_mode: str = "cancel_maker"
    hidden: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def pooled(self) -> bool:
        """Whether all currencies are one margin pool, and a balance may go below zero."""
        return self.acct_lv in ("3", "4")

    @property
    def two_sided(self) -> bool:
        """Whether a contract has a long and a short position."""
        return self.pos_mode == "long_short_mode"

    @property
    def sub_acct(self) -> str:
        return "" if self.uid == self.main_uid else self.name
