"""Acting by a CUDA graph; without a GPU by a tape, which returns the same tensors each time, as a graph does."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents import ActorCritic, Backbone, CudaGraphPolicy, Encoder, Rollout
from lifelong.kernels.cuda_graph import CaptureError, captured
from lifelong.kernels.in_place import in_place
from lifelong.memory import MEMORIES, Memory

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Tape:
    """Count captures; replay by calling again."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, call: Callable[[], Any]) -> Callable[[], Any]:
        self.captures += 1
        call()  # what warming up writes must not count
        named, value = call()
        kept = {name: x.clone() for name, x in named.items()}, value.clone()

        def replay() -> Any:
            self.replays += 1
            named, value = call()
            for name, x in named.items():
                kept[0][name].copy_(x)
            kept[1].copy_(value)
            return kept

        return replay


def refused(call: Callable[[], Any]) -> Callable[[], Any]:
    raise CaptureError("it waits for the GPU")


class Turning(Memory):
    """Swap two entries of the state at every step."""

    def initial_state(self, batch: int) -> TensorDict:
        return TensorDict({"old": self.zeros(batch, 1), "new": self.zeros(batch, 1) + 1}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        return x + state["old"], TensorDict({"old": state["new"], "new": state["old"]}, state.batch_size)


def agent(memory: Memory) -> ActorCritic:
    encoder = Encoder(spaces.Box(-1, 1, (3,)), memory.width)
    return ActorCritic(encoder, Backbone([memory]), spaces.Discrete(5))


def lived(act: Any, policy: ActorCritic, lives: int = 3, steps: int = 4) -> list[Tensor]:
    """Run some steps with starts and return all outputs."""
    torch.manual_seed(2)
    memory, out = policy.backbone.initial_state(lives), []
    device = next(policy.parameters()).device
    for t in range(steps):
        observation = TensorDict({"observation": torch.rand(lives, 3)}, [lives], device=device)
        with torch.no_grad(), in_place():
            acted, memory = act(observation, memory, (torch.arange(lives) == t - 1).to(device))
        out += [*acted.values(), *(x.clone() for x in memory.values(True, True, sort=True))]
    return out


@pytest.mark.every_memory
@pytest.mark.parametrize("name", MEMORIES)
def test_every_memory_lives_as_it_does_without(policy_for: Any, body: Any, name: str) -> None:
    policy = policy_for(body(spaces.Box(-1, 1, (3,)), spaces.Discrete(5)), name)
    wanted, tape = lived(policy.act, policy), Tape()
    got = lived(CudaGraphPolicy(policy, tape).act, policy)
    assert len(got) == len(wanted)
    for x, y in zip(got, wanted, strict=True):
        torch.testing.assert_close(x, y)
    assert (tape.captures, tape.replays) == (1, 4)


def test_actions_in_a_box_are_drawn_alike(policy_for: Any, body: Any) -> None:
    policy = policy_for(body(spaces.Box(-1, 1, (3,)), spaces.Box(-2, 2, (2,))))
    for x, y in zip(lived(CudaGraphPolicy(policy, Tape()).act, policy), lived(policy.act, policy), strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("actions", [spaces.Discrete(5), spaces.Box(-2, 2, (2,))])
def test_a_graph_acts_greedily_when_it_is_told_to(policy_for: Any, body: Any, actions: Any) -> None:
    policy = policy_for(body(spaces.Box(-1, 1, (3,)), actions))
    graphed = CudaGraphPolicy(policy, Tape())
    greedy, drawn = lived(partial(policy.act, deterministic=True), policy), lived(policy.act, policy)
    for x, y in zip(lived(partial(graphed.act, deterministic=True), policy), greedy, strict=True):
        torch.testing.assert_close(x, y)
    assert not greedy[0].equal(drawn[0])


def test_entries_that_change_places_are_not_lost() -> None:
    policy = agent(Turning(4))
    for x, y in zip(lived(CudaGraphPolicy(policy, Tape()).act, policy), lived(policy.act, policy), strict=True):
        torch.testing.assert_close(x, y)


def test_only_the_memory_that_it_returned_is_written_over(policy_for: Any, recall: Any) -> None:
    env = recall()
    rollout = Rollout(policy_for(env), env)
    graphed, observation, start = CudaGraphPolicy(rollout.policy, Tape()), rollout.observation, rollout.start
    first = rollout.state.clone()
    _, own = graphed.act(observation, first, start)
    assert (first == rollout.state).all()
    copy = own.clone()
    acted, again = graphed.act(observation, own, ~start)
    assert again is own
    said = acted.clone()
    graphed.act(observation, copy, ~start)  # another life, from a copy
    once = own.clone()
    graphed.act(observation, copy, ~start)
    assert (own == once).all()
    assert (acted == said).all()


def test_it_is_captured_again_when_something_else_is_to_be_run() -> None:
    policy, tape = agent(Turning(4)), Tape()
    graphed = CudaGraphPolicy(policy, tape)
    lived(graphed.act, policy)
    lived(graphed.act, policy)
    assert tape.captures == 1
    for x, y in zip(lived(graphed.act, policy, lives=2), lived(policy.act, policy, lives=2), strict=True):
        torch.testing.assert_close(x, y)
    assert tape.captures == 2
    policy.double()  # weights lie elsewhere, the memory is wider
    for x, y in zip(lived(graphed.act, policy, lives=2), lived(policy.act, policy, lives=2), strict=True):
        torch.testing.assert_close(x, y)
    assert tape.captures == 3


def test_weights_that_learn_where_they_lie_need_no_new_capture() -> None:
    policy, tape = agent(Turning(4)), Tape()
    graphed = CudaGraphPolicy(policy, tape)
    before = lived(graphed.act, policy)
    with torch.no_grad():
        for p in policy.parameters():
            p += 0.1
    after = lived(graphed.act, policy)
    assert tape.captures == 1
    assert any(not torch.equal(x, y) for x, y in zip(before, after, strict=True))
    for x, y in zip(after, lived(policy.act, policy), strict=True):
        torch.testing.assert_close(x, y)


def test_a_memory_that_gets_new_entries_is_refused() -> None:
    class Growing(Turning):
        def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
            return x, TensorDict({**state, "more": state["old"]}, state.batch_size)

    policy = agent(Growing(4))
    with pytest.raises(CaptureError, match=r"must keep the entries of the state, .* got .*'more'"):
        lived(CudaGraphPolicy(policy, Tape()).act, policy)


def test_segments_are_the_same_with_and_without(policy_for: Any, recall: Any) -> None:
    def segments(tape: Tape | None) -> list[Any]:
        env = recall(life_episodes=2)
        rollout = Rollout(policy_for(env), env)
        rollout.bound = False
        if tape is not None:
            rollout.graph_policy = CudaGraphPolicy(rollout.policy, tape)
        torch.manual_seed(5)
        return [segment for _, segment in zip(range(3), rollout.segments(7), strict=False)]

    tape = Tape()
    for got, wanted in zip(segments(tape), segments(None), strict=True):
        assert (got.state == wanted.state).all()
        assert (got.steps == wanted.steps).all()
    assert (tape.captures, tape.replays) == (1, 21)


def test_on_a_cpu_it_is_not_used_and_cannot_be_asked_for(policy_for: Any, recall: Any) -> None:
    policy = policy_for(recall())
    assert Rollout(policy, recall()).graph_policy is None
    assert Rollout(policy, recall(), cuda_graph="off").graph_policy is None
    with pytest.raises(ValueError, match=r"^cuda_graph must be auto or off .* not on a GPU, got 'on' on cpu$"):
        Rollout(policy, recall(), cuda_graph="on")
    with pytest.raises(ValueError, match=r"^cuda_graph must be one of auto, on, off, got 'always'$"):
        Rollout(policy, recall(), cuda_graph="always")  # type: ignore[arg-type]


def test_what_cannot_be_captured_acts_without_and_says_so(policy_for: Any, recall: Any) -> None:
    rollout = Rollout(policy_for(recall()), recall())
    rollout.graph_policy = CudaGraphPolicy(rollout.policy, refused)
    torch.manual_seed(5)
    with pytest.warns(RuntimeWarning, match="acting goes on without a CUDA graph, slower: it waits for the GPU"):
        got = rollout.collect(4)
    plain = Rollout(rollout.policy, recall())
    plain.bound = False
    torch.manual_seed(5)
    assert (got.steps == plain.collect(4).steps).all()
    assert rollout.graph_policy is None


def test_what_must_be_captured_and_cannot_be_is_an_error(policy_for: Any, recall: Any) -> None:
    rollout = Rollout(policy_for(recall()), recall())
    rollout.graph_policy, rollout.cuda_graph = CudaGraphPolicy(rollout.policy, refused), "on"
    with pytest.raises(CaptureError, match=r"^cuda_graph must be auto or off with this policy: it waits for the GPU$"):
        rollout.collect(4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_there_is_no_graph_without_a_gpu() -> None:
    with pytest.raises(CaptureError, match="needs a GPU that torch can see"):
        captured(lambda: None)


@on_a_gpu
@pytest.mark.parametrize("name", ["gated_delta", "none", "gru", "lstm", "palimpsa", "transformer_xl"])
def test_a_graph_on_a_gpu_lives_as_the_policy_does(policy_for: Any, body: Any, name: str) -> None:
    policy = policy_for(body(spaces.Box(-1, 1, (3,)), spaces.Discrete(5)), name).cuda()
    for x, y in zip(lived(CudaGraphPolicy(policy).act, policy), lived(policy.act, policy), strict=True):
        torch.testing.assert_close(x, y)


@on_a_gpu
def test_lives_on_a_gpu_are_graphed_unless_they_are_told_not_to(policy_for: Any, recall: Any) -> None:
    segments = []
    for graph in ("on", "off"):
        env = recall(life_episodes=2)
        rollout = Rollout(policy_for(env).cuda(), env, cuda_graph=graph)
        torch.manual_seed(5)
        segments.append([segment for _, segment in zip(range(3), rollout.segments(7), strict=False)])
    for got, wanted in zip(*segments, strict=True):
        assert (got.steps["action"] == wanted.steps["action"]).all()
        torch.testing.assert_close(got.steps["state_value"], wanted.steps["state_value"])
        for x, y in zip(*(it.state.values(True, True, sort=True) for it in (got, wanted)), strict=True):
            torch.testing.assert_close(x, y)


@on_a_gpu
def test_a_replay_reads_what_is_there_now_and_a_call_that_waits_is_refused() -> None:
    x = torch.ones(3, device="cuda")
    replay = captured(lambda: 2 * x)
    x.fill_(5.0)
    assert replay().tolist() == [10.0] * 3
    with pytest.raises(CaptureError, match="synchronizing"):
        captured(lambda: x.sum().item())
    assert replay().tolist() == [10.0] * 3
