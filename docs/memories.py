"""Write `docs/memories.md`, the table of memories, from the registry and from `FACTS`.

    python -P docs/memories.py

Run it after a memory was added; tests compare the file with what this prints, and the verdicts with the tests of
fidelity.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from lifelong.memory import MEMORIES, Entry, make_memory

GROUPS = {
    "controls": "Controls",
    "attention": "Exact storage",
    "additive": "Additive",
    "delta": "Error-correcting",
    "bayesian": "Second-order and Bayesian",
    "networks": "Networks trained at test time",
    "hybrids": "Hybrids",
}
HEAD = """# Memories

Written by `docs/memories.py` from the registry. Every name goes into the same policy with one word, `--memory NAME`;
`lifelong list NAME` shows its settings. `metaplastic:NAME` and `cached:NAME` wrap other memories. What works with which
part of PyTorch: [pytorch.md](pytorch.md).

- *Floats*: the size of the state of one life at width 64. Every state here is constant in size.
- *State*: constant, or with what it grows as published; here it is bounded.
- *Code*: the authors' repository, as far as known; FLA: a layer of
  [flash-linear-attention](https://github.com/fla-org/flash-linear-attention).
- *Fidelity*: `tests/memory/fidelity/` writes each recursion out again as a loop over steps, without the memory's code,
  and compares outputs in float64 to 1e-12. **exact**: it is the published recursion of the state and its reading.
  **variant**: it differs from that in what is named, and the loop has the difference too. **ours**: no paper has it.
  The loops are by another hand, from published forms of the equations, not always from the paper itself; where that
  form is the memory's own, a loop checks the code more than the definition.
  Seven are also compared with other libraries' layers with the same weights:
  [beside published layers](measured/published-layers.md).
  What surrounds a recursion (projections, convolution, norms, how gates are parametrised, initial values, a constant
  factor before a norm) is this package's own, as *Source* in each file says.

| name | idea | year | floats | state | source | code | fidelity |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
YEARS = {
    "doi.org/10.1162/neco.1997.9.8.1735": 1997,
    "doi.org/10.1109/TC.1972.5008975": 1972,
    "doi.org/10.21236/AD0241531": 1960,
}


class Facts(NamedTuple):
    """What the registry does not hold of a memory."""

    verdict: Literal["exact", "variant", "ours"]
    how: str = ""
    """What differs from the paper, of a variant; a remark of others."""
    code: str = ""
    """`owner/name` of the authors' repository on GitHub, `FLA`, or an address; empty if none is known."""
    state: str = "constant"
    """Whether the published state is constant in size, or with what it grows."""


NORMALISED = "a normalised gradient (`bound=off`: raw)"
PALIMPSA = "djo1996/Palimpsa"
FACTS = {
    "none": Facts("ours", "a linear map"),
    "gru": Facts("exact", "in torch's form"),
    "lstm": Facts("exact", "with a forget gate, in torch's form"),
    "table": Facts("ours"),
    "window": Facts("variant", "unit keys, a bias per age", "allenai/longformer"),
    "softmax": Facts("variant", "unit keys, a bias per age", "", "grows with steps"),
    "sink_window": Facts("variant", "unit keys, a bias per place", "mit-han-lab/streaming-llm"),
    "heavy_hitter": Facts("variant", "drops before a write, a bias per age", "FMInference/H2O"),
    "transformer_xl": Facts("exact", "gradients reach the cache", "kimiyoung/transformer-xl"),
    "gtrxl": Facts("exact", "gradients reach the cache"),
    "elmur": Facts("variant", "learned first slots, no mixture of experts", "https://elmur-paper.github.io"),
    "fox": Facts("variant", "within a window", "zhixuan-lin/forgetting-transformer", "grows with steps"),
    "linear_attention": Facts("exact", "", "idiap/fast-transformers"),
    "based": Facts("variant", "without the window beside it", "HazyResearch/based"),
    "dpfp": Facts("exact", "", "IDSIA/lmtool-fwp"),
    "rebased": Facts("exact", "", "corl-team/rebased"),
    "hedgehog": Facts("exact"),
    "hebbian": Facts("variant", "a learned rate and leak"),
    "retnet": Facts("exact", "", "microsoft/torchscale"),
    "gla": Facts("exact", "", "FLA"),
    "agalite": Facts("exact", "", "subho406/agalite"),
    "mamba2": Facts("exact", "", "state-spaces/mamba"),
    "mamba3": Facts("exact", "of one input and output", "state-spaces/mamba"),
    "mlstm": Facts("exact", "input gate capped as in xLSTM-7B", "NX-AI/xlstm"),
    "slstm": Facts("exact", "", "NX-AI/xlstm"),
    "mingru": Facts("exact", "", "BorealisAI/minRNNs"),
    "minlstm": Facts("exact", "", "BorealisAI/minRNNs"),
    "bmru": Facts("variant", "thresholds kept in order; the gradient of the steps"),
    "s4d": Facts("exact", "", "state-spaces/s4"),
    "s5": Facts("exact", "", "lindermanlab/S5"),
    "lru": Facts("exact"),
    "rtu": Facts("exact"),
    "ffm": Facts("exact", "", "proroklab/ffm"),
    "shm": Facts("variant", "rows in turn, not at random; a bound", "thaihungle/SHM"),
    "mamba": Facts("exact", "", "state-spaces/mamba"),
    "longhorn": Facts("exact", "", "Cranial-XIX/longhorn"),
    "lms": Facts("exact"),
    "delta_net": Facts("exact", "", "FLA"),
    "gated_delta": Facts("exact", "", "FLA"),
    "delta_product": Facts("exact", "", "FLA"),
    "kda": Facts("exact", "", "MoonshotAI/Kimi-Linear"),
    "efla": Facts("exact", "", "declare-lab/EFLA"),
    "gdn2": Facts("exact", "", "FLA"),
    "comba": Facts("variant", "unit length before the feedback, not after", "FLA"),
    "mom": Facts("variant", "one convolution for all memories", "OpenSparseLLMs/MoM"),
    "rwkv7": Facts("variant", "values not mixed with the first layer's", "BlinkDL/RWKV-LM"),
    "preconditioned_delta": Facts("exact", "", "ntumm120/preconditioned-deltanet"),
    "recurrent_delta": Facts("exact", "", "IDSIA/recurrent-fwp"),
    "srwm": Facts("exact", "up to rows of length 100, to which longer ones are cut", "IDSIA/modern-srwm"),
    "mesa": Facts("exact", "", "FLA"),
    "palimpsa": Facts("exact", "", PALIMPSA),
    "palimpsa_scalar": Facts("variant", "one importance gate per head"),
    "palimpsa_key": Facts("variant", "an importance gate per key channel"),
    "not_palimpsa": Facts("exact", "", PALIMPSA),
    "meta_mamba2": Facts("exact", "", PALIMPSA),
    "metaplastic_linear_attention": Facts("variant", "another host"),
    "kalman_delta": Facts(
        "variant",
        "the gain is exact for a precision kept diagonal and shared by all rows, forgetting is towards the prior; "
        "akin to 2605.31163, 2602.10743 and 2511.21016 too",
    ),
    "ttt_linear": Facts("variant", NORMALISED + ", no rotary keys", "test-time-training/ttt-lm-pytorch"),
    "ttt_mlp": Facts("variant", NORMALISED + ", SiLU, no rotary keys", "test-time-training/ttt-lm-pytorch"),
    "titans": Facts("variant", NORMALISED + ", fades to the learned weights"),
    "moneta": Facts("variant", NORMALISED + ", the norm of a mini-batch's beginning"),
    "yaad": Facts("variant", NORMALISED + ", gates per head"),
    "memora": Facts("variant", NORMALISED + ", fades to the learned weights"),
    "atlas": Facts("variant", NORMALISED + ", a mean over the window"),
    "lact": Facts("variant", "short chunks, a learned step", "a1600012888/LaCT"),
    "hope": Facts("variant", NORMALISED + ", bounded targets"),
    "hybrid": Facts("ours"),
    "series": Facts("ours"),
    "memory_as_context": Facts("variant", "stores the input, not the attention's output"),
    "titans_mag": Facts("variant", "a weighted mean for a product"),
    "titans_mal": Facts("variant", "a residual inside"),
    "titans_mac": Facts("variant", "stores the input, not the attention's output"),
    "cached": Facts("variant", "mixes outputs of a step from each state", "", "grows with segments"),
    "hola": Facts("variant", "a block is one step"),
    "lola": Facts("variant", "a learned weight of the linear branch, a bias per age"),
    "log_linear": Facts("variant", "the top level takes all that comes up", "FLA", "grows with log steps"),
}
"""By the registry's name."""


def group_of(entry: Entry) -> str:
    """Return the title of the group that a memory's folder stands for."""
    return GROUPS.get(entry.target.split(".")[2], GROUPS["bayesian"])  # metaplasticity.py is in no folder: Bayesian


def link_to(source: str) -> str:
    """Return a Markdown link to an arXiv id or a DOI."""
    if source.startswith("doi.org/"):
        return f"[doi](https://{source})"
    return f"[{source}](https://arxiv.org/abs/{source})" if source else ""


def year_of(source: str) -> str:
    """Return the year of an arXiv id or a DOI."""
    return str(YEARS[source] if source in YEARS else 2000 + int(source[:2])) if source else ""


def code_at(code: str) -> str:
    """Return a Markdown link to a repository on GitHub or an address, or a dash."""
    if not code or code == "FLA":
        return code or "–"
    return f"[page]({code})" if code.startswith("https:") else f"[{code.partition('/')[0]}](https://github.com/{code})"


def page() -> str:
    """Return the page."""
    rows = []
    for title in GROUPS.values():
        rows.append(f"| **{title}** | | | | | | | |")
        for name, entry in MEMORIES.items():
            if group_of(entry) == title:
                facts, floats = FACTS[name], f"{make_memory(name, 64).state_bytes // 4:,}"
                said = f"{facts.verdict}: {facts.how}" if facts.how else facts.verdict
                source, code = link_to(entry.source), code_at(facts.code)
                cells = [f"`{name}`", entry.summary, year_of(entry.source), floats, facts.state, source, code, said]
                rows.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("memories.md").write_text(page())
