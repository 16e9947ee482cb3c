import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer, SliceSampler
from torchrl.envs import Compose, GymEnv, GymWrapper, InitTracker, SerialEnv, TransformedEnv, check_env_specs
from torchrl.modules import ProbabilisticActor, ValueOperator, canonicalize_rnn_subset, set_recurrent_mode
from torchrl.modules.utils import get_primers_from_module
from torchrl.objectives import ClipPPOLoss, DiscreteSACLoss, SoftUpdate
from torchrl.objectives.value import GAE

from lifelong.memory import MEMORIES, Memory, MemoryModule, make_memory

N, T, D = 3, 12, 8
KEYS = {"in_keys": ["embed", "memory"], "out_keys": ["read", ("next", "memory")]}


def cart_pole():
    return GymEnv("CartPole-v1", categorical_action_encoding=True)


def cart_poles():
    made = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 3, autoreset_mode=AutoresetMode.DISABLED)
    return GymWrapper(made, categorical_action_encoding=True)


def agent(memory):
    body = TensorDictSequential(
        TensorDictModule(nn.Linear(4, D), ["observation"], ["embed"]), MemoryModule(memory, **KEYS)
    )
    act = TensorDictSequential(body, TensorDictModule(nn.Linear(D, 2), ["read"], ["logits"]))
    actor = ProbabilisticActor(act, in_keys=["logits"], distribution_class=Categorical, return_log_prob=True)
    return actor, TensorDictSequential(body, ValueOperator(nn.Linear(D, 1), in_keys=["read"]))


def sequence(memory, *, carried):
    """Return random inputs with starts; the states stored there are initial ones, or those of other lives."""
    x, is_init = torch.randn(N, T, D), torch.rand(N, T, 1) < 0.3
    is_init[:, 0] = True
    states = []
    for _ in range(T):
        never = torch.zeros(N, 5, dtype=torch.bool)
        states.append(
            memory(torch.randn(N, 5, D), memory.initial_state(N), never)[1] if carried else memory.initial_state(N)
        )
    return TensorDict({"embed": x, "memory": torch.stack(states, 1), "is_init": is_init}, [N, T]).detach()


def one_step_at_a_time(module, sequence):
    """Run step by step like a collector: the next state is carried on, unless a reset has written one."""
    ys, state = [], None
    for t in range(T):
        now = sequence[:, t].clone()
        if state is not None:
            now["memory"] = now["memory"].where(now["is_init"][:, 0], state)
        now = module(now)
        state = now["next", "memory"]
        ys.append(now["read"])
    return torch.stack(ys, 1), state


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_step_and_sequence_modes_agree_whatever_state_is_stored_at_a_start(name, carried):
    torch.manual_seed(0)
    memory = make_memory(name, D)
    module = MemoryModule(memory, **KEYS)
    data = sequence(memory, carried=carried)
    ys, state = one_step_at_a_time(module, data)
    with set_recurrent_mode(True):
        out = module(data.clone())
    torch.testing.assert_close(out["read"], ys)
    if memory.state_bytes:
        torch.testing.assert_close(out["next", "memory"][:, -1], state)


@pytest.mark.parametrize(
    "make_env", [cart_pole, lambda: SerialEnv(2, cart_pole), cart_poles], ids=["1", "serial", "vector"]
)
@pytest.mark.parametrize("name", ["none", "lstm", "window", "palimpsa"])
def test_collector_gae_and_ppo_compute_one_and_the_same_function(name, make_env):
    torch.manual_seed(0)
    memory = make_memory(name, D)
    actor, critic = agent(memory)
    env = TransformedEnv(make_env(), Compose(InitTracker(), get_primers_from_module(actor)))
    env.set_seed(0)
    check_env_specs(env)
    (data,) = Collector(env, actor, frames_per_batch=96, total_frames=96)
    gae = GAE(gamma=0.99, lmbda=0.95, value_network=critic, deactivate_vmap=True)
    with torch.no_grad(), set_recurrent_mode(True):
        gae(data)
    inside = ~data["is_init"][..., 1:, :]
    assert inside.sum() < inside.numel()
    after, then = data["next", "state_value"][..., :-1, :], data["state_value"][..., 1:, :]
    torch.testing.assert_close(after[inside], then[inside])
    loss = ClipPPOLoss(actor, critic)(data)
    assert loss["kl_approx"].abs() < 1e-6  # the first ratio is 1
    (loss["loss_objective"] + loss["loss_critic"]).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in memory.parameters())


