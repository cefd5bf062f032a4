"""The suites: what is measured, in which layout it comes, and how it is scored."""

from stepaudio.evaluation.suites.base import Suite
from stepaudio.evaluation.suites.registry import list_suites, load_suite

__all__ = ["Suite", "list_suites", "load_suite"]
