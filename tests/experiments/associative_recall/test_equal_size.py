import pytest

from lifelong.experiments.associative_recall.equal_size import equal_backbone, fit
from lifelong.experiments.runs.errors import UserError
from lifelong.memory import make_memory

NAMES = [
    *("none", "gru", "window", "linear_attention", "gated_delta", "mesa", "palimpsa", "meta_mamba2", "ttt_linear"),
    *("ffm", "shm", "agalite", "mom"),
]


@pytest.mark.parametrize("name", NAMES)
def test_all_have_the_parameters_and_none_more_state(name):
    backbone, size = equal_backbone(name, 32, 2, 4096, 20_000)
    assert sum(p.numel() for p in backbone.parameters()) == pytest.approx(20_000, rel=0.02)
    assert size.state_bytes <= 4096
    assert backbone.state_bytes == 2 * size.state_bytes
    assert size.parameters == sum(p.numel() for p in make_memory(name, 32, **size.options).parameters())


def test_the_largest_that_fits_is_taken():
    size = fit("gated_delta", 32, 2048, 10_000)  # one head, V = 32, and a window of one step: 32 K + 2 K + 32 floats
    assert size.options == {"key_dim": 14}  # 34 * 14 + 32 = 508 of 512
    assert size.state_bytes == 2032
    assert fit("gated_delta", 32, 2168, 10_000).options == {"key_dim": 15}
    assert fit("palimpsa", 32, 2048, 10_000).options == {"key_dim": 7}  # twice the state: evidence and importance


def test_parameters_bound_a_memory_that_has_little_state():
    size = fit("gru", 32, 10**9, 9000)
    assert size.parameters <= 9000 < fit("gru", 32, 10**9, 9300).parameters + 300


def test_an_option_that_is_set_stays():
    assert fit("window", 32, 4096, 20_000, cache=3).options["cache"] == 3


@pytest.mark.parametrize(
    ("name", "state_bytes", "parameters", "message"),
    [
        ("lact", 4096, 10_000, "'lact' has at least 78352 bytes of state .* allowed are state_bytes=4096"),
        ("gated_delta", 4096, 100, "allowed are state_bytes=4096 and 100 parameters"),
    ],
)
def test_what_cannot_be_made_so_small_is_refused(name, state_bytes, parameters, message):
    with pytest.raises(UserError, match=message):
        fit(name, 32, state_bytes, parameters)
