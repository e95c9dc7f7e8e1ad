"""Two processes learn what one would: equal gradients, equal weights, chains of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("two_processes.py")


def run(folder, processes):
    """Each process's result."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), str(processes)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == finished.stderr == ""
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(processes)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return run(tmp_path_factory.mktemp("two"), 2)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return run(tmp_path_factory.mktemp("one"), 1)[0]


def equal(first, second):
    return all((a is None and b is None) or bool((a == b).all()) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_gradients_are_those_of_a_single_process(one, two):
    single = one["conditional"]
    for rank in two:
        both = rank["conditional"]
        for expected, gradient in zip(single["gradients"], both["gradients"], strict=True):
            if expected is None:
                assert gradient is None  # the weight that no process uses
            else:
                torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(both["norm"], single["norm"], rtol=1e-12, atol=0)
        torch.testing.assert_close(both["weights"], single["weights"], rtol=1e-10, atol=1e-12)
    assert single["gradients"].count(None) == 1


@pytest.mark.slow
@pytest.mark.parametrize("case", ["conditional", "persistent"])
def test_weights_stay_equal(two, case):
    assert equal(two[0][case]["weights"], two[1][case]["weights"])
    assert equal(two[0][case]["gradients"], two[1][case]["gradients"])


@pytest.mark.slow
def test_every_process_keeps_chains_of_its_own(two):
    first, second = (rank["persistent"]["positions"] for rank in two)
    assert first.shape == second.shape == (32, 2)
    assert not bool((first == second).any())


@pytest.mark.slow
def test_processes_know_of_each_other(one, two):
    assert one["ranks"] == [0] and all(rank["ranks"] == [0, 1] for rank in two)
    assert all(rank["decided"] == [True, False] for rank in (one, *two))
    assert one["mean"].tolist() == [0, 1] and all(rank["mean"].tolist() == [0.5, 1] for rank in two)
    assert "uneven" not in one and all("7 rows cannot be shared equally by 2" in rank["uneven"] for rank in two)
