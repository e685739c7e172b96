"""Nothing stale looks live: the state of a channel from what the database says."""

import random
from typing import Any

import pytest

from okxsync.feed.liveness import ANSWER_S
from okxsync.mirror.freshness import NO_DAEMON, NOT_STORED
from okxsync.mirror.screen import Account, Connected, Coverage, Daemon, OpenGap
from okxsync.reconcile.timings import TIMINGS
from okxsync.terminal.proof import BASE, Evidence, Proof, Proofs, worst

S = 1_000_000
NOW = 1_800_000_000 * S
RUNNING = Daemon("running", None, "", "1", NOW, NOW, None, None, 0)
ALPHA = Account("alpha", "global", False, "2", "net_mode")


def covered(channel: str = "orders", age_s: float = 1, account: str = "alpha", **fields: Any) -> Coverage:
    until = NOW - int(age_s * S)
    return Coverage(account, channel, until, True, 1, None)._replace(**fields)


def found(*coverage: Coverage, daemon: Daemon = RUNNING, **fields: Any) -> Proofs:
    return Proofs(Evidence(NOW, daemon, [ALPHA], coverage, (), ())._replace(**fields))


def test_a_channel_that_was_proved_lately_is_live() -> None:
    assert found(covered()).of("alpha", "orders") == Proof("live", NOW - S)


@pytest.mark.parametrize("channel", ["orders", "positions", "account"])
def test_the_last_proof_is_older_than_two_turns_of_verification(channel: str) -> None:
    assert found(covered(channel, 2 * TIMINGS.verify_s)).of("alpha", channel).state == "live"
    assert found(covered(channel, 2 * TIMINGS.verify_s + 1)).of("alpha", channel).state == "unproved"


def test_turns_of_verification_are_longer_with_many_accounts() -> None:
    many = [covered(account=f"a{number}") for number in range(1000)]
    limit_s = 2 * 1001 / TIMINGS.verifications_per_s("orders")
    assert limit_s > 2 * TIMINGS.verify_s
    assert found(covered(age_s=limit_s - 1), *many).of("alpha", "orders").state == "live"
    assert found(covered(age_s=limit_s + 1), *many).of("alpha", "orders").state == "unproved"


def test_what_pings_prove_is_proved_every_few_seconds() -> None:
    assert found(covered("deposit-info", 2 * ANSWER_S)).of("alpha", "deposit-info").state == "live"
    assert found(covered("deposit-info", 2 * ANSWER_S + 1)).of("alpha", "deposit-info").state == "unproved"


def test_a_channel_that_rest_could_not_verify() -> None:
    proof = found(covered(unverified="HTTP 503")).of("alpha", "orders")
    assert proof == Proof("unproved", NOW - S, "HTTP 503")


def test_a_lost_channel_is_stale_since_its_coverage_ended() -> None:
    gap = OpenGap("alpha", "orders", NOW - 9 * S, None, "pong late")
    assert found(covered(age_s=9, live=False), gaps=[gap]).of("alpha", "orders") == Proof(
        "stale", NOW - 9 * S, "pong late"
    )


@pytest.mark.parametrize(("state", "why"), [("stopped", NO_DAEMON), ("not_storing", NOT_STORED), ("never", NO_DAEMON)])
def test_nothing_is_live_unless_a_daemon_stores_it(state: str, why: str) -> None:
    daemon = RUNNING._replace(state=state, not_stored=why)
    proofs = found(covered(), covered("positions", unverified="x"), daemon=daemon)
    assert proofs.of("alpha", "orders") == Proof("stale", NOW - S, why)
    assert {proofs.of("alpha", channel).state for channel in BASE} == {"stale", "never"}
    assert proofs.accounts["alpha"].state == "stale"


def test_a_channel_that_was_never_received() -> None:
    rejected = covered(live=False, connection_id=None)
    gap = OpenGap("alpha", "orders", 0, None, "60012: wrong")
    assert found(rejected, gaps=[gap]).of("alpha", "orders") == Proof("never", None, "60012: wrong")


def test_an_account_that_was_never_connected_says_why() -> None:
    lost = Connected("alpha", "backing_off", "50119: the key does not exist", NOW + 12 * S)
    proofs = found(connections=[lost])
    assert proofs.accounts["alpha"] == Proof("never", None, "50119: the key does not exist")
    assert {proofs.of("alpha", channel).state for channel in BASE} == {"never"}
    assert proofs.next_attempt_at == {"alpha": NOW + 12 * S}


def test_an_account_is_as_bad_as_its_worst_channel_and_as_old_as_its_oldest() -> None:
    proofs = found(covered(), covered("positions", 30), covered("account", 5, unverified="HTTP 503"))
    assert proofs.accounts["alpha"] == Proof("unproved", NOW - 30 * S, "HTTP 503")


