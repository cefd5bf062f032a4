"""From text to speech: clauses, normalisation, phonemes, and the stream that joins the clauses."""
