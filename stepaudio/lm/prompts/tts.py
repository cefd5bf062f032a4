r"""Step-Audio-TTS-3B's prompt: system, a clip with its transcript, the text to say.

Layout in ids, with BOS 1, BOT 4, EOT 3::

    1 4 enc("system\n" + S) 3 4 enc("human\n") T(clip) 3 4 enc("assistant\n") CODES 3
    4 enc("human\n") T(text) 3 4 enc("assistant\n")

where T(x) is enc("\n" + x) without its first len(enc("\n")) ids, which keeps SentencePiece's leading blank
out.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

BOS, EOT, BOT = 1, 3, 4
RAP_TAG, HUMMING_TAG = "RAP", "哼唱"
RAP_PROMPT = "请参考对话历史里的音色，用RAP方式将文本内容大声说唱出来。"
HUMMING_PROMPT = "请参考对话历史里的音色，用哼唱的方式将文本内容大声唱出来。"

# The tags by kind, in the order of the prompt the model was trained with.
TAGS: dict[str, tuple[str, ...]] = {
    "emotion": ("高兴1", "高兴2", "生气1", "生气2", "悲伤1", "撒娇1"),
    "language": ("中文", "英文", "韩语", "日语", "四川话", "粤语", "广东话"),
    "singing": (RAP_TAG, HUMMING_TAG),
    "pace": ("慢速1", "慢速2", "快速1", "快速2"),
}
_HEADERS = {
    "emotion": "# 情感标签涵盖了多种情绪状态，包括但不限于：",
    "language": "# 语种或方言标签包含多种语言或方言，包括但不限于：",
    "singing": "# 音乐哼唱标签包含多种类型歌曲哼唱，包括但不限于：",
    "pace": "# 语音调整标签，包括但不限于：",
}
_OPENING = (
    "作为一名卓越的声优演员，你的任务是根据文本中（）或()括号内标注的情感、语种或方言、音乐哼唱、语音调整等标签，"
    "以丰富细腻的情感和自然顺畅的语调来朗读文本。"
)
_CLOSING = (
    "请在朗读时，{speaker}根据这些情感标签的指示，调整你的情感、语气、语调和哼唱节奏，"
    "以确保文本的情感和意义得到准确而生动的传达，如果没有()或（）括号，则根据文本语义内容自由演绎。"
)
# Only ASCII brackets are excluded inside the tag, and the match is greedy: both as trained.
_LEADING_TAG = re.compile(r"[（(][^()]*[)）]")

Decoder = Literal["speech", "music"]
Encode = Callable[[str], Sequence[int]]


def leading_tag(text: str) -> str:
    """Return the tag in brackets that `text` starts with, or ``""``.

    Follows the reference to the letter: ASCII and full-width brackets may be mixed, full-width brackets may
    nest, ASCII ones may not, and after a full-width tag the match runs to the last full-width bracket before
    any ASCII one. Put tags in ASCII brackets to keep several apart.
    """
    found = _LEADING_TAG.match(text)
    return found.group().strip("()（）") if found else ""


def decoder_for(text: str) -> Decoder:
    """Return which speech decoder speaks `text`: the music one for a leading RAP or humming tag."""
    return "music" if leading_tag(text) in (RAP_TAG, HUMMING_TAG) else "speech"


def system_prompt(text: str, speaker: str = "") -> str:
    """Return the system prompt for `text`; `speaker` is a named voice, empty when a clip is cloned.

    As in the reference, the leading tag chooses singing, but 哼唱 anywhere in the text chooses humming.
    """
    if decoder_for(text) == "music":
        return HUMMING_PROMPT if HUMMING_TAG in text else RAP_PROMPT
    lists = ["\n".join([_HEADERS[kind], *(f'- "{tag}"' for tag in tags)]) for kind, tags in TAGS.items()]
    closing = _CLOSING.format(speaker=f"使用[{speaker}]的声音，" if speaker else "")
    return "\n\n".join([_OPENING + "\n" + lists[0], *lists[1:], closing])


def encode_without_leading_piece(encode: Encode, text: str) -> list[int]:
    r"""Return enc("\n" + text) without the ids of "\n" alone."""
    return list(encode("\n" + text))[len(encode("\n")) :]


@dataclass(frozen=True)
class SpeechPrompt:
    """A prompt for the speech LM: its ids, and the decoder that goes with it."""

    ids: tuple[int, ...]
    decoder: Decoder


def speech_prompt(
    encode: Encode, text: str, *, clip_text: str, clip_ids: Sequence[int], speaker: str = ""
) -> SpeechPrompt:
    """Build the prompt that makes the model say `text` in the voice of a clip.

    Args:
        encode: the text tokenizer, exactly as the checkpoint's folder configures it.
        text: what to say, leading tags included.
        clip_text: the exact transcript of the clip.
        clip_ids: the clip's interleaved ids, 65536 added.
        speaker: name of a known voice; empty for a cloned one.
    """
    ids: list[int] = [BOS, BOT, *encode("system\n" + system_prompt(text, speaker)), EOT]
    ids += [BOT, *encode("human\n"), *encode_without_leading_piece(encode, clip_text), EOT]
    ids += [BOT, *encode("assistant\n"), *clip_ids, EOT]
    ids += [BOT, *encode("human\n"), *encode_without_leading_piece(encode, text), EOT]
    ids += [BOT, *encode("assistant\n")]
    return SpeechPrompt(tuple(ids), decoder_for(text))
