"""The sentences that people read aloud to agree, and how well a transcript matches one.

A sentence says what is agreed to and ends in a fresh code of everyday words, so that no older recording fits.
"""

import secrets
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from stepaudio.errors import InputError

CODE_WORDS = 5


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Everyday words that recognisers tell apart: no homophones, no two that sound alike.
_ENGLISH = _words("""
    apple basket bottle bridge butter camera candle carpet castle cherry chicken circle coffee corner
    cotton dinner doctor dragon engine family farmer finger forest garden ginger guitar hammer harbor
    holiday island jacket kitchen lemon letter machine market mirror monkey mountain music number
    ocean office orange paper pencil picture pillow planet pocket potato purple rabbit ribbon river
    rocket saddle school shadow silver spider summer sunday table tiger tomato tunnel turtle umbrella
    valley village violin water window winter yellow zebra
""")
_CHINESE = _words("""
    苹果 杯子 大海 电话 飞机 风筝 钢琴 花园 火车 吉他 机场 夹克 咖啡 课本 老虎 篮球 牛奶 葡萄 铅笔 森林
    沙发 生日 石头 书包 太阳 图书馆 兔子 温泉 西瓜 夏天 香蕉 熊猫 雪山 眼镜 雨伞 月亮 钥匙 足球 医院
""")


@dataclass(frozen=True)
class Template:
    """A sentence in one language.

    Attributes:
        text: with ``{code}`` where the code goes.
        words: what codes are made of.
        joint: between the words of a code.
        units: cuts a text, which has only letters, digits and spaces, into what is compared.
    """

    text: str
    words: Sequence[str]
    joint: str
    units: Callable[[str], list[str]]


def _characters(text: str) -> list[str]:
    return list(text.replace(" ", ""))


TEMPLATES: dict[str, Template] = {
    "en": Template(
        "I agree that this computer may copy my voice. My words today are {code}.",
        _ENGLISH,
        ", ",
        str.split,
    ),
    "zh": Template("我同意这台电脑复制我的声音。今天我说的词是：{code}。", _CHINESE, "，", _characters),
}


def template(language: str) -> Template:
    """Return the sentence of a language (ISO 639-1 code or BCP 47 tag).

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    found = TEMPLATES.get(language.split("-")[0].lower())
    if found is None:
        known = ", ".join(sorted(TEMPLATES))
        raise InputError(f"there is no consent sentence in {language!r}; there are: {known}")
    return found


def fresh_code(language: str) -> tuple[str, ...]:
    """Return words drawn by a secure random generator, none twice."""
    return tuple(secrets.SystemRandom().sample(template(language).words, CODE_WORDS))


@dataclass(frozen=True)
class Match:
    """How a transcript agrees with a sentence.

    Attributes:
        code_words: how many words of the code were heard, in order.
        statement: share of the rest of the sentence that was heard, in order, 0 to 1.
    """

    code_words: int
    statement: float


def match(heard: str, code: Sequence[str], language: str) -> Match:
    """Compare a transcript with the sentence that ends in `code`."""
    form = template(language)
    said = form.units(_plain(heard))
    statement = form.units(_plain(form.text.replace("{code}", "")))
    words = [unit for word in code for unit in form.units(_plain(word))]
    # Aligned together, so that a word of the statement cannot stand in for one of the code.
    blocks = SequenceMatcher(None, [*statement, *words], said, autojunk=False).get_matching_blocks()
    hit = {block.a + step for block in blocks for step in range(block.size)}
    at, found = len(statement), 0
    for word in code:
        size = len(form.units(_plain(word)))
        found += all(place in hit for place in range(at, at + size))
        at += size
    return Match(found, sum(place in hit for place in range(len(statement))) / len(statement))


def _plain(text: str) -> str:
    """Lower case, with only letters, digits and single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char if char.isalnum() else " " for char in folded).split())
