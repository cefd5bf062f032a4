"""The model families: each puts its own ears, mind and mouth behind the same three interfaces."""
