"""Which takes there are: the recipe, the texts and a take's number decide everything about it."""

import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from stepaudio.errors import InputError
from stepaudio.training.engine.edits import Edit, Shift
from stepaudio.training.engine.recipe import MADE, Accent, Recipe, Texts
from stepaudio.training.engine.sentences import fill

TEACHER_CARD = "kokoro-82m"
VOICES_CARD = "kokoro-voices"
_TRIES = 1000


class PlannedTake(BaseModel):
    """A take before it is said.

    Attributes:
        id: its number in the corpus.
        set: the source of its text.
        text: what is said.
        voices: weights by name, 1 in all.
        language: BCP 47 tag of the accent.
        speed: factor on the rate.
        style: the edit between the teacher's halves, if any.
        speaker: the shift to another speaker, if any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    set: str
    text: str
    voices: dict[str, float]
    language: str
    speed: float
    style: Edit | None = None
    speaker: Shift | None = None


@dataclass(frozen=True)
class Planner:
    """Plans takes.

    Attributes:
        recipe: of the corpus.
        lines: of the texts, by source.
        voices: names of the teacher's voices that may be used.
    """

    recipe: Recipe
    lines: Mapping[str, Sequence[str]]
    voices: Sequence[str]

    @classmethod
    def load(cls, recipe: Recipe) -> "Planner":
        """Read the recipe's texts and the list of voices.

        Raises:
            InputError: a text is missing or none of its lines fits, or a voice is not known.
        """
        return cls(recipe, read_lines(recipe.texts), known_voices(recipe))

    def shard(self, number: int) -> list[PlannedTake]:
        """The takes of a shard."""
        size = self.recipe.takes_per_shard
        return [self.take(index) for index in range(number * size, (number + 1) * size)]

    def take(self, index: int) -> PlannedTake:
        """The take of a number."""
        rng = random.Random(1_000_003 * index + self.recipe.seed)
        source, text = self._text(rng)
        voices = self._voices(rng)
        law = self.recipe.speed
        speed = round(min(law.most, max(law.least, rng.gauss(law.mean, law.deviation))), 3)
        # A second sequence: a recipe with other shares of styles and speakers keeps texts and voices.
        rng = random.Random(f"edits {self.recipe.seed} {index}")
        style, factor = self._style(rng)
        return PlannedTake(
            id=index,
            set=source,
            text=text,
            voices=voices,
            language=self._accent(next(iter(voices))).language,
            speed=round(min(law.most, max(law.least, speed * factor)), 3),
            style=style,
            speaker=self._speaker(rng),
        )

    def _text(self, rng: random.Random) -> tuple[str, str]:
        texts = self.recipe.texts
        weights = texts.weights
        for _ in range(_TRIES):
            (source,) = rng.choices(list(weights), list(weights.values()))
            if source == MADE and texts.made is not None:
                text = fill(rng.choice(texts.made.patterns), texts.made.words, rng)
            else:
                text = rng.choice(self.lines[source])
            if is_held_out(text, texts.held_out):
                continue
            if text[-1].isalnum() and rng.random() < texts.finish.share:
                text = text[0].upper() + text[1:] + rng.choice(texts.finish.marks)
            return source, text
        raise InputError("the texts hold almost nothing but sentences that are kept for tests")

    def _voices(self, rng: random.Random) -> dict[str, float]:
        law = self.recipe.voices
        choice = rng.random()
        if choice < law.shares.shipped:
            return {rng.choice(law.shipped): 1.0}
        if choice < law.shares.shipped + law.shares.single:
            return {rng.choice(self.voices): 1.0}
        # A voice is in the draw if the accent that is drawn for it is its own.
        pool = [name for name in self.voices if name[0] == self._draw_accent(rng)]
        size = rng.choice(law.mixed)
        chosen = rng.sample(pool if len(pool) >= size else list(self.voices), size)
        weights = [rng.random() + law.least_weight for _ in chosen]
        return {name: round(weight / sum(weights), 3) for name, weight in zip(chosen, weights, strict=True)}

    def _draw_accent(self, rng: random.Random) -> str:
        accents = self.recipe.voices.accents
        left = rng.random()
        for letter, accent in accents.items():
            left -= accent.share
            if left < 0:
                return letter
        return list(accents)[-1]

    def _accent(self, voice: str) -> Accent:
        return self.recipe.voices.accents[voice[0]]

    def _style(self, rng: random.Random) -> tuple[Edit | None, float]:
        styles = self.recipe.styles
        if rng.random() >= styles.share:
            return None, 1.0
        names = list(styles.kinds)
        (name,) = rng.choices(names, [styles.kinds[each].weight for each in names])
        kind = styles.kinds[name]
        edit = Edit(
            name=name,
            pitch=_between(kind.pitch, rng),
            range=_between(kind.range, rng),
            energy=_between(kind.energy, rng),
            voiced=kind.voiced,
        )
        return edit, _between(kind.speed, rng)

    def _speaker(self, rng: random.Random) -> Shift | None:
        law = self.recipe.speakers
        if rng.random() >= law.share:
            return None
        return Shift(pitch=_between(law.pitch, rng), formants=_between(law.formants, rng))


def is_held_out(text: str, one_in: int) -> bool:
    """Whether a sentence, as it stands in its source, is kept for tests."""
    return one_in > 0 and zlib.crc32(text.encode()) % one_in == 0


def read_lines(texts: Texts) -> dict[str, list[str]]:
    """Read the sentences of all sources that are neither too short nor too long.

    Raises:
        InputError: a file cannot be read, or holds none.
    """
    lines = {}
    for name in texts.sources:
        path = texts.folder / f"{name}.txt"
        try:
            stripped = [line.strip() for line in path.read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{path}: the text cannot be read ({reason})") from None
        lines[name] = [line for line in stripped if texts.shortest <= len(line) <= texts.longest]
        if not lines[name]:
            raise InputError(f"{path}: no line of {texts.shortest} to {texts.longest} characters")
    return lines


def known_voices(recipe: Recipe) -> list[str]:
    """Names of the teacher's voices of the recipe's accents, in order.

    Raises:
        InputError: a shipped voice is not among them.
    """
    from stepaudio.hub import load_card

    files = [file.path for file in load_card(VOICES_CARD).files]
    names = sorted(path.removesuffix(".bin") for path in files if path[0] in recipe.voices.accents)
    for name in recipe.voices.shipped:
        if name not in names:
            raise InputError(f"the teacher has no voice {name} of these accents; it has {', '.join(names)}")
    return names


def _between(ends: tuple[float, float], rng: random.Random) -> float:
    return round(rng.uniform(*ends), 3)
