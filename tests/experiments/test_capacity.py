"""Capacity of the update rules, compared with plain loops and with figures of another program."""

import pytest
import torch
from torch.testing import assert_close

from lifelong.experiments.capacity import RULES, CapacityConfig, draw_keys, main, recall
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.settings import capacity as settings

FIGURES = {  # at 64, 128 and 256 pairs; an independent program, 12 draws
    "hebbian": {"dense": (0.99, 0.90, 0.60), "sparse": (0.92, 0.75, 0.46)},
    "palimpsa, Ip = 1": {"dense": (0.99, 0.90, 0.60), "sparse": (0.95, 0.79, 0.49)},
    "delta, beta = 1": {"dense": (0.85, 0.49, 0.23), "sparse": (0.68, 0.38, 0.20)},
    "delta, beta = 0.5": {"dense": (0.97, 0.75, 0.39), "sparse": (0.84, 0.59, 0.31)},
    "longhorn": {"dense": (0.98, 0.78, 0.40), "sparse": (0.83, 0.56, 0.30)},
    "preconditioned delta": {"dense": (0.88, 0.59, 0.28), "sparse": (0.77, 0.47, 0.24)},
    "kalman delta, beta / Ip = 10": {"dense": (0.99, 0.93, 0.61), "sparse": (0.96, 0.81, 0.50)},
    "mesa": {"dense": (1.00, 0.99, 0.73), "sparse": (1.00, 0.94, 0.63)},
    "hebbian, degree 2 (state x 32)": {"dense": (1.00, 1.00, 1.00), "sparse": (1.00, 0.99, 0.95)},
    "softmax (keeps all pairs)": {"dense": (1.00, 1.00, 1.00), "sparse": (1.00, 1.00, 1.00)},
}


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize(("column", "pairs"), enumerate([64, 128, 256]))
def test_recall_is_what_another_program_found(kind, column, pairs):
    shares = recall(kind, pairs, CapacityConfig(repeats=32), tuple(FIGURES))
    for rule, figures in FIGURES.items():
        assert shares[rule].mean().item() == pytest.approx(figures[kind][column], abs=0.03), rule


@pytest.mark.parametrize("kind", ["relu", "offset", "correlated"])
def test_rules_say_what_plain_loops_say(kind):
    k = draw_keys(kind, (2, 12, 8), torch.Generator().manual_seed(0))
    v = torch.randn(2, 12, 5, dtype=torch.float64)
    for one, (keys, values) in enumerate(zip(k, v, strict=True)):
        delta = kalman = preconditioned = longhorn = torch.zeros(5, 8, dtype=torch.float64)
        used, importance = torch.zeros(8, dtype=torch.float64), torch.ones(8, dtype=torch.float64)
        for key, value in zip(keys, values, strict=True):
            delta = delta + 0.5 * torch.outer(value - delta @ key, key)
            longhorn = longhorn * (1 - 0.5 * key**2) + torch.outer(0.5 * value, key)
            gain = (key / importance) / (0.1 + (key**2 / importance).sum())
            kalman = kalman + torch.outer(value - kalman @ key, gain)
            importance = importance + 10 * key**2
            used = used + key**2
            x = torch.log(used + 1e-6) + 0.2
            preconditioned = preconditioned + torch.outer(
                value - preconditioned @ key, key * 1.5 ** (-x / (1 + x.abs()))
            )
        for rule, S in (
            ("delta, beta = 0.5", delta),
            ("kalman delta, beta / Ip = 10", kalman),
            ("preconditioned delta", preconditioned),
            ("longhorn", longhorn),
            ("palimpsa, Ip = 1", values.mT @ keys / (1 + (keys**2).sum(0))),
        ):
            assert_close(RULES[rule](k, v)[one], keys @ S.mT, msg=lambda text, rule=rule: f"{rule}: {text}")


def test_keys_have_unit_length_and_their_kind():
    random = torch.Generator().manual_seed(0)
    for kind in ("dense", "relu", "sparse", "offset", "correlated"):
        k = draw_keys(kind, (3, 50, 16), random)
        assert_close(k.norm(dim=-1), torch.ones(3, 50, dtype=torch.float64))
        near = (k[:, 1:] * k[:, :-1]).sum(-1).mean()
        far = (k[:, 10:] * k[:, :-10]).sum(-1).mean()
        assert (near - far > 0.5) == (kind == "correlated")
        assert (far > 0.3) == (kind in ("relu", "offset"))
        assert (k.count_nonzero(-1) == 4).all() == (kind == "sparse")


def test_the_table_is_printed_and_written(tmp_path):
    path = tmp_path / "table.md"
    text = main(CapacityConfig(keys=("dense",), pairs=(4, 8), repeats=3, rules=("mesa",), output=path))
    assert text == path.read_text()
    assert "| mesa | 1.00 ± 0.00, " in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairs": (0,)}, "pairs must be positive: pairs=0"),
        ({"pairs": (2000,)}, "pairs must be at most 1024, one for each code vector: pairs=2000"),
        ({"repeats": 1}, "repeats must be 2 or more: repeats=1"),
        ({"width": 3}, "width must be at least 4: width=3"),
        ({"rules": ("hebb",)}, "no rule 'hebb'; did you mean 'hebbian'\\? known: hebbian, "),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong, message):
    with pytest.raises(UserError, match=f"^{message}"):
        CapacityConfig(**wrong)


def test_the_rules_that_words_may_name_are_those_that_are_measured() -> None:
    assert tuple(RULES) == settings.RULES
