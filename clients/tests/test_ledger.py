"""After all clients: the books against the upstreams' own count, and whom else the clients called."""

from collections import Counter

import pytest

from hub import CLASSES, PROVIDER_KEY, eventually


@pytest.fixture(scope="module")
def told(upstream, ailing):
    """By its id, each answer that told the whole of its usage. (One that broke did not; its row is an estimate.)"""
    records = eventually(lambda: ended(upstream.served() + ailing.served()), "an answer does not end")
    if not records:
        pytest.skip("no client has run")
    answers = {record["id"]: record["answer"] for record in records}
    return {record_id: answer for record_id, answer in answers.items() if is_told(answer)}


@pytest.fixture(scope="module")
def rows(hub, told):
    """All log rows in detail, once the books are up to date."""
    ids = eventually(lambda: booked(hub.log_rows(), told), "the books lack requests")
    return [hub.call("GET", f"logs/{request_id}") for request_id in ids]


@pytest.fixture(scope="module")
def exact(rows):
    """The ledger rows that a provider's own count stands in."""
    return [entry for row in rows for entry in row["ledger"] if tokens(entry) and not entry["is_estimate"]]


def ended(records):
    return None if any(record["answer"]["ended"] == "in_progress" for record in records) else records


def is_told(answer):
    return answer["usage"] is not None and answer["told"] == answer["usage"]


def booked(rows, told):
    """The rows' ids, if every answer has its row."""
    known = {row["upstream_request_id"] for row in rows}
    return [row["id"] for row in rows] if known.issuperset(told) else None


def tokens(entry):
    """The tokens of a row by class, without zeros."""
    return {name: entry[name] for name in CLASSES.values() if entry[name]}


def counted(answer):
    """The same of an upstream's answer."""
    return {CLASSES[name]: count for name, count in answer["told"].items() if name in CLASSES and count}


def test_every_answer_is_booked_once_with_its_own_tokens(rows, told):
    served = {row["upstream_request_id"]: tokens(row["ledger"][-1]) for row in rows if row["status"] == 200}
    assert {record_id: served.get(record_id) for record_id in told} == {
        record_id: counted(answer) for record_id, answer in told.items()
    }


def test_nothing_is_booked_that_no_upstream_counted(exact, told):
    as_key = lambda counts: tuple(sorted(counts.items()))
    assert Counter(as_key(tokens(entry)) for entry in exact) == Counter(as_key(counted(a)) for a in told.values())


@pytest.mark.parametrize("name", CLASSES)
def test_the_sums_are_equal(exact, told, name):
    assert sum(entry[CLASSES[name]] for entry in exact) == sum(answer["told"][name] for answer in told.values())


def test_every_booked_answer_has_its_price(exact):
    assert [entry for entry in exact if entry["is_unpriced"] or not float(entry["cost_usd"]) > 0] == []


def test_a_log_row_is_the_sum_of_its_ledger_rows(rows):
    for row in rows:
        for name in CLASSES.values():
            assert row[name] == sum(entry[name] for entry in row["ledger"]), row


def test_every_row_is_there_once(rows):
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids))


def test_no_client_called_anybody_but_the_hub(elsewhere, told):
    assert elsewhere == []


def test_the_hub_s_log_holds_no_key(hub, seat, told):
    log = hub.log.read_text()
    assert log
    assert [secret for secret in (seat, hub.token, PROVIDER_KEY) if secret in log] == []
