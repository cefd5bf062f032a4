"""Systems under test: families of this package, servers, the cascade baseline, anyone's own."""

from stepaudio.evaluation.systems.base import Ability, Answer, Conversation, System
from stepaudio.evaluation.systems.registry import load_system

__all__ = ["Ability", "Answer", "Conversation", "System", "load_system"]
