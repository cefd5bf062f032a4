"""Turning official checkpoint folders into safetensors, configuration and a card, once and safely.

The only place where a pickle is opened, and only by PyTorch's weights-only reader. Nothing in a folder is
ever imported or executed; what it says is checked against the configuration, key by key and shape by shape.
"""

from stepaudio.convert.folder import convert_folder

__all__ = ["convert_folder"]
