"""Options of memories: wrong types, sizes that cannot be meant; every memory, every option."""

import inspect
import math

import pytest
import torch

from lifelong.memory import MEMORIES, Memory, make_memory
from lifelong.memory.footprint import footprint
from lifelong.memory.options import check_options
from lifelong.registry import load

D = 8
NEVER = ["x", [2, 3], {}, None, True, 1.5, math.nan, math.inf, -1, 0, 10**9, 10**400]
WRONG = {  # by annotation, what does not fit it
    "int": NEVER,
    "int | None": [value for value in NEVER if value is not None],
    "float": ["x", [2, 3], {}, None, True, math.nan, math.inf, 10**400],
    "bool": [value for value in NEVER if value is not True],
    "tuple[float, float]": ["x", "xy", 1.5, None, True, {}, [], [1.0], [1.0, 2.0, 3.0], [1.0, "x"], [1.0, math.nan]],
    "tuple[int, ...]": ["x", 2, None, True, {}, [16.0, 256.0], ["x"]],
    "words": [*NEVER, "Gate"],
    "str": NEVER[1:],
    "str | Memory": NEVER[1:],
    "dict[str, typing.Any] | None": ["x", [2, 3], True, 1.5, 0],
}
TAKEN = {  # and what does
    "int": [1, 7],
    "int | None": [1, None],
    "float": [1, 1.5, -2.0],
    "bool": [True, False],
    "tuple[float, float]": [(1.0, 2.0), [1, 2e5]],
    "tuple[int, ...]": [(16,), [16, 256]],
    "words": [],
    "str": ["gla"],
    "str | Memory": ["gru"],
    "dict[str, typing.Any] | None": [None, {"num_heads": 2}],
}


def annotated(name):
    """Yield option and annotation, as written, of a memory."""
    for parameter in list(inspect.signature(load("memory", MEMORIES[name].target)).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        written = str(parameter.annotation).replace("lifelong.memory.memory.", "")
        if "Literal" in written:
            written = "words"
        elif isinstance(parameter.annotation, type):
            written = parameter.annotation.__name__
        yield parameter.name, written


def refused(name, **options):
    with pytest.raises((TypeError, ValueError)) as caught:
        make_memory(name, D, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_whatever_does_not_fit_is_refused_with_the_option_and_its_value(name):
    factory = load("memory", MEMORIES[name].target)
    for option, annotation in annotated(name):
        for value in WRONG[annotation]:
            with pytest.raises((TypeError, ValueError)) as caught:
                check_options(name, factory, {option: value}, sizes=True)
            said = str(caught.value)
            assert option in said, said
            assert "\n" not in said
            assert any(shown in said for shown in (repr(value)[:50], f"{option}={value}"[:60])), said
            assert not any(torchs in said for torchs in ("not supported between", "argument", "alloc", "object")), said


@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_whatever_fits_its_annotation_has_the_right_type(name):
    factory = load("memory", MEMORIES[name].target)
    for option, annotation in annotated(name):
        for value in TAKEN[annotation]:  # whether the sizes go together is the constructor's to say
            check_options(name, factory, {option: value}, sizes=True)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("gated_delta", {"heads": 1.0}, "num_heads must be an integer or None (null), got 1.0"),
        ("gated_delta", {"heads": "x"}, "num_heads must be an integer or None (null), got 'x'"),
        ("gated_delta", {"heads": True}, "num_heads must be an integer or None (null), got True"),
        ("gated_delta", {"key_dim": 0}, "key_dim must be positive: key_dim=0"),
        ("gated_delta", {"horizons": [1e4]}, "horizons must be a list of 2 numbers, got [10000.0]"),
        ("titans", {"momentum": "off"}, "momentum must be true or false, got 'off'"),
        ("titans", {"depth": 65}, "depth must be at most 64: depth=65"),
        ("table", {"slots": 10**9}, "slots must be at most 16,777,216: slots=1000000000"),
        ("table", {"quantum": math.inf}, "quantum must be finite in float32: quantum=inf"),
        ("palimpsa", {"beta": "vektor"}, "beta must be one of vector, scalar, key, none, got 'vektor'"),
        ("hybrid", {"a": 3}, "a must be a text or a Memory, got 3"),
        ("hope", {"periods": [16.0]}, "periods must be a list of integers, got [16.0]"),
    ],
)
def test_the_error_says_what_is_allowed(name, options, said):
    assert refused(name, **options) == f"memory {name!r}: {said}"


def test_options_of_a_memory_inside_another_name_that_one():
    assert refused("hybrid", a_options={"num_heads": 1.0}).startswith("memory 'gated_delta': num_heads must be")


@pytest.mark.parametrize("width", [8.0, "x", True, None])
def test_the_width_is_an_integer(width):
    with pytest.raises(TypeError, match="memory 'gla': width must be an integer, got"):
        make_memory("gla", width)


class Offset(Memory):
    """Plug-in with a setting that may be negative."""

    def __init__(self, width: int, offset: int = 0, unknown: "Nowhere" = None):  # noqa: F821
        super().__init__(width)
        self.offset, self.unknown = offset, unknown


class Shift(Offset):
    def __init__(self, width: int, offset: int = 0):
        super().__init__(width, offset)


def test_integers_of_a_plug_in_need_not_be_sizes():
    assert make_memory(f"{__name__}:Shift", D, offset=-3).offset == -3
    with pytest.raises(TypeError, match="offset must be an integer, got 'x'"):
        make_memory(f"{__name__}:Shift", D, offset="x")


def test_annotations_that_cannot_be_resolved_are_not_checked():
    assert make_memory(f"{__name__}:Offset", D, offset="x").offset == "x"


@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_bytes_are_known_before_anything_is_made(name):
    before = torch.get_rng_state()
    wanted = footprint(load("memory", MEMORIES[name].target), D, MEMORIES[name].options)
    assert torch.equal(torch.get_rng_state(), before)
    made = make_memory(name, D)
    held = [*made.parameters(), *made.buffers()]
    assert wanted == made.state_bytes + sum(each.numel() * each.element_size() for each in held)


@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_sizes_beyond_the_main_memory_are_refused_in_one_sentence(name, monkeypatch):
    monkeypatch.setattr("lifelong.memory.footprint.main_memory", lambda: 10**5)
    sizes = [option for option, written in annotated(name) if written.startswith("int")]
    unlimited = {"iterations", "batch", "nu", "depth", "levels", "active", "recent"} | {"num_heads"}
    if name == "cached":
        unlimited.add("segment")  # steps between two states, not a size of either
    for option in set(sizes) - unlimited:
        said = refused(name, **{option: 2**18})
        assert "training holds it 4 times over: this machine has 0.0 GB" in said or "key_dim must be within" in said, (
            said
        )
        assert f"'{option}': 262144" in said or "key_dim must be within" in said, said


def test_a_matrix_of_2_24_squared_is_refused_at_once():
    said = refused("shm", size=2**24)  # 4 * 2^48 bytes of state, and 3 maps of 8 * 2^24
    assert said.startswith("memory 'shm' would take 1,125,91")
    assert " GB with width=8, {'size': 16777216}, and training holds it 4 times over: this machine has " in said


def test_weights_that_would_not_be_finite_are_refused():
    said = refused("meta_mamba2", importance=1e9)
    assert (
        said
        == "memory 'meta_mamba2' would begin with weights that are not finite: width=8, {'importance': 1000000000.0}"
    )
