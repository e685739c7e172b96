"""Which accounts a plan concerns, and in which order."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from okxsync.config.validate import did_you_mean
from okxsync.plans.document import Plan, PlanError

_GROUP = "group:"


def select(
    plan: Plan, plan_id: str, groups: Mapping[str, frozenset[str]], equity: Mapping[str, Decimal | None]
) -> tuple[str, ...]:
    """Return the names of the plan's accounts, in its order.

    Args:
        plan: The plan.
        plan_id: Decides a random order, which is the same in each process.
        groups: Of each configured account.
        equity: For an order by equity: the largest first, accounts of unknown equity last.

    Raises:
        PlanError: a name or a group does not exist, or no account is left.
    """
    wanted = plan.accounts
    named = [("include", name) for name in wanted.include] + [("exclude", name) for name in wanted.exclude]
    problems = [f"[accounts] {key}: unknown {what}" for key, name in named for what in _unknown(name, groups)]
    others = [("[accounts] weights", name) for name in wanted.weights]
    for number, leg in enumerate(plan.legs, 1):
        others += [(f"leg {number}, size table", name) for name in leg.size.sizes]
        others += [(f"leg {number}, only", name) for name in leg.only]
        others += [(f"leg {number}, size value", leg.size.leader)] if leg.size.leader else []
    problems += [f"{place}: unknown {what}" for place, name in others for what in _unknown_account(name, groups)]
    if problems:
        raise PlanError(*problems)
    chosen = _expand(wanted.include, groups) - _expand(wanted.exclude, groups)
    if not chosen:
        raise PlanError("[accounts] include: no account is left")
    match wanted.order:
        case "name":
            return tuple(sorted(chosen))
        case "equity":
            return tuple(sorted(chosen, key=lambda name: (-(equity.get(name) or Decimal(0)), name)))
        case "random":
            return tuple(sorted(chosen, key=lambda name: hashlib.sha256(f"{plan_id} {name}".encode()).digest()))


def _expand(names: Sequence[str], groups: Mapping[str, frozenset[str]]) -> set[str]:
    found: set[str] = set()
    for name in names:
        if name == "all":
            found |= set(groups)
        elif name.startswith(_GROUP):
            found |= {account for account, of in groups.items() if name.removeprefix(_GROUP) in of}
        else:
            found.add(name)
    return found


def _unknown(name: str, groups: Mapping[str, frozenset[str]]) -> Iterator[str]:
    if name.startswith(_GROUP):
        known = frozenset[str]().union(*groups.values())
        if (group := name.removeprefix(_GROUP)) not in known:
            yield f'group "{group}"{did_you_mean(group, sorted(known))}'
    elif name != "all":
        yield from _unknown_account(name, groups)


def _unknown_account(name: str, groups: Mapping[str, frozenset[str]]) -> Iterator[str]:
    if name not in groups:
        yield f'account "{name}"{did_you_mean(name, sorted(groups))}'
