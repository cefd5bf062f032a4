"""nano's speech language model: phonemes to audio tokens, one group of 2 + 3 (120 ms) a step.

A text encoder tells each phoneme's duration; the durations lay a monotonic pointer, so every group knows
the phonemes it is saying: nothing is skipped or repeated, and the end is exact. What is to be said is known
beforehand, so a planner looks at it in both directions; a small causal network then goes from group to
group, and a head (masked as in MADE) gives the group's digits in the order of the tokens, each seeing those
before it.
Source of the head: M. Germain et al., "MADE" (2015).
"""

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.convnext import convnext
from stepaudio.decoder.world import WIDTH
from stepaudio.decoder.world_voice import SPEAKER
from stepaudio.tokenizer.fsq import FSQ

SLOTS = 6
"""Places in a group (20 ms each) at which the pointer is read."""
DROPOUT = 0.1
"""Of what the planner reads and writes, in training."""
TICK = 0.025
"""Seconds that durations are counted in: the teacher's 40 Hz."""


class SpeechLMConfig(BaseModel):
    """Sizes of the model.

    Attributes:
        phonemes: ids of the alphabet.
        text_width: of the text encoder.
        text_depth: blocks of it.
        slot_width: of the planner, which works at 50 Hz.
        slot_depth: blocks of it.
        slot_kernel: slots that a block of it sees.
        width: of the networks that go by groups.
        inner: between the linear layers of their blocks.
        ahead: blocks that look in both directions.
        depth: causal blocks.
        kernel: groups that a block sees.
        head: hidden units of the head for each digit.
        linguistic_levels: levels of the linguistic code's digits.
        semantic_levels: levels of the semantic code's digits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    phonemes: int = Field(default=180, gt=0)
    text_width: int = Field(default=256, gt=0)
    text_depth: int = Field(default=4, ge=0)
    slot_width: int = Field(default=256, gt=0)
    slot_depth: int = Field(default=4, ge=0)
    slot_kernel: int = Field(default=7, gt=0)
    width: int = Field(default=384, gt=0)
    inner: int = Field(default=1024, gt=0)
    ahead: int = Field(default=2, ge=0)
    depth: int = Field(default=2, ge=0)
    kernel: int = Field(default=3, gt=0)
    head: int = Field(default=24, gt=0)
    linguistic_levels: tuple[int, ...] = (4, 4, 4, 4, 4)
    semantic_levels: tuple[int, ...] = (4, 4, 4, 4, 4, 4)

    @property
    def group_levels(self) -> tuple[int, ...]:
        """Levels of all digits of a group, in the order of its tokens."""
        return self.linguistic_levels * 2 + self.semantic_levels * 3

    @property
    def reach(self) -> int:
        """Groups in the past that influence a group."""
        return self.depth * (self.kernel - 1) + 1


class DigitHead(nn.Module):
    """Logits of a group's digits from the group's state and the digits before (masked)."""

    def __init__(self, width: int, levels: tuple[int, ...], units: int) -> None:
        super().__init__()
        if len(set(levels)) != 1:
            raise ValueError("the head wants digits of equal levels")
        self.levels, self.count = levels[0], len(levels)
        inputs, hidden = self.count * self.levels, self.count * units
        self.state_hidden = nn.Linear(width, hidden)
        self.digit_hidden = nn.Linear(inputs, hidden, bias=False)
        self.hidden_out = nn.Linear(hidden, inputs)
        self.state_out = nn.Linear(width, inputs, bias=False)
        of_input = torch.arange(self.count).repeat_interleave(self.levels)
        of_hidden = torch.arange(self.count).repeat_interleave(units)
        self.mask_in: Tensor
        self.mask_out: Tensor
        # A hidden unit of digit i sees digits before i; the logits of digit i see units of digits up to i.
        self.register_buffer("mask_in", (of_input[None] < of_hidden[:, None]).float(), persistent=False)
        self.register_buffer("mask_out", (of_hidden[None] <= of_input[:, None]).float(), persistent=False)

    def forward(self, state: Tensor, digits: Tensor) -> Tensor:
        """(..., width), (..., count) integers -> logits (..., count, levels)."""
        ones = F.one_hot(digits, self.levels).flatten(-2).to(state.dtype)
        hidden = self.state_hidden(state) + F.linear(ones, self.digit_hidden.weight * self.mask_in)
        weight = self.hidden_out.weight * self.mask_out
        out = F.linear(F.relu(hidden), weight, self.hidden_out.bias) + self.state_out(state)
        return out.unflatten(-1, (self.count, self.levels))

    def sample(self, state: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        """(batch, width) -> digits (batch, count); temperature 0 takes the likeliest."""
        # What the state brings is the same for every digit: only the digits' own part grows.
        hidden, told = self.state_hidden(state), self.state_out(state) + self.hidden_out.bias
        weight_in = (self.digit_hidden.weight * self.mask_in).T
        weight_out = self.hidden_out.weight * self.mask_out
        digits = torch.zeros(len(state), self.count, dtype=torch.long, device=state.device)
        for at in range(self.count):
            rows = slice(at * self.levels, (at + 1) * self.levels)
            logits = (F.linear(F.relu(hidden), weight_out[rows]) + told[:, rows]).float()
            if temperature > 0:
                shares = torch.softmax(logits / temperature, -1)
                digits[:, at] = torch.multinomial(shares, 1, generator=generator)[:, 0]
            else:
                digits[:, at] = logits.argmax(-1)
            hidden = hidden + weight_in[at * self.levels + digits[:, at]]
        return digits


@dataclass
class SpeechState:
    """What generation remembers: the groups' inputs that still matter, and the last group's digits."""

    inputs: Tensor
    digits: Tensor
    generator: torch.Generator | None
    temperature: float


class SpeechLM(nn.Module):
    """Phonemes, a speaker and a pace to the digits of groups."""

    def __init__(self, config: SpeechLMConfig) -> None:
        super().__init__()
        self.config = config
        text, width, digits = config.text_width, config.width, len(config.group_levels)
        self.embedding = nn.Embedding(config.phonemes, text)
        self.text = convnext(text, 3 * text, config.text_depth, 5)
        self.text_norm = nn.LayerNorm(text)
        self.pace_in = nn.Linear(1 + SPEAKER, text)
        self.duration = nn.Sequential(nn.Linear(text, text), nn.ReLU(), nn.Linear(text, 1))
        slot = config.slot_width
        self.slot_in = nn.Linear(text + 3, slot)
        self.slot_speaker = nn.Linear(SPEAKER, slot)
        self.slots = convnext(slot, 3 * slot, config.slot_depth, config.slot_kernel)
        self.slot_norm = nn.LayerNorm(slot)
        self.frames_out = nn.Linear(slot, 2 * WIDTH)
        self.group_in = nn.Linear(SLOTS * slot, width)
        self.ahead = convnext(width, config.inner, config.ahead, config.kernel)
        self.digits_in = nn.Linear(digits, width)
        self.speaker_in = nn.Linear(SPEAKER, width)
        self.blocks = convnext(width, config.inner, config.depth, config.kernel, causal=True)
        self.norm = nn.LayerNorm(width)
        self.head = DigitHead(width, config.group_levels, config.head)
        self.linguistic_codebook = FSQ(config.linguistic_levels)
        self.semantic_codebook = FSQ(config.semantic_levels)

    def encode(self, phonemes: Tensor) -> Tensor:
        """Phoneme ids (batch, N) to (batch, N, text_width)."""
        out: Tensor = self.text_norm(self.text(self.embedding(phonemes)))
        return out

    def log_durations(self, text: Tensor, speaker: Tensor, log_pace: Tensor) -> Tensor:
        """Natural logarithms (batch, N) of durations in ticks; `log_pace` (batch,) is that of the speed."""
        pace = self.pace_in(torch.cat((log_pace[:, None], speaker), -1))
        out: Tensor = self.duration(text + pace[:, None])[..., 0]
        return out

    def plan(self, text: Tensor, pointer: Tensor, speaker: Tensor, mask: Tensor | None = None) -> Tensor:
        """What each slot is to say, seen from both sides.

        Args:
            text: (batch, N, text_width).
            pointer: (batch, G, 6, 3): phoneme's index, the part of it that is over, and its length in ticks.
            speaker: (batch, 256), scaled to unit variance, or zeros.
            mask: (batch, G), true where there is a group; all by default.

        Returns:
            (batch, 6 G, slot_width).
        """
        index = pointer[..., 0].long().flatten(1)
        told = text.gather(1, index[..., None].expand(-1, -1, text.shape[-1]))
        part, length = pointer[..., 1].flatten(1), pointer[..., 2].flatten(1)
        # Part and length, and how much of it is left, as far as it matters.
        extra = torch.stack((part - 0.5, torch.log1p(length) - 1.3, (1 - part) * length / 4), -1)
        slots = (
            self.slot_in(torch.cat((told, extra.to(told.dtype)), -1)) + self.slot_speaker(speaker)[:, None]
        )
        if mask is not None:
            slots = slots * mask.repeat_interleave(SLOTS, 1)[..., None]
        out: Tensor = self.slot_norm(self.slots(F.dropout(slots, DROPOUT, self.training)))
        return out

    def frames(self, plan: Tensor) -> Tensor:
        """The WORLD frames that a plan amounts to, (batch, 12 G, 45): a lesson in training."""
        out: Tensor = self.frames_out(plan).reshape(len(plan), -1, WIDTH)
        return out

    def conditions(self, plan: Tensor, speaker: Tensor) -> Tensor:
        """What the groups are told: plan (batch, 6 G, slot_width) and speaker to (batch, G, width)."""
        batch, slots, width = plan.shape
        plan = F.dropout(plan, DROPOUT, self.training)
        told = self.group_in(plan.reshape(batch, slots // SLOTS, SLOTS * width))
        out: Tensor = self.ahead(told + self.speaker_in(speaker)[:, None])
        return out

    def logits(self, conditions: Tensor, digits: Tensor, seen: Tensor | None = None) -> Tensor:
        """Logits (batch, G, digits, levels) of groups that follow each other.

        Args:
            conditions: (batch, G, width).
            digits: (batch, G, digits) of the groups themselves.
            seen: the digits that the next group sees, by default the same; training puts errors in.
        """
        before = F.pad(self._values(digits if seen is None else seen)[:, :-1], (0, 0, 1, 0))
        state = self.norm(self.blocks(conditions + self.digits_in(before)))
        out: Tensor = self.head(state, digits)
        return out

    def start(self, temperature: float = 0.0, seed: int = 0, batch: int = 1) -> SpeechState:
        """Begin to generate."""
        weight = self.group_in.weight
        generator = torch.Generator(weight.device).manual_seed(seed) if temperature > 0 else None
        digits = torch.full((batch, len(self.config.group_levels)), -1, device=weight.device)
        return SpeechState(weight.new_zeros(batch, 0, self.config.width), digits, generator, temperature)

    @torch.inference_mode()
    def step(self, state: SpeechState, condition: Tensor) -> Tensor:
        """Generate the next group: condition (batch, width) to digits (batch, digits)."""
        first = bool((state.digits[0, 0] < 0).item())
        before = (
            torch.zeros_like(state.digits, dtype=condition.dtype) if first else self._values(state.digits)
        )
        entry = condition + self.digits_in(before)
        state.inputs = torch.cat((state.inputs, entry[:, None]), 1)[:, -self.config.reach :]
        hidden = self.norm(self.blocks(state.inputs)[:, -1])
        state.digits = self.head.sample(hidden, state.temperature, state.generator)
        return state.digits

    def codes(self, digits: Tensor) -> tuple[Tensor, Tensor]:
        """Digits (batch, G, digits) to linguistic (batch, 2 G) and semantic codes (batch, 3 G)."""
        split = 2 * len(self.config.linguistic_levels)
        linguistic = digits[..., :split].reshape(len(digits), -1, split // 2)
        semantic = digits[..., split:].reshape(len(digits), -1, len(self.config.semantic_levels))
        return self.linguistic_codebook.codes(linguistic), self.semantic_codebook.codes(semantic)

    def digits(self, linguistic: Tensor, semantic: Tensor) -> Tensor:
        """The inverse of `codes`."""
        batch, groups = len(linguistic), linguistic.shape[1] // 2
        first = self.linguistic_codebook.digits(linguistic).reshape(batch, groups, -1)
        second = self.semantic_codebook.digits(semantic).reshape(batch, groups, -1)
        return torch.cat((first, second), -1)

    def _values(self, digits: Tensor) -> Tensor:
        highest = self.config.group_levels[0] - 1
        return digits.to(self.digits_in.weight.dtype) / highest * 2 - 1


def lay_pointer(durations: Tensor, groups: int | None = None, offset: float = 0.0) -> Tensor:
    """Durations to a pointer.

    Args:
        durations: (N,) of the phonemes in ticks, any positive real.
        groups: how many; by default as many as the durations fill.
        offset: ticks into the durations at which the first group begins.

    Returns:
        (G, 6, 3) float32: index of the phoneme, the part of it that is over, its length in ticks.
    """
    ends = durations.cumsum(0)
    slot = 0.02 / TICK
    count = groups or max(1, -(-int(torch.ceil((ends[-1] - offset) / slot)) // SLOTS))
    at = (torch.arange(count * SLOTS) + 0.5) * slot + offset
    index = torch.searchsorted(ends, at).clamp(max=len(durations) - 1)
    length = durations[index]
    part = ((at - (ends[index] - length)) / length.clamp(min=1e-3)).clamp(0, 1)
    return torch.stack((index.float(), part, length), -1).reshape(count, SLOTS, 3)
