"""Voices: a small safetensors file each, some of which ship with the package; a mix is a new voice."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stepaudio.errors import InputError, ModelError

FORMAT = "stepaudio-voice-1"
SUFFIX = ".safetensors"
PROMPT = "prompt"
"""Beginning of the names of tensors that are a stretch of speech: of a mix, the heaviest voice's."""
MAX_BYTES = 64 << 20  # a voice is small; a bigger file is something else
_FIELDS = ("name", "family", "kind", "language", "gender", "licence", "consent", "source")
_OPTIONAL = ("transcript",)
_NAME = re.compile(r"[\w][\w .-]{0,63}")


@dataclass(frozen=True)
class VoiceInfo:
    """What a voice is, without its tensors.

    Attributes:
        name: what users call it.
        family: whose mouths understand it, for example ``kokoro``.
        kind: what the tensors are, for example ``style-table``.
        language: BCP 47 tag of the accent it was made for, for example ``en-us``.
        gender: ``female``, ``male`` or ``mixed``.
        licence: SPDX identifier of the voice.
        consent: how the speaker agreed (`stepaudio.cloning.consent`), or ``synthetic`` where there is none.
        source: where it comes from.
        transcript: what is said in the clip it was made of, for the families that prompt with it.
    """

    name: str
    family: str
    kind: str
    language: str
    gender: str
    licence: str
    consent: str = "synthetic"
    source: str = ""
    transcript: str = ""

    @property
    def consent_kind(self) -> str:
        """How we know that the speaker agreed: ``read``, ``declared``, ``synthetic`` or ``unknown``."""
        from stepaudio.cloning.consent import consent_kind

        return consent_kind(self.consent)


@dataclass(frozen=True, eq=False)
class Voice:
    """A voice that a mouth can speak with.

    Attributes:
        info: what it is.
        tensors: float16 or float32 arrays by name; which ones, the kind says.
    """

    info: VoiceInfo
    tensors: Mapping[str, np.ndarray] = field(repr=False)

    @property
    def name(self) -> str:
        """What users call it."""
        return self.info.name

    @classmethod
    def load(cls, path: str | Path) -> "Voice":
        """Read a voice file.

        Raises:
            InputError: no such file, or it is not a voice.
        """
        info, tensors = _read(Path(path), tensors=True)
        return cls(info, tensors)

    def save(self, path: str | Path) -> Path:
        """Write the voice as a safetensors file and return its path."""
        from safetensors.numpy import save_file

        path = Path(path)
        values = {name: str(getattr(self.info, name)) for name in (*_FIELDS, *_OPTIONAL)}
        kept = {name: value for name, value in values.items() if value or name in _FIELDS}
        metadata = {"format": FORMAT, **kept}
        save_file({name: np.ascontiguousarray(array) for name, array in self.tensors.items()}, path, metadata)
        return path


def mix(parts: Mapping[str, float] | Mapping[Voice, float], name: str | None = None) -> Voice:
    """Return the convex mix of voices: weights are positive and are scaled to sum to one.

    Args:
        parts: weights by voice, or by voice name; all of one family and kind.
        name: the name of the mix; by default the recipe, such as ``ada*0.6+ben*0.4``.

    Raises:
        InputError: no parts, a weight that is not positive and finite, or voices that do not go together.
    """
    items = [(find_voice(key) if isinstance(key, str) else key, weight) for key, weight in parts.items()]
    if not items:
        raise InputError("a mix needs at least one voice")
    for voice, weight in items:
        if not (np.isfinite(weight) and weight > 0):
            raise InputError(f"mix: the weight of {voice.name} must be a positive number, not {weight:g}")
    first = items[0][0].info
    for voice, _ in items:
        if (voice.info.family, voice.info.kind) != (first.family, first.kind):
            raise InputError(f"mix: {voice.name} and {first.name} are of different kinds and cannot be mixed")
    total = float(sum(weight for _, weight in items))
    heaviest = max(items, key=lambda item: item[1])[0]
    tensors = {
        key: heaviest.tensors[key]
        if key.startswith(PROMPT)
        else sum(
            (voice.tensors[key].astype(np.float32) * np.float32(weight / total) for voice, weight in items)
        )
        for key in heaviest.tensors
    }
    recipe = "+".join(f"{voice.name}*{weight / total:.3g}" for voice, weight in items)
    consents = dict.fromkeys(voice.info.consent for voice, _ in items)
    info = VoiceInfo(
        name=name or recipe,
        family=first.family,
        kind=first.kind,
        language=heaviest.info.language,
        gender=_common([voice.info.gender for voice, _ in items], "mixed"),
        licence=" AND ".join(sorted({voice.info.licence for voice, _ in items})),
        consent="; ".join(consents),
        source=f"mix {recipe}",
    )
    return Voice(info, {key: np.asarray(array, np.float32) for key, array in tensors.items()})


