"""The page for people without a keyboard: what the kit does, which drives there are, what waits for them.

A process of its own (``ailasd-web``), started by systemd when somebody looks and gone when nobody does. It reads the
catalogue and may change nothing; what it is asked to do it asks the daemon for (``ailasd.asking``).

====================  ============================================================================
``serving``           sockets, limits, and the end when nobody looks
``guarding``          what every request must be, and what every answer says
``admitting``         who may see what: the PIN, sessions, forms
``app``               which address shows what
``seeing``            what is shown, as values
``saying``            the same in words, in three languages
``drawing``           the way of a drive as a picture
``thumbnail``         a small picture of a picture
====================  ============================================================================
"""