def test_channels_that_are_not_subscribed_do_not_make_an_account_bad() -> None:
    proofs = found(covered())
    assert proofs.accounts["alpha"].state == "live"
    assert proofs.of("alpha", "positions") == Proof("never", None, "not subscribed")


def test_positions_may_come_by_balance_and_position_alone() -> None:
    other = covered("balance_and_position", 4)
    assert found(other).of("alpha", "positions") == Proof("live", NOW - 4 * S)
    assert found(covered("positions", 3), other._replace(live=False)).of("alpha", "positions").state == "live"
    rejected = covered("positions", live=False, connection_id=None)
    proofs = found(rejected, other)
    assert proofs.of("alpha", "positions").state == "live"
    assert proofs.accounts["alpha"].state == "never"  # a channel that it wants was never received
    assert proofs.of("alpha", "account").state == "never"


def test_a_channel_with_arguments_is_as_bad_as_its_worst_part() -> None:
    parts = covered("orders:instType=SWAP", 3), covered("orders:instType=SPOT", 8, unverified="x")
    assert found(*parts).of("alpha", "orders") == Proof("unproved", NOW - 8 * S, "x")


def test_advanced_algo_orders_count_with_the_others() -> None:
    proofs = found(covered("orders-algo"), covered("algo-advance", 7, live=False))
    assert proofs.of("alpha", "orders-algo").state == "stale"


def test_mark_prices_have_a_state_each() -> None:
    channel = "mark-price:instId=BTC-USDT-SWAP"
    proofs = found(covered(channel, account="market"), covered("mark-price:instId=ETH-USDT", 60, account="market"))
    assert proofs.mark("BTC-USDT-SWAP").state == "live"
    assert proofs.mark("ETH-USDT").state == "unproved"
    assert proofs.mark("XRP-USDT").state == "never"


def test_the_worst_of_several() -> None:
    live, old, never = Proof("live", 9), Proof("stale", 5, "lost"), Proof("never", None)
    assert worst([live, old]) == old
    assert worst([old, live]) == old
    assert worst([live, never, old]).covered_until is None
    assert worst([Proof("stale", 5, "later"), Proof("stale", 3, "first")]) == Proof("stale", 3, "first")


def test_proofs_that_follow_earlier_ones_say_what_new_ones_say() -> None:
    """Whatever changed meanwhile: rows, gaps, errors, accounts, the daemon, or the time alone."""
    dice = random.Random(1)
    names = ["alpha", "beta", "market"]
    channels = (
        "orders",
        "orders-algo",
        "positions:instType=SWAP",
        "positions:instType=SPOT",
        "account",
        "algo-advance",
    )
    rows = {(name, channel): covered(channel, account=name) for name in names for channel in channels}
    evidence = Evidence(NOW, RUNNING, [ALPHA, ALPHA._replace(name="beta")], (), (), ())
    before = None
    reused = 0
    for _ in range(400):
        evidence = evidence._replace(at=evidence.at + dice.choice([0, S // 2, S, 20 * S, -S]))
        for key in dice.sample([*rows], dice.choice([0, 0, 1, 3])):
            one = rows[key]
            rows[key] = dice.choice([
                one._replace(covered_until=evidence.at - S), one._replace(live=not one.live),
                one._replace(unverified=dice.choice([None, "HTTP 503"])),
                one._replace(connection_id=dice.choice([None, 1])),
            ])  # fmt: skip
        shown = [one for one in rows.values() if dice.random() > 0.02]
        if dice.random() < 0.1:
            gaps = [OpenGap("alpha", "orders", NOW, dice.choice([None, NOW + S]), "lost")] * dice.randint(0, 2)
            evidence = evidence._replace(gaps=gaps)
        if dice.random() < 0.1:
            error = Connected("beta", "backing_off", dice.choice([None, "reset"]), dice.choice([None, NOW]))
            evidence = evidence._replace(connections=[error])
        if dice.random() < 0.1:
            evidence = evidence._replace(
                daemon=dice.choice([RUNNING, RUNNING._replace(state="stopped", not_stored="x")])
            )
        if dice.random() < 0.1:
            evidence = evidence._replace(accounts=dice.choice([[ALPHA], [ALPHA, ALPHA._replace(name="beta")]]))
        evidence = evidence._replace(coverage=shown)
        fresh, proofs = Proofs(evidence), Proofs(evidence, before)
        assert [proofs.channels(name) for name in names] == [fresh.channels(name) for name in names]
        assert (proofs.accounts, proofs.gaps) == (fresh.accounts, fresh.gaps)
        assert sorted(proofs.open_gaps, key=repr) == sorted(fresh.open_gaps, key=repr)
        if before:
            differing = {name for name in names if proofs.channels(name) != before.channels(name)}
            assert differing <= proofs.changed | proofs.gone
            reused += len(names) - len(proofs.changed)
        before = proofs
    assert reused > 100
