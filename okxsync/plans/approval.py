"""The approval of a preview: it names the preview's hash, and two numbers that a person types."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal, TypeAlias

import msgspec

from okxsync.config.trading import TradingSettings
from okxsync.plans.canonical import doc_hash
from okxsync.plans.children import Child, plain, preview_hash
from okxsync.plans.facts import SystemFacts
from okxsync.plans.sizing import to_decimal

Outcome: TypeAlias = Literal["stale-preview", "hash", "confirmation", "halted", "trading-off", "limit-day", "nothing"]


class Refused(msgspec.Struct, frozen=True):
    """Why an approval is not accepted."""

    outcome: Outcome
    detail: str


def ready_accounts(children: Sequence[Child]) -> int:
    """Return how many accounts have at least one child that is to be sent."""
    return len({child.account for child in children if not child.reason})


def planned_usd(children: Sequence[Child]) -> Decimal:
    """Return the planned notional of the children that are to be sent."""
    return to_decimal(sum((Fraction(child.planned_usd) for child in children if not child.reason), Fraction(0)))


def confirmation(children: Sequence[Child]) -> str:
    """Return what ``--confirm`` must say: accounts with an order, and whole dollars: ``37/184200``."""
    return f"{ready_accounts(children)}/{_dollars(children)}"


def typed(children: Sequence[Child]) -> str:
    """Return what a person types, the same two numbers: ``37 accounts 184,200 USD``."""
    return f"{ready_accounts(children)} accounts {_dollars(children):,} USD"


def _dollars(children: Sequence[Child]) -> int:
    return (Fraction(planned_usd(children)) + Fraction(1, 2)).__floor__()


def confirms(text: str, children: Sequence[Child]) -> bool:
    """Whether a text is the confirmation, in one of its two forms."""
    return " ".join(text.split()) in (confirmation(children), typed(children))


def find_refused(
    given_hash: str,
    given_confirmation: str,
    doc: str,
    stored_hash: str,
    children: Sequence[Child],
    trading: TradingSettings,
    system: SystemFacts,
    *,
    preview_ms: int,
    valid_for: int,
) -> Refused | None:
    """Return why an approval is refused; None: the plan may be executed.

    Args:
        given_hash: With the approval.
        given_confirmation: With the approval.
        doc: The stored document: its hash is computed again.
        stored_hash: Of the stored preview.
        children: As stored: their hash is computed again.
        trading: The settings now.
        system: The facts now.
        preview_ms: When the preview was made.
        valid_for: Of the plan, in seconds: a preview that is older cannot be approved.
    """
    if not trading.enabled:
        return Refused("trading-off", "[trading] enabled = false")
    if system.halted:
        return Refused("halted", system.halted)
    if (age := system.now_ms - preview_ms) > valid_for * 1000:
        return Refused("stale-preview", f"the preview is {age // 1000} s old, at most {valid_for} s")
    computed = preview_hash(doc_hash(doc), children)
    if computed != stored_hash:
        return Refused("hash", "the stored orders are not those of the preview")
    if given_hash != computed:
        return Refused("hash", "the approval is that of another preview")
    if not confirms(given_confirmation, children):
        return Refused("confirmation", f'expected "{confirmation(children)}" or "{typed(children)}"')
    if not ready_accounts(children):
        return Refused("nothing", "no account has an order")
    limit, total = trading.limits.day_usd, system.day_usd + planned_usd(children)
    if limit is not None and total > limit:
        return Refused("limit-day", f"{plain(total)} USD with what was approved today, max_day_usd is {plain(limit)}")
    return None
