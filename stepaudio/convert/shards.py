"""A language model's safetensors shards: the index and every header checked, nothing rewritten."""

import re
from pathlib import Path
from typing import Any

from stepaudio.convert.shapes import Shapes, check_shapes
from stepaudio.convert.source import SourceFolder
from stepaudio.errors import ModelError

INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"[A-Za-z0-9][\w.-]*\.safetensors")
_DTYPES = {"BF16", "F16", "F32"}


def find_shards(folder: SourceFolder, wanted: Shapes) -> list[str]:
    """Check the weights of a folder against `wanted`.

    Returns:
        The names of the shard files, sorted.

    Raises:
        ModelError: the index is malformed or names a path that is not a file of this folder, a shard is
            missing or damaged, or a tensor is missing, unknown, of another shape or not floating point.
    """
    promised = _index(folder) if folder.has(INDEX) else None
    names = sorted({*promised.values()}) if promised is not None else [_only_shard(folder)]
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        shapes = _header(folder.file(name), f"{folder.root}: {name}")
        if promised is not None:
            mine = {key for key, shard in promised.items() if shard == name}
            if lost := sorted(mine - shapes.keys()):
                raise ModelError(
                    f"{folder.root}: {name} lacks {lost[0][:120]}, which the index says it holds"
                )
            if extra := sorted(shapes.keys() - mine):
                raise ModelError(
                    f"{folder.root}: {name} holds {extra[0][:120]}, which the index does not know"
                )
        found.update(shapes)
    check_shapes(f"{folder.root}: language model", found, wanted)
    return names


def _index(folder: SourceFolder) -> dict[str, str]:
    weight_map = folder.json(INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{folder.root}: {INDEX} has no weight_map")
    for shard in weight_map.values():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise ModelError(
                f"{folder.root}: {INDEX} names {str(shard)[:120]!r}, which is not a shard's name"
            )
    for shard in sorted({*weight_map.values()}):
        if not folder.has(shard):
            raise ModelError(f"{folder.root}: shard {shard} is missing (it is named in {INDEX})")
    return weight_map


def _only_shard(folder: SourceFolder) -> str:
    names = sorted(path.name for path in folder.root.glob("*.safetensors"))
    if len(names) != 1:
        reason = "no safetensors file" if not names else f"{len(names)} safetensors files and no {INDEX}"
        raise ModelError(f"{folder.root}: {reason}")
    return names[0]


def _header(path: Path, where: str) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with safe_open(path, framework="pt") as shard:
            for key in shard.keys():  # noqa: SIM118  (a shard is not a mapping)
                part: Any = shard.get_slice(key)
                if part.get_dtype() not in _DTYPES:
                    raise ModelError(f"{where}: {key[:120]} has dtype {part.get_dtype()}, not a float's")
                shapes[key] = tuple(part.get_shape())
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{where} is damaged or truncated: {str(error)[:160]}") from None
    return shapes
