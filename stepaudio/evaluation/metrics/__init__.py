"""Figures computed from texts, sounds and tool calls, and the statistics over them."""
