"""CarryMemory beside a plain loop over the same steps, in every layout of environments that TorchRL has."""

import copy
import pickle
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.data import Composite, LazyTensorStorage, ReplayBuffer, SliceSampler, Unbounded
from torchrl.envs import (
    Compose,
    GymEnv,
    GymWrapper,
    InitTracker,
    ParallelEnv,
    SerialEnv,
    TransformedEnv,
    check_env_specs,
    default_info_dict_reader,
)
from torchrl.modules import GRUModule, LSTMModule, ProbabilisticActor, ValueOperator, set_recurrent_mode
from torchrl.modules.utils import get_primers_from_module
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from lifelong import CarryMemory, MemoryModule, make_memory

D, N, T = 4, 3, 20
FLAGS = ["life_start", "life_end"]


class Lives(gymnasium.Env):
    """Noise in episodes of one to four steps, three to a life; `info` says where lives start and end."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (D,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, truncates: bool = False) -> None:
        self.truncates, self.episodes, self.left = truncates, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.left, self.episodes = int(self.np_random.integers(1, 5)), self.episodes + 1
        return self._obs(), self._info(first=self.episodes % 3 == 1)

    def step(self, action: Any) -> Any:
        self.left -= 1
        over = self.left == 0
        ends = (False, over) if self.truncates else (over, False)
        return self._obs(), float(action), *ends, self._info(last=over and self.episodes % 3 == 0)

    def _obs(self) -> Any:
        return self.np_random.standard_normal(D).astype(np.float32)

    def _info(self, *, first: bool = False, last: bool = False) -> dict[str, Any]:
        return {"life_start": np.array(first), "life_end": np.array(last)}


def read(env: Any) -> Any:
    specs = {name: Unbounded((*env.batch_size,), dtype=torch.bool) for name in FLAGS}
    return env.set_info_dict_reader(default_info_dict_reader(FLAGS, spec=Composite(specs, shape=env.batch_size)))


def single(**settings: Any) -> Any:
    return read(GymWrapper(Lives(**settings), categorical_action_encoding=True))


def vector(**settings: Any) -> Any:
    env = SyncVectorEnv([lambda: Lives(**settings)] * N, autoreset_mode=AutoresetMode.DISABLED)
    return read(GymWrapper(env, categorical_action_encoding=True))


def policy(name: str = "gated_delta") -> tuple[Any, Any]:
    """Return actor and critic with one body: a linear map, and a memory of ours or TorchRL's."""
    torch.manual_seed(0)
    if name == "LSTMModule":
        keys = ["read", ("next", "h"), ("next", "c")]
        memory: Any = LSTMModule(D, D, in_keys=["embed", "h", "c"], out_keys=keys)
    elif name == "GRUModule":
        memory = GRUModule(D, D, in_keys=["embed", "h"], out_keys=["read", ("next", "h")])
    else:
        memory = MemoryModule(make_memory(name, D), in_key="embed", out_key="read")
    body = TensorDictSequential(TensorDictModule(nn.Linear(D, D), ["observation"], ["embed"]), memory)
    logits = TensorDictSequential(body, TensorDictModule(nn.Linear(D, 2), ["read"], ["logits"]))
    actor = ProbabilisticActor(logits, in_keys=["logits"], distribution_class=Categorical, return_log_prob=True)
    return actor, TensorDictSequential(body, ValueOperator(nn.Linear(D, 1), in_keys=["read"]))


def parts(module: Any) -> tuple[Any, Any]:
    """Return the linear map and the memory of a policy."""
    (memory,) = (part for part in module.modules() if isinstance(part, MemoryModule))
    (embed,) = (part for part in module.modules() if getattr(part, "out_keys", None) == ["embed"])
    return embed.module, memory


def transforms(actor: Any, **options: Any) -> Any:
    return Compose(InitTracker(), InitTracker("episode_start"), CarryMemory(actor, **options))


def around(make_env: Any) -> Any:
    return lambda actor, **options: TransformedEnv(make_env(), transforms(actor, **options))


def inside(batched: Any) -> Any:
    return lambda actor, **options: batched(N, partial(worker, actor, **options))


def worker(actor: Any, **options: Any) -> Any:
    return TransformedEnv(single(), transforms(actor, **options))


