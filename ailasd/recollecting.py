"""A kit that lost its catalogue asks the server once what it has of it, so that nothing is sent again.

Our own ids were in the catalogue; what is left are the kit's name in each set's metadata and, in the listings, the md5
of every picture. They are copied as they are. When a picture is due whose bytes are among them, it counts as sent to
that set: the proof is looked for as ever, and if the server has lost it meanwhile it is sent after all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ailasd.errors import SetGone
from ailasd.logs import Event
from ailasd.panoramax.past import all_sets

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from ailasd.catalogue import Catalogue
    from ailasd.journal import Journal
    from ailasd.panoramax import Panoramax


def recollect(
    server: Panoramax,
    catalogue: Catalogue,
    journal: Journal,
    kit: str,
    stop: threading.Event,
    *,
    alive: Callable[[], None] = lambda: None,
) -> bool:
    """Ask for everything, unless that was done before; what was learnt before a cut is not asked for again.

    Costs one request where the account is new, else one small one for each set: 55 KB for 1 000 pictures.

    Returns:
        Whether that is done; False: ``stop`` came first.

    Raises:
        Whatever the requests raise.
    """
    past = catalogue.past
    if past.is_known():
        return True
    learnt = past.learnt()
    for one in all_sets(server, catalogue.telling.fact("account") or ""):
        if stop.is_set():
            return False
        alive()
        if one is None or one.id in learnt or "ailasd" not in one.metadata or one.metadata.get("kit") != kit:
            continue
        try:
            listing = server.listing(one.id)
        except SetGone:
            continue
        past.learn(
            one.id,
            [
                (row.md5, row.size, row.picture_id)
                for row in listing
                if row.rejected is None and row.md5 and row.size is not None and row.picture_id
            ],
        )
    pictures, sets = past.now_known()
    if pictures:
        journal.tell(Event.PAST_REMEMBERED, pictures=pictures, sets=sets)
    return True
