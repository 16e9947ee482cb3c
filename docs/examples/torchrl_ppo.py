"""TorchRL's collector and ClipPPOLoss, with a memory of lifelong beside TorchRL's own LSTMModule.

    python docs/examples/torchrl_ppo.py

Four cues have answers that are redrawn for every life, and an episode asks for one of them: what is learned in an
episode is needed in later ones. `CarryMemory` carries the state of both modules over the ends of episodes.

Right answers in the second half of lives, means of five batches of 1,600 steps each (chance .25; one seed, a CPU):

    gated_delta  .25 .27 .35 .56 .89 .97 .98 .99 .99 .99
    LSTMModule   .27 .33 .44 .48 .49 .51 .52 .50 .55 .53
                 .25 .28 .32 .44 .47 .50 .52 .51 .55 .51 at a learning rate of 1e-3

That is an example, not a benchmark: LSTMModule learns faster at first, and each has one seed.
"""

import gymnasium
import torch
from tensordict.nn import TensorDictModule as Module, TensorDictSequential as Sequential
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.data import Composite, Unbounded
from torchrl.envs import Compose, GymWrapper, InitTracker, TransformedEnv, default_info_dict_reader
from torchrl.modules import MLP, LSTMModule, ProbabilisticActor, ValueOperator, set_recurrent_mode
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import lifelong.envs  # noqa: F401  it registers the ids
from lifelong import CarryMemory, MemoryModule, make_memory

LIVES, EPISODES, WIDTH = 32, 50, 64


def make_env():
    """Return 32 lives side by side, of 50 episodes of one step, in which `info` tells where a life starts."""
    settings = {"cues": 4, "life_episodes": EPISODES, "flat": True, "autoreset_mode": "DISABLED", "seed": 0}
    env = GymWrapper(
        gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=LIVES, **settings), categorical_action_encoding=True
    )
    told = Composite(life_start=Unbounded(shape=(LIVES,), dtype=torch.bool), shape=(LIVES,))
    return env.set_info_dict_reader(default_info_dict_reader(["life_start"], spec=told))


def make_agent(name, env):
    """Return actor and critic on one body: an MLP and the memory."""
    memory = (
        LSTMModule(WIDTH, WIDTH, in_key="embed", out_key="read")
        if name == "LSTMModule"
        else MemoryModule(make_memory(name, WIDTH), in_key="embed", out_key="read")
    )
    width, actions = env.observation_spec["observation"].shape[-1], env.action_spec.space.n
    body = Sequential(Module(MLP(width, WIDTH, num_cells=[WIDTH]), ["observation"], ["embed"]), memory)
    both = {"in_keys": ["embed", "read"]}
    logits = Module(MLP(2 * WIDTH, actions, num_cells=[WIDTH]), **both, out_keys=["logits"])
    actor = ProbabilisticActor(
        Sequential(body, logits), in_keys=["logits"], distribution_class=Categorical, return_log_prob=True
    )
    return actor, Sequential(body, ValueOperator(MLP(2 * WIDTH, 1, num_cells=[WIDTH]), **both))


def train(name, steps):
    """Return the share of right answers in the second half of lives, for each batch of 32 lives."""
    torch.manual_seed(0)
    env = make_env()
    actor, critic = make_agent(name, env)
    env = TransformedEnv(env, Compose(InitTracker(), CarryMemory(actor, life_start="life_start")))
    gae = GAE(gamma=0.9, lmbda=0.9, value_network=critic, shifted=True, deactivate_vmap=True)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
    right = []
    for data in Collector(env, actor, frames_per_batch=LIVES * EPISODES, total_frames=steps):  # [lives, steps]
        with torch.no_grad(), set_recurrent_mode(True):
            gae(data)
        for _ in range(4):
            for batch in data[torch.randperm(LIVES)].split(LIVES // 4):
                losses = loss(batch)
                optimizer.zero_grad()
                sum(value for key, value in losses.items() if key.startswith("loss_")).backward()
                torch.nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimizer.step()
        right.append(data["next", "reward"][:, EPISODES // 2 :].mean().item())
    return right


def main(steps=80_000):
    """Train both and print how they learn."""
    curves = {name: train(name, steps) for name in ("gated_delta", "LSTMModule")}
    for name, right in curves.items():
        tenth = max(1, len(right) // 10)
        print(f"{name:12}", *(f"{sum(right[i : i + tenth]) / tenth:.2f}" for i in range(0, len(right), tenth)))
    return curves


if __name__ == "__main__":
    main()
