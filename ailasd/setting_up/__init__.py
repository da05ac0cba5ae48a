"""Puts ailasd on a machine, keeps it up to date there, and takes it away again: ``ailasd setup``.

``files`` says what belongs where, ``plan`` what has to be done so that it is so (pure), ``machine`` looks and does;
``edition`` tells one ailasd from another, ``installing`` gives one its venv. ``course`` leads through it all.
"""