LAYOUTS = {
    "one": around(single),
    "vector": around(vector),
    "serial": around(lambda: SerialEnv(N, single)),
    "in serial": inside(SerialEnv),
}
parallel = partial(ParallelEnv, mp_start_method="fork")  # a new interpreter would not find this file
PROCESSES = {"parallel": around(lambda: parallel(N, single)), "in parallel": inside(parallel)}


def lives(data: Any, option: str | None) -> torch.Tensor:
    """Return [N, T] where lives begin, by hand: the flags are written by `Lives` alone."""
    begins = torch.zeros(data.shape, dtype=torch.bool)
    begins[:, 0] = True
    ended = data["next", "done"][:, :-1, 0]
    if option == "life_start":
        begins[:, 1:] = ended & data["life_start"][:, 1:]
    elif option == "life_end":
        begins[:, 1:] = ended & data["next", "life_end"][:, :-1]
    return begins


def check_states(data: Any, actor: Any, begins: torch.Tensor) -> None:
    """Compare every stored state with a plain loop over the steps, life by life."""
    embed, memory = parts(actor)
    memory = memory.memory
    for row, starts in zip(data, begins, strict=True):
        for t in range(len(row)):
            state = memory.initial_state(1) if starts[t] else state  # noqa: F821  the first step is a start
            assert (row["memory"][t] == state[0]).all(), f"before step {t}"
            with torch.no_grad():
                y, state = memory.step(embed(row["observation"][t : t + 1]), state, torch.zeros(1, dtype=torch.bool))
            torch.testing.assert_close(row["read"][t : t + 1], y)
            torch.testing.assert_close(row["next", "memory"][t], state[0])
            state = row["next", "memory"][t : t + 1]  # to the bit
    assert data["is_init"].reshape(begins.shape).equal(begins)


