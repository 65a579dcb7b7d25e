"""Workloads: a function of (seed, client), with the shares and distributions they promise."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_bench.contract import ConfigError
from consensus_bench.simulation.workload import PRESETS, Operation, Workload, arrivals_ns, operations, preset


def take(workload: Workload, count: int, seed: int = 1, client: int = 0, clients: int = 1) -> list[Operation]:
    return list(islice(operations(workload, seed, client, clients), count))


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), client=st.integers(0, 500))
def test_operations_depend_on_seed_and_client_alone(name: str, seed: int, client: int) -> None:
    workload = preset(name)
    first = take(workload, 300, seed, client)
    interleaved = operations(workload, seed, client)
    other = operations(workload, seed, client + 1)
    again = []
    for _ in range(300):
        again.append(next(interleaved))
        next(other)
    assert again == first
    assert take(workload, 300, seed + 1, client) != first or workload.keys == "conflict"


def test_conflict_share_and_private_keys() -> None:
    ops = {client: take(Workload(conflict=25.0), 4000, client=client) for client in range(3)}
    hot = sum(key == 0 for _, key, _, _ in ops[0]) / 4000
    assert abs(hot - 0.25) < 0.03
    private = [{key for _, key, _, _ in ops[c] if key != 0} for c in ops]
    assert all(len(keys) == 1 for keys in private)
    assert len(set.union(*private)) == 3


def test_open_loop_private_operations_do_not_conflict_with_each_other() -> None:
    keys = [key for _, key, _, _ in take(Workload(conflict=0.0, rate=100.0), 4000)]
    assert len(set(keys)) == 4000
    other = {key for _, key, _, _ in take(Workload(conflict=0.0, rate=100.0), 4000, client=1)}
    assert not other & set(keys)


def test_written_values_are_unique() -> None:
    values = [v for c in range(3) for kind, _, v, _ in take(preset("ycsb-f"), 2000, client=c) if kind != "get"]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize(("name", "reads", "swaps"), [("ycsb-a", 0.5, 0), ("ycsb-b", 0.95, 0), ("ycsb-f", 0.5, 0.5)])
def test_mix(name: str, reads: float, swaps: float) -> None:
    kinds = Counter(kind for kind, *_ in take(preset(name), 10_000))
    assert abs(kinds["get"] / 10_000 - reads) < 0.02
    assert abs(kinds["swap"] / 10_000 - swaps) < 0.02


def test_zipf_follows_its_law() -> None:
    """P(rank 0) / P(rank 9) = 10^0.99, and P(rank 0) over 1,000 records is 1 / sum of k^-0.99 = 0.1294."""
    counts = Counter(key for _, key, _, _ in take(Workload(keys="zipf", records=1000), 60_000))
    assert abs(counts[0] / 60_000 - 1 / sum(k**-0.99 for k in range(1, 1001))) < 0.005
    assert abs(counts[0] / counts[9] - 10**0.99) < 1.2
    assert max(counts) <= 999


def test_latest_reads_what_was_inserted_last() -> None:
    ops = take(preset("ycsb-d"), 20_000)
    inserted: list[int] = []
    recent = reads = 0
    for kind, key, _, _ in ops:
        if kind == "get":
            reads += 1
            recent += key in inserted[-10:]
            assert key < 1000 or key in inserted, "a read of a key that does not exist yet"
        else:
            assert key not in inserted
            inserted.append(key)
    assert recent / reads > 0.3


def test_latest_is_that_of_all_clients() -> None:
    """In YCSB all threads count their inserts together: most reads of the newest records are of others' inserts."""
    clients = 4
    ops = [take(preset("ycsb-d"), 4000, client=c, clients=clients) for c in range(clients)]
    owner = {key: c for c in range(clients) for kind, key, _, _ in ops[c] if kind != "get"}
    read = [key for kind, key, _, _ in ops[1] if kind == "get" and key >= 1000]
    foreign = sum(owner.get(key, -1) != 1 for key in read) / len(read)
    assert 0.4 < foreign < 0.9
    assert sum(key in owner for key in read) / len(read) > 0.9


def ycsb_reference(records: int, u: float) -> int:
    """YCSB's ScrambledZipfianGenerator (core/.../generator/ScrambledZipfianGenerator.java) for one uniform draw."""
    items, theta, zeta = 10**10, 0.99, 26.46902820178302
    eta = (1 - (2 / items) ** (1 - theta)) / (1 - (1 + 0.5**theta) / zeta)
    if u * zeta < 1:
        item = 0
    elif u * zeta < 1 + 0.5**theta:
        item = 1
    else:
        item = int(items * (eta * u - eta + 1) ** (1 / (1 - theta)))
    digest = 0xCBF29CE484222325
    for _ in range(8):
        digest = (digest ^ item & 0xFF) * 1099511628211 % 2**64
        item >>= 8
    return abs(digest - 2**64 if digest >= 2**63 else digest) % records


def test_ycsb_keys_are_those_of_its_own_generator() -> None:
    count = 40_000
    ours = Counter(key for _, key, _, _ in take(preset("ycsb-c"), count))
    theirs = Counter(ycsb_reference(1000, (i + 0.5) / count) for i in range(count))
    assert ours.most_common(1)[0][0] == theirs.most_common(1)[0][0]
    for key, times in theirs.most_common(5):
        assert abs(ours[key] - times) < 0.006 * count
    assert 0.035 < ours.most_common(1)[0][1] / count < 0.045  # 1 / 26.47 and its share of the tail
    assert len(ours) == 1000


def test_hot_spot_moves() -> None:
    workload = Workload(keys="hotspot", conflict=50.0, hot_keys=10, hot_move_every=1000)
    ops = take(workload, 3000)
    for step in range(3):
        part = [key for _, key, _, _ in ops[step * 1000 : (step + 1) * 1000]]
        window = sum(step * 10 <= key < step * 10 + 10 for key in part) / 1000
        assert abs(window - 0.5) < 0.06


def test_arrivals_are_poisson() -> None:
    """Mean gap 1 / rate, and as many gaps above the mean as an exponential has (1 / e)."""
    times = list(islice(arrivals_ns(1000.0, 1, 0), 20_000))
    gaps = [b - a for a, b in pairwise(times)]
    assert abs(sum(gaps) / len(gaps) / 1e6 - 1) < 0.03
    assert abs(sum(g > 1e6 for g in gaps) / len(gaps) - 0.3679) < 0.02
    assert times != list(islice(arrivals_ns(1000.0, 1, 1), 20_000))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"conflict": 101.0}, "workload.conflict = 101.0: must lie between 0 and 100"),
        ({"reads": -0.1}, "workload.reads = -0.1"),
        ({"reads": 0.6, "swaps": 0.6}, "exceed 1"),
        ({"clients": 0}, "workload.clients = 0"),
        ({"rate": -1.0}, "workload.rate"),
        ({"size": -5}, "workload.size"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, float], text: str) -> None:
    import msgspec

    with pytest.raises(ConfigError, match=text):
        msgspec.convert({"name": "x", **change}, Workload).validate()


def test_unknown_workload_is_refused() -> None:
    with pytest.raises(ConfigError, match="workload 'ycsb-z' is unknown: choose from conflict"):
        preset("ycsb-z")
