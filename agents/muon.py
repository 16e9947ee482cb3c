"""Muon for the matrices of hidden layers, Adam for all else.

    M ← β M + (1 - β) G
    θ ← θ - .2 sqrt(max(n, m)) lr · O,    O = U V^T of  β M + (1 - β) G = U S V^T,  approximately

β = .95; O is found by five Newton-Schulz iterations in bfloat16. The factor makes steps of a matrix [n, m] as long as
Adam's usually are, so that one learning rate does for both. Embeddings, input maps, heads and vectors are Adam's.
Everything is done by torch's own two optimisers; this one holds their state as one, numbered as the parameters are.

Sources: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", https://kellerjordan.github.io/posts/muon.
The factor: Liu et al. 2025, "Muon is scalable for LLM training", arXiv 2502.16982.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn

__all__ = ["Muon", "hidden_matrices"]

_HIDDEN = ("backbone.", "encoder.mlp.")
"""What names of matrices begin with whose inputs and outputs are both hidden."""


class Muon(torch.optim.Optimizer):
    """Optimiser of a policy's parameters.

    Args:
        parameters: all, in their order.
        matrices: those of them that Muon changes.
        lr: of both.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], matrices: Collection[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})
        chosen = {id(x) for x in matrices}
        others = [x for x in parameters if id(x) not in chosen]
        self.matrices = frozenset(chosen)
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
        if others:
            self._parts.append(torch.optim.Adam(others, lr=lr, eps=1e-5, fused=True))
        self._share()

    def _share(self) -> None:
        for part in self._parts:
            part.state = self.state

    def step(self, closure: Any = None) -> Any:
        """Change all parameters that have gradients; there is no closure."""
        for part in self._parts:
            part.param_groups[0]["lr"] = self.param_groups[0]["lr"]
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            if "step" in state:  # Adam's, which its fused kernel reads where the parameter is
                state["step"] = state["step"].to(parameter.device, torch.float32)
        self._share()


def hidden_matrices(policy: nn.Module) -> list[nn.Parameter]:
    """Return the matrices of a policy whose inputs and outputs are both hidden: the weights of its linear layers.

    Filters, decays and biases may have two axes too; orthogonalised, all of them would become equally long.

    Args:
        policy: with `encoder` and `backbone`.
    """
    linear = [(name, layer) for name, layer in policy.named_modules() if isinstance(layer, nn.Linear)]
    matrices: dict[int, nn.Parameter] = {id(x): x for x in policy.parameters()}
    return [matrices[id(layer.weight)] for name, layer in linear if f"{name}.".startswith(_HIDDEN)]
