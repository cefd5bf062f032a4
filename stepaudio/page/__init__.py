"""The voice chat page (Gradio): speak, drop a file or type; read along; hear the reply while it is made."""
