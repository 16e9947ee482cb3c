"""A MuJoCo that is installed and cannot be loaded takes nothing along but its own environments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lifelong.memory.broken_mujoco import broken_mujoco_hidden

IMPORTS = """
import importlib.util, sys
import lifelong.agents
from lifelong.memory import MemoryModule
assert "torchrl" in sys.modules
assert "mujoco" not in sys.modules and importlib.util.find_spec("mujoco") is not None
try:
    import mujoco
except OSError as error:
    print(error)
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "mujoco").mkdir()
    (tmp_path / "mujoco" / "__init__.py").write_text('raise OSError("libmujoco.so.4: no such file")\n')
    return tmp_path


def test_agents_and_torchrl_modules_are_there_without_it(broken: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(broken), *filter(None, sys.path)]), "PYTHONSAFEPATH": "1"}
    words = [sys.executable, "-W", "ignore", "-c", IMPORTS]
    result = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "libmujoco.so.4: no such file\n"


def test_it_is_hidden_inside_the_block_only(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(broken))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mujoco", "torchrl")]:
        monkeypatch.delitem(sys.modules, name)
    with broken_mujoco_hidden():
        assert sys.modules["mujoco"] is None
        with pytest.raises(ModuleNotFoundError):
            import mujoco  # noqa: F401
    assert "mujoco" not in sys.modules


def test_one_that_can_be_loaded_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mujoco").mkdir()
    (tmp_path / "mujoco" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mujoco", "torchrl")]:
        monkeypatch.delitem(sys.modules, name)
    with broken_mujoco_hidden():
        import mujoco
    assert sys.modules["mujoco"] is mujoco
    monkeypatch.delitem(sys.modules, "mujoco")
