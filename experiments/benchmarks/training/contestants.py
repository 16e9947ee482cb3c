"""The trainers that are compared, each in its own copy of the same environment."""

from importlib.util import find_spec

from lifelong.agents import PPO, Agent, Rollout
from lifelong.agents.ppo_config import PPOConfig
from lifelong.agents.rollout import Segment
from lifelong.experiments.benchmarks.training.lstm_loop import LSTMLoop
from lifelong.experiments.benchmarks.training.measure import Contestant, Stopwatch
from lifelong.experiments.benchmarks.training.recurrent_ppo import recurrent_ppo
from lifelong.experiments.benchmarks.training.worlds import FlatEnv, World
from lifelong.experiments.settings.benchmarks.training import BenchConfig

__all__ = ["INSTALL", "contestants", "is_installed"]

INSTALL = {"sb3-contrib RecurrentPPO": "pip install 'lifelong-rl[bench]'"}
"""How others' trainers that are not here are installed."""


def contestants(config: BenchConfig, world: World) -> dict[str, Contestant]:
    """Return the trainers by name: ours with each memory, then the others that are here."""
    ppo = PPOConfig(lr=3e-4, epochs=config.epochs, minibatches=config.minibatches, normalize_reward="off")
    found = {f"lifelong {name}": _ours(config, ppo, world, name) for name in config.memories}
    found["LSTM loop"] = _loop(config, ppo, world)
    if is_installed():
        found["sb3-contrib RecurrentPPO"] = _recurrent_ppo(config, ppo, world)
    return found


def is_installed() -> bool:
    """Return whether sb3-contrib is here."""
    return find_spec("sb3_contrib") is not None


def _ours(config: BenchConfig, ppo: PPOConfig, world: World, memory: str) -> Contestant:
    stream, watch = world.stream(config.num_envs), Stopwatch()
    agent = Agent.for_spaces(stream, memory, config.width, carry="episode")
    vars(stream)["step"] = watch.timed(stream.step)
    rollout, learner, kept = Rollout(agent, stream), PPO(agent, ppo), list[Segment]()

    def collect() -> None:
        kept.append(rollout.collect(config.steps))

    def learn() -> None:
        report = learner.learn(kept.pop())
        if report["ratio_error"] > 1e-4:
            raise RuntimeError(f"acting and learning differ: max |ratio - 1| = {report['ratio_error']}")

    return Contestant(collect, learn, watch)


def _loop(config: BenchConfig, ppo: PPOConfig, world: World) -> Contestant:
    env, watch = FlatEnv(world.stream(config.num_envs)), Stopwatch()
    vars(env)["step"] = watch.timed(env.step)
    loop = LSTMLoop(env, config.width, config.steps, ppo)
    return Contestant(loop.collect, loop.learn, watch)


def _recurrent_ppo(config: BenchConfig, ppo: PPOConfig, world: World) -> Contestant:
    env, watch = FlatEnv(world.stream(config.num_envs)), Stopwatch()
    model = recurrent_ppo(env, config.width, config.steps, ppo)
    return Contestant(
        None, lambda: model.learn(config.num_envs * config.steps, reset_num_timesteps=False, log_interval=None), watch
    )
