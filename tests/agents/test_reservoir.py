"""What is kept is a uniform sample of all that came."""

import torch

from lifelong.agents.reservoir import Reservoir


def test_all_are_kept_while_there_is_room() -> None:
    kept = Reservoir(5)
    for first in (0, 2):
        kept.add({"x": torch.arange(first, first + 2), "y": torch.full((2, 3), float(first))})
    assert len(kept) == kept.seen == 4
    assert kept.pieces["x"].tolist() == [0, 1, 2, 3]
    assert kept.pieces["y"].tolist() == [[0.0] * 3] * 2 + [[2.0] * 3] * 2


def test_every_piece_is_kept_equally_often() -> None:
    generator, trials = torch.Generator().manual_seed(0), 3000
    counts = torch.zeros(10)
    for _ in range(trials):
        kept = Reservoir(4, generator)
        for batch in torch.arange(10).split([3, 3, 4]):
            kept.add({"x": batch})
        assert len(kept) == 4
        assert len(set(kept.pieces["x"].tolist())) == 4
        counts[kept.pieces["x"]] += 1
    deviation = (0.4 * 0.6 / trials) ** 0.5
    assert (counts / trials - 0.4).abs().max() < 4 * deviation


def test_names_stay_together() -> None:
    kept = Reservoir(3, torch.Generator().manual_seed(0))
    for i in range(20):
        kept.add({"x": torch.tensor([i]), "y": torch.tensor([[-i]])})
    assert kept.pieces["y"][:, 0].tolist() == [-i for i in kept.pieces["x"].tolist()]
    drawn = kept.draw(50)
    assert set(drawn["x"].tolist()) == set(kept.pieces["x"].tolist())
    assert drawn["y"].shape == (50, 1)


def test_what_was_handed_out_is_not_written_over() -> None:
    kept = Reservoir(2, torch.Generator().manual_seed(0))
    kept.add({"x": torch.tensor([0, 1])})
    before = kept.pieces["x"]
    for i in range(2, 50):
        kept.add({"x": torch.tensor([i])})
    assert before.tolist() == [0, 1]
    assert kept.pieces["x"].tolist() != [0, 1]
