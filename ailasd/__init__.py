"""ailasd brings the road pictures of a camera card, proven, to a private Panoramax.

The modules, in the order in which a picture lives them:

====================  =================================================================================
``cards/``            which cards and cameras are plugged in; mount, unmount
``attending``         step: what is plugged in is made readable, read, and let go
``sources/``          what lies on this card; open one of its files
``planning``          which of its files are to be read (pure)
``copying``           one file, verified, or not at all
``disk``              our own disk: its place there, so that a power cut cannot undo it
``photo``, ``jpeg``   what a JPEG says about itself; how it is built
``importing``         step: card -> catalogue
``tracking``          step: GPX files -> catalogue
``tracks``            what a GPX file says (pure)
``sequencing``        which pictures belong together: drives, not folders (pure)
``capture``           when they were really taken: the capture-time guard (pure)
``offsets``           how far off a camera's clock is when its drive cannot tell (pure)
``triage``            which of them are worth sending (pure)
``ordering``          which of them is sent first (pure)
``sorting``           step: copied pictures -> drives; queued, or held with a reason
``tunnel``            the VPN's interface: is it there, does the way lead through it?
``link``              the gate: is the private network here, and is that our server?
``manners``           may we send now, how fast, and how long will it take? (pure)
``metered``           does the way out cost money by the byte?
``throttle``          not more bytes a second than that, over all connections
``pacing``            holds sending to our manners, and counts every byte
``recognising``       is that our server, and may it have our pictures?
``login``             how a kit becomes known to its server
``panoramax/``        the server as we see it: HTTP in, our values and errors out
``proof``             what the server's words prove about a picture
``recollecting``      what the server has of us, when the catalogue was lost
``uploading``         step: one picture, one request
``confirming``        step: does the server have it?
``blurring``          step: does the server still blur?
``reported``          step: has anybody reported a picture of ours?
``heartbeat``         step: tells a place of ours that this kit lives
``cleaning``          step: the only hand that deletes pictures
====================  =================================================================================

What they share: ``model`` (the nouns), ``lifecycle`` (what may follow what), ``errors`` (by remedy), ``catalogue/``
(the SQLite file; all SQL), ``storage`` (where copies lie), ``clock``, ``config/``, ``credential`` (the token),
``logs`` and ``journal`` (what is told). What people see: the one ``sign`` in its ``sign_wording``, what is
``showing/`` it, and the page (``web/``) with each drive's ``journey``; the ``report`` of a drive, with its
``camera_clock``, in its ``report_wording``, which ``reports`` writes, each ``sentence`` in the reader's ``language``
(``locales/``), its numbers as ``amounts``; ``cli/``, ``status`` and ``trip`` in their ``wording``, what it is
``waiting`` for and what it ``needs`` of a person, the server's ``refusals``, the ``story`` of what happened as a
``diary``, what the ``doctor/`` finds, the ``bundle`` of it all behind a ``veil``, ``metrics``, ``exports/``, ``demo/``;
what they do: ``by_hand``, or ``asking`` for it from the page. ``parts`` puts it all together, ``daemon`` runs it,
``watching`` wakes it; ``service`` tells systemd that it lives, and ``setting_up/`` puts it on a machine.
"""

__version__ = "0.1.0"
