"""The verdicts of docs/memories.md, and the tests that they rest on."""

import ast
import importlib
from pathlib import Path

import pytest

from lifelong.memory import MEMORIES

HERE = Path(__file__).parent


@pytest.fixture
def facts(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE.parents[2] / "docs"))
    return importlib.import_module("memories").FACTS


def compared():
    """Return the memories whose names are those of a test here, `test_NAME`, or among its parameters `name`."""
    found = set()
    for path in HERE.glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add(node.name.removeprefix("test_"))
                for call in node.decorator_list:
                    if isinstance(call, ast.Call) and ast.literal_eval(call.args[0]) == "name":
                        found |= set(ast.literal_eval(call.args[1]))
    return found


def test_every_memory_has_a_verdict(facts):
    assert list(facts) == list(MEMORIES)
    assert {fact.verdict for fact in facts.values()} == {"exact", "variant", "ours"}


def test_every_verdict_rests_on_a_test(facts):
    assert set(facts) - compared() == set()


def test_variants_say_what_differs(facts):
    assert [name for name, fact in facts.items() if fact.verdict == "variant" and not fact.how] == []


def test_a_missing_test_would_be_seen():
    assert {"gated_delta", "palimpsa_key", "ttt_mlp"} <= compared()
    assert "no_such_memory" not in compared()
