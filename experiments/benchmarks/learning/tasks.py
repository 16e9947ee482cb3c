"""Tasks of `lifelong bench learning`: gymnasium ids, steps of training, and the settings of other libraries' agents."""

from dataclasses import dataclass

from lifelong.experiments.benchmarks.learning.zoo import DEFAULTS, PPO, RECURRENT, Published

__all__ = ["TASKS", "LearningTask"]


@dataclass(frozen=True, slots=True)
class LearningTask:
    """A gymnasium environment in which agents are compared.

    Args:
        env_id: as `gymnasium.make` takes it, `module:id` included.
        steps: environment steps of training.
        published: name of the settings of other libraries' agents in `zoo.py`; empty if there are none.
        needs: modules of the extra `bench` without which it cannot be made.
        reward_factor: that the rewards of the environment are multiplied by; reported returns are divided by it.
    """

    env_id: str
    steps: int
    published: str = ""
    needs: tuple[str, ...] = ()
    reward_factor: float = 1.0

    @property
    def ppo(self) -> Published:
        """Settings of Stable-Baselines3's PPO."""
        return PPO.get(self.published, DEFAULTS)

    @property
    def recurrent(self) -> Published:
        """Settings of sb3-contrib's RecurrentPPO."""
        return RECURRENT.get(self.published, DEFAULTS)


def _popgym(name: str) -> LearningTask:
    return LearningTask(f"popgym:popgym-{name}-v0", 1_000_000, needs=("popgym",))


TASKS: dict[str, LearningTask] = {
    "CartPole-v1": LearningTask("CartPole-v1", 300_000, "CartPole"),
    "Acrobot-v1": LearningTask("Acrobot-v1", 300_000, "Acrobot"),
    "Pendulum-v1": LearningTask("Pendulum-v1", 300_000, "Pendulum"),
    "LunarLander-v3": LearningTask("LunarLander-v3", 1_000_000, "LunarLander", ("Box2D",)),
    "HalfCheetah-v5": LearningTask("HalfCheetah-v5", 1_000_000, "HalfCheetah", ("mujoco",)),
    "Hopper-v5": LearningTask("Hopper-v5", 1_000_000, "Hopper", ("mujoco",)),
    "CartPoleNoVel-v1": LearningTask("lifelong/CartPoleNoVel-v1", 300_000, "CartPole"),
    "PendulumNoVel-v1": LearningTask("lifelong/PendulumNoVel-v1", 1_000_000, "Pendulum"),
    "AcrobotNoVel-v1": LearningTask("lifelong/AcrobotNoVel-v1", 1_000_000, "Acrobot"),
    "MiniGrid-DoorKey-6x6-v0": LearningTask("MiniGrid-DoorKey-6x6-v0", 1_000_000, "MiniGrid"),
    "MiniGrid-MemoryS9-v0": LearningTask("MiniGrid-MemoryS9-v0", 1_000_000, "MiniGrid"),
    "RepeatPreviousEasy": _popgym("RepeatPreviousEasy"),
    "PositionOnlyCartPoleEasy": _popgym("PositionOnlyCartPoleEasy"),
    "CountRecallEasy": _popgym("CountRecallEasy"),
    "AutoencodeEasy": _popgym("AutoencodeEasy"),
    "ConcentrationEasy": _popgym("ConcentrationEasy"),
    "CartPoleReward0.001-v1": LearningTask("lifelong/CartPoleReward0.001-v1", 300_000, "CartPole", (), 0.001),
    "CartPoleReward1000-v1": LearningTask("lifelong/CartPoleReward1000-v1", 300_000, "CartPole", (), 1000.0),
}
"""Tasks by name."""
