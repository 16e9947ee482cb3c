"""Who wrote what is read: contributions of single steps to a memory's reading."""

import pytest
import torch
from tensordict import TensorDict

from lifelong import PPO, Agent, Rollout
from lifelong.envs import make_stream
from lifelong.memory import MEMORIES, make_memory

B, T, D = 3, 11, 8
SUMS = [
    "based", "comba", "delta_net", "delta_product", "dpfp", "efla", "gated_delta", "gdn2", "gla", "hebbian",
    "hedgehog", "kalman_delta", "kda", "linear_attention", "lms", "mamba2", "mamba3", "mesa", "meta_mamba2",
    "metaplastic_linear_attention", "mlstm", "mom", "not_palimpsa", "palimpsa", "palimpsa_key", "palimpsa_scalar",
    "preconditioned_delta", "rebased", "recurrent_delta", "retnet", "rwkv7",
]  # fmt: skip
OTHERS = sorted(set(MEMORIES) - set(SUMS))


@pytest.fixture
def lived():
    def live(name, **options):
        torch.manual_seed(0)
        memory = make_memory(name, D, **options).double()
        with torch.no_grad():
            for p in memory.parameters():
                p.add_(torch.randn_like(p), alpha=0.1)
        before = torch.randn(B, 5, D).double(), memory.initial_state(B), torch.zeros(B, 5, dtype=torch.bool)
        start = torch.zeros(B, T, dtype=torch.bool)
        start[1, 4] = start[2, 0] = True  # life 0 goes on, life 1 starts within, life 2 at the first step
        return memory, torch.randn(B, T, D).double(), memory(*before)[1], start

    return live


@pytest.mark.parametrize("name", SUMS)
def test_contributions_add_up_to_what_is_read(name, lived):
    memory, x, state, start = lived(name)
    kept = state.clone()
    found = memory.attribution(x, state, start)
    torch.testing.assert_close(found.contributions.sum(1) + found.initial, found.reading, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.shares.sum(1), torch.ones(B).double(), rtol=1e-10, atol=1e-10)
    assert (state == kept).all()
    assert found.initial[0].any()
    assert not found.initial[1:].any()
    assert not found.contributions[1, :4].any()
    assert (found.contributions[0].flatten(1).any(1)).sum() > T // 2


@pytest.mark.parametrize("name", OTHERS)
def test_a_memory_that_reads_no_sum_of_its_writes_is_refused_by_name(name):
    memory = make_memory(name, D)
    x, start = torch.randn(B, T, D), torch.zeros(B, T, dtype=torch.bool)
    with pytest.raises(
        TypeError, match=f"{type(memory).__name__} does not read a matrix that is a sum of steps' writes"
    ):
        memory.attribution(x, memory.initial_state(B), start)


def test_a_refusal_names_the_memories_inside():
    memory = make_memory("hybrid", D)
    with pytest.raises(TypeError, match="ask a memory inside it: GatedDelta, Window"):
        memory.attribution(torch.randn(1, 2, D), memory.initial_state(1), torch.zeros(1, 2, dtype=torch.bool))


def test_no_step_is_refused():
    memory = make_memory("gla", D)
    with pytest.raises(ValueError, match=r"at least one step of one life, got \[1, 0, 8\]"):
        memory.attribution(torch.randn(1, 0, D), memory.initial_state(1), torch.zeros(1, 0, dtype=torch.bool))


@pytest.mark.parametrize("name", ["gla", "gated_delta", "palimpsa"])
def test_what_is_attributed_is_what_the_output_is_made_of(name, bare):
    memory = bare(make_memory(name, 12, num_heads=1, key_dim=4, value_dim=4))  # q, k, v side by side
    x, start = torch.rand(B, T, 12).double(), torch.zeros(B, T, dtype=torch.bool)
    reading = memory.attribution(x, memory.initial_state(B), start).reading[:, 0]
    y = memory(x, memory.initial_state(B), start)[0][:, -1, :4]
    torch.testing.assert_close(y, reading)


def test_a_number_worked_out_on_paper(bare):
    """Gated delta with beta = 1/2, alpha = 1/2: of 4, written first, 4/2 * (1/2 * 1/2), of 2, written last, 2/2."""
    memory = bare(make_memory("gated_delta", 3, num_heads=1, key_dim=1, value_dim=1))
    x = torch.tensor([[[1, 1, 4], [1, 1, 2]]]).double()  # q, k, v
    found = memory.attribution(x, memory.initial_state(1), torch.zeros(1, 2, dtype=torch.bool))
    assert found.contributions.flatten().tolist() == pytest.approx([0.5, 1.0])
    assert found.reading.item() == pytest.approx(1.5)
    assert found.shares[0].tolist() == pytest.approx([0, 1 / 3, 2 / 3])


def test_it_finds_the_step_that_wrote_the_answer(bare):
    memory = bare(make_memory("delta_net", 12, num_heads=1, key_dim=4, value_dim=4))
    cue, answer = torch.eye(4).double()[[0, 1, 2, 1, 3, 0]], torch.rand(6, 4).double()
    x = torch.cat([cue, cue, answer], 1)
    x[-1, 4:] = 0  # the last step asks for cue 0, and writes nothing
    found = memory.attribution(x[None], memory.initial_state(1), torch.zeros(1, 6, dtype=torch.bool))
    assert found.shares[0].tolist() == pytest.approx([0, 1, 0, 0, 0, 0, 0], abs=1e-12)


def test_a_head_that_reads_nothing_has_no_share():
    memory = make_memory("gla", D)
    found = memory.attribution(torch.zeros(1, 3, D), memory.initial_state(1), torch.zeros(1, 3, dtype=torch.bool))
    assert found.shares.tolist() == [[0.0] * 4]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_in_cued_recall_it_points_to_the_step_where_the_answer_was_revealed():
    """The answer is revealed one step after its cue; 76 of 79 later steps have their largest share there."""
    torch.set_num_threads(1)  # the tensors are too small for more
    lives, steps = 4, 40
    env = make_stream("cued-recall", num_envs=16, seed=0, cues=8, life_episodes=64)
    agent = Agent.for_spaces(env, memory="gated_delta", width=32, seed=0)
    learner, rollout = PPO(agent), Rollout(agent, env, seed=0)
    for _ in range(200):
        learner.learn(rollout.collect(64))

    segment = Rollout(agent, make_stream("cued-recall", num_envs=lives, seed=5, cues=8), seed=1).collect(steps)
    policy, given = agent.policy, []
    hook = policy.backbone.memories[0].register_forward_pre_hook(lambda _, inputs: given.extend(inputs))
    with torch.no_grad():
        policy.trunk(segment.steps["observation"], segment.state, segment.steps["start"])
    hook.remove()
    x, state, start = given
    assert isinstance(state, TensorDict)
    cue, hits = segment.steps["observation", "observation", "cue"], []
    for t in range(20, steps):
        shares = policy.backbone.memories[0].attribution(x[:, : t + 1], state, start[:, : t + 1]).shares[:, 1:-1]
        for life in range(lives):
            met = (cue[life, :t] == cue[life, t]).all(-1).nonzero()
            if len(met):
                hits.append(shares[life].argmax().item() == met[-1].item() + 1)
    assert len(hits) > 70
    assert sum(hits) / len(hits) > 0.85
