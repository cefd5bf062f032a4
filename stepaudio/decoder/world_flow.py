"""nano's flow decoder: codes, a voice and a prompt to WORLD frames; offline and in chunks.

The regressor gives the frames to expect; flow matching adds what an expectation lacks, so that a few Euler
steps are enough. Solver and estimator are those of Step-Audio 2's decoder at nano's size (`cfm.py`,
`dit.py`); two WORLD frames are one step of the flow, 50 a second.
"""

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.cfm import FlowMatching
from stepaudio.decoder.config import DiTConfig, SolverConfig
from stepaudio.decoder.dit import DiT, DiTState
from stepaudio.decoder.noise import SeededNoise
from stepaudio.decoder.regressor import FrameRegressor, FrameStream, RegressorConfig
from stepaudio.decoder.world import WIDTH
from stepaudio.decoder.world_voice import SPEAKER, STATISTICS

PAIR = 2
"""WORLD frames in a step of the flow."""
STEPS_PER_GROUP = 6
CHANNELS = PAIR * WIDTH


class WorldFlowConfig(BaseModel):
    """Sizes of the decoder.

    Attributes:
        regressor: of the frames to expect.
        estimator: of the velocity field.
        solver: Euler steps; there is no guidance, since nothing is dropped in training.
        temperature: of the starting noise; 0 gives one and the same reading for every seed.
        keep_groups: groups before a chunk that the estimator remembers, besides the prompt.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    regressor: RegressorConfig = RegressorConfig()
    estimator: DiTConfig = DiTConfig(hidden_size=192, depth=4, num_heads=4, head_dim=48, mlp_ratio=3.0)
    solver: SolverConfig = SolverConfig(steps=4, schedule="linear", guidance=0.0, drop=0.0)
    temperature: float = Field(default=0.0, ge=0)
    keep_groups: int = Field(default=24, ge=0)


@dataclass(frozen=True, eq=False)
class WorldPrompt:
    """A stretch of the voice that the decoder continues.

    Attributes:
        linguistic: values (1, 2 P, digits) of its codes.
        semantic: values (1, 3 P, digits).
        frames: (1, 12 P, 45), relative to the voice and scaled.
    """

    linguistic: Tensor
    semantic: Tensor
    frames: Tensor


@dataclass
class WorldFlowState:
    """What a stream remembers.

    Attributes:
        expected: the regressor's stream.
        voice: (1, 90) projected.
        solver: caches of the estimator, one an Euler step.
        noise: by the seed.
        prompt_steps: flow steps of the prompt.
        steps: flow steps given out.
    """

    expected: FrameStream
    voice: Tensor
    solver: list[DiTState]
    noise: SeededNoise
    prompt_steps: int = 0
    steps: int = 0


class WorldFlow(nn.Module):
    """The decoder; frames are relative to the voice's centre, over the scale of training.

    The voicing column holds a probability here, 0 to 1 (a little beyond where the flow overshoots).
    """

    def __init__(self, config: WorldFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.regressor = FrameRegressor(config.regressor)
        self.voice_in = nn.Linear(STATISTICS + SPEAKER, CHANNELS)
        self.flow = FlowMatching(DiT(CHANNELS, config.estimator), config.solver)
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(WIDTH))

    def expect(self, linguistic: Tensor, semantic: Tensor, voice: Tensor) -> Tensor:
        """The frames to expect, (batch, 12 G, 45), voicing as a probability."""
        return expected_frames(self.regressor(linguistic, semantic, voice))

    def forward(
        self,
        linguistic: Tensor,
        semantic: Tensor,
        voice: Tensor,
        prompt: WorldPrompt | None = None,
        *,
        seed: int = 0,
        chunk: int = 10,
    ) -> Tensor:
        """Decode a whole utterance, in chunks of `chunk` groups as a stream would: (1, 12 G, 45)."""
        state = self.start(voice, prompt, seed=seed)
        frames = self.expect(linguistic, semantic, voice)
        parts = [self._refine(state, part) for part in frames.split(12 * chunk, 1)]
        return torch.cat(parts, 1)

    @torch.inference_mode()
    def start(self, voice: Tensor, prompt: WorldPrompt | None = None, *, seed: int = 0) -> WorldFlowState:
        """Begin a stream in a voice (1, 85 + 256), behind a prompt."""
        estimator = self.flow.estimator
        assert isinstance(estimator, DiT)
        state = WorldFlowState(
            self.regressor.start(voice),
            self.voice_in(voice),
            [estimator.start() for _ in range(self.config.solver.steps)],
            SeededNoise(seed, CHANNELS),
        )
        if prompt is not None and prompt.frames.shape[1]:
            expected = self.expect(prompt.linguistic, prompt.semantic, voice)
            known = self._pack(prompt.frames - expected)
            noise = self._noise(state, 0, known.shape[2])
            self.flow.solve(noise, self._mu(expected), state.voice, known, states=state.solver)
            state.prompt_steps = known.shape[2]
        return state

    def push(self, state: WorldFlowState, linguistic: Tensor, semantic: Tensor) -> Tensor:
        """Take the values of whole groups and return the frames (1, T, 45) that are ready, maybe none."""
        frames = self.regressor.push(state.expected, linguistic, semantic)
        return self._refine(state, expected_frames(frames))

    def finish(self, state: WorldFlowState) -> Tensor:
        """Return the frames of the groups still waiting."""
        return self._refine(state, expected_frames(self.regressor.finish(state.expected)))

    @torch.inference_mode()
    def _refine(self, state: WorldFlowState, expected: Tensor) -> Tensor:
        """Add the flow's part to a chunk of expected frames (1, T, 45), and remember it."""
        if not expected.shape[1]:
            return expected
        mu = self._mu(expected)
        noise = self._noise(state, state.prompt_steps + state.steps, mu.shape[2])
        rest = self.flow.solve(noise, mu, state.voice, torch.zeros_like(mu), states=state.solver)
        state.steps += mu.shape[2]
        for step in state.solver:
            step.keep_ends(state.prompt_steps, STEPS_PER_GROUP * self.config.keep_groups)
        return expected + self._unpack(rest)

    def loss(
        self,
        linguistic: Tensor,
        semantic: Tensor,
        voice: Tensor,
        frames: Tensor,
        chunk: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The flow's loss in training, on what the regressor leaves; the regressor stays as it is.

        Args:
            linguistic: values (batch, 2 G, digits).
            semantic: values (batch, 3 G, digits).
            voice: (batch, 85 + 256).
            frames: wanted, (batch, 12 G, 45).
            chunk: groups that see each other, and all before them, as in a stream.
            generator: of the random choices.
        """
        with torch.no_grad():
            expected = self.expect(linguistic, semantic, voice).float()
        rest = self._pack(frames - expected)
        batch, _, steps = rest.shape
        place = torch.arange(steps, device=rest.device)
        draw = torch.rand(2, batch, generator=generator, device=rest.device)
        known = (0.6 * draw[0] * steps).long() * (draw[1] < 0.5)
        cond = rest * (place < known[:, None])[:, None]
        block = place // (STEPS_PER_GROUP * chunk)
        attend = (block[None] <= block[:, None])[None].expand(batch, -1, -1)
        mask = torch.ones(batch, steps, dtype=torch.bool, device=rest.device)
        told = self.voice_in(voice)
        return self.flow.loss(rest, self._mu(expected), told, cond, mask, generator, attend=attend)

    def _mu(self, expected: Tensor) -> Tensor:
        return expected.reshape(len(expected), -1, CHANNELS).transpose(1, 2)

    def _pack(self, rest: Tensor) -> Tensor:
        """(batch, T, 45) -> (batch, 90, T / 2), of unit variance."""
        return self._mu(rest / self.spread)

    def _unpack(self, rest: Tensor) -> Tensor:
        return rest.transpose(1, 2).reshape(len(rest), -1, WIDTH) * self.spread

    def _noise(self, state: WorldFlowState, start: int, length: int) -> Tensor:
        noise = state.noise.frames(start, length).to(state.voice)
        return noise * self.config.temperature


def expected_frames(raw: Tensor) -> Tensor:
    """The regressor's output with voicing as a probability instead of a logit."""
    return torch.cat((raw[..., :1], F.sigmoid(raw[..., 1:2]), raw[..., 2:]), -1)
