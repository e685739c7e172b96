"""From OKX's JSON to the values of a row, whatever the exchange sends.

The fast path is one typed decode. It rejects a row with an unknown field or an unexpected type. Such a row is decoded
again leniently: what can be read is kept exactly, what cannot is NULL, and each anomaly is reported, so that it can be
journalled once and counted. An unknown field then joins the fast path, which reports it in each row that has it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import msgspec
from msgspec.structs import astuple, fields

from okxsync import events
from okxsync.events import Event
from okxsync.okx import models
from okxsync.okx.compare import number as number
from okxsync.okx.compare import read_number as read_number

Value: TypeAlias = str | int | None
OnAnomaly: TypeAlias = Callable[[Event, str], None]
"""Called with the kind of an anomaly and what it is about."""
R = TypeVar("R", bound=msgspec.Struct)

MOMENT_DIGITS: Final = 15
"""Milliseconds UTC have 13 digits until the year 2286; more than 15 digits are not a time."""


def column_of(field: str) -> str:
    """Return the column of a struct's field: its name without the underscore of ``from_`` and the like."""
    return field.rstrip("_")


def milliseconds(text: str) -> int:
    """Return one of OKX's times in milliseconds, or 0 if it is absent or invalid."""
    return int(text) if text and is_moment(text) else 0


def is_moment(text: str) -> bool:
    return len(text) <= MOMENT_DIGITS and text.isascii() and text.isdigit()


