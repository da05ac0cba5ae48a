"""A small but realistic card, and the embedded receiver: ``ailasd demo``."""
