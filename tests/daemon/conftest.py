"""For tests of whole daemons."""

import pytest


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify each channel every few seconds."""
    monkeypatch.setattr("okxsync.reconcile.probe.PROBE_S", 2.0)
    monkeypatch.setattr("okxsync.reconcile.probe.PER_S", {})
    monkeypatch.setattr("okxsync.reconcile.probe.OTHERS_PER_S", 100.0)
    monkeypatch.setattr("okxsync.reconcile.probe.POLL_S", 0.5)
    monkeypatch.setattr("okxsync.reconcile.probe.SETTLE_S", 0.5)
