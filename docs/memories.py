"""Write `docs/memories.md`, the table of memories, from the registry.

    python -P docs/memories.py

Run it after a memory was added; a test compares the file with what this prints.
"""

from pathlib import Path

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
`lifelong list NAME` shows its settings. *Floats* is the size of the state of one life at width 64. What works with
which part of PyTorch: [pytorch.md](pytorch.md).

| name | idea | floats | source |
| --- | --- | --- | --- |
"""


def group_of(entry: Entry) -> str:
    """Return the title of the group that a memory's folder stands for."""
    return GROUPS.get(entry.target.split(".")[2], GROUPS["bayesian"])  # metaplasticity.py is in no folder: Bayesian


def link_to(source: str) -> str:
    """Return a Markdown link to an arXiv id or a DOI."""
    if source.startswith("doi.org/"):
        return f"[doi](https://{source})"
    return f"[{source}](https://arxiv.org/abs/{source})" if source else ""


def page() -> str:
    """Return the page."""
    rows = []
    for title in GROUPS.values():
        rows.append(f"| **{title}** | | | |")
        for name, entry in MEMORIES.items():
            if group_of(entry) == title:
                floats = make_memory(name, 64).state_bytes // 4
                rows.append(f"| `{name}` | {entry.summary} | {floats:,} | {link_to(entry.source)} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("memories.md").write_text(page())
