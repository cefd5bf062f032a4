"""An inaudible mark in speech that says: a machine made this. It helps honest people; it proves nothing.

The network and weights are those of Perth by Resemble AI (card ``watermark-perth``). Its own package needs
torchaudio and ``pkg_resources``, which do not go with the rest, so the little it does is written here anew.
"""