def list_voices(family: str | None = None) -> list[VoiceInfo]:
    """List the voices that ship with the package and those in the user's folder, by name and family.

    A voice in the user's folder hides a shipped one of the same name and family. Files there that cannot be
    read are left out.
    """
    found: dict[tuple[str, str], VoiceInfo] = {}
    shipped = sorted(shipped_folder().glob(f"*/*{SUFFIX}"))
    own = sorted(user_folder().glob(f"*{SUFFIX}")) if user_folder().is_dir() else []
    for path in (*shipped, *own):
        try:
            info, _ = _read(path, tensors=False)
        except InputError:
            continue
        if family is None or info.family == family:
            found[path.stem, info.family] = info
    return [found[key] for key in sorted(found)]


def find_voice(name: str, family: str | None = None) -> Voice:
    """Return a voice by its name, its file, or a mix of names such as ``ada*0.6+ben*0.4``.

    Raises:
        InputError: there is no such voice (the message lists those that exist), or the mix is malformed.
    """
    text = name.strip()
    if text.endswith(SUFFIX):
        return _of_family([Path(text)], family)
    if paths := files_of(text):
        return _of_family(paths, family)
    if "+" in text or "*" in text:
        return mix({find_voice(part, family): weight for part, weight in parse_mix(text).items()})
    names = ", ".join(dict.fromkeys(info.name for info in list_voices(family)))
    raise InputError(
        f"unknown voice {name!r}; there are: {names} (a mix: ada*0.6+ben*0.4, or a {SUFFIX} file)"
    )


def parse_mix(text: str) -> dict[str, float]:
    """Read ``"ada*0.6+ben*0.4"`` (a bare name weighs 1) into weights by name.

    Raises:
        InputError: a weight is not a number, a name is missing or comes twice.
    """
    weights: dict[str, float] = {}
    for part in text.split("+"):
        name, star, weight = (piece.strip() for piece in part.partition("*"))
        if not name or name in weights:
            raise InputError(f"voice mix {text!r}: a name is missing or comes twice")
        try:
            weights[name] = float(weight) if star else 1.0
        except ValueError:
            raise InputError(f"voice mix {text!r}: {weight!r} is not a number") from None
    return weights


def shipped_folder() -> Path:
    """The folder of the voices that come with the package, a folder for each family in it."""
    return Path(__file__).parent / "voices_data"


def user_folder() -> Path:
    """The folder of the user's own voices, beside the model cache; it need not exist."""
    from stepaudio.hub import Cache

    return Cache.default().root / "voices"


def is_name(name: str) -> bool:
    """Whether `name` can be the name of a voice, and of its file."""
    return bool(_NAME.fullmatch(name)) and ".." not in name and not name.endswith(SUFFIX)


def files_of(name: str) -> list[Path]:
    """The files of the voices of a name: the user's before those that ship, a family each."""
    if not is_name(name):
        return []
    paths = [user_folder() / f"{name}{SUFFIX}", *sorted(shipped_folder().glob(f"*/{name}{SUFFIX}"))]
    return [path for path in paths if path.is_file()]


def _of_family(paths: Sequence[Path], family: str | None) -> Voice:
    """The first voice that is for `family`; an error about the first one where none is."""
    voices = [Voice.load(path) for path in paths]
    for voice in voices:
        if family is None or voice.info.family == family:
            return voice
    raise InputError(f"voice {voices[0].name} is for {voices[0].info.family}, not for {family}")


def _common(values: list[str], otherwise: str) -> str:
    return values[0] if len(set(values)) == 1 else otherwise


def _read(path: Path, *, tensors: bool) -> tuple[VoiceInfo, dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such voice file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: too large for a voice file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()} if tensors else {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a readable voice file ({type(error).__name__})") from error
    if metadata.get("format") != FORMAT or any(name not in metadata for name in _FIELDS):
        raise InputError(f"{path}: a safetensors file, but not a voice")
    for key, array in arrays.items():
        if array.dtype not in (np.float16, np.float32) or not np.isfinite(array).all():
            raise InputError(f"{path}: tensor {key} is not made of finite float16 or float32 numbers")
    return VoiceInfo(**{name: metadata[name] for name in (*_FIELDS, *_OPTIONAL) if name in metadata}), arrays


def check_tensor(voice: Voice, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the tensor `key` of a voice as float32 after checking its shape.

    Raises:
        ModelError: it is not there or has another shape.
    """
    array = voice.tensors.get(key)
    if array is None or array.shape != shape:
        found = "none" if array is None else str(array.shape)
        raise ModelError(f"voice {voice.name}: needs a tensor {key} of shape {shape}, has {found}")
    return array.astype(np.float32)
