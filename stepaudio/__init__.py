"""stepaudio: someone speaks; the program hears, thinks and speaks back."""