class Record(Generic[R]):
    """Reads rows of one kind.

    Args:
        model: Its type.
        times: Columns that hold milliseconds; they are INTEGER in the database.
        known: Per column the values that OKX documents; other values are stored too, and reported as anomalies.
        synonyms: Fields that are stored in the column of another one, because REST and pushes name it differently.

    Attributes:
        columns: In the order of ``values``.
        column_of_name: By OKX's name of a field.
    """

    def __init__(
        self,
        model: type[R],
        times: Sequence[str] = (),
        known: Mapping[str, frozenset[str]] | None = None,
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        synonyms = synonyms or {}
        all_names = [field.name for field in fields(model)]
        # Rows inside a row and synonyms have no column of their own, and are the last fields.
        without = {field.name for field in fields(model) if field.type == list[models.Json]} | synonyms.keys()
        names = [name for name in all_names if name not in without]
        self.columns: Final = tuple(column_of(name) for name in names)
        columns = {name: column_of(synonyms.get(name, name)) for name in (*names, *synonyms)}
        self.column_of_name: Final = {
            field.encode_name: columns[field.name] for field in fields(model) if field.name in columns
        }
        self._synonyms = [(all_names.index(name), names.index(column)) for name, column in synonyms.items()]
        self._fields = {field.encode_name: field for field in fields(model)}
        self._width = len(names)
        self._times = [names.index(name) for name in times]
        self._known = [(names.index(name), values) for name, values in (known or {}).items()]
        self._not_text = [index for index, field in enumerate(fields(model)[: self._width]) if field.type is not str]
        self._learned: dict[str, str] = {}  # unknown fields: name -> attribute of the decoded row
        self._decode = self._decoder()

    def read(self, raw: msgspec.Raw | bytes, anomaly: OnAnomaly) -> R | None:
        """Return the row, or None if it is not a JSON object; never raises."""
        try:
            row = self._decode(raw)
        except (msgspec.DecodeError, RecursionError):
            return self._read_leniently(bytes(raw), anomaly)
        for name, attribute in self._learned.items():
            if getattr(row, attribute) is not models.NO_JSON:
                anomaly(events.UNKNOWN_FIELD, name)
        return row

    def values(self, row: R, anomaly: OnAnomaly) -> list[Value]:
        """Return the row's columns as text: nested JSON unchanged, times as digits only, ``""`` where absent."""
        values: list[Any] = list(astuple(row))
        for index, column in self._synonyms:
            values[column] = values[column] or values[index]
        del values[self._width :]
        for index in self._not_text:
            if type(value := values[index]) is not str:
                values[index] = _text(value)
        for index in self._times:
            if (time := values[index]) and not is_moment(time):
                anomaly(events.INVALID_TIME, self.columns[index])
                values[index] = ""
        for index, known in self._known:
            if (value := values[index]) and value not in known:
                anomaly(events.UNKNOWN_VALUE, f"{self.columns[index]}={value[:40]}")
        return values

    def _decoder(self) -> Callable[[msgspec.Raw | bytes], R]:
        """Return a decoder that rejects fields which neither the model nor an earlier row has."""
        learned = [
            (attribute, msgspec.Raw, msgspec.field(default=models.NO_JSON, name=name))
            for name, attribute in self._learned.items()
        ]
        strict = msgspec.defstruct(
            self.model.__name__, learned, bases=(self.model,), forbid_unknown_fields=True, rename="camel"
        )
        return cast("Callable[[msgspec.Raw | bytes], R]", msgspec.json.Decoder(strict).decode)

    def _read_leniently(self, raw: bytes, anomaly: OnAnomaly) -> R | None:
        try:
            found = _read_object(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        row = self.model()
        for name, value in found.items():
            if (field := self._fields.get(name)) is None:
                anomaly(events.UNKNOWN_FIELD, replace_lone_surrogates(name)[:60])
                self._learn(name)
            elif field.type is models.Json:
                setattr(row, field.name, value)
            elif field.type == list[models.Json]:
                setattr(row, field.name, _read_list(value))
            elif (text := _read_text(value)) is not None:
                setattr(row, field.name, text)
            elif bytes(value) != b"null":
                if field.type is str:
                    anomaly(events.UNEXPECTED_TYPE, name)
                setattr(row, field.name, bytes(value).decode(errors="replace"))  # a number as it was written
        return row

    def _learn(self, name: str) -> None:
        """Decode rows with this field fast from now on; whether they are does not change what is stored or counted."""
        if name not in self._learned and _PLAIN_NAME.fullmatch(name) and len(self._learned) < _MOST_LEARNED:
            self._learned[name] = f"learned_{len(self._learned)}"
            self._decode = self._decoder()


_NULL: Final = msgspec.Raw(b"null")
_MOST_LEARNED: Final = 100
"""An exchange that invents names without end must not make the decoder grow without end."""
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,60}")
_read_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _read_list(value: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(value, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return []


def _read_text(value: msgspec.Raw) -> str | None:
    """Return the text of a JSON string, or None if it is something else."""
    if not bytes(value).startswith(b'"'):
        return None
    return msgspec.json.decode(value, type=str)


_ESCAPED_NUL: Final = re.compile(r"\\(?:u0000|.)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL)


def strip_lone_surrogates(json: str) -> str:
    """Return JSON text without escaped lone surrogates, which UTF-8 cannot encode."""
    return _ESCAPE.sub(lambda found: found[0] if len(found[0]) == 2 else "?", json)


def replace_nul(json: str) -> str:
    """Return JSON text with the escaped character U+0000 replaced, which PostgreSQL cannot hold."""
    return _ESCAPED_NUL.sub(lambda found: found[0] if len(found[0]) == 2 else "\\ufffd", json)


def replace_lone_surrogates(text: str) -> str:
    """Return ``text`` with lone surrogates replaced: neither UTF-8 nor SQLite can hold them."""
    return text.encode("utf-8", "replace").decode()


def _text(value: msgspec.Raw | bool | int | None) -> str:
    if isinstance(value, msgspec.Raw):
        return "" if value == _NULL else str(value, "utf-8")
    return "" if value is None else str(value).lower()  # true and false are JSON's words


_INST_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"})

ORDER = Record(
    models.Order,
    times=("fill_time", "c_time", "u_time"),
    known={
        "state": frozenset({"live", "partially_filled", "filled", "canceled", "mmp_canceled"}),
        "inst_type": _INST_TYPES,
    },
)
ALGO_ORDER = Record(
    models.AlgoOrder,
    times=("trigger_time", "c_time", "u_time", "p_time"),
    known={
        "state": frozenset(
            "live pause partially_effective effective canceled order_failed partially_failed order_placed"
            " filled".split()
        ),
        "inst_type": _INST_TYPES,
    },
)
FILL = Record(models.Fill, times=("fill_time", "ts"))
POSITION = Record(models.Position, times=("c_time", "u_time", "p_time"), known={"inst_type": _INST_TYPES})
BALANCE = Record(models.Balance, times=("u_time",), synonyms={"max_spot_in_use": "max_spot_in_use_amt"})
EQUITY = Record(models.Equity, times=("u_time",))
BALANCE_AND_POSITION = Record(
    models.BalanceAndPosition,
    known={
        "event_type": frozenset(
            "snapshot delivered exercised transferred filled liquidation claw_back adl funding_fee adjust_margin"
            " set_leverage interest_deduction settlement".split()
        )
    },
)
CASH_BALANCE = Record(models.CashBalance, times=("u_time",))
DEPOSIT = Record(models.Deposit, times=("ts", "p_time"))
WITHDRAWAL = Record(models.Withdrawal, times=("ts", "p_time"))
MARK_PRICE = Record(models.MarkPrice, times=("ts",))
INSTRUMENT = Record(
    models.Instrument, times=("list_time", "exp_time", "cont_td_sw_time", "auction_end_time", "pre_mkt_sw_time")
)
CLOSED_POSITION = Record(models.ClosedPosition, times=("c_time", "u_time"))
BILL = Record(models.Bill, times=("fill_time", "ts"))
