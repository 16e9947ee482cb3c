"""Print the table of published-layers.md: memories beside layers that others published, with the same weights.

    pip install transformers
    python -P docs/measured/published_layers.py

Weights are drawn at random and copied into the published layer; both read the same 97 random steps of three sequences.
The published layers compute in single precision, and so do ours, unless the line says otherwise.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Mamba2Config, MambaConfig, Qwen3NextConfig, __version__, logging
from transformers.models.kimi_linear.modeling_kimi_linear import recurrent_kimi_delta_attention
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet
from transformers.models.xlstm.modeling_xlstm import mlstm_recurrent_sequence_native

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory import Memory, make_memory
from lifelong.memory.additive.mlstm import CAP

B, T, D, H, K, V, W = 3, 97, 32, 2, 16, 16, 4
EPS = 1e-5
"""Under the root of our RMS norm."""


def drawn(name: str, **options: Any) -> Memory:
    """Return a memory with random weights."""
    memory = make_memory(name, D, **options)
    with torch.no_grad():
        for weight in memory.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return memory


def copied(layer: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """Return the layer with these weights and no others."""
    missing = {name for name, _ in layer.named_parameters()} - weights.keys()
    if missing:
        raise ValueError(f"weights that ours does not have: {sorted(missing)}")
    layer.load_state_dict({name: weight.detach() for name, weight in weights.items()})
    return layer.eval()


def said(memory: Memory, x: Tensor) -> Tensor:
    """Return what a memory says from its initial state."""
    y, _ = memory(x, memory.initial_state(len(x)), torch.zeros(x.shape[:2], dtype=torch.bool))
    return y


def gated_delta(x: Tensor) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Compare the whole layer with Gated DeltaNet's of Qwen3-Next."""
    ours = drawn("gated_delta", num_heads=H, key_dim=K, value_dim=V, conv_size=W)
    config = Qwen3NextConfig(
        hidden_size=D, linear_num_value_heads=H, linear_num_key_heads=H, linear_key_head_dim=K, num_hidden_layers=1,
        linear_value_head_dim=V, linear_conv_kernel_dim=W, layer_types=["linear_attention"], rms_norm_eps=EPS / K,
    )  # fmt: skip
    q, k, v = ours.project.linear.weight.split([H * K, H * K, H * V])
    by_head = zip(*(z.unflatten(0, (H, -1)) for z in (q, k, v, ours.output.gate.weight)), strict=True)
    write, fade = ours.gates.weight.split(H)
    theirs = copied(
        Qwen3NextGatedDeltaNet(config, 0),
        {
            "in_proj_qkvz.weight": torch.cat([torch.cat(head) for head in by_head]),
            "in_proj_ba.weight": torch.stack([write, fade], 1).flatten(0, 1),
            "conv1d.weight": ours.project.conv[:, None],
            "dt_bias": ours.gates.bias[H:],
            "A_log": torch.zeros(H),  # A = 1: the decay's scale is in W and b
            "norm.weight": ours.output.norm.weight,
            "out_proj.weight": ours.output.linear.weight,
        },
    )
    with torch.no_grad():
        ours.gates.bias[:H] = 0.0  # their write strength has no bias
    yield "gated_delta", "`Qwen3NextGatedDeltaNet`, the layer (its eps over K)", said(ours, x), theirs(x)


def kda(x: Tensor) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Compare the recurrence with that of Kimi Linear."""
    ours = drawn("kda", num_heads=H, key_dim=K, value_dim=V)
    start, state = torch.zeros(B, T, dtype=torch.bool), ours.initial_state(B)
    q, k, v, _ = ours.project(x, state["window"], start)
    c = ours.correction(x, q, k, v, state, start)
    y, _ = fast_weight(c.q, c.k, c.v, state["S"], start, decay=c.decay, rate=c.rate)
    theirs, _ = recurrent_kimi_delta_attention(q, k, v, c.decay, c.rate, None, False)
    yield "kda", "`recurrent_kimi_delta_attention`, the recurrence", y, theirs * K**0.5


def mamba2(x: Tensor) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Compare the whole layer with Mamba-2's."""
    ours = drawn("mamba2", num_heads=H, key_dim=K, value_dim=V, conv_size=W)
    config = Mamba2Config(
        hidden_size=D, num_heads=H, head_dim=V, state_size=K, n_groups=H, conv_kernel=W, expand=H * V // D,
        use_conv_bias=False, use_bias=False, layer_norm_epsilon=EPS, chunk_size=16, num_hidden_layers=1,
    )  # fmt: skip
    keys = slice(0, H * K), slice(H * K, 2 * H * K), slice(2 * H * K, None)  # q, k, v are their C, B, x

    def xbc(z: Tensor) -> Tensor:
        return torch.cat([z[part] for part in reversed(keys)])

    theirs = copied(
        Mamba2Mixer(config, 0),
        {
            "in_proj.weight": torch.cat(
                [ours.output.gate.weight, xbc(ours.project.linear.weight), ours.step_size.weight]
            ),
            "conv1d.weight": xbc(ours.project.conv)[:, None],
            "dt_bias": ours.step_size.bias,
            "A_log": ours.log_rate,
            "D": ours.skip,
            "norm.weight": ours.output.norm.weight.repeat(H),
            "out_proj.weight": ours.output.linear.weight,
        },
    )
    yield "mamba2", "`Mamba2Mixer`, the layer, a group for each head", said(ours, x), theirs(x)


