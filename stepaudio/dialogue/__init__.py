"""Conversations: the events of a turn, the turn detector and the chat session."""
