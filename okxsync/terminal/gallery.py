"""Answers the page's requests for pictures: reads what one needs at one moment of the database, and makes it.

``GET /picture/KIND?...`` with the header ``X-Okxsync-Key``; times are integers, microseconds UTC by the database's
clock. Every answer has ``now``, the moment that it shows.

    coverage    from, until, width        {"accounts": [[account, lanes, covered, wanted, open since]], also those
                                          without a channel,
                                          "states": [...]}; a lane is [channel, runs, covered, wanted], and runs are
                                          first pixel, state, first pixel, state, ... (see ``pictures``). The worst
                                          account is the first
    gaps        from, until, account      {"cols", "rows", "more"}: the newest gaps that touch the window, 1,000 at
                [, channel]               most; ``id`` is null for one that is not stored yet
    market      from, until, width, inst  {"step", "candles": [[at, o, h, l, c, ticks]], "since", "fills": [[at,
                                          account, side, px, sz, source]], "more", "holes": [[from, until, state]]}:
                                          ``since`` is the first minute that is known, holes are of the mark price
    equity      from, until, width        {"step", "points": [[at, known, accounts, held, missing]], "breaks": [at],
                [, acct]                  "since", "never", "transfers": [[at, account, amount, ccy]]}: see
                                          ``pictures.Point``. Between a point and a later one there is a break if
                                          no account was known in some minute of that time; never is the number of
                                          accounts without any equity
    fills       from, until, skip         {"cols", "rows", "more"}: the newest fills of a time, 500 at most, after those
                [, acct] [, inst]         that are skipped; the columns are those of the topic ``fills``
    account     account                   see ``details``; likewise ``order`` and ``plan_order``
    accounts    day, width                {"cols", "rows"}: for each account its equity at the begin of the day, net
                                          transfers since then in USD, and its coverage in the last 24 hours

An error is {"error": "..."} with the status 400 or 503.
"""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice, pairwise
from typing import Any, Final

import msgspec

from okxsync.config.location import Location
from okxsync.messages import MARKET
from okxsync.mirror.past import Channel, PastGap, Transfer
from okxsync.mirror.reader import Mirror
from okxsync.runtime.clock import now_us
from okxsync.terminal import details, pictures, topics
from okxsync.terminal.exact import number, product, total
from okxsync.terminal.parameters import DAY, HOUR, MINUTE, SECOND, BadRequest, Moment, Parameters
from okxsync.terminal.pictures import Window

GAPS: Final = 1000
FILLS: Final = 5000
FILLS_AT_ONCE: Final = 500
OLDER_FILLS: Final = 100_000
FILLS_READ: Final = 500_000
"""Some seconds of reading; a filter that finds nothing among so many finds nothing."""
TRANSFERS: Final = 1000
POINT_PIXELS: Final = 4
"""Pixels for each point of the equity: each costs a read of all accounts."""
LATE: Final = 15 * SECOND
"""After so long the last push of a minute is stored; OKX pushes equity every few seconds."""
DAY_BEGINS_WITHIN: Final = 15 * MINUTE
"""Equity at the begin of a day is the last that was known so shortly before."""
STEPS: Final = tuple(n * MINUTE for n in (1, 2, 5, 15, 30, 60, 120, 240, 720, 1440, 2880, 10080))


_Make = Callable[[Moment, Parameters], Callable[[], dict[str, Any]]]
"""Reads, and returns what makes the picture of it when no transaction is open any more."""


def draw(location: Location, kind: str, given: Mapping[str, str], clock: Callable[[], int] = now_us) -> bytes:
    """Return the answer to a request, as JSON.

    Raises:
        BadRequest: what is asked for is no picture.
        StoreError: the database cannot be read.
    """
    if (make := PICTURES.get(kind)) is None:
        raise BadRequest("no such picture")
    with Mirror(location) as mirror, mirror.snapshot():
        now = clock() + mirror.screen().clock_ahead_us()
        finish = make(Moment(mirror, now), Parameters(given))
    return msgspec.json.encode({"now": now, **finish()})


