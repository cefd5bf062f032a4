"""nano's tokenizer as sound comes in, around toy models that see no further than their frame."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.audio import Audio
from stepaudio.codes import GROUP_S, Codes
from stepaudio.decoder.world import WIDTH, WorldFrames
from stepaudio.decoder.world_voice import STATISTICS, Scale, WorldVoice
from stepaudio.errors import AudioError, InputError
from stepaudio.tokenizer.nano import NanoTokenizer, NanoTokenizerConfig
from stepaudio.tokenizer.nano_stream import Pace, TokenizerStream

RATE = 8_000
SIZES = NanoTokenizerConfig(features=8, width=16, inner=24, linguistic_depth=1, semantic_depth=1)
VOICE = WorldVoice(np.zeros(WIDTH, np.float32), np.ones(41, np.float32))
SCALE = Scale(
    np.ones(WIDTH, np.float32), np.zeros(STATISTICS - 1, np.float32), np.ones(STATISTICS - 1, np.float32)
)
PACE = Pace(first=6, hop=3, ahead=2, window=24, context=2, remembered=20)


def rows(sound: Audio, hop: int, width: int) -> np.ndarray:
    """A value for each of the frames of a sound, told in so many ways."""
    count = -(-len(sound.samples) // hop)
    padded = np.pad(sound.samples, (0, count * hop - len(sound.samples)))
    return np.sin(padded.reshape(count, hop).sum(1)[:, None] * np.arange(1, width + 1)).astype(np.float32)


def features(sound: Audio) -> np.ndarray:
    return rows(sound, RATE // 50, 8)


def frames(sound: Audio) -> WorldFrames:
    values = rows(sound, RATE // 100, WIDTH)
    return WorldFrames(100 + np.abs(values[:, 0]), values[:, 2:42], -np.abs(values[:, 42:]))


def stream(pace: Pace = PACE, voice: WorldVoice | None = VOICE) -> TokenizerStream:
    torch.manual_seed(0)
    return TokenizerStream(NanoTokenizer(SIZES).eval(), SCALE, features, frames, voice, pace)


def sound(seconds: float, seed: int = 0) -> Audio:
    return Audio(np.random.default_rng(seed).normal(size=round(seconds * RATE)).astype(np.float32), RATE)


def cut(audio: Audio, sizes: list[int]) -> list[Audio]:
    """A sound in chunks of these sizes, over and over."""
    chunks, at = [], 0
    while at < len(audio.samples):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(Audio(audio.samples[at : at + size], RATE))
        at += size
    return chunks


def joined(parts: list[Codes]) -> Codes:
    return Codes(
        sum((part.linguistic for part in parts), ()),
        sum((part.semantic for part in parts), ()),
        sum(part.seconds for part in parts),
    )


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=5), st.integers(1000, 40_000))
@settings(max_examples=25)
def test_codes_do_not_depend_on_the_chunks(sizes: list[int], length: int) -> None:
    audio = sound(length / RATE)
    one = joined(list(stream().run([audio])))
    other = joined(list(stream().run(cut(audio, sizes))))
    assert one == other
    groups = -(-length // round(GROUP_S * RATE))
    assert (len(one.linguistic), len(one.semantic)) == (2 * groups, 3 * groups)
    assert one.seconds == pytest.approx(audio.seconds)


def test_with_enough_sound_ahead_they_are_those_of_the_whole() -> None:
    audio = sound(5.0)
    whole = joined(list(stream(Pace(first=100, window=100)).run([audio])))
    parts = joined(list(stream().run(cut(audio, [500]))))
    assert (parts.linguistic, parts.semantic) == (whole.linguistic, whole.semantic)


def test_codes_come_as_soon_as_their_step_is_whole() -> None:
    tokens, group = stream(), round(GROUP_S * RATE)
    state, audio = tokens.start(RATE), sound(3.0)
    assert tokens.push(state, audio.samples[: 6 * group - 1]) == []
    (first,) = tokens.push(state, audio.samples[6 * group - 1 : 6 * group])
    assert len(first.linguistic) == 2 * (PACE.first - PACE.ahead)
    assert tokens.push(state, audio.samples[6 * group : 9 * group - 1]) == []
    (second,) = tokens.push(state, audio.samples[9 * group - 1 : 9 * group])
    assert len(second.semantic) == 3 * PACE.hop


def test_a_stream_remembers_no_more_as_it_goes_on() -> None:
    tokens = stream(voice=None)
    state = tokens.start(RATE)
    for number in range(40):
        tokens.push(state, sound(1.0, number).samples)
        assert len(state.sound) <= (PACE.window + PACE.hop) * GROUP_S * RATE
        assert state.frames is None or len(state.frames) <= PACE.remembered * 12
    assert sum(len(codes.linguistic) for codes in tokens.finish(state)) + 2 * (state.done - 3) > 600


def test_a_speaker_is_known_by_what_was_heard_unless_told() -> None:
    audio = sound(4.0)
    told, heard = joined(list(stream().run([audio]))), joined(list(stream(voice=None).run([audio])))
    assert told.linguistic == heard.linguistic
    assert told.semantic != heard.semantic


def test_a_clip_that_ends_on_a_step_loses_and_adds_nothing() -> None:
    group = round(GROUP_S * RATE)
    for groups in range(1, 14):
        codes = joined(list(stream().run([sound(groups * group / RATE)])))
        assert len(codes.linguistic) == 2 * groups


def test_bad_streams_are_errors() -> None:
    tokens = stream()
    with pytest.raises(AudioError, match="100 ms is too short"):
        list(tokens.run([sound(0.1)]))
    with pytest.raises(AudioError, match="8000 Hz cannot go on at 16000 Hz"):
        list(tokens.run([sound(1.0), Audio(np.zeros(100, np.float32), 16_000)]))
    state = tokens.start(RATE)
    tokens.push(state, sound(1.0).samples)
    tokens.finish(state)
    with pytest.raises(AudioError, match="finished"):
        tokens.push(state, sound(1.0).samples)
    with pytest.raises(AudioError, match="finished"):
        tokens.finish(state)
    with pytest.raises(InputError, match="does not hold a step"):
        Pace(window=5)
    assert list(tokens.run([])) == []
