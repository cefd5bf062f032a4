import json
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import check_ids
from safetensors.torch import load_file

from stepaudio.codes import STEP_AUDIO, STEP_AUDIO_2, Codes, Interleaver, deinterleave, interleave
from stepaudio.errors import InputError

linguistic_codes = st.lists(st.integers(0, 1023), max_size=40)
semantic_codes = st.lists(st.integers(0, 4095), max_size=60)


@settings(max_examples=200, deadline=None)
@given(linguistic=linguistic_codes, semantic=semantic_codes)
def test_keeping_the_tail_loses_nothing(linguistic, semantic):
    joint = interleave(linguistic, semantic)
    assert len(joint) == len(linguistic) + len(semantic)
    assert deinterleave(joint) == (linguistic, semantic)


@settings(max_examples=200, deadline=None)
@given(linguistic=linguistic_codes, semantic=semantic_codes)
def test_dropping_the_tail_gives_the_whole_groups_of_keeping_it(linguistic, semantic):
    dropped = interleave(linguistic, semantic, tail="drop")
    groups = min(len(linguistic) // 2, len(semantic) // 3)
    assert len(dropped) == 5 * groups
    assert dropped == interleave(linguistic, semantic)[: len(dropped)]
    assert deinterleave(dropped) == (linguistic[: 2 * groups], semantic[: 3 * groups])


@settings(max_examples=100, deadline=None)
@given(linguistic=linguistic_codes, semantic=semantic_codes, cut=st.integers(0, 100))
def test_every_prefix_can_be_taken_apart(linguistic, semantic, cut):
    joint = interleave(linguistic, semantic, tail="drop")[:cut]
    first, second = deinterleave(joint)
    assert interleave(first, second) == joint


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    linguistic=linguistic_codes,
    semantic=semantic_codes,
    tail=st.sampled_from(["keep", "drop"]),
)
def test_interleaving_bit_by_bit_equals_at_once(data, linguistic, semantic, tail):
    interleaver, joint = Interleaver(), []
    first = sorted(data.draw(st.lists(st.integers(0, len(linguistic)), min_size=3, max_size=3)))
    second = sorted(data.draw(st.lists(st.integers(0, len(semantic)), min_size=3, max_size=3)))
    for one, two in zip(
        pairwise([0, *first, len(linguistic)]), pairwise([0, *second, len(semantic)]), strict=True
    ):
        joint += interleaver.push(linguistic[slice(*one)], semantic[slice(*two)])
    assert joint + interleaver.finish(tail=tail) == interleave(linguistic, semantic, tail=tail)


@settings(max_examples=100, deadline=None)
@given(linguistic=linguistic_codes, semantic=semantic_codes, seconds=st.floats(0, 1e4))
def test_json_round_trip(linguistic, semantic, seconds):
    codes = Codes(tuple(linguistic), tuple(semantic), round(seconds, 6))
    data = json.loads(json.dumps(codes.to_json()))
    assert Codes.from_json(data) == codes
    assert data["rates"] == [16.67, 25]
    del data["linguistic"], data["semantic"]
    assert Codes.from_json(data) == codes
    assert Codes.from_json({k: data[k] for k in data if k != "seconds"}).semantic == codes.semantic


@pytest.mark.parametrize("vocabulary", [STEP_AUDIO, STEP_AUDIO_2])
def test_ids_and_text_round_trip(vocabulary):
    every = list(range(vocabulary.size))
    assert vocabulary.from_ids(vocabulary.to_ids(every)) == every
    assert vocabulary.from_text(vocabulary.to_text(every)) == every


def test_text_and_ids_equal_the_reference(golden):
    prompts = json.loads((golden / "prompts.json").read_text())
    for case in prompts["audio_text_to_ids"]:
        assert STEP_AUDIO.to_ids(STEP_AUDIO.from_text(case["text"])) == case["ids"]
        assert STEP_AUDIO.to_text(STEP_AUDIO.from_ids(case["ids"])) == case["text"]
    split = prompts["step_audio_2_output_split"]
    assert STEP_AUDIO_2.pick(split["ids"]) == split["audio_codes_for_vocoder"]


def test_merge_equals_the_reference(golden):
    case = load_file(golden / "sa1_paraformer_vq02.safetensors")
    joint = interleave(case["out.vq02_indices"].tolist(), case["in.vq06"].tolist(), tail="drop")
    check_ids(
        "sa1_paraformer_vq02",
        "2:3 merge, token ids",
        torch.tensor(STEP_AUDIO.to_ids(joint)),
        case["out.merged_ids"],
    )
    assert STEP_AUDIO.to_text(joint).encode() == bytes(case["out.merged_text_utf8"].tolist())


def test_step_audio_2_padding_is_not_sound():
    assert STEP_AUDIO_2.to_ids([0, 6561]) == [151696, 158257]
    assert STEP_AUDIO_2.from_ids([151696, 158257]) == [0]
    assert STEP_AUDIO_2.from_text("<audio_3><audio_6561>") == [3]


@pytest.mark.parametrize(
    "text",
    [
        "<audio_5120>",
        "<audio_-1>",
        "<audio_05>",
        "<audio_1> <audio_2>",
        "<audio_1",
        "hello",
        "<audio_" + "9" * 9000 + ">",
    ],
)
def test_bad_text_is_refused_in_one_line(text):
    with pytest.raises(InputError) as caught:
        STEP_AUDIO.from_text(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 120


def test_bad_codes_and_ids_are_refused():
    for call in (
        lambda: interleave([1024], []),
        lambda: interleave([], [-1]),
        lambda: deinterleave([5120]),
        lambda: deinterleave([1024, 0, 1024, 1024, 1024]),
        lambda: STEP_AUDIO.to_ids([5120]),
        lambda: STEP_AUDIO.from_ids([65535]),
        lambda: STEP_AUDIO_2.to_ids([6562]),
        lambda: Codes((0,), (0,), float("nan")),
    ):
        with pytest.raises(InputError):
            call()
    assert deinterleave([1024, 0], strict=False) == ([0], [0])


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"linguistic": [1]},
        {"linguistic": [1.0], "semantic": []},
        {"linguistic": [True], "semantic": []},
        {"linguistic": [1], "semantic": [1], "interleaved": [2, 1025]},
        {"interleaved": [1, 2, 1024], "seconds": "1"},
        {"interleaved": [], "extra": 1},
        {"interleaved": [], "seconds": -1},
    ],
)
def test_bad_json_is_refused(data):
    with pytest.raises(InputError):
        Codes.from_json(data)
