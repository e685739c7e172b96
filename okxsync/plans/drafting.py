"""The orders of each account for each leg of a plan, with all checks of one order alone."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from okxsync.config.trading import TradingSettings
from okxsync.plans.checks import Finding
from okxsync.plans.combinations import scale_of
from okxsync.plans.document import SPLITS, Leg, Plan
from okxsync.plans.drafts import Draft, Ground
from okxsync.plans.facts import AccountFacts, SystemFacts
from okxsync.plans.grounds import ground_of, holding_of, money_of
from okxsync.plans.reasons import Reason
from okxsync.plans.size_checks import SizeChecks
from okxsync.plans.sizing import (
    Holding,
    Piece,
    Refusal,
    Situation,
    notional,
    pieces,
    size_of_money,
    split_lots,
)

_Spot = tuple[str, str, str]
"""Account, instrument and tdMode: where a position is."""


class Drafting:
    """Makes the drafts of one plan; positions and used funds of an account go from leg to leg."""

    def __init__(
        self,
        plan: Plan,
        accounts: Sequence[AccountFacts],
        known: Mapping[str, AccountFacts],
        trading: TradingSettings,
        system: SystemFacts,
    ) -> None:
        self.plan = plan
        self.accounts = accounts
        self.drafts: list[Draft] = []
        self._known = known
        self._trading = trading
        self._system = system
        self._holdings: dict[_Spot, Holding] = {}
        self._size_checks = SizeChecks(plan, trading)

    def add_leg(self, number: int, leg: Leg) -> None:
        """Add the drafts of all accounts that a leg concerns."""
        accounts = [account for account in self.accounts if not leg.only or account.name in leg.only]
        grounds = {
            account.name: ground_of(self.plan, leg, account, self._trading, self._system) for account in accounts
        }
        shares: Mapping[str, tuple[int, Fraction]] = {}
        if leg.size.rule in SPLITS:
            shares = self._shares(leg, accounts, grounds)
        for account in accounts:
            ground = grounds[account.name]
            if isinstance(ground, Finding):
                self._skip(number, leg, account, ground)
            else:
                self._add(number, leg, account, ground, shares.get(account.name))

    def _skip(self, number: int, leg: Leg, account: AccountFacts, finding: Finding) -> None:
        side = None if leg.side == "auto" else leg.side
        reduces = leg.intent == "reduce" or leg.size.rule == "close"
        phase = leg.phases[0] if reduces else max(leg.used_phases)
        draft = Draft(account, number, leg, phase, side=side, reduces=reduces, finding=finding)
        self.drafts.append(draft)

    def add_idle(self) -> None:
        """Add a reason for each account that no leg concerns."""
        busy = {draft.account.name for draft in self.drafts}
        finding = Finding(Reason.NOTHING_TO_DO, "no leg concerns the account")
        for account in self.accounts:
            if account.name not in busy:
                self._skip(1, self.plan.legs[0], account, finding)

    def _shares(
        self, leg: Leg, accounts: Sequence[AccountFacts], grounds: Mapping[str, Ground | Finding]
    ) -> dict[str, tuple[int, Fraction]]:
        """Return the lots of each account, rounded and exact.

        The share of a skipped account is kept for it and not traded, or given to the others if the leg says so. Then
        an account whose share is below the smallest order gives it up too, the smallest share first.
        """
        ready = {name: ground for name, ground in grounds.items() if isinstance(ground, Ground)}
        if not ready:
            return {}
        sharing = [one for one in accounts if one.name in ready or not leg.size.reassign]
        while True:
            lots = self._lots(leg, sharing, ready)
            small = [one for one in sharing if one.name in ready and _is_below(lots[one.name][0], ready[one.name])]
            if not leg.size.reassign or not small or leg.size.below_min == "min" or len(sharing) == 1:
                return lots
            least = min(lots[one.name][1] for one in small)
            dropped = max(one.name for one in small if lots[one.name][1] == least)
            sharing = [one for one in sharing if one.name != dropped]

    def _lots(
        self, leg: Leg, sharing: Sequence[AccountFacts], ready: Mapping[str, Ground]
    ) -> dict[str, tuple[int, Fraction]]:
        assert leg.size.value is not None
        weights = {one.name: self._weight(leg, one) for one in sharing}
        total = sum(weights.values(), Fraction(0))
        some = next(iter(ready.values()))
        exact = {}
        for one in sharing:
            ground = ready.get(one.name, some)
            money = Fraction(leg.size.value) * weights[one.name] / total if total else Fraction(0)
            size = size_of_money(ground.instrument, money, Fraction(ground.reference))
            exact[one.name] = size / Fraction(ground.instrument.lot)
        whole = split_lots(exact, leg.size.remainder, [one.name for one in sharing])
        return {name: (whole[name], share) for name, share in exact.items()}

    def _weight(self, leg: Leg, account: AccountFacts) -> Fraction:
        match leg.size.rule:
            case "split_equity":
                return max(Fraction(account.equity or 0), Fraction(0))
            case "split_weights":
                return Fraction(self.plan.accounts.weights.get(account.name, Decimal(0)))
        return Fraction(1)

    def _leader(self, leg: Leg) -> Fraction | None:
        """Return the position of the followed account per USD of its equity."""
        leader = self._known.get(leg.size.leader)
        if not leader or not leader.equity or leader.equity <= 0 or leader.unmirrored:
            return None
        instrument = (leader.instruments or {}).get(leg.instrument)
        if instrument is None:
            return None
        held = sum((holding_of(leader, instrument, margin).net for margin in _margins(instrument.kind)), Fraction(0))
        return held / Fraction(leader.equity)

    def _add(
        self, number: int, leg: Leg, account: AccountFacts, ground: Ground, share: tuple[int, Fraction] | None
    ) -> None:
        spot = account.name, leg.instrument, ground.td_mode
        if spot not in self._holdings:
            self._holdings[spot] = holding_of(account, ground.instrument, ground.td_mode)
        settle, free = money_of(account, ground)
        situation = Situation(
            account=account.name,
            instrument=ground.instrument,
            reference=Fraction(ground.reference),
            usd=ground.usd,
            equity=None if account.equity is None else Fraction(account.equity),
            settle=settle,
            free=free,
            lever=None if ground.lever is None else Fraction(ground.lever),
            holding=self._holdings[spot],
            lots=share[0] if share else 0,
            exact_lots=share[1] if share else Fraction(0) if leg.size.rule in SPLITS else None,
            leader=self._leader(leg) if leg.size.rule == "follow" else None,
            scale=scale_of(self.plan, leg, account.name),
        )
        try:
            found = pieces(leg, situation)
        except Refusal as refusal:
            self._skip(number, leg, account, Finding(refusal.reason, refusal.detail))
            return
        for piece in found:
            self._add_piece(number, leg, account, ground, piece, spot)

    def _add_piece(
        self, number: int, leg: Leg, account: AccountFacts, ground: Ground, piece: Piece, spot: _Spot
    ) -> None:
        before = self._holdings[spot]
        draft = Draft(
            account,
            number,
            leg,
            leg.phases[0] if piece.reduces else leg.phases[1],
            ground,
            piece.side,
            piece.reduces,
            piece.size,
            remainder=piece.remainder,
            before=before,
            after=before,
        )
        self.drafts.append(draft)
        if piece.reason:
            draft.finding = Finding(piece.reason, piece.detail)
            return
        draft.notional = notional(ground.instrument, piece.size, ground.reference)
        draft.finding = self._size_checks.find(draft, ground)
        if not draft.finding:
            draft.after = before.after(
                piece.side, Fraction(piece.size), reduces=piece.reduces, long_short=ground.long_short
            )
            self._holdings[spot] = draft.after


def _margins(kind: str) -> tuple[str, ...]:
    return ("cash",) if kind == "spot" else ("cross", "isolated")


def _is_below(lots: int, ground: Ground) -> bool:
    return ground.instrument.lot * lots < ground.instrument.smallest
