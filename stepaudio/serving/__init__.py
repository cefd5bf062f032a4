"""Talking to servers, and being one."""