def _coverage(moment: Moment, given: Parameters) -> Callable[[], dict[str, Any]]:
    window = given.window(moment.now)
    channels, gaps = moment.past.channels(), moment.past.gap_spans(window.begin, window.end)
    not_stored = moment.not_stored()
    names = [one.name for one in moment.screen.accounts()]

    def finish() -> dict[str, Any]:
        lanes = dict.fromkeys(names, ()) | pictures.coverage(channels, gaps, not_stored, window)
        rows = []
        for account in pictures.worst_first(lanes):
            of_account = lanes[account]
            rows.append(
                [
                    account,
                    [[one.channel, one.runs, one.covered, one.wanted] for one in of_account],
                    sum(one.covered for one in of_account),
                    sum(one.wanted for one in of_account),
                    min((one.open_since for one in of_account if one.open_since is not None), default=None),
                ]
            )
        return {"states": pictures.STATES, "accounts": rows}

    return finish


def _gaps(moment: Moment, given: Parameters) -> Callable[[], dict[str, Any]]:
    window = given.window(moment.now)
    account = given.name("account")
    channel = given.name("channel", "*")
    found = moment.past.gaps(window.begin, window.end, account)
    not_stored = moment.not_stored()
    for one in moment.past.channels():
        if one.account == account and one.covered_until < window.end and (why := pictures.why_open(one, not_stored)):
            found.append(PastGap(None, account, one.channel, one.covered_until, None, why))
    chosen = [gap for gap in found if channel in ("*", gap.channel)]
    chosen.sort(key=lambda gap: gap.from_at, reverse=True)
    return lambda: {"cols": PastGap._fields, "rows": chosen[:GAPS], "more": len(chosen) > GAPS}


