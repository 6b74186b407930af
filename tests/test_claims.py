"""The experiments on the paper's claims run in their small forms, and end as they should."""

import importlib
from typing import Any

import pytest
import torch

FOLDER = "benchmarks/claims"


@pytest.fixture(autouse=True)
def one_thread_and_a_seed() -> Any:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> Any:
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath / FOLDER))
    return importlib.import_module


def test_neurons_fire_when_their_equations_say(experiment: Any) -> None:
    found = experiment("neuron_models").run(quick=True)
    assert found["accuracy"][0]["off_ms"] < 0.01
    assert found["orders"][0]["order"] > 1.5
    assert {row["way"] for row in found["cost"]} == {"by hand", "network"}
