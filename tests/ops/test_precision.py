"""The dtypes of states and signals, with and without autocast."""

import torch
from torch import nn

from spikebridge.ops.precision import (
    autocast_dtype,
    cast_for,
    complete_autocast,
    is_autocast,
    state_dtype,
    upcast,
    without_autocast,
    zero_state,
)

CPU = torch.device("cpu")


def test_half_precision_has_states_in_float32_and_other_dtypes_their_own() -> None:
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        assert state_dtype(dtype) == expected
        assert upcast(torch.tensor(1.5, dtype=dtype)).dtype == expected
        assert zero_state(torch.ones(2, dtype=dtype)).dtype == expected

    assert zero_state(torch.ones(2)).tolist() == [0, 0]


def test_a_signal_gets_the_dtype_of_the_parameters_that_read_it() -> None:
    assert cast_for(nn.Linear(1, 1).bfloat16(), torch.ones(1, 1)).dtype == torch.bfloat16
    assert cast_for(nn.ReLU(), torch.ones(1, 1)).dtype == torch.float32
    assert cast_for(nn.Linear(1, 1), torch.ones(1, 1, dtype=torch.float64)).dtype == torch.float64


def test_autocast_is_seen_and_turned_off_in_a_block() -> None:
    assert not is_autocast(CPU)
    assert autocast_dtype(CPU) is None

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert is_autocast(CPU)
        assert autocast_dtype(CPU) == torch.bfloat16

        with without_autocast(CPU):
            assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == torch.float32


def test_a_bilinear_layer_computes_in_float32_under_autocast() -> None:
    layer = nn.Bilinear(1, 1, 1)
    x = torch.ones(1, 1, dtype=torch.bfloat16)

    with torch.autocast("cpu"), complete_autocast(layer, CPU):
        assert layer(x, x).dtype == torch.float32
