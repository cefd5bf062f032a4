"""What came out: figures with their uncertainty, as JSON, Markdown and one self-contained page."""
