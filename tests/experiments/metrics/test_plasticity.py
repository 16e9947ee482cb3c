"""Plasticity of slow weights, worked out by hand."""

import math

import torch

from lifelong.experiments.metrics.plasticity import (
    clipped_share,
    dormant_share,
    srank,
    value_share,
    weight_norm,
)


def test_the_share_counts_units_not_layers() -> None:
    layers = [torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])]
    assert dormant_share(layers) == 3 / 8
    assert math.isnan(dormant_share([]))
    assert math.isnan(dormant_share([torch.tensor([1.0, math.nan])]))


def test_the_rank_of_features_leaves_out_a_hundredth() -> None:
    assert srank(torch.diag(torch.tensor([90.0, 9.5, 0.5]))) == 2  # 90 and 99.5 of 100
    assert srank(torch.diag(torch.tensor([90.0, 9.5, 0.5])), delta=0.2) == 1
    assert srank(torch.eye(7)) == 7
    assert srank(torch.ones(20, 7)) == 1
    assert srank(torch.zeros(20, 7)) == 0
    assert math.isnan(srank(torch.full((2, 2), math.inf)))


def test_the_weight_norm_is_of_all_weights_together() -> None:
    weights = [torch.tensor([[1.0, 2.0]]), torch.tensor([2.0]), torch.tensor([[[4.0]]], requires_grad=True)]
    assert weight_norm(weights) == 5.0


def test_the_share_clipped_is_what_lies_above_the_norm() -> None:
    assert clipped_share(2.0, 0.5) == 0.75
    assert clipped_share(0.4, 0.5) == 0.0
    assert clipped_share(0.0, 0.5) == 0.0


def test_share_of_the_value() -> None:
    assert value_share(1.0, 19.0) == 0.95
    assert value_share(2.0, 0.0) == 0
    assert math.isnan(value_share(0.0, 0.0))
