"""Speech tokenizers: the linguistic stream, the semantic streams and the pair of them."""
