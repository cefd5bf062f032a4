"""The recipe of a corpus: strict YAML, see ``tts/engine.yaml``."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from stepaudio.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]
MADE = "made"
"""Name of the source of made-up sentences."""


class Strict(BaseModel):
    """A part of the recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Strict):
    """A text, ``NAME.txt`` with a sentence a line."""

    weight: PositiveFloat
    licence: str


class Made(Strict):
    """Sentences made up from patterns; see `sentences.fill`."""

    weight: PositiveFloat
    patterns: Annotated[tuple[str, ...], Field(min_length=1)]
    words: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}


class Finish(Strict):
    """How often a line without a final mark gets one (and a capital), and which."""

    share: Share
    marks: Annotated[tuple[str, ...], Field(min_length=1)]


class Texts(Strict):
    """What is said.

    ``folder`` counts from the recipe's file. Lines of ``shortest`` to ``longest`` characters are used; of
    these, one in ``held_out`` never (0: all are used).
    """

    folder: Path
    shortest: PositiveInt
    longest: PositiveInt
    held_out: Annotated[int, Field(ge=0)]
    finish: Finish
    sources: dict[str, Source]
    made: Made | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.sources and self.made is None:
            raise ValueError("no text source at all")
        if MADE in self.sources:
            raise ValueError(f"a text source cannot be called {MADE}")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weight by source, the made-up sentences last."""
        weights = {name: source.weight for name, source in self.sources.items()}
        return weights if self.made is None else {**weights, MADE: self.made.weight}


class Accent(Strict):
    """The language (BCP 47) that the voices of an accent speak, and its share of the draws for mixes."""

    language: str
    share: Share


class VoiceShares(Strict):
    """How often a take is in one of the shipped voices, in any one voice, in a mix."""

    shipped: Share
    single: Share
    mixed: Share

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.shipped + self.single + self.mixed - 1) > 1e-6:
            raise ValueError("the shares do not add up to 1")
        return self


class Voices(Strict):
    """Who says it.

    ``accents`` go by the first letter of a voice's name; ``mixed`` are the sizes of mixes, drawn evenly;
    ``least_weight`` is added to each random weight of a mix before they are scaled to 1.
    """

    accents: dict[Annotated[str, Field(min_length=1, max_length=1)], Accent]
    shipped: Annotated[tuple[str, ...], Field(min_length=1)]
    shares: VoiceShares
    mixed: Annotated[tuple[Annotated[int, Field(ge=2, le=8)], ...], Field(min_length=1)]
    least_weight: Share


class Speed(Strict):
    """A normal distribution with its ends cut."""

    mean: PositiveFloat
    deviation: Annotated[float, Field(ge=0)]
    least: PositiveFloat
    most: PositiveFloat


class StyleKind(Strict):
    """Ranges of a style's edits; see `edits.Edit`."""

    weight: PositiveFloat
    pitch: Range = (1.0, 1.0)
    range: Range = (1.0, 1.0)
    energy: Range = (0.0, 0.0)
    speed: Range = (1.0, 1.0)
    voiced: bool = True


class Styles(Strict):
    """How many takes are edited between the teacher's halves, and how."""

    share: Share = 0.0
    kinds: dict[str, StyleKind] = {}

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.share and not self.kinds:
            raise ValueError("a share of styles, but no kinds")
        return self


class Speakers(Strict):
    """How many takes are shifted to another speaker by WORLD, and the ranges of the ratios."""

    share: Share = 0.0
    pitch: Range = (1.0, 1.0)
    formants: Range = (1.0, 1.0)


class Check(Strict):
    """When a take is dropped; see `check.Checker`."""

    card: str = "whisper-tiny.en"
    most_wer: Share = 0.34
    least_level_db: float = -45.0
    longest_per_token: PositiveFloat = 0.35
    shortest_per_token: PositiveFloat = 0.02


class Recipe(Strict):
    """What a corpus is made of; takes are planned from it and their number alone."""

    name: str
    seed: int
    takes_per_shard: Annotated[int, Field(ge=1, le=999)]
    format: Literal["flac", "opus"] = "flac"
    longest_tokens: Annotated[int, Field(ge=1, le=510)] = 300
    texts: Texts
    voices: Voices
    speed: Speed
    styles: Styles = Styles()
    speakers: Speakers = Speakers()
    check: Check | None = Check()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the takes (where the texts lie does not), 16 hex digits."""
        facts = self.model_dump(mode="json", exclude={"texts": {"folder"}})
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; its folder of texts becomes a path from here.

    Raises:
        InputError: the file cannot be read, or is not a recipe.
    """
    import yaml

    try:
        recipe = Recipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}") from None
    return with_texts(recipe, path.parent / recipe.texts.folder)


def with_texts(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with another folder of texts."""
    return recipe.model_copy(update={"texts": recipe.texts.model_copy(update={"folder": folder})})
