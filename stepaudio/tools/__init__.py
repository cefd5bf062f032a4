"""Tools: plain Python functions that a model may call in a conversation."""

from stepaudio.tools.call import Outcome, run_tool
from stepaudio.tools.load import load_tools
from stepaudio.tools.registry import Tool, Toolbox, make_tool

__all__ = ["Outcome", "Tool", "Toolbox", "load_tools", "make_tool", "run_tool"]