def collected(env: Any, actor: Any, batches: int = 2, steps: int = T) -> Any:
    env.set_seed(0)
    n = env.batch_size.numel()
    collector = Collector(env, actor, frames_per_batch=n * steps // batches, total_frames=n * steps)
    data = torch.cat([batch.reshape(n, -1).clone() for batch in collector], 1)
    collector.shutdown()
    return data


@pytest.mark.parametrize("option", [None, *FLAGS])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_state_goes_on_over_resets_until_a_life_ends(layout, option):
    actor, _ = policy()
    data = collected(LAYOUTS[layout](actor, **({option: option} if option else {})), actor)
    begins = lives(data, option)
    assert data["episode_start"].sum() > 3 * len(data)
    assert begins[:, 1:].any() == (option is not None)
    check_states(data, actor, begins)


@pytest.mark.slow
@pytest.mark.parametrize("option", [None, "life_end"])
@pytest.mark.parametrize("layout", PROCESSES)
def test_the_state_goes_on_in_processes_too(layout, option):
    actor, _ = policy()
    data = collected(PROCESSES[layout](actor, **({option: option} if option else {})), actor)
    check_states(data, actor, lives(data, option))


def test_a_memory_without_state_marks_lives_too():
    actor, _ = policy("none")
    data = collected(LAYOUTS["vector"](actor, life_start="life_start"), actor)
    assert data["is_init"][..., 0].equal(lives(data, "life_start"))


@pytest.mark.parametrize("name", ["lstm", "window", "slstm", "heavy_hitter"])
def test_states_of_every_kind_are_carried(name):
    actor, _ = policy(name)
    data = collected(LAYOUTS["vector"](actor, life_start="life_start"), actor)
    check_states(data, actor, lives(data, "life_start"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_specs_are_true(layout):
    check_env_specs(LAYOUTS[layout](policy()[0]))


@pytest.mark.parametrize("name", ["gated_delta", "LSTMModule", "GRUModule"])
def test_acting_and_learning_are_one_function_and_gradients_cross_resets(name):
    actor, critic = policy(name)
    data = collected(LAYOUTS["vector"](actor, life_start="life_start"), actor, batches=1)
    with torch.no_grad(), set_recurrent_mode(True):
        GAE(gamma=0.9, lmbda=0.9, value_network=critic, shifted=True, deactivate_vmap=True)(data)
    assert ClipPPOLoss(actor, critic)(data)["kl_approx"].abs() < 1e-6  # the first ratio is 1
    inputs = data.clone()
    observation = inputs["observation"].requires_grad_()
    with set_recurrent_mode(True):
        logits = actor.get_dist(inputs).logits
    first, second = (data[key][0, 1:, 0].nonzero()[0, 0] + 1 for key in ("episode_start", "is_init"))
    assert first < second  # the life has several episodes
    (gradient,) = torch.autograd.grad(logits[0, second - 1].pow(2).sum(), observation, retain_graph=True)
    assert (gradient[0, :second].abs().sum(-1) > 0).all()
    (gradient,) = torch.autograd.grad(logits[0, second].pow(2).sum(), observation)
    assert not gradient[0, :second].any()  # another life


def values(data: Any, critic: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return V of every observation and of what came next, [N, T], by a loop, the second from a copy of the state."""
    embed, module = parts(critic)
    memory, head, never = module.memory, critic[-1], torch.zeros(1, dtype=torch.bool)
    out = torch.zeros(2, *data.shape)
    for i, row in enumerate(data):
        for t in range(len(row)):
            y, state = memory.step(embed(row["observation"][t : t + 1]), row["memory"][t : t + 1], never)
            then, _ = memory.step(embed(row["next", "observation"][t : t + 1]), state, never)
            out[:, i, t] = torch.stack([head.module(y).squeeze(), head.module(then).squeeze()])
    return out[0], out[1]


@pytest.mark.parametrize("truncates", [False, True])
def test_gae_reads_the_values_that_acting_would(truncates):
    actor, critic = policy()
    data = collected(TransformedEnv(vector(truncates=truncates), transforms(actor)), actor, batches=1)
    with torch.no_grad():
        value, after = values(data, critic)
    if truncates:  # as the file's docstring says
        gae, given = GAE(gamma=0.9, lmbda=0.9, value_network=critic, deactivate_vmap=True), data.copy()
        given["is_init"] = data["episode_start"]
    else:
        gae, given = GAE(gamma=0.9, lmbda=0.9, value_network=critic, shifted=True, deactivate_vmap=True), data.copy()
    with torch.no_grad(), set_recurrent_mode(True):
        gae(given)
    torch.testing.assert_close(given["state_value"][..., 0], value)
    advantage, later = torch.zeros_like(value), torch.zeros(len(data))
    for t in reversed(range(T)):
        done, terminated = (data["next", key][:, t, 0].float() for key in ("done", "terminated"))
        error = data["next", "reward"][:, t, 0] + 0.9 * (1 - terminated) * after[:, t] - value[:, t]
        advantage[:, t] = later = error + 0.81 * (1 - done) * later
    torch.testing.assert_close(given["advantage"][..., 0], advantage)


def test_slices_of_a_replay_buffer_begin_with_the_state_that_was_acted_from():
    actor, _ = policy()
    data = collected(LAYOUTS["one"](actor), actor, batches=1)[0]
    data["life", "done"] = torch.zeros(T, 1, dtype=torch.bool)  # all of it is one life: slices cross episodes
    data["life", "done"][-1] = True
    sampler = SliceSampler(slice_len=8, end_key=("life", "done"))
    buffer = ReplayBuffer(storage=LazyTensorStorage(T), sampler=sampler, batch_size=80)
    buffer.extend(data)
    slices = buffer.sample().reshape(10, 8)
    assert slices["episode_start"][:, 1:].any(1).all()
    acted = slices["read"].clone()
    with set_recurrent_mode(True):
        torch.testing.assert_close(parts(actor)[1](slices)["read"], acted)


def test_env_reset_begins_new_lives_but_where_the_environment_tells_of_them():
    actor, _ = policy()
    env = LAYOUTS["vector"](actor)
    for _ in range(2):
        data = env.rollout(5, actor, break_when_any_done=False)
        assert data["is_init"][:, 0].all()
        assert not data["memory", "S"][:, 0].any()
    env = LAYOUTS["vector"](actor, life_start="life_start")
    data, again = (env.rollout(5, actor, break_when_any_done=False) for _ in range(2))
    assert again["is_init"][:, 0, 0].equal(again["life_start"][:, 0])
    assert not again["is_init"].all()
    goes_on = ~again["is_init"][:, 0, 0]
    assert again["memory", "S"][goes_on, 0].equal(data["next", "memory", "S"][goes_on, -1])


@pytest.mark.parametrize("again", [copy.deepcopy, lambda transform: pickle.loads(pickle.dumps(transform))])  # noqa: S301  our own
def test_a_copy_of_an_environment_goes_on_alike(again):
    actor, _ = policy()
    env = TransformedEnv(single(), transforms(actor))
    env.set_seed(0)
    first = env.rollout(7, actor, break_when_any_done=False)
    carry = env.transform[2]
    copied = again(carry)
    assert copied._state["memory", "S"].equal(first["next", "memory", "S"][-1])
    assert copied._state["memory", "S"].data_ptr() != carry._state["memory", "S"].data_ptr()


def test_random_steps_leave_the_state_as_it_is():
    env = LAYOUTS["vector"](policy()[0])
    data = env.rollout(10, break_when_any_done=False)
    assert not data["memory", "S"].any()
    assert data["is_init"].sum() == N


def test_the_state_is_no_buffer():
    actor, _ = policy()
    env = LAYOUTS["one"](actor)
    env.rollout(3, actor, break_when_any_done=False)
    assert not env.state_dict()
    assert not list(env.transform.buffers())


def test_what_is_wrong_is_said():
    actor, _ = policy()
    with pytest.raises(ValueError, match=r"must have a module with make_tensordict_primer\(\), got Linear"):
        CarryMemory(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="not both: life_start='a', life_end='b'"):
        CarryMemory(actor, life_start="a", life_end="b")
    with pytest.raises(ValueError, match=r"InitTracker\(\) must come before.* got \['CarryMemory', 'InitTracker'\]"):
        TransformedEnv(single(), Compose(CarryMemory(actor), InitTracker())).reset()
    with pytest.raises(ValueError, match=r"InitTracker\(\) must come before"):
        TransformedEnv(single(), Compose(CarryMemory(actor))).reset()
    with pytest.raises(KeyError, match=r"must write 'over', it has .*'observation'"):
        TransformedEnv(single(), transforms(actor, life_end="over")).rollout(2)
    with pytest.raises(ValueError, match=r"'observation' must be bool \[3\], got torch.float32 \[3, 4\]"):
        TransformedEnv(vector(), transforms(actor, life_end="observation")).rollout(2)
    with pytest.raises(NotImplementedError, match="of environments only"):
        CarryMemory(actor)(torch.zeros(1))


def test_a_primer_of_torchrl_makes_an_agent_that_begins_every_episode_anew():
    """What the others would see without the transform: the state is initial at each reset, and gradients end there."""
    actor, _ = policy()
    env = TransformedEnv(vector(), Compose(InitTracker(), get_primers_from_module(actor)))
    data = collected(env, actor)
    starts = data["is_init"][..., 0]
    assert starts[:, 1:].any()
    assert not data["memory", "S"][starts].any()
    assert data["memory", "S"][~starts].flatten(1).any(1).all()


def test_streams_of_lifelong_tell_where_lives_start():
    import lifelong.envs  # noqa: F401  it registers the ids

    settings = {"autoreset_mode": "DISABLED", "life_episodes": 4, "flat": True}
    env = gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=N, **settings)
    wrapped = GymWrapper(env)
    spec = Composite(life_start=Unbounded((N,), dtype=torch.bool), shape=(N,))
    wrapped.set_info_dict_reader(default_info_dict_reader(["life_start"], spec=spec))
    actor, _ = policy()
    data = TransformedEnv(wrapped, Compose(InitTracker(), CarryMemory(actor, life_start="life_start"))).rollout(
        12, break_when_any_done=False
    )
    assert data["is_init"][..., 0].equal((torch.arange(12) % 4 == 0).expand(N, 12))


def test_gym_env_is_one_life():
    env = GymEnv("CartPole-v1", categorical_action_encoding=True)
    actor, _ = policy()
    data = collected(TransformedEnv(env, transforms(actor)), actor, steps=120)
    assert data["episode_start"].sum() > 1
    check_states(data, actor, lives(data, None))
