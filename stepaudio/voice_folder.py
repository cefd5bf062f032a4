"""The user's own voices: put into their folder, and taken out of it."""

from dataclasses import replace
from pathlib import Path

from stepaudio.errors import InputError
from stepaudio.voices import SUFFIX, Voice, files_of, is_name, user_folder


def add_voice(path: str | Path, name: str | None = None, *, force: bool = False) -> Voice:
    """Copy a voice file into the user's folder, where its name is enough to speak with it.

    Args:
        path: a voice file.
        name: what it is to be called; its own name by default.
        force: take the place of a voice of that name; a shipped one is hidden, not lost.

    Raises:
        InputError: not a voice, a name that cannot be used, or one that is taken.
    """
    voice = Voice.load(path)
    name = voice.name if name is None else name
    if not is_name(name):
        raise InputError(f"{name!r} cannot be a voice's name: use letters, digits, spaces, - and _")
    if (taken := files_of(name)) and not force:
        whose = "a voice of yours" if taken[0].parent == user_folder() else "a shipped voice"
        raise InputError(f"{name} is already the name of {whose}: choose another, or force it")
    folder = user_folder()
    folder.mkdir(parents=True, exist_ok=True)
    named = Voice(replace(voice.info, name=name), voice.tensors)
    unfinished = named.save(folder / f".{name}.part")
    unfinished.replace(folder / f"{name}{SUFFIX}")
    return named


def remove_voice(name: str) -> Path:
    """Delete a voice from the user's folder and return where it was; shipped voices stay.

    Raises:
        InputError: there is no such voice in the user's folder.
    """
    path = user_folder() / f"{name}{SUFFIX}"
    if is_name(name) and path.is_file():
        path.unlink()
        return path
    if files_of(name):
        raise InputError(f"{name} ships with stepaudio and cannot be removed")
    own = ", ".join(own_voices()) or "none"
    raise InputError(f"there is no voice {name!r} in your folder; there are: {own}")


def own_voices() -> list[str]:
    """The names of the files in the user's folder, whether or not they can be read."""
    return sorted(path.stem for path in user_folder().glob(f"*{SUFFIX}"))