class Gated(nn.Module):
    """The gate without our norm."""

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Return x times SiLU of the gate."""
        return x * functional.silu(gate)


def mamba(x: Tensor) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Compare the whole layer, but for our norm, with Mamba's."""
    ours = drawn("mamba", channels=2 * D, states=K, conv_size=W)
    ours.norm = Gated()
    config = MambaConfig(
        hidden_size=D, state_size=K, expand=2, conv_kernel=W, use_conv_bias=False, use_bias=False,
        time_step_rank=ours.rank, num_hidden_layers=1,
    )  # fmt: skip
    theirs = copied(
        MambaMixer(config, 0),
        {
            "in_proj.weight": ours.enter.weight,
            "conv1d.weight": ours.conv[:, None],
            "x_proj.weight": ours.select.weight,
            "dt_proj.weight": ours.rate.weight,
            "dt_proj.bias": ours.rate.bias,
            "A_log": ours.log_fade,
            "D": ours.skip,
            "out_proj.weight": ours.leave.weight,
        },
    )
    yield "mamba", "`MambaMixer`, the layer but for our norm before its gate", said(ours, x), theirs(x)


def mlstm(x: Tensor) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Compare the recurrence with that of xLSTM, which takes double precision."""
    ours, x = drawn("mlstm", num_heads=H, key_dim=K, value_dim=V).double(), x.double()
    start, state = torch.zeros(B, T, dtype=torch.bool), ours.initial_state(B)
    heard: list[Tensor] = []
    ours.output = _Heard(heard)
    said(ours, x)
    q, k, v, _ = ours.project(x, state["window"], start)
    i, f = ours.gates(x).split(H, -1)
    given = [z.transpose(1, 2) for z in (q, k, v, CAP * (i / CAP).tanh(), f)]
    theirs = mlstm_recurrent_sequence_native(*given, eps=0.0, dtype_state=torch.float64)
    yield (
        "mlstm",
        "`mlstm_recurrent_sequence_native`, the recurrence (its eps 0; float64)",
        heard[0],
        theirs.transpose(1, 2),
    )


class _Heard(nn.Module):
    """An output that keeps what it is given."""

    def __init__(self, to: list[Tensor]) -> None:
        super().__init__()
        self.readings = to

    def forward(self, reading: Tensor, x: Tensor) -> Tensor:
        self.readings.append(reading)
        return x


def cells(x: Tensor) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Compare GRU and LSTM with torch's."""
    for name, kind in (("gru", nn.GRU), ("lstm", nn.LSTM)):
        ours = drawn(name)
        theirs = kind(D, D, batch_first=True)
        theirs.load_state_dict(ours.network.state_dict())
        yield name, f"`torch.nn.{kind.__name__}`, the layer", said(ours, x), theirs(x)[0]


LAYERS: tuple[Callable[[Tensor], Iterator[tuple[str, str, Tensor, Tensor]]], ...] = (
    gated_delta, kda, mamba2, mamba, mlstm, cells,
)  # fmt: skip

if __name__ == "__main__":
    torch.manual_seed(0)
    logging.set_verbosity_error()
    sys.stdout.write(f"torch {torch.__version__}, transformers {__version__}\n\n")
    sys.stdout.write("| memory | published | largest difference, of the largest number |\n| --- | --- | ---: |\n")
    for layer in LAYERS:
        for name, published, ours, theirs in layer(torch.randn(B, T, D)):
            apart = ((ours - theirs).abs().max() / theirs.abs().max()).item()
            sys.stdout.write(f"| `{name}` | {published} | {apart:.1e} |\n")
