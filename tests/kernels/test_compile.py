"""Compile every Triton kernel to GPU machine code without a GPU; the interpreter accepts more than the compiler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATIONS = sorted({file.parent.name for file in (ROOT / "kernels").glob("*/triton_*.py")})


@pytest.mark.slow
@pytest.mark.timeout(1800)  # some fifty variants of fast_weight, each a second or more
@pytest.mark.parametrize("op", OPERATIONS)
def test_every_kernel_compiles_for_an_h100(op, tmp_path):
    pytest.importorskip("triton", exc_type=ImportError)
    clean = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    clean |= {"PYTHONPATH": str(ROOT / "src"), "TRITON_CACHE_DIR": str(tmp_path)}  # nothing compiled before counts
    script = ROOT / "tests" / "kernels" / "compile_for_hopper.py"
    ran = subprocess.run([sys.executable, str(script), op], env=clean, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert f"{op}.triton_step." in ran.stdout
