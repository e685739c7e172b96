"""Read a plan from its TOML text. Each mistake is one line: where it is, and what is expected.

The structure is checked first (``plan_structure.py``), then each value, then the combinations (``combinations.py``).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeVar, get_args

import msgspec

from okxsync.config.trading import INSTRUMENT_ID
from okxsync.config.units import duration_s, number, percent
from okxsync.config.validate import Keys, did_you_mean
from okxsync.plans.combinations import impossible, is_portfolio, resting_before_a_phase
from okxsync.plans.document import (
    AUTO,
    DEFAULT_VALID_S,
    MAX_ROUNDS,
    RULES_OF_KEY,
    SHARES,
    SIGNED,
    Accounts,
    Failure,
    Leg,
    Leverage,
    Plan,
    PlanError,
    PlanLimits,
    Protect,
    Size,
    inst_type_of,
)
from okxsync.plans.plan_structure import (
    AccountsTable,
    FailureTable,
    File,
    LegTable,
    LeverageTable,
    LimitsTable,
    ProtectTable,
    SizeTable,
    one_line,
    parse,
    place_of,
)
from okxsync.plans.prices import Price, parse_offset, parse_price
from okxsync.plans.size_files import read_sizes

MAX_LEGS: Final = 100
MAX_PHASE: Final = 9
MAX_TITLE: Final = 200
VALID_S: Final = (5, 86_400)
DEAD_MAN_S: Final = (10, 120)
"""What OKX accepts as ``timeOut`` of cancel-all-after."""
DEFAULT_CAP: Final = Decimal("0.003")
"""Of an ``ioc`` order without a price: above the mark price for a buy, below it for a sell."""


ReadFile: TypeAlias = Callable[[str], str]
"""Returns the text of a file that the plan names. Raises OSError, and ValueError if it is not text."""


def read(text: str, assignments: Sequence[str] = (), read_file: ReadFile | None = None) -> Plan:
    """Return the plan.

    Args:
        text: TOML.
        assignments: ``KEY=VALUE`` that replace values of the text; a key of a leg applies to all legs:
            ``size.value=3%``.
        read_file: Reads the sizes of ``csv``; None: the plan must not name a file.

    Raises:
        PlanError: the text is not a valid plan.
    """
    reading = _Reading(read_file)
    plan = reading.plan(parse(text, assignments))
    if plan is None or reading.problems:
        raise PlanError(*reading.problems)
    return plan


_T = TypeVar("_T")


class _Reading:
    """Collects the mistakes of one document; a value with a mistake is its default."""

    def __init__(self, read_file: ReadFile | None) -> None:
        self.problems: list[str] = []
        self._read_file = read_file

    def problem(self, keys: Keys, what: str) -> None:
        self.problems.append(f"{place_of(keys)}{one_line(what)}")

    def value(self, keys: Keys, function: Callable[[Any], _T], given: object, default: _T) -> _T:
        if given is None:
            return default
        try:
            return function(given)
        except ValueError as error:
            self.problem(keys, str(error))
            return default

    def above_0(self, keys: Keys, function: Callable[[Any], Decimal], given: object) -> Decimal | None:
        found: Decimal | None = self.value(keys, function, given, None)
        if found is not None and found <= 0:
            self.problem(keys, "must be above 0")
        return found

    def choice(self, keys: Keys, given: str | None, type_: Any, field: str) -> Any:
        """Return a value that the field of a struct may have; the default of the field if none is given."""
        found = next(one for one in msgspec.structs.fields(type_) if one.name == field)
        default = None if found.required else found.default
        if given is None:
            return default
        choices = _texts(found.type)
        if given not in choices:
            names = ", ".join(one for one in choices if one)
            self.problem(keys, f'expected one of {names}, got "{given}"{did_you_mean(given, choices)}')
            return default
        return given

    def seconds(self, keys: Keys, given: str | None, low: int, high: int) -> int | None:
        found: int | None = self.value(keys, duration_s, given, None)
        if found is not None and not low <= found <= high:
            self.problem(keys, f"must be between {low}s and {high}s")
        return found

    def plan(self, file: File) -> Plan | None:
        if not file.title or len(file.title) > MAX_TITLE or not file.title.isprintable():
            self.problem(("title",), f"expected 1 to {MAX_TITLE} printable characters")
        if not 1 <= len(file.legs) <= MAX_LEGS:
            self.problem(("legs",), f"expected 1 to {MAX_LEGS} tables [[legs]]")
        valid_for = self.seconds(("valid_for",), file.valid_for, *VALID_S)
        dead_man = self.seconds(("dead_man",), file.dead_man, *DEAD_MAN_S)
        if not 1 <= file.rounds <= MAX_ROUNDS:
            self.problem(("rounds",), f"must be between 1 and {MAX_ROUNDS}")
        cash = self.above_0(("cash",), percent, file.cash)
        if cash is not None and cash >= 1:
            self.problem(("cash",), "must be below 100%")
        legs = tuple(self.leg(("legs", index), leg) for index, leg in enumerate(file.legs))
        accounts = self.accounts(file.accounts)
        limits = self.limits(file.limits)
        failure = self.failure(file.failure)
        if self.problems:
            return None
        found = tuple(leg for leg in legs if leg)
        for index, leg in enumerate(found):
            self.check_leg(("legs", index), leg)
            if leg.size.rule == "split_weights" and not accounts.weights:
                self.problem(("legs", index, "size", "rule"), '"split_weights" needs [accounts.weights]')
        if cash is not None and not any(is_portfolio(leg) for leg in found):
            self.problem(("cash",), 'needs a spot leg with the rule "target_equity"')
        for index, what in resting_before_a_phase(found, file.rounds):
            self.problem(("legs", index, "type"), what)
        return Plan(
            title=file.title,
            valid_for=valid_for or DEFAULT_VALID_S,
            dead_man=dead_man,
            rounds=file.rounds,
            cash=cash,
            legs=found,
            accounts=accounts,
            limits=limits,
            failure=failure,
        )

    def accounts(self, table: AccountsTable) -> Accounts:
        if not table.include:
            self.problem(("accounts", "include"), 'names no account; use names, "group:NAME" or "all"')
        for key, names in (("include", table.include), ("exclude", table.exclude)):
            for name, times in Counter(names).items():
                if times > 1:
                    self.problem(("accounts", key), f'"{name}" is listed {times} times')
        weights = {}
        for name, given in table.weights.items():
            weight = self.above_0(("accounts", "weights", name), number, given)
            weights[name] = weight or Decimal(1)
        order = self.choice(("accounts", "order"), table.order, Accounts, "order")
        return Accounts(tuple(table.include), tuple(table.exclude), order, weights)

    def limits(self, table: LimitsTable) -> PlanLimits:
        default = PlanLimits()
        keys = ("limits", "max_drift_price"), ("limits", "max_drift_equity")
        return PlanLimits(
            self.above_0(("limits", "max_order_usd"), number, table.max_order_usd),
            self.above_0(("limits", "max_total_usd"), number, table.max_total_usd),
            self.above_0(keys[0], percent, table.max_drift_price) or default.max_drift_price,
            self.above_0(keys[1], percent, table.max_drift_equity) or default.max_drift_equity,
        )

    def failure(self, table: FailureTable) -> Failure:
        if table.canary < 0:
            self.problem(("failure", "canary"), "must be 0 or above")
        stop_at = self.above_0(("failure", "stop_at"), percent, table.stop_at)
        if stop_at is not None and stop_at > 1:
            self.problem(("failure", "stop_at"), "must be at most 100%")
        chosen = [
            self.choice(("failure", key), getattr(table, key), Failure, key)
            for key in ("on_reject", "on_unknown", "on_restart")
        ]
        return Failure(table.canary, chosen[0], stop_at, *chosen[1:])

    def leg(self, keys: Keys, table: LegTable) -> Leg | None:
        before = len(self.problems)
        if not INSTRUMENT_ID.fullmatch(table.instrument) or not (kind := inst_type_of(table.instrument)):
            self.problem(
                (*keys, "instrument"), f'"{table.instrument}" is not the id of a spot pair, a swap or a future'
            )
        elif kind == "OPTION":
            market = "OKX has no market orders for options, and " if table.type == "market" else ""
            self.problem((*keys, "instrument"), f"{market}plans do not trade options")
        if table.phase is not None and not 1 <= table.phase <= MAX_PHASE:
            self.problem((*keys, "phase"), f"must be between 1 and {MAX_PHASE}")
        size = self.size((*keys, "size"), table.size)
        side = table.side if table.side or size is None or size.rule not in AUTO else "auto"
        if side is None:
            self.problem((*keys, "side"), "is missing; use buy or sell")
        chosen = {
            key: self.choice((*keys, key), given, Leg, key)
            for key, given in (
                ("side", side),
                ("pos_side", table.pos_side),
                ("intent", table.intent),
                ("margin", table.margin),
                ("type", table.type),
            )
        }
        price = self.value((*keys, "price"), parse_price, table.price, None)
        if chosen["type"] == "ioc" and table.price is None:
            price = Price("mark", -DEFAULT_CAP if chosen["side"] == "sell" else DEFAULT_CAP, True)
        protect = self.protect((*keys, "protect"), table.protect)
        leverage = self.leverage((*keys, "leverage"), table.leverage)
        cancel_after = self.seconds((*keys, "cancel_after"), table.cancel_after, 1, VALID_S[1])
        if size is None or len(self.problems) > before:
            return None
        return Leg(
            **chosen,
            instrument=table.instrument,
            only=tuple(table.only),
            price=price,
            phase=table.phase,
            shrink=table.shrink,
            cancel_after=cancel_after,
            size=size,
            protect=protect,
            leverage=leverage,
        )

    def protect(self, keys: Keys, table: ProtectTable | None) -> Protect | None:
        if table is None:
            return None
        if table.take_profit is None and table.stop_loss is None:
            self.problem(keys, "expected take_profit or stop_loss")
        return Protect(
            self.value((*keys, "take_profit"), parse_offset, table.take_profit, None),
            self.value((*keys, "stop_loss"), parse_offset, table.stop_loss, None),
            self.choice((*keys, "trigger"), table.trigger, Protect, "trigger"),
        )

    def leverage(self, keys: Keys, table: LeverageTable | None) -> Leverage | None:
        if table is None:
            return None
        if (table.require is None) is (table.set is None):
            self.problem(keys, "expected exactly one of require and set")
            return None
        given = table.set if table.require is None else table.require
        value = self.above_0((*keys, "require" if table.set is None else "set"), number, given)
        return None if value is None else Leverage(value, table.set is not None)

    def size(self, keys: Keys, table: SizeTable) -> Size | None:
        if (rule := self.choice((*keys, "rule"), table.rule, Size, "rule")) is None:
            return None
        value: Decimal | None = None
        leader = ""
        if rule in ("close", "table"):
            if table.value is not None:
                self.problem((*keys, "value"), f'the rule "{rule}" has no value')
        elif table.value is None:
            self.problem((*keys, "value"), f'is missing; the rule "{rule}" needs {_VALUES.get(rule, "a number")}')
        elif rule == "follow":
            leader = str(table.value)
        else:
            value = self.value((*keys, "value"), percent if rule in SHARES else number, table.value, None)
            if value is not None and value <= 0 and rule not in SIGNED:
                self.problem((*keys, "value"), "must be above 0")
            if value is not None and rule == "change" and (value == 0 or value < -1):
                self.problem((*keys, "value"), "must be at least -100%, and not 0%")
        if (rule == "table") is not bool(table.table or table.csv) or (table.table and table.csv):
            self.problem((*keys, "table"), 'belongs to the rule "table", which needs it, or csv')
        sizes = self.sizes_of((*keys, "csv"), table.csv) if table.csv else {}
        for name, given in (table.table or {}).items():
            sizes[name] = self.value((*keys, "table", name), number, given, Decimal(0))
            if sizes[name] < 0:
                self.problem((*keys, "table", name), "must be 0 or above")
        for key, rules in RULES_OF_KEY.items():
            if getattr(table, key) is not None and rule not in rules:
                self.problem((*keys, key), f'does not belong to the rule "{rule}"')
        return Size(
            rule=rule,
            value=value,
            leader=leader,
            sizes=sizes,
            reassign=bool(table.reassign),
            band=self.above_0((*keys, "band"), percent, table.band),
            min_trade_usd=self.above_0((*keys, "min_trade_usd"), number, table.min_trade_usd),
            **{
                key: self.choice((*keys, key), getattr(table, key), Size, key)
                for key in ("unit", "basis", "below_min", "remainder")
            },
        )

    def sizes_of(self, keys: Keys, name: str) -> dict[str, Decimal]:
        """Return the sizes of a CSV file."""
        if self._read_file is None:
            self.problem(keys, "a file is read by `okxsync plan preview` alone; give the sizes in table")
            return {}
        try:
            return read_sizes(self._read_file(name))
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            self.problem(keys, f"{name}: {what}")
            return {}

    def check_leg(self, keys: Keys, leg: Leg) -> None:
        """Report combinations that are impossible."""
        for key, what in impossible(leg):
            self.problem((*keys, *key.split(".")), what)


_VALUES: Final = dict.fromkeys(SHARES, 'a percentage, for instance "2%"') | {"follow": "the name of an account"}


def _texts(type_: Any) -> list[str]:
    """Return the texts of a Literal, or of a union of some."""
    return [text for one in get_args(type_) for text in ([one] if isinstance(one, str) else _texts(one))]