def _market(moment: Moment, given: Parameters) -> Callable[[], dict[str, Any]]:
    window = given.window(moment.now)
    inst_id = given.name("inst")
    past = moment.past
    step = step_for(window, 4)
    minutes = past.candles(inst_id, window.begin // step * step, window.end)
    since = past.candles_since(inst_id)
    fills = past.fills(inst_id, window.begin, window.end, FILLS + 1)
    channels = [one for one in past.channels() if one.account == MARKET and _is_mark_of(one, inst_id)]
    gaps = past.gaps(window.begin, window.end, MARKET)
    not_stored = moment.not_stored()

    def finish() -> dict[str, Any]:
        holes = []
        for one in channels:
            own: list[pictures.Gap] = [
                (gap.from_at, gap.to_at, gap.outcome) for gap in gaps if gap.channel == one.channel
            ]
            if pictures.why_open(one, not_stored):
                own.append((one.covered_until, None, None))
            holes += [
                [begin, end, pictures.STATES[state]]
                for begin, end, state in pictures.segments(one, own, window)
                if state in (pictures.FILLED, pictures.PARTIAL, pictures.OPEN)
            ]
        return {
            "step": step,
            "candles": pictures.candles(minutes, step),
            "since": since,
            "fills": fills[:FILLS],
            "more": len(fills) > FILLS,
            "holes": holes,
        }

    return finish


def _is_mark_of(channel: Channel, inst_id: str) -> bool:
    name, _, argument = channel.channel.partition(":")
    return name == "mark-price" and argument == f"instId={inst_id}"


def _equity(moment: Moment, given: Parameters) -> Callable[[], dict[str, Any]]:
    window = given.window(moment.now)
    pattern = given.name("acct", "*")
    past = moment.past
    step = max(step_for(window, POINT_PIXELS), _kept(moment.now - window.begin))
    is_over = (moment.now - LATE) // MINUTE * MINUTE  # until then an account may still be missing
    minutes = list(past.minutes(window.begin, min(window.end, is_over)))
    sampled = list({at // step: at for at in minutes}.values())  # the last minute of each step
    rows = [(at, past.equity_at(at)) for at in sampled]
    current = past.last_equity()
    since = past.equity_since()
    transfers = past.transfers(window.begin, window.end)
    accounts = frozenset(one.name for one in moment.screen.accounts() if matches(one.name, pattern))

    def finish() -> dict[str, Any]:
        first = sampled[0] if sampled else window.end
        last = {name: value for name, at, value in current if at < first}
        return {
            "step": step,
            "points": pictures.equity(rows, accounts, last),
            "breaks": breaks(minutes, moment.now),
            "since": since,
            "transfers": [[*one[:4]] for one in transfers if one.account in accounts][-TRANSFERS:],
            "never": len(accounts - {name for name, _, _ in current}),
        }

    return finish


def matches(name: str, patterns: str) -> bool:
    """Whether a name is one of those that a filter of the page chooses, such as ``desk0*,desk12``."""
    literal = patterns.casefold().replace("[", "[[]").replace("?", "[?]")
    return any(fnmatchcase(name.casefold(), pattern) for pattern in literal.split(","))


def breaks(minutes: Sequence[int], now: int) -> list[int]:
    """Return the minutes after which there is one without a known account, as far as equity of that age is kept."""
    return [at for at, later in pairwise(minutes) if later // (kept := _kept(now - at)) - at // kept > 1]


def _kept(age: int) -> int:
    """Return in which steps equity of an age is kept; thinning takes a while, so the longer step is possible before."""
    return MINUTE if age < 2 * DAY else 15 * MINUTE if age < 60 * DAY else HOUR


def step_for(window: Window, pixels: int) -> int:
    """Return the shortest usual time that is so many pixels wide, or the longest one."""
    least = (window.end - window.begin) * pixels / window.width
    return next((step for step in STEPS if step >= least), STEPS[-1])


def _fills(moment: Moment, given: Parameters) -> Callable[[], dict[str, Any]]:
    window = given.window(moment.now)
    skip = given.integer("skip", 0, OLDER_FILLS)
    accounts, instruments = given.name("acct", "*"), given.name("inst", "*")
    columns = topics.FILLS.columns
    at_account, at_instrument = columns.index("account"), columns.index("inst_id")
    ours = {one.name for one in moment.screen.accounts() if matches(one.name, accounts)}
    found = (
        row
        for row in islice(moment.screen.fills_between(columns, window.begin, window.end), FILLS_READ)
        if row[at_account] in ours and matches(row[at_instrument], instruments)
    )
    rows = list(islice(found, skip, skip + FILLS_AT_ONCE + 1))
    named = [[fill_name(row), *row[1:]] for row in rows[:FILLS_AT_ONCE]]
    return lambda: {"cols": columns, "rows": named, "more": len(rows) > FILLS_AT_ONCE}


def fill_name(row: Sequence[Any]) -> str:
    """Return what names a fill that has no number: it is none of the newest."""
    fill = topics.FILLS.record(row)
    return "/".join(str(fill[name]) for name in ("account", "inst_id", "ord_id", "trade_id"))


def _accounts(moment: Moment, given: Parameters) -> Callable[[], dict[str, Any]]:
    day = given.integer("day", 0, 2**62)
    window = Window(moment.now - DAY, moment.now, given.integer("width", 1, 100), moment.now)
    past = moment.past
    began = {name: value for name, _, value in past.equity_between(day - DAY_BEGINS_WITHIN, day)}
    transfers = past.transfers(day, moment.now + MINUTE)  # the exchange's clock may be ahead
    channels, gaps = past.channels(), past.gap_spans(window.begin, window.end)
    not_stored = moment.not_stored()

    def finish() -> dict[str, Any]:
        moved: dict[str, list[Transfer]] = {}
        for one in transfers:
            moved.setdefault(one.account, []).append(one)
        rows = []
        for account, lanes in pictures.coverage(channels, gaps, not_stored, window).items():
            covered, wanted = (sum(getattr(one, name) for one in lanes) for name in ("covered", "wanted"))
            runs = pictures.combined(lanes, window.width)
            rows.append([account, began.get(account), net(moved.get(account, ())), runs, covered, wanted])
        return {"cols": ["account", "began", "transfers", "runs", "covered", "wanted"], "rows": rows}

    return finish


def net(transfers: Sequence[Transfer]) -> str | None:
    """Return the exact sum in USD; None if an amount or a price is not known."""
    parts = [product(one.amount, one.usd) if number(one.amount) else one.amount for one in transfers]
    known = [part for part in parts if part is not None]
    return total(known) if len(known) == len(parts) else None


PICTURES: Final[Mapping[str, _Make]] = {
    "coverage": _coverage,
    "gaps": _gaps,
    "market": _market,
    "equity": _equity,
    "accounts": _accounts,
    "fills": _fills,
    "account": details.account,
    "order": details.order,
    "plan_order": details.plan_order,
}