@pytest.mark.parametrize("name", ["gated_delta", "gru", "lstm", "palimpsa"])
def test_ensembled_losses_of_torchrl_equal_the_single_networks(name):
    torch.manual_seed(0)
    memory = make_memory(name, D)
    actor, _ = agent(memory)
    value = TensorDictSequential(
        MemoryModule(make_memory(name, D), **KEYS), TensorDictModule(nn.Linear(D, 2), ["read"], ["action_value"])
    )
    data = sequence(memory, carried=True)
    loss = DiscreteSACLoss(actor, value, num_actions=2, action_space="categorical", num_qvalue_nets=2)
    SoftUpdate(loss, eps=0.9)
    both = loss.qvalue_network_params
    with set_recurrent_mode(True):
        got = torch.vmap(lambda weights: run(value, weights, data), (0,))(both)
        for i in range(2):
            torch.testing.assert_close(got[i], run(value, both[i], data), rtol=1e-4, atol=1e-5)
    data["observation"] = torch.randn(N, T, 4)
    data["action"] = torch.randint(2, (N, T))
    data["next"] = data.select("observation", "memory", "is_init").update(
        {"reward": torch.randn(N, T, 1), "done": torch.zeros(N, T, 1).bool(), "terminated": torch.zeros(N, T, 1).bool()}
    )
    losses = loss(data)
    (losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_alpha"]).backward()
    grads = [p.grad for p in both.values(True, True) if p.requires_grad]
    assert any(grad is not None and grad.any() for grad in grads)


def run(module, weights, data):
    with weights.to_module(module):
        return module(data.clone())["action_value"]


class FromOne(Memory):
    """Memory that begins at 1 and adds 1 at every step."""

    def initial_state(self, batch):
        return TensorDict({"h": torch.ones(batch, D)}, [batch])

    def step(self, x, state, start):
        h = self.restart(state, start)["h"] + 1
        return h, TensorDict({"h": h}, [x.shape[0]])


@pytest.mark.parametrize(
    "make_env", [cart_pole, lambda: SerialEnv(3, cart_pole), cart_poles], ids=["1", "serial", "vector"]
)
def test_a_reset_writes_the_initial_state_of_the_finished_lives_only(make_env):
    torch.manual_seed(0)
    actor, _ = agent(FromOne(D))
    env = TransformedEnv(make_env(), Compose(InitTracker(), get_primers_from_module(actor)))
    env.set_seed(0)
    data = env.rollout(60, actor, break_when_any_done=False).reshape(-1, 60)
    assert data["is_init"][:, 1:].any()
    age = torch.zeros(data.shape[0])
    for t in range(60):
        age = torch.where(data["is_init"][:, t, 0], 1, age + 1)
        torch.testing.assert_close(data["memory", "h"][:, t], age[:, None].expand(-1, D))


def test_a_missing_state_points_to_the_primer():
    module = MemoryModule(make_memory("gru", D), **KEYS)
    with pytest.raises(KeyError, match=r"make_tensordict_primer\(\)"):
        module(TensorDict({"embed": torch.randn(N, D), "is_init": torch.ones(N, 1, dtype=torch.bool)}, [N]))


def test_the_mode_can_be_chosen_once_and_for_all():
    memory = make_memory("gru", D)
    out = MemoryModule(memory, **KEYS, default_recurrent_mode=True)(sequence(memory, carried=False))
    assert out["read"].shape == (N, T, D)


def test_a_primer_needs_the_next_state_in_its_place():
    module = MemoryModule(make_memory("gru", D), ["embed", "memory"], ["read", "memory_after"])
    with pytest.raises(ValueError, match=r"must be under \('next', 'memory'\), got 'memory_after'"):
        module.make_tensordict_primer()


def test_two_keys_are_wanted_on_either_side():
    with pytest.raises(ValueError, match=r"must name the value and the state, got \['embed'\]"):
        MemoryModule(make_memory("gru", D), ["embed"], ["read", ("next", "memory")])


@pytest.mark.parametrize(
    ("lacking", "transform"),
    [
        ("memory", r"'h'.*no transform that writes it, the primer: make_tensordict_primer\(\)"),
        ("is_init", r"InitTracker\(\)"),
    ],
)
def test_a_missing_transform_is_named(lacking, transform):
    actor, _ = agent(FromOne(D))
    transforms = InitTracker() if lacking == "memory" else get_primers_from_module(actor)
    env = TransformedEnv(cart_pole(), transforms)
    with pytest.raises(KeyError, match=transform):
        env.rollout(3, actor)
    with pytest.raises(KeyError, match=transform):
        next(iter(Collector(env, actor, frames_per_batch=3, total_frames=3)))
    (data,) = Collector(
        TransformedEnv(cart_pole(), transforms.clone()),
        actor,
        frames_per_batch=3,
        total_frames=3,
        auto_register_policy_transforms=True,
    )
    assert data["memory", "h"][:, 0].tolist() == [1, 2, 3]


def test_a_missing_input_is_named_without_a_remedy():
    with pytest.raises(KeyError, match=r"lacks 'embed'; it has \['is_init'\]"):
        MemoryModule(make_memory("gru", D), **KEYS)(TensorDict({"is_init": torch.ones(N, 1, dtype=torch.bool)}, [N]))


@pytest.mark.parametrize("pattern", [[1, 0, 1, 0, 0], [0, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]])
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("name", ["none", "lstm", "window", "gated_delta", "palimpsa"])
def test_one_life_of_five_steps_with_starts_inside(name, carried, pattern):
    """Shaped [1, 5], [5] and [1, 1, 5]: the same as the steps one by one."""
    torch.manual_seed(0)
    memory = make_memory(name, D)
    module = MemoryModule(memory, **KEYS)
    data = sequence(memory, carried=carried)[:1, :5].contiguous()
    data["is_init"] = torch.tensor(pattern, dtype=torch.bool)[None, :, None]
    state, ys = data["memory"][:, 0], []
    for t in range(5):
        now = data[:, t].clone()
        if not pattern[t]:
            now["memory"] = state
        state = module(now)["next", "memory"]
        ys.append(now["read"])
    for shape in ((1, 5), (5,), (1, 1, 5)):
        with set_recurrent_mode(True):
            out = module(data.reshape(shape).clone())
        assert out.batch_size == shape
        torch.testing.assert_close(out["read"].reshape(1, 5, -1), torch.stack(ys, 1))
        if memory.state_bytes:
            torch.testing.assert_close(out["next", "memory"].reshape(1, 5)[:, -1], state)


def test_a_sequence_has_an_axis_of_steps():
    with pytest.raises(ValueError, match=r"must be \[\*, T\], got batch_size \[\]"), set_recurrent_mode(True):
        MemoryModule(make_memory("gru", D), **KEYS)(TensorDict())


def test_keys_as_torchrls_own_modules_take_them():
    module = MemoryModule(make_memory("gru", D), in_key="embed", out_key="read")
    assert (module.in_keys, module.out_keys) == (
        ["embed", ("memory", "h"), "is_init"],
        ["read", ("next", "memory", "h")],
    )
    assert module.canonical_keys == [*module.in_keys, *module.out_keys]
    assert not module.recurrent_mode
    with set_recurrent_mode(True):
        assert module.recurrent_mode
    data = sequence(module.memory, carried=False)
    with set_recurrent_mode(True):
        want = module(data.clone())["read"]
        strided = data.transpose(0, 1).contiguous().transpose(0, 1)
        torch.testing.assert_close(module(canonicalize_rnn_subset(strided, [module]))["read"], want)
    with pytest.raises(
        ValueError, match=r"either in_key or in_keys must be given, got embed and \['embed', 'memory'\]"
    ):
        MemoryModule(make_memory("gru", D), ["embed", "memory"], in_key="embed", out_key="read")
    with pytest.raises(ValueError, match="either out_key or out_keys must be given, got None and None"):
        MemoryModule(make_memory("gru", D), in_key="embed")


def test_slices_of_a_replay_buffer_are_read_from_the_state_at_their_first_step():
    torch.manual_seed(0)
    memory = make_memory("gated_delta", D)
    actor, _ = agent(memory)
    env = TransformedEnv(cart_pole(), Compose(InitTracker(), get_primers_from_module(actor)))
    env.set_seed(0)
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(400), sampler=SliceSampler(slice_len=5, end_key=("next", "done")), batch_size=40
    )
    (data,) = Collector(env, actor, frames_per_batch=400, total_frames=400)
    buffer.extend(data)
    slices = buffer.sample().reshape(8, 5)
    acted = slices["read"].clone()
    assert slices["memory"][:, 0].apply(torch.abs).sum(reduce=True) > 0  # some begin within an episode
    with set_recurrent_mode(True):
        (module,) = (part for part in actor.modules() if isinstance(part, MemoryModule))
        torch.testing.assert_close(module(slices)["read"], acted)
