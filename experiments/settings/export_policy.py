"""Settings of `lifelong export-policy`."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lifelong.envs.extras import install_line
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields, check_output
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.sizes import Lives, Seed

__all__ = ["ExportPolicyConfig", "read"]

_SUFFIXES = {"torch-export": ".pt2", "onnx": ".onnx"}


@dataclass(frozen=True)
class ExportPolicyConfig:
    """Write a trained agent's step, with the memory's state as input and output, for torch.export or ONNX.

    Args:
        run: directory of the run.
        output: file to write, .pt2 or .onnx.
        format: torch-export or onnx.
        num_envs: lives in a batch; the file is for exactly so many.
        seed: random seed of the steps by which the file is checked.
        overwrite: replace a file of the same name.
        trust: import the code that the run names: a memory or an environment that is neither registered nor of an
            installed package.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    output: Path
    format: Literal["torch-export", "onnx"] = "torch-export"
    num_envs: Lives = 1
    seed: Seed = 0
    overwrite: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        check_output(self.output, overwrite=self.overwrite)
        if self.output.suffix != _SUFFIXES[self.format]:
            raise UserError(f"output must end with {_SUFFIXES[self.format]} for {self.format}: output={self.output}")
        packages = ("onnx", "onnxscript", "onnxruntime") if self.format == "onnx" else ()
        if missing := [name for name in packages if find_spec(name) is None]:
            raise UserError(f"format onnx needs {', '.join(missing)}: {install_line('onnx')}")


def read(words: list[str]) -> ExportPolicyConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(ExportPolicyConfig, words, "export-policy")
    open_run(config.run, config.trust)
    return config
